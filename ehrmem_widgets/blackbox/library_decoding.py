"""The decoders that leave a model's layers to transformers: one goes on from what the library keeps of the codes read, the other rereads them.

Each prompt is read once for all samples. Its keys and values stay one for all of them, asked in one product by an attention function that is
registered with the library for this; an architecture that does its attention itself, and a state, get a copy for each continuation.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ehrmem_widgets.blackbox.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTENTION = "ehrmem_shared_prompt"
_GROWING = (DynamicLayer, DynamicSlidingWindowLayer)  # layers of keys and values that the library copies at every step
_STATES_INSIDE = ("conv1d_state", "recurrent_states")  # that RecurrentGemma's layers keep themselves


class _Reader(Protocol):
    """What was read of one prompt and its continuations."""

    def read(self, ids: Tensor) -> Tensor:
        """(rows, n) further ids -> logits (rows, codes) after the last."""
        ...

    def repeat(self, samples: int, room: int) -> None:
        """Go on from the one row as from so many, for at most ``room`` codes."""
        ...

    def select(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        ...


class LibraryDecoder:
    """Any causal model of transformers, by its own forward and its own cache or state, one prompt after the other. ``shared``: the prompt's keys
    and values stay one for all, which only architectures that use the library's attention can do."""

    def __init__(self, model: PreTrainedModel, *, shared: bool) -> None:
        self._model, self.shared = model, shared
        has_state = "state" in inspect.signature(model.forward).parameters
        self._new_reader = _ReadIntoState if has_state else partial(_ReadIntoCache, shared=shared)

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: as many keys and values as the layers are wide, or states of that size."""
        return _numbers_of_a_code(self._model) * (longest + room) * self._model.dtype.itemsize

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        device = self._model.device
        self._rows = Rows(len(prompts), samples, device)
        self._readers: list[_Reader] = [self._new_reader(self._model) for _ in prompts]
        logits = []
        for reader, prompt in zip(self._readers, prompts, strict=True):
            logits.append(reader.read(torch.tensor([prompt], device=device)))
            reader.repeat(samples, room)
        return torch.cat(logits)

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        parts = self._rows.parts(codes.clamp(min=0)[:, None])
        return torch.cat([reader.read(ids) for reader, ids in zip(self._readers, parts, strict=True)])

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        kept = [there.nonzero()[:, 0] for there in self._rows.parts(self._rows.mask(rows))]
        going = [(reader, some) for reader, some in zip(self._readers, kept, strict=True) if len(some)]
        for reader, some in going:
            reader.select(some)
        self._readers = [reader for reader, _ in going]
        self._rows.keep(rows)


class RereadingDecoder:
    """Any causal model of transformers, read from its first code at every step: slow, and right by definition."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: the logits of every place, and as much as a cache would hold."""
        numbers = (
            _numbers_of_a_code(self._model) + cast("nn.Linear", self._model.get_output_embeddings()).weight.shape[0]
        )
        return numbers * (longest + room) * self._model.dtype.itemsize

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        self._rows = Rows(len(prompts), samples, self._model.device)
        self._read = [torch.tensor([prompt], device=self._model.device) for prompt in prompts]
        logits = self._logits()
        self._read = [ids.expand(samples, -1) for ids in self._read]
        return logits

    def step(self, codes: Tensor) -> Tensor:
        new = self._rows.parts(codes.clamp(min=0)[:, None])
        self._read = [torch.cat([ids, one], dim=1) for ids, one in zip(self._read, new, strict=True)]
        return self._logits()

    def keep(self, rows: Tensor) -> None:
        kept = self._rows.parts(self._rows.mask(rows))
        self._read = [ids[there] for ids, there in zip(self._read, kept, strict=True) if bool(there.any())]
        self._rows.keep(rows)

    @torch.inference_mode()
    def _logits(self) -> Tensor:
        return torch.cat([self._model(input_ids=ids).logits[:, -1].float() for ids in self._read])


