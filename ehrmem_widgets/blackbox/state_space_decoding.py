"""The fast decoder of Mamba and Mamba2: each prompt is read once by the library, its states then continued for all samples.

Mamba2 decays a whole head alike, so that its own steps can be written as attention without a softmax (Dao and Gu 2024, "state
space duality", arXiv 2405.21060): the prompt's state stays one for all samples, asked in one product, and each continuation
keeps what it would have added to it; after some steps that is folded into a state of its own. Mamba decays every number of its
state differently (Gu and Dao 2023, arXiv 2312.00752), so that each continuation has a state from the start, changed in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrmem_widgets.blackbox.layers import Linear, Norm, activation, linear, rms_norm, stacked
from ehrmem_widgets.blackbox.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_IN_CACHE = 2**17  # numbers of Mamba's states changed at once: they stay in the processor's cache meanwhile
_READ_AT_ONCE = 2**25  # numbers in the largest tensor while the library reads prompts
_FEWEST_STEPS = 64  # that Mamba2 keeps apart before they are folded into the state


class _Stream(Protocol):
    """One layer's memory of one stream: (rows, hidden) -> what the layer adds to it."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def keep(self, rows: Tensor) -> None: ...


class _Mixer(Protocol):
    """One layer's weights."""

    def begin(self, recent: list[Tensor], state: Tensor, samples: int, room: int) -> _Stream: ...

    def numbers_a_sample(self, room: int) -> int: ...


@dataclass(frozen=True)
class StateSpaceModel:
    """The parts of a Mamba or Mamba2 that a step needs."""

    library: PreTrainedModel  # reads the prompts
    embedding: Tensor
    mixers: list[_Mixer]
    norm: Norm
    head: Linear
    numbers_a_code: int  # in the largest tensor while a prompt is read


class StateSpaceDecoder:
    """One stream of continuations, as ``decoding.Decoder``."""

    def __init__(self, parts: StateSpaceModel) -> None:
        self._parts = parts

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: the states."""
        return 4 * sum(mixer.numbers_a_sample(room) for mixer in self._parts.mixers)

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        longest = max(len(p) for p in prompts)
        at_once = max(1, _READ_AT_ONCE // (longest * self._parts.numbers_a_code))
        read = [self._read(prompts[i : i + at_once]) for i in range(0, len(prompts), at_once)]
        logits, *layers = (tuple(map(torch.cat, zip(*found, strict=True))) for found in zip(*read, strict=True))
        self._streams = [
            mixer.begin(list(recent.repeat_interleave(samples, dim=0).unbind(-1)[1:]), state, samples, max(room, 1))
            for mixer, (recent, state) in zip(self._parts.mixers, layers, strict=True)
        ]
        return logits[0]

    def _read(self, prompts: list[list[int]]) -> list[tuple[Tensor, ...]]:
        """((prompts, codes) logits,), then for each layer (the convolution's last inputs, the state)."""
        library = self._parts.library
        longest = max(len(p) for p in prompts)
        # Left padding, masked: it leaves the states at zero.
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=library.device)
        inside = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=library.device)
        mask = None if bool(inside.all()) else inside
        answer = library.base_model(input_ids=ids, attention_mask=mask, use_cache=True)
        head = library.get_output_embeddings()
        logits = head(answer.last_hidden_state[:, -1].to(head.weight.dtype)).float()
        layers = [
            (layer.conv_states[0].float(), layer.recurrent_states[0].float()) for layer in answer.cache_params.layers
        ]
        return [(logits,), *layers]

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        parts = self._parts
        x = parts.embedding[codes].float()
        for stream in self._streams:
            x = x + stream(x)
        return parts.head(parts.norm(x)).float()

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        for stream in self._streams:
            stream.keep(rows)


def state_space_parts(model: PreTrainedModel) -> StateSpaceModel | None:
    """The weights of a Mamba or Mamba2; None for another architecture."""
    builders: dict[str, Callable[[Any, PreTrainedConfig], _Mixer]] = {"mamba": _mamba, "mamba2": _mamba2}
    build = builders.get(model.config.model_type)
    if build is None:
        return None
    config = model.config
    body: Any = model.backbone
    return StateSpaceModel(
        library=model,
        embedding=body.embeddings.weight.data,
        mixers=[build(layer, config) for layer in body.layers],
        norm=rms_norm(body.norm_f),
        head=stacked(model.lm_head, scale=body.norm_f.weight),
        numbers_a_code=body.layers[0].mixer.intermediate_size * config.state_size,
    )


