"""The few layers that the fast decoders are made of, as plain matrices taken from a library's modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    """x -> x ``weight`` + ``bias``."""

    weight: Tensor  # (in, out)
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)


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


def linear(module: nn.Linear) -> Linear:
    """A library's linear layer."""
    return Linear(module.weight.data.t().contiguous(), None if module.bias is None else module.bias.data)


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
