#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make tests/golden/{models.json,*.logits,unpack.bin}: what other implementations compute from small checkpoints that
`zmlx synth --tiny` writes again, bit for bit, wherever the tests run.

  mlx-lm     the float32 checkpoint in mlx-lm on the CPU: prompt by its own split (all but the last token in one call,
             the last by decode), then greedy steps; and the prompt once more, token by token
  emulation  emulate.py, which follows docs/NUMERICS.md, for bfloat16, float16 and float32
  unpack     mx.dequantize of random codes, with scales and biases for which every result is exact

usage: make_goldens.py ZMLX [CASE...]   ZMLX is the command; with names, only these cases are made again"""

import json
import platform
import random
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model

import emulate

OUT = Path(__file__).resolve().parents[2] / "tests/golden"
MOE, DENSE = "qwen3-30b-a3b", "qwen3-0.6b"
STEPS = 12  # greedy steps after the prompt

# name: preset, bits, group, layers (0: the preset's), seed, prompt length, positions whose logits are kept, other types
SHORT = [0, 11, 22, 23, 24, 29, 35]
CASES = {
    "moe-4bit-g64": (MOE, 4, 64, 0, 11, 24, SHORT, ["bfloat16", "float16", "float32"]),
    "moe-4bit-g32": (MOE, 4, 32, 0, 12, 24, SHORT, ["bfloat16"]),
    "moe-8bit-g32": (MOE, 8, 32, 0, 13, 24, SHORT, ["bfloat16"]),
    "moe-plain": (MOE, 16, 64, 0, 14, 24, SHORT, ["bfloat16", "float16"]),
    "dense-4bit-g128": (DENSE, 4, 128, 0, 15, 24, SHORT, ["bfloat16"]),
    "dense-4bit-g64": (DENSE, 4, 64, 0, 16, 24, SHORT, ["bfloat16"]),
    "dense-8bit-g64": (DENSE, 8, 64, 0, 17, 24, SHORT, ["bfloat16", "float16"]),
    "long-4bit-g64": (DENSE, 4, 64, 2, 18, 530, [500, 511, 512, 529, 530, 541], ["bfloat16"]),
}


def xxh64(data):
    p = [11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261]
    mask = 2**64 - 1

    def rol(x, r):
        return (x << r | x >> (64 - r)) & mask

    def mix(acc, word):
        return rol((acc + word * p[1]) & mask, 31) * p[0] & mask

    n, at = len(data), len(data) // 32 * 32
    h = p[4]
    if at:
        v = [p[0] + p[1] & mask, p[1], 0, -p[0] & mask]
        words = np.frombuffer(data[:at], "<u8").tolist()
        for i in range(0, len(words), 4):
            v = [mix(v[j], words[i + j]) for j in range(4)]
        h = rol(v[0], 1) + rol(v[1], 7) + rol(v[2], 12) + rol(v[3], 18) & mask
        for x in v:
            h = ((h ^ mix(0, x)) * p[0] + p[3]) & mask
    h = h + n & mask
    for at in range(at, n - 7, 8):
        h = (rol(h ^ mix(0, int.from_bytes(data[at : at + 8], "little")), 27) * p[0] + p[3]) & mask
    at = n // 8 * 8
    if n - at >= 4:
        h = (rol(h ^ int.from_bytes(data[at : at + 4], "little") * p[0] & mask, 23) * p[1] + p[2]) & mask
        at += 4
    for byte in data[at:]:
        h = rol(h ^ byte * p[4] & mask, 11) * p[0] & mask
    for shift, q in ((33, p[1]), (29, p[2]), (32, 1)):
        h = (h ^ h >> shift) * q & mask
    return f"{h:016x}"


def synth(zmlx, folder, preset, bits, group, layers, seed, dtype):
    args = [zmlx, "synth", preset, folder, "--tiny", "--quiet", f"--bits={bits}", f"--group-size={group}", f"--seed={seed}"]
    args += [f"--dtype={dtype}"] + ([f"--layers={layers}"] if layers else [])
    subprocess.run(args, check=True)


def widen(model):
    model.apply(lambda x: x.astype(mx.float32) if x.dtype in (mx.bfloat16, mx.float16) else x)
    return model


def by_mlx(folder, prompt, wanted):
    """Logits of the wanted positions, and the token chosen after the prompt and each step."""
    model = widen(load_model(Path(folder))[0])
    cache = make_prompt_cache(model)
    kept = {}

    def row(tokens, cache):
        return np.array(model(mx.array([tokens]), cache=cache)[0, -1])

    first = 0
    if wanted[0] > 64:  # far into a long prompt: up to there in one call
        first = wanted[0]
        row(prompt[:first], cache)
    for i in range(first, len(prompt) - 1):
        logits = row([prompt[i]], cache)
        if i in wanted:
            kept[i] = logits
    cache = make_prompt_cache(model)
    row(prompt[:-1], cache)
    tokens, ids = [], prompt[-1]
    for i in range(len(prompt) - 1, len(prompt) + STEPS):
        logits = row([ids], cache)
        if i in wanted:
            kept[i] = logits
        ids = int(logits.argmax())
        tokens.append(ids)
    return [kept[i] for i in wanted], tokens, []


def by_emulation(folder, prompt, wanted):
    model = emulate.Model(folder)
    inside = [i for i in wanted if i < len(prompt) - 1]
    rows = model.forward(prompt, inside + [len(prompt) - 1])
    kept, logits = list(rows[:-1]), rows[-1]
    tokens = []
    for i in range(len(prompt) - 1, len(prompt) + STEPS):
        if i in wanted:
            kept.append(logits)
        tokens.append(int(logits.argmax()))
        if i + 1 < len(prompt) + STEPS:
            logits = model.forward(tokens[-1:])[0]
    return kept, tokens, model.ties


def vocabulary(folder):
    return json.loads((Path(folder) / "config.json").read_text())["vocab_size"]


def make_case(zmlx, name):
    preset, bits, group, layers, seed, length, wanted, types = CASES[name]
    runs = [("mlx-lm", "float32", by_mlx)] + [("emulation", t, by_emulation) for t in types]
    made = []
    for reference, dtype, run in runs:
        with tempfile.TemporaryDirectory() as folder:
            synth(zmlx, folder, preset, bits, group, layers, seed, dtype)
            vocab = vocabulary(folder)
            rng = random.Random(seed)
            prompt = [rng.randrange(vocab) for _ in range(length)]
            logits, tokens, ties = run(folder, prompt, wanted)
            files = {f: xxh64((Path(folder) / f).read_bytes()) for f in ("model.safetensors", "config.json")}
        data = f"{name}-{reference}-{dtype}.logits"
        kind = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[dtype]
        (OUT / data).write_bytes(b"".join(emulate.stored(x, kind) for x in logits))
        made.append({
            "name": name, "reference": reference, "preset": preset, "bits": bits, "group": group, "layers": layers,
            "seed": seed, "dtype": dtype, "vocab": vocab, "xxh64": files, "prompt": prompt, "tokens": tokens,
            "positions": wanted, "logits": data, "ties": ties,
        })  # fmt: skip
        top = [np.sort(x)[-2:] for x in logits]
        print(f"{name} {reference} {dtype}: {len(ties)} router ties, smallest top-2 gap {min(b - a for a, b in top):.3g}")
    return made


def make_unpack():
    """Sections: words, scales, biases, numbers.  bias = -scale * m, so that scale * q + bias is exact in every type."""
    rng = np.random.default_rng(7)
    sections, data = [], b""
    for dtype, kind in ((mx.float32, "float32"), (mx.float16, "float16"), (mx.bfloat16, "bfloat16")):
        for bits in (4, 8):
            for group in (32, 64, 128):
                rows, k = 2, 256
                words = rng.integers(0, 2**32, (rows, k * bits // 32), np.uint32)
                scales = rng.choice([-1.0, 1.0], (rows, k // group)) * 2.0 ** rng.integers(-12, 4, (rows, k // group))
                biases = -scales * rng.integers(0, 2**bits, scales.shape)
                s, b = (mx.array(x.astype(np.float32)).astype(dtype) for x in (scales, biases))
                out = np.array(mx.dequantize(mx.array(words), s, b, group, bits).astype(mx.float32))
                wide = [np.repeat(x, group, -1) for x in (scales, biases)]
                codes = (words[..., None] >> np.arange(0, 32, bits, dtype=np.uint32)) & np.uint32(2**bits - 1)
                assert (out == wide[0] * codes.reshape(rows, k) + wide[1]).all()
                short = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[kind]
                sections.append({"dtype": kind, "bits": bits, "group": group, "rows": rows, "columns": k, "at": len(data)})
                data += words.astype("<u4").tobytes()
                data += b"".join(emulate.stored(x.astype(np.float32), short) for x in (scales, biases, out))
    (OUT / "unpack.bin").write_bytes(data)
    return sections


def main():
    zmlx, names = sys.argv[1], sys.argv[2:] or list(CASES)
    mx.set_default_device(mx.cpu)
    path = OUT / "models.json"
    doc = json.loads(path.read_text()) if path.exists() and sys.argv[2:] else {"cases": []}
    for name in names:
        made = make_case(zmlx, name)
        doc["cases"] = [c for c in doc["cases"] if c["name"] != name] + made
    doc["cases"].sort(key=lambda c: list(CASES).index(c["name"]))
    doc["unpack"] = make_unpack()
    doc["made_by"] = {"script": "tools/golden/make_goldens.py", "python": platform.python_version()}
    doc["made_by"] |= {p: version(p) for p in ("mlx", "mlx-lm", "numpy")}
    doc = {k: doc[k] for k in ("made_by", "unpack", "cases")}
    rows = ",\n".join(json.dumps(c) for c in doc["cases"])
    head = json.dumps({k: doc[k] for k in ("made_by", "unpack")})[:-1]
    path.write_text(f'{head},\n"cases": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
