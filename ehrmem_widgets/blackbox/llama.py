"""A Llama read from a folder without transformers, whose import takes longer than everything else before the first screen.

It is opened only where its config holds nothing but what is computed here; every other one is left to transformers. Names of modules and of
what they answer are those of transformers, so that it can stand in for its class.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrmem_widgets.blackbox.causal_model import CausalModel, Config
from ehrmem_widgets.blackbox.weight_shapes import read_config
from ehrmem_widgets.errors import BadInput

_SAYS_NOTHING = {
    "architectures", "attention_dropout", "dtype", "torch_dtype", "initializer_range", "transformers_version", "use_cache", "bos_token_id",
    "eos_token_id", "pad_token_id", "_name_or_path",
}  # fmt: skip
_SHAPE = {
    "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
    "rms_norm_eps", "vocab_size", "tie_word_embeddings",
}  # fmt: skip
_ALWAYS = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1}


def open_llama(folder: Path, dtype: torch.dtype) -> Llama | None:
    """The model of a folder; None for what is not exactly the Llama computed here, and for weights that do not fit it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = _config(read_config(folder))
        if config is None or [file.name for file in folder.glob("*.safetensors")] != ["model.safetensors"]:
            return None
        with torch.device("meta"):
            model = Llama(config)
        weights = {name: one.to(dtype) for name, one in load_file(folder / "model.safetensors").items()}
        if config.tie_word_embeddings:
            weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
        model.load_state_dict(weights, assign=True)
    except BadInput:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, OSError, SafetensorError):
        return None  # transformers says what is wrong
    model.model.rotary_emb = _Positions(config)
    return model.eval().requires_grad_(False)


def _config(given: dict[str, object]) -> Config | None:
    rope = given.get("rope_parameters", {"rope_theta": given.get("rope_theta", 10_000.0), "rope_type": "default"})
    rest = {name: value for name, value in given.items() if name not in ("rope_parameters", "rope_theta", "head_dim")}
    known = given.get("model_type") == "llama" and all(
        name in _SAYS_NOTHING | _SHAPE or _ALWAYS.get(name, object()) == value for name, value in rest.items()
    )
    if not known or not isinstance(rope, dict) or set(rope) != {"rope_theta", "rope_type"}:
        return None
    if rope["rope_type"] != "default" or not _SHAPE - {"tie_word_embeddings", "num_key_value_heads"} <= set(given):
        return None
    heads = int(str(given["num_attention_heads"]))
    filled = {"tie_word_embeddings": False, "num_key_value_heads": heads, **given}
    width = given.get("head_dim") or int(str(given["hidden_size"])) // heads
    return Config(**{**filled, "head_dim": width, "rope_theta": float(rope["rope_theta"])})


class Llama(CausalModel):
    """Llama (Touvron et al., arXiv 2302.13971)."""

    base_model_prefix, embedding = "model", "embed_tokens"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.model = _Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)


class _Body(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        # Not by its size: random weights would be drawn, for which torch imports its compiler (3 s).
        self.embed_tokens = nn.Embedding.from_pretrained(torch.empty(config.vocab_size, config.hidden_size))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _Norm(config)
        self.rotary_emb: _Positions

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        x = self.embed_tokens(input_ids)
        turn = self.rotary_emb(x, torch.arange(input_ids.shape[1], device=x.device)[None])
        for layer in self.layers:
            x = layer(x, turn)
        return SimpleNamespace(last_hidden_state=self.norm(x))


class _Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = _Norm(config), _Norm(config)
        self.self_attn, self.mlp = _Attention(config), _Mlp(config)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn)
        return x + self.mlp(self.post_attention_layernorm(x))


class _Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        size, self._width = config.hidden_size, config.head_dim
        queries, keys = config.num_attention_heads * self._width, config.num_key_value_heads * self._width
        self.q_proj, self.o_proj = nn.Linear(size, queries, bias=False), nn.Linear(queries, size, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(size, keys, bias=False) for _ in range(2))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (-1, self._width)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = _turned(q, turn), _turned(k, turn)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        size, inside = config.hidden_size, config.intermediate_size
        self.gate_proj, self.up_proj = (nn.Linear(size, inside, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inside, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class _Norm(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.variance_epsilon = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * scaled.to(x.dtype)


class _Positions(nn.Module):
    """Rotary positions (Su et al., arXiv 2104.09864)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        places = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float()
        self.inv_freq: Tensor
        self.register_buffer("inv_freq", 1.0 / (config.rope_theta ** (places / config.head_dim)), persistent=False)

    def forward(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, codes) places -> cosine and sine, (rows, codes, width of a head)."""
        angle = places[..., None].float() * self.inv_freq
        both = torch.cat([angle, angle], dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = (one[:, None] for one in turn)
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin
