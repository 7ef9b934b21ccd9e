"""What one writes by hand without a framework: a short Llama, full logits, log_softmax, draws."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, key_heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.key_heads = heads, key_heads
        keys = width // heads * key_heads
        self.input_layernorm = nn.RMSNorm(width, 1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, 1e-5)
        sizes = {"q": (width, width), "k": (width, keys), "v": (width, keys), "o": (width, width)}
        self.self_attn = nn.ModuleDict(
            {f"{n}_proj": nn.Linear(*size, bias=False) for n, size in sizes.items()}
        )
        sizes = {"gate": (width, inner), "up": (width, inner), "down": (inner, width)}
        self.mlp = nn.ModuleDict(
            {f"{n}_proj": nn.Linear(*size, bias=False) for n, size in sizes.items()}
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        h, attn, mlp = self.input_layernorm(x), self.self_attn, self.mlp
        q, k, v = (
            attn[f"{n}_proj"](h).unflatten(-1, (heads, -1)).transpose(1, 2)
            for n, heads in zip("qkv", (self.heads, self.key_heads, self.key_heads), strict=True)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.heads > self.key_heads:
            k, v = (x.repeat_interleave(self.heads // self.key_heads, 1) for x in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + attn["o_proj"](mixed.transpose(1, 2).flatten(2))
        h = self.post_attention_layernorm(x)
        return x + mlp["down_proj"](F.silu(mlp["gate_proj"](h)) * mlp["up_proj"](h))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Llama(nn.Module):
    def __init__(self, folder: str) -> None:
        super().__init__()
        config = json.loads((Path(folder) / "config.json").read_text())
        width, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.theta = config["rope_theta"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], width)
        self.layers = nn.ModuleList(
            Layer(width, self.heads, config["num_key_value_heads"], config["intermediate_size"])
            for _ in range(config["num_hidden_layers"])
        )
        self.norm = nn.RMSNorm(width, 1e-5)
        stored = load_file(Path(folder) / "model.safetensors")
        self.load_state_dict({k.removeprefix("model."): v for k, v in stored.items()})

    def forward(self, ids: Tensor) -> Tensor:
        """Logits, [B, T, V]."""
        x = self.embed_tokens(ids)
        size = x.shape[-1] // self.heads
        frequency = self.theta ** (-torch.arange(0, size, 2) / size)
        angle = torch.arange(ids.shape[1])[:, None] * frequency
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin())
        return self.norm(x) @ self.embed_tokens.weight.t()


@torch.no_grad()
def drawn(model: Any, ids: Tensor, new: int) -> Tensor:
    """Prompts with `new` tokens drawn after each by a transformers model with its cache."""
    whole, cache = [ids], None
    for _ in range(new):
        out = model(whole[-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        whole.append(torch.multinomial(out.logits[:, -1].float().softmax(-1), 1))
    return torch.cat(whole, 1)


def group_advantages(rewards: Tensor, size: int) -> Tensor:
    """Rewards less the mean of their group of `size` neighbours, in its standard deviations."""
    groups = rewards.view(-1, size)
    spread = groups.std(1, keepdim=True) + 1e-4
    return ((groups - groups.mean(1, keepdim=True)) / spread).flatten()


def policy_loss(model: Any, ids: Tensor, advantages: Tensor, new: int) -> Tensor:
    """GRPO's loss of the last `new` tokens right after they were drawn: every ratio is 1."""
    logits = model(ids, use_cache=False, logits_to_keep=new + 1).logits[:, :-1]
    logps = logits.float().log_softmax(-1).gather(-1, ids[:, -new:, None]).squeeze(-1)
    ratio = (logps - logps.detach()).exp()
    return -(ratio * advantages[:, None]).mean()
