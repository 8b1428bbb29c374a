"""The demo model in NumPy: reading its files and a plain forward pass.

Used by evaluate.py (float32) and make_positions.py (float64).  Works on any
qwen3_moe directory with affine 4- or 8-bit groups, and on the bf16 master
files that train.py writes.
"""
import json
from pathlib import Path

import numpy as np

BLOCK = 256             # queries per attention step


def read_safetensors(path):
    """name -> array; bf16 is widened to float32 (exact)."""
    raw = Path(path).read_bytes()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    head.pop("__metadata__", None)
    out = {}
    for name, t in head.items():
        a, b = t["data_offsets"]
        buf = raw[8 + n + a:8 + n + b]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(buf, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            x = np.frombuffer(buf, {"U32": "<u4", "F32": "<f4"}[t["dtype"]])
        out[name] = x.reshape(t["shape"])
    return out


def load(folder, dtype):
    """Float weights of a quantized model directory or of a bf16 master."""
    raw = {}
    for f in sorted(Path(folder).glob("*.safetensors")):
        raw.update(read_safetensors(f))
    out = {}
    for name, x in raw.items():
        path = name.rsplit(".", 1)[0]
        if name.endswith((".scales", ".biases")):
            continue
        if path + ".scales" in raw:
            s, b = raw[path + ".scales"], raw[path + ".biases"]
            # Bits follow from the shapes: 32 * words = bits * 64 * groups.
            bits = 32 * x.shape[-1] // (64 * s.shape[-1])
            q = (x[..., None] >> np.arange(0, 32, bits, dtype=np.uint32)) \
                & np.uint32(2 ** bits - 1)
            q = q.reshape(*s.shape, 64).astype(dtype)
            x = q * s[..., None].astype(dtype) + b[..., None].astype(dtype)
            x = x.reshape(*s.shape[:-1], -1)
        out[name] = np.ascontiguousarray(x, dtype)
    return out


def rms_norm(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps)) * w


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def silu(x):
    return x / (1 + np.exp(-x))


def forward(w, c, tokens):
    """Logits of every position of one window, in the dtype of `w`."""
    emb = w["model.embed_tokens.weight"]
    ft, eps = emb.dtype.type, c["rms_norm_eps"]
    n, d = len(tokens), c["head_dim"]
    nq, nkv = c["num_attention_heads"], c["num_key_value_heads"]
    # Angles in float64 always: float32 powers lose digits at high positions.
    ang = np.arange(n)[:, None] * float(c["rope_theta"]) ** (-np.arange(0, d, 2) / d)
    cos, sin = np.cos(ang).astype(ft), np.sin(ang).astype(ft)
    mask = np.triu(np.full((n, n), -np.inf, ft), 1)

    def rope(x):                                    # [heads, n, d], half-split
        a, b = x[..., :d // 2], x[..., d // 2:]
        return np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    x = emb[np.asarray(tokens)]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."

        def lin(y, name):
            return y @ w[p + name + ".weight"].T
        h = rms_norm(x, w[p + "input_layernorm.weight"], eps)
        q = lin(h, "self_attn.q_proj").reshape(n, nq, d)
        k = lin(h, "self_attn.k_proj").reshape(n, nkv, d)
        v = lin(h, "self_attn.v_proj").reshape(n, nkv, d).transpose(1, 0, 2)
        q = rope(rms_norm(q, w[p + "self_attn.q_norm.weight"], eps).transpose(1, 0, 2))
        k = rope(rms_norm(k, w[p + "self_attn.k_norm.weight"], eps).transpose(1, 0, 2))
        o = np.empty((n, nq, d), ft)
        for j in range(nq):
            kv = j // (nq // nkv)
            for a in range(0, n, BLOCK):        # keys after a block are masked
                b = min(a + BLOCK, n)
                s = q[j, a:b] @ k[kv, :b].T * ft(d ** -0.5) + mask[a:b, :b]
                o[a:b, j] = softmax(s) @ v[kv, :b]
        x = x + lin(o.reshape(n, nq * d), "self_attn.o_proj")

        h = rms_norm(x, w[p + "post_attention_layernorm.weight"], eps)
        prob = softmax(lin(h, "mlp.gate"))
        # Stable ascending order, last K: among equals the higher index wins.
        idx = np.argsort(prob, -1, kind="stable")[:, -c["num_experts_per_tok"]:]
        top = np.take_along_axis(prob, idx, -1)
        if c["norm_topk_prob"]:
            top = top / top.sum(-1, keepdims=True)
        y = np.zeros_like(x)
        for e in range(c["num_experts"]):
            row, slot = np.nonzero(idx == e)
            if len(row):
                g, u, dn = (w[p + f"mlp.switch_mlp.{m}_proj.weight"][e]
                            for m in ("gate", "up", "down"))
                z = (silu(h[row] @ g.T) * (h[row] @ u.T)) @ dn.T
                y[row] += z * top[row, slot][:, None]
        x = x + y
    x = rms_norm(x, w["model.norm.weight"], eps)
    return x @ w.get("lm_head.weight", emb).T
