"""Qwen3-MoE in PyTorch, just enough to train the demo model.

Parameter names are those of the MLX checkpoint (experts stacked as
[experts, out, in]), so exporting needs no renaming.
"""
import json
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text())
GROUP = 64


def fake_quant(w, bits):
    """Affine quantization (groups of 64 along the last axis) and back.

    The same rule as export.py, with a straight-through gradient: the forward
    pass sees the values the 4-bit file will hold, the float master keeps the
    small updates.
    """
    with torch.no_grad():
        top = 2 ** bits - 1
        g = w.float().reshape(-1, GROUP)
        lo, hi = g.amin(1, keepdim=True), g.amax(1, keepdim=True)
        mask = lo.abs() > hi.abs()
        scale = ((hi - lo) / top).clamp_min(1e-7)
        scale = torch.where(mask, scale, -scale)
        edge = torch.where(mask, lo, hi)
        q0 = (edge / scale).round()
        zero = q0 == 0
        scale = torch.where(zero, scale, edge / torch.where(zero, 1.0, q0))
        bias = torch.where(zero, 0.0, edge)
        q = ((g - bias) / scale).round().clamp(0, top)
        deq = q * scale.bfloat16().float() + bias.bfloat16().float()
        deq = deq.reshape(w.shape)
    return w + (deq - w).detach()


class Linear(nn.Module):
    """Bias-free linear layer; `lead` adds an expert axis."""
    quantized = False       # class-wide switch, set by set_quantized

    def __init__(self, n_in, n_out, lead=(), bits=4, std=0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(*lead, n_out, n_in) * std)
        self.bits = bits

    def w(self):
        return fake_quant(self.weight, self.bits) if Linear.quantized \
            else self.weight

    def forward(self, x):
        return F.linear(x, self.w())


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        f = x.float()
        f = f * torch.rsqrt(f.pow(2).mean(-1, keepdim=True) + self.eps)
        return (f * self.weight).to(x.dtype)


def rope(x, cos, sin):
    """Half-split rotation: element i pairs with i + head_dim/2."""
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d = c["hidden_size"], c["head_dim"]
        self.nq, self.nkv, self.d = (c["num_attention_heads"],
                                     c["num_key_value_heads"], d)
        self.q_proj = Linear(h, self.nq * d)
        self.k_proj = Linear(h, self.nkv * d)
        self.v_proj = Linear(h, self.nkv * d)
        self.o_proj = Linear(self.nq * d, h, std=c["out_std"])
        self.q_norm = RMSNorm(d, c["rms_norm_eps"])
        self.k_norm = RMSNorm(d, c["rms_norm_eps"])

    def forward(self, x, cos, sin):
        b, s, _ = x.shape

        def heads(y, n):
            return y.view(b, s, n, self.d)
        q = rope(self.q_norm(heads(self.q_proj(x), self.nq)).transpose(1, 2), cos, sin)
        k = rope(self.k_norm(heads(self.k_proj(x), self.nkv)).transpose(1, 2), cos, sin)
        v = heads(self.v_proj(x), self.nkv).transpose(1, 2)
        rep = self.nq // self.nkv       # query head h reads kv head h // rep
        k, v = k.repeat_interleave(rep, 1), v.repeat_interleave(rep, 1)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(o.transpose(1, 2).reshape(b, s, -1))


class MoE(nn.Module):
    """Top-k of E experts.

    All experts run on all tokens and the unselected ones are multiplied by
    zero: at this size three large products beat any gather.
    """

    def __init__(self, c):
        super().__init__()
        h, m, e = c["hidden_size"], c["moe_intermediate_size"], c["num_experts"]
        self.e, self.k, self.m = e, c["num_experts_per_tok"], m
        self.gate = Linear(h, e, bits=8)
        self.switch_mlp = nn.ModuleDict({
            "gate_proj": Linear(h, m, (e,)), "up_proj": Linear(h, m, (e,)),
            "down_proj": Linear(m, h, (e,), std=c["out_std"])})

    def forward(self, x):
        p = self.gate(x).float().softmax(-1)
        top, idx = p.topk(self.k, -1)
        top = top / top.sum(-1, keepdim=True)
        route = torch.zeros_like(p).scatter(-1, idx, top)
        # Switch-style balance loss: share of tokens times mean probability.
        load = (route > 0).float().flatten(0, -2).mean(0) / self.k
        aux = self.e * (load * p.flatten(0, -2).mean(0)).sum()
        wg, wu, wd = (self.switch_mlp[n].w() for n in
                      ("gate_proj", "up_proj", "down_proj"))
        a = F.silu(F.linear(x, wg.flatten(0, 1))) * F.linear(x, wu.flatten(0, 1))
        a = a.unflatten(-1, (self.e, self.m)) * route.unsqueeze(-1).to(a.dtype)
        # [E,out,in] -> [out, E*in]: the sum over experts is part of the product
        return F.linear(a.flatten(-2), wd.transpose(0, 1).flatten(1)), aux


class Block(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        h, eps = c["hidden_size"], c["rms_norm_eps"]
        self.self_attn, self.mlp = Attention(c), MoE(c)
        self.input_layernorm = RMSNorm(h, eps)
        self.post_attention_layernorm = RMSNorm(h, eps)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.drop(self.self_attn(self.input_layernorm(x), cos, sin))
        y, aux = self.mlp(self.post_attention_layernorm(x))
        return x + self.drop(y), aux


class Qwen3Moe(nn.Module):
    def __init__(self, c, dropout=0.0):
        super().__init__()
        c = dict(c, out_std=0.02 / (2 * c["num_hidden_layers"]) ** 0.5)
        self.model = nn.ModuleDict({
            "embed_tokens": Linear(c["hidden_size"], c["vocab_size"]),
            "layers": nn.ModuleList(Block(c, dropout)
                                    for _ in range(c["num_hidden_layers"])),
            "norm": RMSNorm(c["hidden_size"], c["rms_norm_eps"])})
        self.drop = nn.Dropout(dropout)
        d = c["head_dim"]
        inv = c["rope_theta"] ** (-torch.arange(0, d, 2).double() / d)
        ang = torch.arange(c["max_position_embeddings"]).double()[:, None] * inv
        self.register_buffer("cos", ang.cos().float(), persistent=False)
        self.register_buffer("sin", ang.sin().float(), persistent=False)

    def forward(self, tokens, targets):
        """Mean cross-entropy (nats per token) and mean balance loss."""
        m = self.model
        emb = m["embed_tokens"].w()
        x = self.drop(F.embedding(tokens, emb))
        cos, sin = self.cos[:tokens.shape[1]], self.sin[:tokens.shape[1]]
        aux = 0.0
        for layer in m["layers"]:
            x, a = layer(x, cos, sin)
            aux = aux + a
        logits = F.linear(m["norm"](x), emb)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        return loss, aux / len(m["layers"])


def set_quantized(on):
    Linear.quantized = on
