# SPDX-License-Identifier: MIT
"""Random texts and ids for the tokenizer tests.  Only code points that Unicode 14 assigns: newer ones are
classed differently by engines with older tables."""

import random
import unicodedata

assert unicodedata.unidata_version == "14.0.0", "needs a Python with Unicode 14 data (3.11)"

# `tokenizers` normalizes with Unicode 9 tables: it leaves these later marks, and the parts of U+11938, where they
# stand (docs/TOKENIZER.md).  They are left out of random texts and tested only one at a time.
LATER_MARKS = """07FD 0898-089F 08CA-08D3 09FE 0C3C 0D3B-0D3C 0EBA 1715 1ABF-1ACE 1DF6-1DFA A82C 10D24-10D27
 10EAB-10EAC 10F46-10F50 10F82-10F85 11070 1133B 1145E 11839-1183A 11930 11935 1193D-1193E 11943 119E0 11A34 11A47
 11A99 11D42 11D44-11D45 11D97 16FF0-16FF1 1E130-1E136 1E2AE 1E2EC-1E2EF"""


def ranges(text):
    for item in text.split():
        first, _, last = item.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


EVERY = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs")]
ASSIGNED = sorted(set(EVERY) - set(map(chr, ranges(LATER_MARKS))))
MARKS = [c for c in ASSIGNED if unicodedata.combining(c)]
LETTERS = [c for c in ASSIGNED if unicodedata.category(c)[0] == "L" and ord(c) < 0x3000]
NUMBERS = [c for c in ASSIGNED if unicodedata.category(c)[0] == "N"]
SPACES = list("\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000\u180e\u200b\ufeff")
OTHERS = [c for c in ASSIGNED if unicodedata.category(c)[0] in "PS"]
WORDS = """the of and hello world Token izer it's I'M you're WE'VE they'll he'd 'S 'ſ 'LL don't ''s o'clock naïve café
 Straße ΑΒΓ αβγδ привет мир שלום مرحبا नमस्ते สวัสดี 你好世界 こんにちは 안녕하세요 각 각 한글 👨‍👩‍👧‍👦 👍🏽 🇩🇪 ☺️ ½ ² Ⅷ ٣٤ १२ 1 12 123 1234
 3.14 1,000,000 0x1F user@example.com https://a.b/c?d=e#f -- ... !!! ;-) {} [] () </p> #include == != ->""".split()
RUNS = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", " \n", "\n ", " \r\n  ", "\t", "\t\t ", "\xa0", "\u3000 "]


def pieces(rng, added):
    kind = rng.randrange(12)
    if kind < 3:
        return rng.choice(WORDS)
    if kind < 5:
        return rng.choice(RUNS)
    if kind == 5:
        return rng.choice(ASSIGNED)
    if kind == 6:
        return rng.choice(LETTERS) + "".join(rng.choice(MARKS) for _ in range(rng.randrange(4)))
    if kind == 7:
        return "".join(rng.choice(NUMBERS) for _ in range(rng.randrange(1, 6)))
    if kind == 8:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 7)))
    if kind == 9:
        return "".join(rng.choice(OTHERS) for _ in range(rng.randrange(1, 4)))
    if kind == 10:
        return "".join(chr(rng.randrange(1, 128)) for _ in range(rng.randrange(1, 8)))
    if added and rng.random() < 0.7:
        token = rng.choice(added)
        return token if rng.random() < 0.8 else token[: rng.randrange(len(token) + 1)]
    return rng.choice(WORDS).upper()


def text(rng, added, longest=14):
    if rng.random() < 0.15:
        return "".join(rng.choice(ASSIGNED) for _ in range(rng.randrange(longest)))
    glue = rng.choice(["", " ", ""])
    return glue.join(pieces(rng, added) for _ in range(rng.randrange(longest)))


def id_list(rng, size, longest=14):
    low = size if rng.random() < 0.5 else min(size, 400)
    return [rng.randrange(low + (3 if rng.random() < 0.1 else 0)) for _ in range(rng.randrange(longest))]


def generator(seed):
    return random.Random(seed)
