#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compare the tokenizer with the `tokenizers` package on random texts and ids, for a tokenizer of any size.

usage: compare_tokenizer.py TOKENIZER_DIR TOKENIZE_MAIN [--texts N] [--seed S]

TOKENIZE_MAIN is tests/golden/tokenize_main.c, linked with the library.  Beside random texts, every code point
of Unicode 14 is encoded between two letters and after a space."""

import argparse
import os
import subprocess
import sys

from tokenizers import Tokenizer

import tokenizer_texts as texts


def ask(program, folder, requests):
    """requests: list of (letter, payload); yields ids for E and S, text for D and K."""
    data = bytearray()
    for letter, payload in requests:
        if letter in "ES":
            raw = payload.encode()
            data += b"%s %d\n" % (letter.encode(), len(raw)) + raw
        else:
            data += b"%s %d\n" % (letter.encode(), len(payload)) + " ".join(map(str, payload)).encode() + b"\n"
    run = subprocess.run([program, folder], input=bytes(data), stdout=subprocess.PIPE)
    if run.returncode:
        sys.exit(f"{program}: exit {run.returncode}")
    out, at = run.stdout, 0
    for letter, _ in requests:
        end = out.index(b"\n", at)
        line, at = out[at:end], end + 1
        if letter in "ES":
            yield [int(x) for x in line.split()]
        else:
            yield out[at : at + int(line)].decode()
            at += int(line)


def expected(tok, letter, payload):
    if letter in "ES":
        return tok.encode(payload, add_special_tokens=letter == "S").ids
    return tok.decode(payload, skip_special_tokens=letter == "K")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("program")
    p.add_argument("--texts", type=int, default=20000)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    rng = texts.generator(a.seed)
    tok = Tokenizer.from_file(os.path.join(a.folder, "tokenizer.json"))
    added = [t.content for t in tok.get_added_tokens_decoder().values()]
    size = tok.get_vocab_size(with_added_tokens=True)
    requests = [("ES"[i % 2], texts.text(rng, added)) for i in range(a.texts)]
    requests += [("DK"[i % 2], texts.id_list(rng, size)) for i in range(a.texts)]
    requests += [("E", "ab" + c + "ba " + c + "1\n") for c in texts.EVERY]
    bad = 0
    for (letter, payload), got in zip(requests, ask(a.program, a.folder, requests)):
        want = expected(tok, letter, payload)
        if got != want:
            bad += 1
            if bad <= 10:
                print(f"{letter} {payload!r}\n  got  {got!r}\n  want {want!r}")
    print(f"{a.folder}: {a.texts} texts, {a.texts} id lists, {len(texts.EVERY)} code points: {bad} differ")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