def read_without_filling(model: PreTrainedModel) -> None:
    """Have the library's Mamba2 read a record shorter than a chunk as it is. It would fill it up to a chunk of 256 codes, which
    changes no number and takes, on a processor, ten times as long for a record of 30."""

    def shorten(body: Any, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        ids = given[0] if given else named["input_ids"]
        for layer in body.layers:
            layer.mixer.chunk_size = min(model.config.chunk_size, ids.shape[1])

    if model.config.model_type == "mamba2":
        model.base_model.register_forward_pre_hook(shorten, with_kwargs=True)


@dataclass(frozen=True)
class _Convolution:
    """A causal convolution, channel by channel, one step at a time."""

    taps: Tensor  # (kernel, channels)
    bias: Tensor
    activation: Callable[[Tensor], Tensor]

    def __call__(self, recent: list[Tensor], new: Tensor) -> Tensor:
        """``new``: (rows, channels); ``recent``: the last ``kernel - 1`` of them, replaced by those to come."""
        mixed = torch.addcmul(self.bias, new, self.taps[-1])
        for past, tap in zip(recent, self.taps[:-1], strict=True):
            mixed.addcmul_(past, tap)
        recent[:] = [*recent[1:], new]
        return self.activation(mixed)


def _convolution(module: nn.Conv1d, name: str) -> _Convolution:
    taps = module.weight.data[:, 0].t().float().contiguous()
    bias = torch.zeros_like(taps[0]) if module.bias is None else module.bias.data.float()
    return _Convolution(taps, bias, activation(name))


# Mamba ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mamba:
    norm: Norm
    project: Linear  # out: inner, gate
    convolution: _Convolution
    select: Linear  # out: what makes the time step, B, C
    time_step: Linear
    decay: Tensor  # (state, inner), negative
    skip: Tensor
    out: Linear

    def begin(self, recent: list[Tensor], state: Tensor, samples: int, room: int) -> _Stream:
        return _MambaStream(self, recent, state.transpose(1, 2).repeat_interleave(samples, dim=0))

    def numbers_a_sample(self, room: int) -> int:
        return self.decay.numel() + self.convolution.taps.numel()


def _mamba(layer: Any, config: PreTrainedConfig) -> _Mamba:
    mixer = layer.mixer
    return _Mamba(
        norm=rms_norm(layer.norm),
        project=stacked(mixer.in_proj, scale=layer.norm.weight),
        convolution=_convolution(mixer.conv1d, config.hidden_act),
        select=linear(mixer.x_proj),
        time_step=linear(mixer.dt_proj),
        decay=-mixer.A_log.data.float().exp().t().contiguous(),
        skip=mixer.D.data.float(),
        out=linear(mixer.out_proj),
    )


class _MambaStream:
    def __init__(self, weights: _Mamba, recent: list[Tensor], state: Tensor) -> None:
        self._weights, self._recent, self._state = weights, recent, state
        width = weights.decay.shape[0]
        self._rows = max(1, _IN_CACHE // weights.decay.numel())
        self._kept = state.new_empty(min(self._rows, len(state)), width, state.shape[2])

    def __call__(self, x: Tensor) -> Tensor:
        weights, rows = self._weights, len(x)
        dtype, width = weights.out.weight.dtype, weights.decay.shape[0]
        inner, gate = weights.project(weights.norm(x)).float().chunk(2, dim=-1)
        inner = weights.convolution(self._recent, inner)
        low, b, c = weights.select(inner.to(dtype)).split([weights.time_step.weight.shape[0], width, width], dim=-1)
        time_step = F.softplus(weights.time_step(low).float())
        b, c, put = b.float(), c.float(), time_step * inner
        read = torch.empty_like(inner)
        for first in range(0, rows, self._rows):
            part = slice(first, first + self._rows)
            state = self._state[part]
            kept = torch.mul(time_step[part, None], weights.decay, out=self._kept[: len(state)]).exp_()
            state.mul_(kept).addcmul_(b[part, :, None], put[part, None])
            torch.bmm(c[part, None], state, out=read[part, None])
        mixed = torch.addcmul(read, inner, weights.skip) * F.silu(gate)
        return weights.out(mixed.to(dtype)).float()

    def keep(self, rows: Tensor) -> None:
        self._recent, self._state = [past[rows] for past in self._recent], self._state[rows]


# Mamba2 ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mamba2:
    norm: Norm
    project: Linear  # out: gate; inner, B and C; time step
    convolution: _Convolution
    time_bias: Tensor
    limit: tuple[float, float]  # of the time step
    decay: Tensor  # (heads,), negative
    skip: Tensor  # (heads, 1)
    floor: Tensor  # of the norm, as ``Norm.floor``
    out: Linear
    groups: int
    state: int

    @property
    def heads(self) -> int:
        return len(self.decay)

    @property
    def width(self) -> int:
        """Of a head."""
        return self.out.weight.shape[0] // self.heads

    def steps_apart(self, room: int) -> int:
        """How many steps are kept apart, at most as large as a state."""
        return min(room, max(_FEWEST_STEPS, self.state))

    def begin(self, recent: list[Tensor], state: Tensor, samples: int, room: int) -> _Stream:
        return _Mamba2Stream(self, recent, state, samples, self.steps_apart(room))

    def numbers_a_sample(self, room: int) -> int:
        steps = self.steps_apart(room)
        inner = self.heads * self.width
        folded = inner * self.state if steps < room else 0
        return steps * (inner + self.groups * self.state + self.heads) + folded + self.convolution.taps.numel()


def _mamba2(layer: Any, config: PreTrainedConfig) -> _Mamba2:
    mixer = layer.mixer
    low, high = config.time_step_limit
    inside = mixer.norm.group_size
    return _Mamba2(
        norm=rms_norm(layer.norm),
        project=stacked(mixer.in_proj, scale=layer.norm.weight),
        convolution=_convolution(mixer.conv1d, config.hidden_act),
        time_bias=mixer.dt_bias.data.float(),
        limit=(float(low), float(high)),
        decay=-mixer.A_log.data.float().exp(),
        skip=mixer.D.data.float()[:, None],
        floor=mixer.D.data.new_full((1,), math.sqrt(inside * mixer.norm.variance_epsilon), dtype=torch.float32),
        out=stacked(mixer.out_proj, scale=mixer.norm.weight / math.sqrt(len(mixer.norm.weight) / inside)),
        groups=config.n_groups,
        state=config.state_size,
    )


class _Mamba2Stream:
    """``_fade`` is how much is left of each step kept apart, its time step included; ``_left`` how much of the state."""

    def __init__(self, weights: _Mamba2, recent: list[Tensor], state: Tensor, samples: int, steps: int) -> None:
        self._weights, self._recent, self._rows = weights, recent, Rows(len(state), samples, state.device)
        prompts, groups, rows = len(state), weights.groups, len(state) * samples
        # (prompts, heads, width, state) -> (prompts, groups, state, heads of a group * width)
        self._state = state.view(prompts, groups, -1, weights.width, weights.state).permute(0, 1, 4, 2, 3).flatten(3)
        self._left = state.new_ones(rows, weights.heads)
        self._keys = state.new_empty(rows, groups, steps, weights.state)
        self._values = state.new_empty(rows, weights.heads, steps, weights.width)
        self._fade = state.new_empty(rows, weights.heads, steps)
        self._at = 0

    def __call__(self, x: Tensor) -> Tensor:
        weights, rows, at = self._weights, len(x), self._at
        heads, groups, size = weights.heads, weights.groups, weights.state
        inside, dtype = heads * weights.width, weights.out.weight.dtype
        found = weights.project(weights.norm(x)).float()
        gate, mixed, time_step = found.split([inside, inside + 2 * groups * size, heads], dim=-1)
        mixed = weights.convolution(self._recent, mixed)
        inner, b, c = mixed.split([inside, groups * size, groups * size], dim=-1)
        inner = inner.unflatten(1, (heads, -1))
        time_step = F.softplus(time_step + weights.time_bias).clamp(*weights.limit)
        kept = (time_step * weights.decay).exp()
        self._left *= kept
        self._fade[:, :, :at] *= kept[:, :, None]
        self._fade[:, :, at] = time_step
        self._values[:, :, at] = inner
        self._keys[:, :, at] = b.unflatten(1, (groups, size))
        asked = c.reshape(rows * groups, 1, size)
        weight = torch.bmm(asked, self._keys.flatten(0, 1)[:, : at + 1].transpose(1, 2))
        weight = self._fade[:, :, : at + 1].unflatten(1, (groups, -1)) * weight.view(rows, groups, 1, at + 1)
        of_own = torch.bmm(weight.view(rows * heads, 1, at + 1), self._values.flatten(0, 1)[:, : at + 1])
        # All continuations of a prompt ask its state in one product.
        of_state = self._rows.spread(c.reshape(rows, groups, size)).transpose(1, 2) @ self._state
        of_state = self._rows.gather(of_state.transpose(1, 2)).reshape(rows, heads, -1)
        read = torch.addcmul(of_own.view(rows, heads, -1), of_state, self._left[..., None])
        read = torch.addcmul(read, inner, weights.skip).flatten(1) * F.silu(gate)
        self._at += 1
        if self._at == self._fade.shape[2]:
            self._fold()
        read = read.unflatten(1, (groups, -1))
        length = torch.linalg.vector_norm(read, dim=-1, keepdim=True)
        return weights.out((read / torch.hypot(length, weights.floor)).flatten(1).to(dtype)).float()

    def keep(self, rows: Tensor) -> None:
        self._state = self._state[self._rows.keep(rows)]
        self._recent = [past[rows] for past in self._recent]
        self._left, self._keys, self._values, self._fade = (
            x[rows] for x in (self._left, self._keys, self._values, self._fade)
        )

    def _fold(self) -> None:
        """Add the steps kept apart to the state, which each continuation has for itself from here on."""
        groups, width = self._weights.groups, self._weights.width
        left = self._left.repeat_interleave(width, dim=1).view(len(self._left), groups, 1, -1)
        old = self._state[self._rows.prompt] * left
        new = (self._fade[..., None] * self._values).unflatten(1, (groups, -1)).transpose(2, 3).flatten(3)
        self._state = old + self._keys.transpose(2, 3) @ new
        self._rows = Rows(len(self._state), 1, self._state.device)
        self._left.fill_(1)
        self._at = 0
