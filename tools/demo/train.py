#!/usr/bin/env python3
"""Train the demo model on one GPU: see README.md for the command."""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from model import CONFIG, Qwen3Moe, set_quantized

CTX = 1024


def tokens(path, device):
    return torch.from_numpy(np.fromfile(path, np.uint16).astype(np.int64)).to(device)


@torch.no_grad()
def validate(net, data, quantized):
    """Mean loss over non-overlapping windows of the validation stream."""
    set_quantized(quantized)
    net.eval()
    n = (len(data) - 1) // CTX
    x = data[:n * CTX].view(n, CTX)
    y = data[1:n * CTX + 1].view(n, CTX)
    with torch.autocast("cuda", torch.bfloat16):
        losses = [net(x[i:i + 16], y[i:i + 16])[0].item() * len(x[i:i + 16])
                  for i in range(0, n, 16)]
    net.train()
    return sum(losses) / n


def save_master(net, folder):
    """bf16 weights in files of at most 15 MB."""
    folder.mkdir(parents=True, exist_ok=True)
    part, size, k = {}, 0, 0
    state = {n: p.detach().bfloat16().contiguous().cpu()
             for n, p in net.state_dict().items()}
    for name, t in sorted(state.items()):
        if size + t.nbytes > 15e6:
            save_file(part, folder / f"master-{k}.safetensors")
            part, size, k = {}, 0, k + 1
        part[name] = t
        size += t.nbytes
    save_file(part, folder / f"master-{k}.safetensors")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--data", type=Path, default=Path(".demo-data"))
    ap.add_argument("--out", type=Path, default=Path(".demo-data"))
    ap.add_argument("--steps", type=int, default=3000)
    ap.add_argument("--batch", type=int, default=32)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--wd", type=float, default=1.0)
    ap.add_argument("--dropout", type=float, default=0.35)
    ap.add_argument("--qat", type=float, default=0.8,
                    help="part of the run after which weights are fake-quantized")
    ap.add_argument("--every", type=int, default=500)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()

    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    dev = "cuda"
    train, val = (tokens(args.data / f"{n}.bin", dev) for n in ("train", "val"))
    net = Qwen3Moe(CONFIG, args.dropout).to(dev)
    print("parameters", sum(p.numel() for p in net.parameters()),
          "train tokens", len(train), "epochs",
          round(args.steps * args.batch * CTX / len(train), 1), flush=True)
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim == 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": args.wd},
                             {"params": plain, "weight_decay": 0.0}],
                            lr=args.lr, betas=(0.9, 0.95), fused=True)
    step_net = torch.compile(net)
    gen = torch.Generator(dev).manual_seed(args.seed)
    span = torch.arange(CTX + 1, device=dev)
    warm, qat_from = 200, int(args.qat * args.steps)
    best, log, t0, acc = math.inf, [], time.time(), 0.0

    for step in range(args.steps):
        frac = max(0.0, (step - warm) / max(1, args.steps - warm))
        lr = args.lr * min(1.0, (step + 1) / warm)
        lr *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * frac))
        for g in opt.param_groups:
            g["lr"] = lr
        set_quantized(step >= qat_from)
        start = torch.randint(0, len(train) - CTX - 1, (args.batch, 1),
                              generator=gen, device=dev)
        w = train[start + span]
        with torch.autocast("cuda", torch.bfloat16):
            loss, aux = step_net(w[:, :-1], w[:, 1:])
        (loss + CONFIG["router_aux_loss_coef"] * aux).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        acc = acc + loss.detach()
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            vf, vq = validate(net, val, False), validate(net, val, True)
            row = {"step": step + 1, "train": round((acc / args.every).item(), 4),
                   "val": round(vf, 4), "val_4bit": round(vq, 4),
                   "balance": round(aux.item(), 3),
                   "seconds": round(time.time() - t0, 1)}
            acc = 0.0
            log.append(row)
            print(json.dumps(row), flush=True)
            # The file that ships is the 4-bit one: choose by its loss.
            if step >= qat_from and vq < best:
                best = vq
                save_master(net, args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "train-log.json").write_text(json.dumps(
        {"args": {k: v for k, v in vars(args).items() if k not in ("data", "out")},
         "best_val_4bit": best, "torch": torch.__version__, "log": log}, indent=1))


if __name__ == "__main__":
    main()
