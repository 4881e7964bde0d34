"""The few layers that the fast decoders are made of, as plain matrices taken from a library's modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST_COPIED = 2**28  # numbers: 1 GB
_ROWS = 64  # that weights are laid out for: any number can be multiplied
_FUSED: dict[str, tuple[str, list[float], str]] = {
    "": ("none", [], ""), "relu": ("relu", [], ""), "gelu": ("gelu", [], "none"), "gelu_new": ("gelu", [], "tanh"),
}  # fmt: skip
"""Activations that a product can take in, as oneDNN names them: one by itself takes as long as the product."""


@dataclass(frozen=True)
class Norm:
    """A layer norm; or, with ``floor``, a norm by the root mean square."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    floor: Tensor | None = None  # sqrt(n epsilon)

    def __call__(self, x: Tensor) -> Tensor:
        if self.floor is None:
            return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.epsilon)
        # To unit length, in few kernels: weight and sqrt(n) are part of the layer that follows (``stacked``).
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x / torch.hypot(length, self.floor)).to(self.weight.dtype)

    def direction(self, x: Tensor) -> Tensor:
        """What the library's norm gives, up to one factor for all."""
        return self(x) if self.floor is None else self(x) * self.weight


@dataclass(frozen=True)
class Linear:
    """x -> ``activation`` (x ``weight`` + ``bias``)."""

    weight: Tensor  # (in, out); once ``packed``, in an order of its own
    bias: Tensor | None
    activation: str = ""  # its name in transformers

    def __call__(self, x: Tensor) -> Tensor:
        if not self.weight.is_mkldnn:
            found = torch.matmul(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)
            return activation(self.activation)(found) if self.activation else found
        fused = _FUSED.get(self.activation)
        x = x.to(self.weight.dtype)
        found = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *(fused or _FUSED[""]))
        return found if fused else activation(self.activation)(found)

    def packed(self, number_format: torch.dtype = torch.float32) -> Linear:
        """The same, laid out for oneDNN, whose kernels are made for the processor at hand: those of MKL, which torch takes otherwise, need
        twice the time on one that is not Intel's. It multiplies, and answers, in this format. As it is, where that cannot be."""
        if (
            self.weight.device.type != "cpu"
            or self.weight.dtype != torch.float32
            or not torch.backends.mkldnn.is_available()
        ):
            return self
        weight = self.weight.t().to(number_format).contiguous()
        return replace(self, weight=torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS))


class _RootMeanSquare(Protocol):
    """Every architecture of transformers has its own class of this norm."""

    weight: Tensor
    variance_epsilon: float


def layer_norm(module: nn.LayerNorm) -> Norm:
    """A library's layer norm."""
    return Norm(module.weight.data, None if module.bias is None else module.bias.data, module.eps)


def rms_norm(module: _RootMeanSquare) -> Norm:
    """A library's norm by the root mean square; the layer behind it must be ``stacked(..., scale=module.weight)``."""
    floor = torch.full((1,), math.sqrt(len(module.weight) * module.variance_epsilon), device=module.weight.device)
    return Norm(module.weight.data, None, module.variance_epsilon, floor)


def linear(module: nn.Linear, activation: str = "") -> Linear:
    """A library's linear layer."""
    return Linear(module.weight.data.t().contiguous(), None if module.bias is None else module.bias.data, activation)


def pack_linears(model: PreTrainedModel) -> None:
    """Let the linear layers of a model that was opened to be asked, and not to be trained, multiply as ``Linear.packed``, from a copy of their
    weights; but not of a model so large that a copy matters, and not of RWKV, whose rows are vectorized by torch, which does not see into such
    a product."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    if model.config.model_type == "rwkv" or sum(module.weight.numel() for module in layers) > _MOST_COPIED:
        return
    for module in layers:
        bias = None if module.bias is None else module.bias.data
        packed = Linear(module.weight.data.t(), bias).packed()
        if packed.weight.is_mkldnn:
            module.forward = packed  # type: ignore[method-assign, assignment]


def stacked(*modules: nn.Linear, scale: Tensor) -> Linear:
    """Several linear layers as one, the weight of the norm before them (``scale``) and its sqrt(n) included."""
    weight = torch.cat([m.weight.data for m in modules])
    scaled = weight.float() * (scale.data.float() * math.sqrt(len(scale)))
    bias = None if modules[0].bias is None else torch.cat([m.bias.data for m in modules])
    return Linear(scaled.to(weight.dtype).t().contiguous(), bias)


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function of this name in transformers, which takes seconds to import."""
    if name == "silu":
        return F.silu
    if name == "gelu_new":  # the same function, in one kernel
        return lambda x: F.gelu(x, approximate="tanh")
    from transformers.activations import ACT2FN

    function: Callable[[Tensor], Tensor] = ACT2FN[name]
    return function
