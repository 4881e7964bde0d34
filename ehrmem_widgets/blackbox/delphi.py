"""Delphi-2M's architecture read from a folder: a GPT-2 that is told the age beside each code, without positions, for a race of codes.

Names of weights are those of its public code (gerstung-lab/Delphi, MIT; Shmatko et al., Nature 2025), so that its weights open once they are
safetensors. Beside its own settings, ``config.json`` says ``"model_type": "delphi"``, and what leaves the race once it has come: every code but
``may_repeat`` (ids; 1, its "No event", unless given), where ``no_repeat`` is not false, as its public code samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrmem_widgets.blackbox.causal_model import CausalModel, Config
from ehrmem_widgets.blackbox.race import Race, ages, code_ids
from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.settings import shown

MODEL_TYPE = "delphi"
YEAR = 365.25
_BEYOND = 128  # codes that its public code goes on by, whatever the length of its training windows
_SIZES = ("n_layer", "n_head", "n_embd", "vocab_size", "block_size")
_USUAL: dict[str, object] = {
    "dropout": 0.0, "bias": True, "ignore_tokens": [0], "may_repeat": [1], "no_repeat": True,
}  # fmt: skip
"""Its other settings, where the config does not name them."""


class Delphi(CausalModel):
    """(rows, n) moments -> ``.logits`` (rows, n, codes): the log-rates a day of the race after each code."""

    base_model_prefix, embedding = "transformer", "wte"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.transformer = _Body(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    @property
    def race(self) -> Race:
        """Which codes take part."""
        every = torch.zeros(self.config.vocab_size, dtype=torch.bool, device=self.device)
        never, once = every.clone(), ~every if self.config.no_repeat else every.clone()
        never[self.config.ignore_tokens] = True
        once[self.config.may_repeat] = False
        return Race(never, once)


class Ages(nn.Module):
    """(...) ages in days -> (..., width): sines and cosines of the age in years, through a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.frequencies = [math.exp(-math.log(10_000.0) * place / width) for place in range(0, width, 2)]

    def forward(self, days: Tensor) -> Tensor:
        """As the class says."""
        angle = (days / YEAR)[..., None] * torch.tensor(self.frequencies, dtype=days.dtype, device=days.device)
        both = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return self.linear(both.to(self.linear.weight.dtype))


class _Body(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.wte, self.wae = nn.Embedding(config.vocab_size, config.n_embd), Ages(config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(_Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        x = self.drop(self.wte(code_ids(input_ids)) + self.wae(ages(input_ids)))
        for block in self.h:
            x = block(x)
        return SimpleNamespace(last_hidden_state=self.ln_f(x))


class _Block(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = (nn.LayerNorm(config.n_embd, bias=config.bias) for _ in range(2))
        self.attn, self.mlp = _Attention(config), _Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self._heads, self._dropout = config.n_head, config.dropout

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one.unflatten(-1, (self._heads, -1)).transpose(1, 2) for one in self.c_attn(x).chunk(3, dim=-1))
        dropout = self._dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return self.c_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


def delphi_config(given: Mapping[str, object]) -> Config:
    """The settings of a config.json that are computed here. Raises BadInput for sizes that are missing or no whole numbers, lists that are no
    ids, and others that are not of their kind."""
    sizes = {name: _size(given, name) for name in _SIZES}
    if sizes["n_embd"] % (2 * sizes["n_head"]):
        raise BadInput("n_embd in config.json of a Delphi model must be a multiple of twice n_head.")
    rest = {name: given.get(name, usual) for name, usual in _USUAL.items()}
    for name, usual in _USUAL.items():
        _check_kind(name, rest[name], usual, sizes["vocab_size"])
    return Config(
        model_type=MODEL_TYPE, **sizes, **rest, num_hidden_layers=sizes["n_layer"], hidden_size=sizes["n_embd"],
        max_position_embeddings=sizes["block_size"] + _BEYOND,
    )  # fmt: skip


def _size(given: Mapping[str, object], name: str) -> int:
    size = given.get(name)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size < 2**24:
        raise BadInput(f"config.json of a Delphi model needs {name}, a whole number above 0; it has {shown(size)}.")
    return size


def _check_kind(name: str, value: object, usual: object, codes: int) -> None:
    """``usual``: a value of the right kind."""
    if isinstance(usual, list):
        right, kind = _are_ids(value, codes), f"a list of ids below {codes:,}"
    elif isinstance(usual, bool):
        right, kind = isinstance(value, bool), "true or false"
    else:
        right, kind = isinstance(value, int | float) and 0 <= value <= 1, "a number from 0 to 1"
    if not right:
        raise BadInput(f"{name} in config.json of a Delphi model must be {kind}; got {shown(value)}.")


def _are_ids(value: object, codes: int) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < codes for one in value)


def open_delphi(folder: Path, given: Mapping[str, object], dtype: torch.dtype) -> Delphi | None:
    """The model of a folder; None for another architecture. Raises BadInput for weights that do not belong to the config."""
    if given.get("model_type") != MODEL_TYPE:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with torch.device("meta"):
        model = Delphi(delphi_config(given))
    weights: dict[str, Tensor] = {}
    try:
        for file in sorted(folder.glob("*.safetensors")):
            weights |= load_file(file)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"The weights in {str(folder)!r} are broken: {said_by(error)}. Copy the file again.") from None
    made = (".attn.bias", ".wae.div_term")  # what its public code keeps though it follows from the config
    weights = {name: one.to(dtype) for name, one in weights.items() if not name.endswith(made)}
    tied = {"lm_head.weight", "transformer.wte.weight"}
    for there, other in (sorted(tied), sorted(tied, reverse=True)):
        if there in weights:
            weights.setdefault(other, weights[there])
    wrong = sorted({name for name, one in model.state_dict().items() if name not in weights or weights[name].shape != one.shape} | weights.keys() - model.state_dict().keys())  # fmt: skip
    if wrong or not torch.equal(*(weights[name] for name in sorted(tied))):
        raise BadInput(
            f"The weights in {str(folder)!r} do not belong to its config.json: {len(wrong) or 2} are missing, unexpected or misshapen (such as "
            f"{(wrong or sorted(tied))[0]}). A model that loads in part only is partly random, and would seem to remember nobody. Ask for the "
            "complete, matching files."
        )
    model.load_state_dict(weights, assign=True)
    model.lm_head.weight = model.transformer.wte.weight
    return model.eval().requires_grad_(False)
