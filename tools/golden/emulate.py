#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The documented arithmetic (docs/NUMERICS.md) in NumPy: logits of a qwen3 or qwen3_moe checkpoint, bit for bit.

Written from the definitions, over whole arrays instead of registers.  A value of the activation type T is kept as the
float32 that equals it; `T(...)` marks each rounding.  fma() is exact: the product of two float32 numbers is exact in
float64, their sum is rounded to odd there, and rounding that to float32 gives what one rounding would.

usage: emulate.py MODEL_DIR TOKEN...   prints the greedy choice after each token"""

import json
import sys
from pathlib import Path

import numpy as np

F32, F64 = np.float32, np.float64
LANES = 16
SPLIT = 512  # positions of attention that are summed as one


def bf16(x):
    u = np.asarray(x, F32).view(np.uint32)
    return ((u + np.uint32(0x7FFF) + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)).view(F32)


def f16(x):
    return np.asarray(x, F32).astype(np.float16).astype(F32)


ROUND = {"BF16": bf16, "F16": f16, "F32": lambda x: np.asarray(x, F32)}


def fma(a, b, c):
    """a * b + c with one rounding."""
    p = np.multiply(a, b, dtype=F64)
    c = np.asarray(c, F64)
    s = np.atleast_1d(p + c)
    t = s - p
    e = (p - (s - t)) + (c - t)  # p + c = s + e exactly
    u = s.view(np.int64)
    fix = (e != 0) & (u & 1 == 0)
    u[fix] += np.where((e > 0) == (s > 0), 1, -1)[fix]
    return s.astype(F32).reshape(np.broadcast_shapes(p.shape, c.shape))


def flush(x):
    return np.where(np.abs(x) < F32(2**-126), F32(0), x)


def pairs(acc, a0, b0, a1, b1):
    """The bf16 dot product instruction: the second of a pair first; subnormal numbers count as zero."""
    inner = flush(fma(flush(a1), flush(b1), flush(acc)))
    return flush(fma(flush(a0), flush(b0), inner))


def lane_sum(x):
    """Sixteen lanes (the last axis): halves are added until one is left."""
    while x.shape[-1] > 1:
        h = x.shape[-1] // 2
        x = x[..., :h] + x[..., h:]
    return x[..., 0]


def to_lanes(x):
    """[..., n] -> [..., ceil(n / 16), 16], zeros at the end."""
    pad = -x.shape[-1] % LANES
    x = np.concatenate([x, np.zeros((*x.shape[:-1], pad), F32)], -1) if pad else x
    return x.reshape(*x.shape[:-1], -1, LANES)


def strided_sum(x):
    """Lane l adds elements l, l + 16, ...; then the lanes."""
    v = to_lanes(x)
    acc = np.zeros_like(v[..., 0, :])
    for i in range(v.shape[-2]):
        acc = acc + v[..., i, :]
    return lane_sum(acc)


EXP = [float.fromhex(h) for h in ("0x1.9df78cp-13", "0x1.6d4ccap-10", "0x1.111310p-7", "0x1.5554e8p-5", "0x1.555554p-3", "0x1p-1")]


def exp(x):
    """e^x: n = round(x / ln 2), a polynomial in the rest, times 2^n."""
    y = np.clip(np.asarray(x, F32), F32(-104), F32(89))
    n = np.rint(y * F32(float.fromhex("0x1.715476p+0")))
    r = fma(-n, F32(float.fromhex("0x1.63p-1")), y)
    r = fma(-n, F32(float.fromhex("-0x1.bd0106p-13")), r)
    q = np.full_like(r, F32(EXP[0]))
    for c in EXP[1:]:
        q = fma(q, r, F32(c))
    p = F32(1) + fma(r * r, q, r)
    with np.errstate(under="ignore", over="ignore"):
        return np.ldexp(p.astype(F64), n.astype(int)).astype(F32)


# --- weights ---


def read_safetensors(path):
    """Tensors by name, floats widened to float32, and the type of the norms."""
    raw = Path(path).read_bytes()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + n])
    head.pop("__metadata__", None)
    out = {}
    for name, t in head.items():
        a, b = t["data_offsets"]
        buf, kind = raw[8 + n + a : 8 + n + b], t["dtype"]
        if kind == "BF16":
            x = (np.frombuffer(buf, "<u2").astype(np.uint32) << 16).view(F32)
        else:
            x = np.frombuffer(buf, {"U32": "<u4", "F32": "<f4", "F16": "<f2"}[kind])
            x = x.astype(F32) if kind == "F16" else x
        out[name] = x.reshape(t["shape"])
    return out, head["model.norm.weight"]["dtype"]


class Matrix:
    """Rows of codes with a scale and a bias per group, or of plain numbers."""

    def __init__(self, w, name, is_bf16):
        self.bf16, self.w = is_bf16, w[name + ".weight"]
        self.scales, self.biases = w.get(name + ".scales"), w.get(name + ".biases")

    def prepare(self, k):
        self.k = k
        if self.scales is None:
            return self
        self.bits = 32 * self.w.shape[-1] // k
        self.group = k // self.scales.shape[-1]
        shifts = np.arange(0, 32, self.bits, dtype=np.uint32)
        q = (self.w[..., None] >> shifts) & np.uint32(2**self.bits - 1)
        self.w = q.reshape(*self.w.shape[:-1], k).astype(F32)
        return self

    def expert(self, e):
        m = object.__new__(Matrix)
        m.__dict__.update(self.__dict__)
        m.w = self.w[e]
        if self.scales is not None:
            m.scales, m.biases = self.scales[e], self.biases[e]
        return m

    def rows(self, ids):
        if self.scales is None:
            return self.w[ids]
        wide = [np.repeat(x[ids], self.group, -1) for x in (self.scales, self.biases)]
        return fma(wide[0], self.w[ids], wide[1])

    def times(self, x):
        """x [tokens, k] -> [tokens, rows], not rounded."""
        step = max(1, (1 << 21) // (16 * self.w.shape[0]))
        return np.concatenate([self._times(x[i : i + step]) for i in range(0, len(x), step)])

    def _blocks(self, a, shape):
        size = int(np.prod(shape))
        pad = -self.k % size
        a = np.concatenate([a, np.zeros((len(a), pad), F32)], -1) if pad else a
        return a.reshape(len(a), -1, *shape)

    def _times(self, x):
        coded = self.scales is not None
        if coded:
            per = 32 // self.bits  # codes in a 32-bit word: lane l has those of word l
            shape, at = (LANES, per), lambda v, b, j: v[:, b, :, j]
        elif self.bf16:
            shape, at = (4, LANES, 2), lambda v, b, j: v[:, b, j % 4, :, j // 4]
        else:
            shape, at = (4, LANES), lambda v, b, j: v[:, b, j]
        n, xv, wv = len(x), self._blocks(x, shape), self._blocks(self.w, shape)
        acc = np.zeros((n, len(self.w), LANES), F32)
        for b in range(xv.shape[1]):
            d = np.zeros_like(acc)

            def term(j):
                return at(wv, b, j)[None], at(xv, b, j)[:, None]

            if self.bf16 and (not coded or self.bits == 4):
                for j in range(4):
                    d = pairs(d, *term(j), *term(j + 4))
            else:
                for j in range(per if coded else 4):
                    d = fma(*term(j), d)
            if not coded:
                acc = acc + d
                continue
            group = (b * LANES + np.arange(LANES)) * per // self.group
            scale = np.where(group < self.scales.shape[1], self.scales[:, np.minimum(group, self.scales.shape[1] - 1)], F32(0))
            acc = fma(scale[None], d, acc)
        if coded:
            sums = strided_sum(x.reshape(n, -1, self.group))
            bacc = np.zeros_like(acc)
            for g in range(sums.shape[1]):
                bacc[..., g % LANES] = fma(self.biases[None, :, g], sums[:, None, g], bacc[..., g % LANES])
            acc = acc + bacc
        return lane_sum(acc)


# --- the model ---


class Model:
    def __init__(self, folder):
        self.config = c = json.loads((Path(folder) / "config.json").read_text())
        self.weights, self.type = read_safetensors(Path(folder) / "model.safetensors")
        self.T = ROUND[self.type]
        self.bf16 = self.type == "BF16"
        self.matrices = {}
        self.eps = F32(c["rms_norm_eps"])
        self.d = c["head_dim"]
        self.cache = [[None, None] for _ in range(c["num_hidden_layers"])]  # [kv heads, positions, d]
        self.pos = 0
        self.ties = []  # [position, layer] where the last expert chosen and the first left out are within one ulp

    def matrix(self, name, k):
        if name not in self.matrices:
            self.matrices[name] = Matrix(self.weights, name, self.bf16).prepare(k)
        return self.matrices[name]

    def linear(self, x, name):
        return self.T(self.matrix(name, x.shape[-1]).times(x))

    def norm(self, x, name):
        v = to_lanes(x)
        ss = np.zeros_like(v[..., 0, :])
        for i in range(v.shape[-2]):
            ss = fma(v[..., i, :], v[..., i, :], ss)
        r = F32(1) / np.sqrt(lane_sum(ss) / F32(x.shape[-1]) + self.eps)
        return self.T(self.weights[name + ".weight"] * self.T(x * r[..., None]))

    def rope(self, x):
        """x [tokens, heads, d]: features i and i + d/2 rotate together."""
        half = self.d // 2
        freq = F32(float(F32(self.config["rope_theta"])) ** (-2.0 * np.arange(half) / self.d))
        angle = (np.arange(self.pos, self.pos + len(x), dtype=F32)[:, None] * freq).astype(F64)
        c, s = F32(np.cos(angle))[:, None], F32(np.sin(angle))[:, None]
        a, b = x[..., :half], x[..., half:]
        return self.T(np.concatenate([fma(-b, s, a * c), fma(a, s, b * c)], -1))

    def attend(self, q, keys, values):
        """q [tokens, heads, d] over caches [kv heads, positions, d]; token t sees positions 0 .. pos + t."""
        n, heads, d = q.shape
        share = heads // len(keys)
        keys, values = np.repeat(keys, share, 0), np.repeat(values, share, 0)  # one per query head
        most = self.pos + np.arange(n)  # last visible position
        total = None
        for first in range(0, self.pos + n, SPLIT):
            k, v = keys[:, first : first + SPLIT], values[:, first : first + SPLIT]
            part = self.split(q, k, v, most - first)
            if total is None:
                total = part
                continue
            m, l, o = total
            nm, nl, no = part
            top = np.maximum(m, nm)
            a, b = exp(m - top), exp(nm - top)
            joined = top, fma(nl, b, l * a), fma(no, b[..., None], o * a[..., None])
            here = most >= first
            total = tuple(np.where(here.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in zip(total, joined))
        return self.T(total[2] / total[1][..., None])

    def split(self, q, k, v, last):
        """One split: the largest score, the sum of p and the weighted sum of values, per token and head."""
        s = np.zeros((len(q), q.shape[1], k.shape[1]), F32)
        for i in range(0, self.d, 2):
            terms = [(k[None, :, :, i + j], q[:, :, i + j, None]) for j in range(2)]
            s = pairs(s, *terms[0], *terms[1]) if self.bf16 else fma(*terms[1], fma(*terms[0], s))
        s = F32(1.0 / np.sqrt(float(self.d))) * s
        seen = (np.arange(k.shape[1]) <= last[:, None])[:, None]
        m = np.where(seen, s, F32(-np.inf)).max(-1)
        m = np.where(last[:, None] >= 0, m, F32(0))
        p = np.where(seen, exp(s - m[..., None]), F32(0))
        o = np.zeros(q.shape, F32)
        for j in range(k.shape[1]):
            rows = last >= j
            o[rows] = fma(p[rows, :, j, None], v[None, :, j], o[rows])
        return m, strided_sum(p), o

    def attention(self, x, layer):
        at, c = f"model.layers.{layer}.self_attn.", self.config
        q, k, v = (self.linear(x, at + s + "_proj") for s in "qkv")
        q = q.reshape(len(x), c["num_attention_heads"], self.d)
        k = k.reshape(len(x), c["num_key_value_heads"], self.d)
        v = v.reshape(k.shape).transpose(1, 0, 2)
        q = self.rope(self.norm(q, at + "q_norm"))
        k = self.rope(self.norm(k, at + "k_norm")).transpose(1, 0, 2)
        cache = self.cache[layer]
        for i, new in enumerate((k, v)):
            cache[i] = new if cache[i] is None else np.concatenate([cache[i], new], 1)
        return self.linear(self.attend(q, *cache).reshape(len(x), -1), at + "o_proj")

    def swiglu(self, gate, up):
        T = self.T
        e = T(exp(np.abs(gate)))
        r = T(F32(1) / T(F32(1) + e))
        sigmoid = np.where(gate < 0, r, T(F32(1) - r))
        return T(T(gate * sigmoid) * up)

    def mlp(self, x, at):
        gate, up = self.linear(x, at + "gate_proj"), self.linear(x, at + "up_proj")
        return self.linear(self.swiglu(gate, up), at + "down_proj")

    def route(self, x, at, layer):
        """Experts in ascending order of probability, among equals by number, and their weights."""
        T, c = self.T, self.config
        k = c["num_experts_per_tok"]
        g = self.linear(x, at + "gate")
        e = exp(g - g.max(-1, keepdims=True))
        p = T(e * (F32(1) / strided_sum(e))[:, None])
        order = np.argsort(p, -1, kind="stable")
        chosen = order[:, -k:]
        edge = np.take_along_axis(p, order[:, -k - 1 : -k + 1 or None], -1)
        for t in np.nonzero(self.steps(edge[:, 0], edge[:, 1]) <= 1)[0]:
            self.ties.append([int(self.pos + t), layer])
        s = np.take_along_axis(p, chosen, -1)
        if c["norm_topk_prob"]:
            total = s[:, 0]
            for j in range(1, k):
                total = total + s[:, j]
            s = T(s / T(total)[:, None])
        return chosen, s

    def steps(self, a, b):
        """How many numbers of type T apart."""
        if self.type == "F16":
            a, b = (x.astype(np.float16).view(np.int16).astype(int) for x in (a, b))
            return np.abs(a - b)
        a, b = (np.ascontiguousarray(x).view(np.int32).astype(np.int64) for x in (a, b))
        return np.abs(a - b) >> (16 if self.bf16 else 0)

    def moe(self, x, at, layer):
        T = self.T
        chosen, scores = self.route(x, at, layer)
        y = np.zeros((*chosen.shape, x.shape[-1]), F32)
        name = at + "switch_mlp."
        for e in np.unique(chosen):
            t, slot = np.nonzero(chosen == e)

            def times(v, proj):
                return T(self.matrix(name + proj, v.shape[-1]).expert(e).times(v))

            act = self.swiglu(times(x[t], "gate_proj"), times(x[t], "up_proj"))
            y[t, slot] = times(act, "down_proj")
        terms = T(y * scores[..., None])
        total = terms[:, 0]
        for j in range(1, terms.shape[1]):
            total = total + terms[:, j]
        return T(total)

    def layer(self, h, layer):
        at, c = f"model.layers.{layer}.", self.config
        h = self.T(h + self.attention(self.norm(h, at + "input_layernorm"), layer))
        x = self.norm(h, at + "post_attention_layernorm")
        sparse = c.get("num_experts") and layer not in c["mlp_only_layers"]
        return self.T(h + (self.moe(x, at + "mlp.", layer) if sparse else self.mlp(x, at + "mlp.")))

    def forward(self, tokens, wanted=None):
        """Consume tokens; logits of those at the indices `wanted` (default: all)."""
        h = self.T(self.matrix("model.embed_tokens", self.config["hidden_size"]).rows(np.asarray(tokens)))
        for i in range(len(self.cache)):
            h = self.layer(h, i)
        self.pos += len(tokens)
        h = h if wanted is None else h[np.asarray(wanted, int)]
        head = "model.embed_tokens" if self.config["tie_word_embeddings"] else "lm_head"
        return self.linear(self.norm(h, "model.norm"), head)


def stored(x, kind):
    """Numbers of type `kind` as the bytes of a file."""
    if kind == "BF16":
        return (np.ascontiguousarray(x, F32).view(np.uint32) >> 16).astype("<u2").tobytes()
    return x.astype("<f2" if kind == "F16" else "<f4").tobytes()


def main():
    model = Model(sys.argv[1])
    logits = model.forward([int(t) for t in sys.argv[2:]])
    print(*logits.argmax(-1))


if __name__ == "__main__":
    main()