class _ReadIntoCache:
    """Keys and values, or states, in the library's cache; RecurrentGemma keeps a part in its layers, which is taken out after each
    code, since another stream or a score may use the model meanwhile."""

    def __init__(self, model: PreTrainedModel, *, shared: bool) -> None:
        takes = inspect.signature(model.forward).parameters
        self._model, self._shared, self._asks_apart = model, shared, False
        self._name = "cache_params" if "cache_params" in takes else "past_key_values"
        self._last: dict[str, int] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self._cache: Any = None
        self._inside: dict[tuple[nn.Module, str], Tensor | None] = {
            (module, name): None for module in model.modules() for name in _STATES_INSIDE if hasattr(module, name)
        }
        if self._inside:
            self._cache = DynamicCache(config=model.config)  # the answer does not give back the one that it made

    def read(self, ids: Tensor) -> Tensor:
        for (module, name), state in self._inside.items():
            setattr(module, name, state)
        with _attention(self._model, _ATTENTION if self._asks_apart else None):
            answer = self._model(input_ids=ids, use_cache=True, **{self._name: self._cache}, **self._last)
        self._cache = answer.get(self._name, self._cache)
        self._inside = {(module, name): getattr(module, name) for module, name in self._inside}
        return cast("Tensor", answer.logits[:, -1]).float()

    def repeat(self, samples: int, room: int) -> None:
        cache: Cache = getattr(self._cache, "self_attention_cache", self._cache)
        same = torch.zeros(
            samples, dtype=torch.long, device=self._model.device
        )  # every sample is the first (and only) row
        for place, layer in enumerate(cache.layers):
            if isinstance(layer, DynamicLayer) and type(layer) in _GROWING and layer.is_initialized:
                cache.layers[place] = _with_room(layer, samples, room, self._shared)
            else:
                layer.reorder_cache(cast("torch.LongTensor", same))
        self._asks_apart = self._shared
        self._select_inside(same)

    def select(self, rows: Tensor) -> None:
        self._cache.reorder_cache(rows)
        self._select_inside(rows)

    def _select_inside(self, rows: Tensor) -> None:
        self._inside = {where: None if state is None else state[rows] for where, state in self._inside.items()}


class _ReadIntoState:
    """The state of RWKV: five tensors. The library's step is right for one row alone (with several it mixes them), so each row is asked for
    itself, all of them in one vectorized call."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._state: list[Tensor] | None = None  # each (rows, 1, ...)

    def read(self, ids: Tensor) -> Tensor:
        if self._state is None:
            answer = self._model(input_ids=ids, use_cache=True)
            self._state = [part[:, None] for part in answer.state]
            return cast("Tensor", answer.logits[:, -1]).float()
        logits, self._state = torch.vmap(self._of_one)(ids[:, None], self._state)
        return logits.float()

    def repeat(self, samples: int, room: int) -> None:
        self.select(torch.zeros(samples, dtype=torch.long, device=self._model.device))

    def select(self, rows: Tensor) -> None:
        assert self._state is not None
        self._state = [part[rows] for part in self._state]

    def _of_one(self, ids: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        answer = self._model(input_ids=ids, state=[part.clone() for part in state], use_cache=True)
        return answer.logits[0, -1], answer.state


class _Room:
    """The keys or the values of a layer in memory with room for every step, so that none is copied when another is added."""

    def __init__(self, prompt: Tensor | None, samples: int, room: int, shared: bool) -> None:
        assert prompt is not None  # what was read fills it
        _, heads, length, width = prompt.shape
        self.prompt = prompt if shared else None  # else copied to each
        self._end = 0 if shared else length
        self._memory = prompt.new_empty(samples, heads, self._end + max(room, 1), width)
        if not shared:
            self._memory[:, :, :length] = prompt

    def add(self, new: Tensor) -> Tensor:
        """(rows, heads, 1, width) of one code more -> those of all codes in memory."""
        self._memory[:, :, self._end : self._end + 1] = new
        self._end += 1
        return self._memory[:, :, : self._end]

    def select(self, rows: Tensor) -> None:
        self._memory = self._memory[rows]


class _LayerWithRoom(DynamicLayer):
    """The library's layer of keys and values, for ``samples`` rows and ``room`` further codes."""

    def __init__(self, layer: DynamicLayer, samples: int, room: int, shared: bool) -> None:
        super().__init__()
        self.is_initialized, self._read = True, layer.get_seq_length()
        self._keys, self._values = (_Room(x, samples, room, shared) for x in (layer.keys, layer.values))

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self._read += 1
        keys, values = self._keys.add(key_states), self._values.add(value_states)
        if self._keys.prompt is not None:
            keys.of_prompt = self._keys.prompt, self._values.prompt  # type: ignore[attr-defined]  # for _attend
        return keys, values

    def get_seq_length(self) -> int:
        return self._read

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._keys.select(beam_idx)
        self._values.select(beam_idx)


