#!/usr/bin/env python3
"""Quantize the bf16 master and write the model directory in MLX layout."""
import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from reference import read_safetensors

GROUP = 64
EOT = "<|endoftext|>"


def bf16(x):
    """float32 -> bfloat16 bits, round to nearest even."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def quantize(w, bits):
    """MLX affine quantization along the last axis (the CPU rule of mx.quantize)."""
    top = 2 ** bits - 1
    g = w.astype(np.float32).reshape(*w.shape[:-1], -1, GROUP)
    lo, hi = g.min(-1), g.max(-1)
    mask = np.abs(lo) > np.abs(hi)
    scale = np.maximum((hi - lo) / np.float32(top), np.float32(1e-7))
    scale = np.where(mask, scale, -scale)
    edge = np.where(mask, lo, hi)
    q0 = np.rint(edge / scale)
    zero = q0 == 0
    scale = np.where(zero, scale, edge / np.where(zero, 1, q0)).astype(np.float32)
    bias = np.where(zero, 0, edge).astype(np.float32)
    q = np.clip(np.rint((g - bias[..., None]) / scale[..., None]), 0, top)
    # Rows are little-endian bit streams: element j of a word at shift j*bits.
    q = q.astype(np.uint32).reshape(*w.shape[:-1], -1, 32 // bits)
    word = (q << np.arange(0, 32, bits, dtype=np.uint32)).sum(-1, dtype=np.uint32)
    return word, bf16(scale), bf16(bias)


def write_safetensors(path, tensors):
    head, pos = {"__metadata__": {"format": "mlx"}}, 0
    for name, x in tensors.items():
        head[name] = {"dtype": "BF16" if x.dtype == np.uint16 else "U32",
                      "shape": list(x.shape), "data_offsets": [pos, pos + x.nbytes]}
        pos += x.nbytes
    blob = json.dumps(head, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    with open(path, "wb") as f:
        f.write(len(blob).to_bytes(8, "little") + blob)
        for x in tensors.values():
            f.write(x.tobytes())
    return pos


def dump(path, obj):
    path.write_text(json.dumps(obj, indent=4, sort_keys=True, ensure_ascii=False) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", type=Path, default=Path(".demo-data"))
    ap.add_argument("--config", type=Path, default=Path(__file__).with_name("config.json"))
    ap.add_argument("--out", type=Path, default=Path("models/demo"))
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    tensors, params = {}, 0
    block = {"group_size": GROUP, "bits": 4, "mode": "affine"}
    master = {}
    for f in sorted(args.data.glob("master-*.safetensors")):
        master.update(read_safetensors(f))
    for name, w in sorted(master.items()):
        params += w.size
        path = name.removesuffix(".weight")
        if w.ndim == 1:                             # norms stay bf16
            tensors[name] = bf16(w)
            continue
        bits = 8 if path.endswith("mlp.gate") else 4
        if bits == 8:
            block[path] = {"group_size": GROUP, "bits": 8}
        for part, x in zip(("weight", "scales", "biases"), quantize(w, bits)):
            tensors[f"{path}.{part}"] = x
    tensors = dict(sorted(tensors.items()))
    size = write_safetensors(args.out / "model.safetensors", tensors)
    dump(args.out / "model.safetensors.index.json", {
        "metadata": {"total_size": size, "total_parameters": params},
        "weight_map": {n: "model.safetensors" for n in tensors}})

    config = json.loads(args.config.read_text())
    config["quantization"] = config["quantization_config"] = block
    dump(args.out / "config.json", config)
    eot = config["eos_token_id"]
    dump(args.out / "generation_config.json",
         {"bos_token_id": eot, "eos_token_id": eot, "do_sample": True,
          "temperature": 0.7, "top_p": 0.95})
    shutil.copyfile(args.data / "tokenizer.json", args.out / "tokenizer.json")
    dump(args.out / "tokenizer_config.json", {
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {str(eot): {
            "content": EOT, "lstrip": False, "normalized": False,
            "rstrip": False, "single_word": False, "special": True}},
        "bos_token": None, "clean_up_tokenization_spaces": False,
        "eos_token": EOT, "errors": "replace",
        "model_max_length": config["max_position_embeddings"],
        "pad_token": EOT, "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None})
    total = sum(f.stat().st_size for f in args.out.iterdir())
    print("parameters", params, "tensor bytes", size, "directory bytes", total)


if __name__ == "__main__":
    main()
