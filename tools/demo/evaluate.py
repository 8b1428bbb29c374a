#!/usr/bin/env python3
"""Bits per byte of the held-out text: bf16 master weights and 4-bit file.

Protocol: each held-out part is one token stream that starts after an
<|endoftext|>, cut into windows of 1024 that do not overlap: every token is
scored once, with 1 to 1024 tokens of context from its own window.  The
<|endoftext|> between and after works is scored too but adds no bytes.  Bytes
are those of the UTF-8 text.  Arithmetic is float32 on the stored weights, so
the two figures differ by the weights alone.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from reference import forward, load

WINDOW = 1024


def stream_nats(w, c, ids, limit):
    """Sum of -ln p over ids[1:], and how many that are."""
    total, start = 0.0, 0
    while start < min(len(ids) - 1, limit):
        x = ids[start:start + WINDOW + 1]
        z = forward(w, c, x[:-1])
        z -= z.max(-1, keepdims=True)
        lse = np.log(np.exp(z).sum(-1, dtype=np.float64))
        total += (lse - z[np.arange(len(z)), x[1:]]).sum()
        start += len(x) - 1
    return total, start


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--data", type=Path, default=Path(".demo-data"))
    ap.add_argument("--model", type=Path, default=Path("models/demo"))
    ap.add_argument("--only", choices=("bf16", "4bit"))
    ap.add_argument("--limit", type=float, default=float("inf"),
                    help="score only about this many tokens of each source")
    args = ap.parse_args()
    c = json.loads((args.model / "config.json").read_text())
    eot, held = c["eos_token_id"], json.loads((args.data / "held.json").read_text())
    result = {}
    for name, folder in (("bf16", args.data), ("4bit", args.model)):
        if args.only not in (None, name):
            continue
        w = load(folder, np.float32)
        bits = size = 0.0
        for part in held:
            ids = np.array([eot] + part["tokens"])
            nats, scored = stream_nats(w, c, ids, args.limit)
            # With --limit the bytes are scaled by the share of tokens scored.
            nbytes = part["bytes"] * scored / (len(ids) - 1)
            print(f"{name}  {part['source']:9} tokens {scored:7}  "
                  f"bits per byte {nats / np.log(2) / nbytes:.4f}", flush=True)
            bits, size = bits + nats / np.log(2), size + nbytes
        result[name] = bits / size
        print(f"{name}  all: bytes {size:.0f}  bits per byte {bits / size:.4f}", flush=True)
    if len(result) == 2:
        diff = result["4bit"] - result["bf16"]
        print(f"difference {diff:+.4f}")
        if np.isinf(args.limit) and (result["4bit"] > 2.2 or diff > 0.05):
            raise SystemExit("over the limits: 2.2 bits per byte, difference 0.05")


if __name__ == "__main__":
    main()
