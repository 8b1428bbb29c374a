#!/usr/bin/env python3
"""Reference answers of the quantized demo model on 2,000 held-out positions.

Every operation is float64, on the exact values scale * q + bias of the file,
so a faithful engine may disagree with `argmax` only where `gap`, the distance
between the two largest logits, is within its own rounding error.  Entry i of
argmax/top1/gap belongs to the logits after tokens[0..i]; the last token of a
window is not fed.
"""
import argparse
import hashlib
import json
import platform
from pathlib import Path

import numpy as np

from reference import forward, load

LENGTH = 251            # 250 scored positions per window
PER_SOURCE = 2          # 4 sources: 8 windows


def six(x):
    return float(f"{x:.6g}")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", type=Path, default=Path(".demo-data"))
    ap.add_argument("--model", type=Path, default=Path("models/demo"))
    ap.add_argument("--out", type=Path, default=Path("tests/golden/demo_positions.json"))
    args = ap.parse_args()
    c = json.loads((args.model / "config.json").read_text())
    w = load(args.model, np.float64)
    doc = {"windows": [], "argmax": [], "top1": [], "gap": []}
    for part in json.loads((args.data / "held.json").read_text()):
        for k in range(PER_SOURCE):
            at = len(part["tokens"]) * (k + 1) // (PER_SOURCE + 1)
            ids = part["tokens"][at:at + LENGTH]
            z = forward(w, c, ids[:-1])
            top = np.sort(z, -1)[:, -2:]
            doc["windows"].append({"source": part["source"], "tokens": ids})
            doc["argmax"].append(z.argmax(-1).tolist())
            doc["top1"].append([six(v) for v in top[:, 1]])
            doc["gap"].append([six(v) for v in top[:, 1] - top[:, 0]])
    sha = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()
    doc["made_by"] = {"script": "tools/demo/make_positions.py",
                      "arithmetic": "float64", "model_sha256": sha,
                      "python": platform.python_version(), "numpy": np.__version__}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(doc, separators=(",", ":")) + "\n")
    gaps = np.array(doc["gap"])
    print("positions", gaps.size, "bytes", args.out.stat().st_size,
          "smallest gap", gaps.min(), "gaps below 0.05:", int((gaps < 0.05).sum()))


if __name__ == "__main__":
    main()
