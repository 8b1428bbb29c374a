#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make tests/golden/demo_bf16.json: the greedy choice of emulate.py (bfloat16, docs/NUMERICS.md) at the positions of
demo_positions.json, and the exceptions: positions where it differs from the double-precision forward although the two
largest logits are 2 bfloat16 ulp or more apart.  Each exception comes with the router switches that it saw, at its
position or earlier in its window: [position, layer, distance of the last chosen expert's probability from the first
one left out, in double precision, in units of 2^-8].  An exception without any is an error.

usage: make_demo.py   (some minutes)"""

import json
import platform
import sys
from pathlib import Path

import numpy as np

import emulate

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools/demo"))
import reference  # noqa: E402

MODEL = ROOT / "models/demo"


class Recorder(emulate.Model):
    def __init__(self, folder):
        super().__init__(folder)
        self.chosen = []

    def route(self, x, at, layer):
        chosen, scores = super().route(x, at, layer)
        self.chosen.append(np.sort(chosen, -1))
        return chosen, scores


def routes_in_double(weights, config, tokens):
    """Per layer: the experts chosen, and the relative distance to the next."""
    k, out, softmax = config["num_experts_per_tok"], [], reference.softmax

    def recorded(x):
        p = softmax(x)
        if x.shape == (len(tokens), config["num_experts"]):
            order, s = np.argsort(p, -1, kind="stable"), np.sort(p, -1)
            out.append((np.sort(order[:, -k:], -1), (s[:, -k] - s[:, -k - 1]) / s[:, -k] * 256))
        return p

    reference.softmax = recorded
    reference.forward(weights, config, tokens)
    reference.softmax = softmax
    return out


def main():
    doc = json.loads((ROOT / "tests/golden/demo_positions.json").read_text())
    config = json.loads((MODEL / "config.json").read_text())
    weights = reference.load(MODEL, np.float64)
    argmax, exceptions = [], []
    for w, window in enumerate(doc["windows"]):
        n = len(doc["argmax"][w])
        model = Recorder(MODEL)
        argmax.append(model.forward(window["tokens"][:n]).argmax(-1).tolist())
        ulps = np.array(doc["gap"][w]) / 2.0 ** (np.floor(np.log2(np.abs(doc["top1"][w]))) - 7)
        found = np.nonzero((np.array(argmax[w]) != doc["argmax"][w]) & (ulps >= 2))[0]
        double = routes_in_double(weights, config, window["tokens"][:n]) if len(found) else []
        for p in found:
            switches = [
                [int(t), layer, round(float(near[t]), 2)]
                for layer, (chosen, near) in enumerate(double)
                for t in np.nonzero((chosen != model.chosen[layer]).any(-1))[0]
                if t <= p
            ]
            assert switches, (w, p)
            exceptions.append({"window": w, "position": int(p), "gap_ulp": round(float(ulps[p]), 2), "switches": switches})
        print(f"window {w}: {(np.array(argmax[w]) != doc['argmax'][w]).sum()} differ, {len(found)} exceptions", flush=True)
    made_by = {"script": "tools/golden/make_demo.py", "python": platform.python_version(), "numpy": np.__version__}
    made_by["model_sha256"] = doc["made_by"]["model_sha256"]
    rows = ",\n".join(json.dumps(r, separators=(",", ":")) for r in argmax)
    listed = ",\n".join(json.dumps(e) for e in exceptions)
    text = f'{{"made_by": {json.dumps(made_by)},\n"argmax": [\n{rows}],\n"exceptions": [\n{listed}]}}\n'
    (ROOT / "tests/golden/demo_bf16.json").write_text(text)


if __name__ == "__main__":
    main()