class _WindowWithRoom(DynamicSlidingWindowLayer):
    """As ``_LayerWithRoom``, of a layer that sees the last ``sliding_window`` codes alone."""

    def __init__(self, layer: DynamicSlidingWindowLayer, samples: int, room: int) -> None:
        super().__init__(layer.sliding_window)
        self.is_initialized, self.cumulative_length = True, layer.cumulative_length
        self._keys, self._values = (_Room(x, samples, room, shared=False) for x in (layer.keys, layer.values))

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.cumulative_length += 1
        keys, values = self._keys.add(key_states), self._values.add(value_states)
        return keys[:, :, -self.sliding_window :], values[:, :, -self.sliding_window :]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._keys.select(beam_idx)
        self._values.select(beam_idx)


def _with_room(layer: DynamicLayer, samples: int, room: int, shared: bool) -> _LayerWithRoom | _WindowWithRoom:
    """A layer that has read one prompt, for its continuations. A window that they will not leave is none."""
    if isinstance(layer, DynamicSlidingWindowLayer) and layer.get_seq_length() + room >= layer.sliding_window:
        return _WindowWithRoom(layer, samples, room)
    return _LayerWithRoom(layer, samples, room, shared)


@contextmanager
def _attention(model: PreTrainedModel, name: str | None) -> Iterator[None]:
    """Let the library use this attention function for a while."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name or before
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention of one code a row, (rows, heads, 1, width), to its own keys, (rows, key heads, n, width), and to the prompt's, which all rows
    share; (rows, 1, heads, width). As the library's, where there are none.

    Raises NotImplementedError for what changes the scores in between (a cap, a bias, sinks).
    """
    prompt = getattr(key, "of_prompt", None)
    if prompt is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
    if any(more.get(name) is not None for name in ("softcap", "position_bias", "s_aux")):
        raise NotImplementedError
    rows, heads, _, width = query.shape
    key_heads, of_all = key.shape[1], prompt[0].shape[2]
    query = query.reshape(rows, key_heads, -1, width) * (width**-0.5 if scaling is None else scaling)
    to_all = _of_prompt(query, prompt[0][0].transpose(1, 2))
    to_own = torch.bmm(query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2)).unflatten(0, (rows, key_heads))
    scores = torch.cat([to_all, to_own], dim=-1)
    if attention_mask is not None:  # True where a code is seen
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    of_own = torch.bmm(weights[..., of_all:].flatten(0, 1), value.flatten(0, 1)).unflatten(0, (rows, key_heads))
    found = of_own + _of_prompt(weights[..., :of_all], prompt[1][0])
    return found.reshape(rows, 1, heads, -1), None


def _of_prompt(x: Tensor, each: Tensor) -> Tensor:
    """(rows, key heads, group, n) times (key heads, n, m), all rows in one product."""
    by_head = x.transpose(0, 1)
    return (by_head.flatten(1, 2) @ each).unflatten(1, by_head.shape[1:3]).transpose(0, 1)


AttentionInterface.register(_ATTENTION, _attend)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


def _numbers_of_a_code(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return 2 * config.num_hidden_layers * config.hidden_size
