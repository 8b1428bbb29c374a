#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make tests/golden/tokenizer/*: three small tokenizers with the pre-tokenizer settings of GPT-2, Qwen3 and
Llama-3, trained on the texts below, and what the `tokenizers` package (0.23.3) makes of random texts and ids.

usage: make_tokenizer.py [OUT_DIR]"""

import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tokenizer_texts as texts

TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
QWEN = HEAD + r"\p{N}|" + TAIL
LLAMA3 = HEAD + r"\p{N}{1,3}|" + TAIL


def split(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def corpus():
    rng = texts.generator(2024)
    lines = ["the quick brown fox jumps over the lazy dog, isn't it?\n", "  return a[i] + b[i];\n\n", "1234567890 "] * 8
    return lines + [" ".join(rng.choice(texts.WORDS) for _ in range(12)) for _ in range(300)]


def train(tok, size, added, words=()):
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tok.train_from_iterator(corpus(), trainer)
    if words:
        state = json.loads(tok.to_str())
        for word in words:
            state["model"]["vocab"][word] = len(state["model"]["vocab"])
        tok = Tokenizer.from_str(json.dumps(state))
    tok.decoder = decoders.ByteLevel()
    tok.add_tokens(added)
    return tok


def special(text, **more):
    return AddedToken(text, special=True, normalized=False, **more)


def gpt2():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    added = [special("<|endoftext|>"), AddedToken("<mask>", lstrip=True, normalized=False)]
    added += [AddedToken("  ", rstrip=True, normalized=False), AddedToken("\u00e9t\u00e9 !", normalized=True)]
    return train(tok, 420, added)


def qwen3():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = split(QWEN)
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    added = [special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>")]
    added += [AddedToken(t, normalized=False) for t in ("<think>", "</think>", "<thin", "k>\n\n")]
    added += [AddedToken(t, normalized=True) for t in ("cafe\u0301", "\uac01", "<a\u030a>")]
    return train(tok, 440, added)


def llama3():
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = split(LLAMA3)
    added = [special("<|begin_of_text|>"), special("<|eot_id|>"), special("<|\u5927|>")]
    # Words that ignore_merges must find although no merge makes them.
    words = ("qzxj", "\u0120zzyzx", "\u00e4\u00bd\u0142\u00e5\u00a5\u00bd\u00e5\u0137\u012c")
    tok = train(tok, 460, added, words)
    bos = ("<|begin_of_text|>", tok.token_to_id("<|begin_of_text|>"))
    template = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B", special_tokens=[bos]
    )
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tok


def cases(name, tok, count):
    rng = texts.generator(name)
    added = [t.content for t in tok.get_added_tokens_decoder().values()]
    words = [tok.decode([i]) for i in range(256, tok.get_vocab_size())]
    fixed = ["", " ", "\n", "a", "qzxj zzyzx qzxjq \u4f60\u597d\u554a", "Z" * 70, " " * 70, "\n" * 70, " a  b   c"]
    fixed += ["".join(added), " ".join(added), "x" + "x ".join(added), "  " * 5 + "<mask>" + "  " * 5 + "<mask> <mask>"]
    fixed += ["  \n  \n<mask>", "caf\u00e9 cafe\u0301 \u1100\u1161\u11a8 \uac01 <\u00e5> <a\u030a>"]
    fixed += ["\r\n\r\n x\r\ny \r\n"]
    out = []
    for i in range(count):
        text = fixed[i] if i < len(fixed) else texts.text(rng, added + words)
        plain = tok.encode(text, add_special_tokens=False).ids
        case = {"text": text, "ids": plain}
        whole = tok.encode(text).ids
        if whole != plain:
            case["special"] = whole
        out.append(case)
    back = []
    size = tok.get_vocab_size()
    for i in range(count):
        ids = list(range(size)) if i == 0 else texts.id_list(rng, size)
        case = {"ids": ids, "text": tok.decode(ids, skip_special_tokens=False)}
        skipped = tok.decode(ids, skip_special_tokens=True)
        if skipped != case["text"]:
            case["skipped"] = skipped
        back.append(case)
    return {"encode": out, "decode": back}


def write_cases(path, data):
    with open(path, "w", encoding="ascii") as f:
        f.write("{\n")
        for n, key in enumerate(("encode", "decode")):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in data[key])
            f.write(f'"{key}": [\n{rows}\n]' + (",\n" if n == 0 else "\n}\n"))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "tests", "golden", "tokenizer")
    for name, make in (("gpt2", gpt2), ("qwen3", qwen3), ("llama3", llama3)):
        tok = make()
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            f.write(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        write_cases(os.path.join(folder, "cases.json"), cases(name, tok, 300))


if __name__ == "__main__":
    main()
