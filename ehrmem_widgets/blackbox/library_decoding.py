"""The two decoders that leave a model's layers to transformers: one goes on from what the library keeps of the codes read, the other rereads them.

Each prompt is read once for all samples; then its keys and values, or its state, are given to each continuation.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from ehrmem_widgets.blackbox.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    """Any causal model of transformers, by its own forward and its own cache or state, one prompt after the other."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._new_reader = _ReadIntoState if "state" in inspect.signature(model.forward).parameters else _ReadIntoCache

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
        numbers = _numbers_of_a_code(self._model) + cast("nn.Linear", self._model.get_output_embeddings()).weight.shape[0]
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

    def __init__(self, model: PreTrainedModel) -> None:
        takes = inspect.signature(model.forward).parameters
        self._model = model
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
        answer = self._model(input_ids=ids, use_cache=True, **{self._name: self._cache}, **self._last)
        self._cache = answer.get(self._name, self._cache)
        self._inside = {(module, name): getattr(module, name) for module, name in self._inside}
        return cast("Tensor", answer.logits[:, -1]).float()

    def repeat(self, samples: int, room: int) -> None:
        cache: Cache = getattr(self._cache, "self_attention_cache", self._cache)
        with_room = {DynamicLayer: _LayerWithRoom, DynamicSlidingWindowLayer: _WindowWithRoom}
        same = torch.zeros(samples, dtype=torch.long, device=self._model.device)  # every sample is the first (and only) row
        for place, layer in enumerate(cache.layers):
            if type(layer) in with_room and layer.get_seq_length():
                cache.layers[place] = with_room[type(layer)](layer, samples, room)
            else:
                layer.reorder_cache(same)
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
        return cast("Tensor", logits).float()

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

    def __init__(self, prompt: Tensor, samples: int, room: int) -> None:
        _, heads, self._end, width = prompt.shape
        self._memory = prompt.new_empty(samples, heads, self._end + max(room, 1), width)
        self._memory[:, :, : self._end] = prompt

    def add(self, new: Tensor) -> Tensor:
        """(rows, heads, 1, width) of one code more -> those of all codes."""
        self._memory[:, :, self._end : self._end + 1] = new
        self._end += 1
        return self._memory[:, :, : self._end]

    def select(self, rows: Tensor) -> None:
        self._memory = self._memory[rows]


class _LayerWithRoom(DynamicLayer):
    """The library's layer of keys and values, for ``samples`` rows and ``room`` further codes."""

    def __init__(self, layer: DynamicLayer, samples: int, room: int) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = layer.keys, layer.values, True
        self._rooms = _Room(layer.keys, samples, room), _Room(layer.values, samples, room)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        keys, values = self._rooms
        self.keys, self.values = keys.add(key_states), values.add(value_states)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        for room in self._rooms:
            room.select(beam_idx)


class _WindowWithRoom(DynamicSlidingWindowLayer):
    """As ``_LayerWithRoom``, of a layer that sees the last ``sliding_window`` codes alone."""

    def __init__(self, layer: DynamicSlidingWindowLayer, samples: int, room: int) -> None:
        super().__init__(layer.sliding_window)
        self.cumulative_length, self.is_initialized = layer.cumulative_length, True
        self._rooms = _Room(layer.keys, samples, room), _Room(layer.values, samples, room)

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.cumulative_length += 1
        keys, values = self._rooms
        return keys.add(key_states)[:, :, -self.sliding_window :], values.add(value_states)[:, :, -self.sliding_window :]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        for room in self._rooms:
            room.select(beam_idx)


def _numbers_of_a_code(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return 2 * config.num_hidden_layers * config.hidden_size
