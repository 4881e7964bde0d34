"""Decode many continuations of few prompts, fast: which decoder serves a model, and the two that serve any.

``attention_decoding`` and ``state_space_decoding`` run the layers of the architectures that they know themselves.
``LibraryDecoder`` leaves the others to transformers and its own cache; ``RereadingDecoder`` needs no cache at all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from ehrmem_widgets.blackbox.attention_decoding import SharedPromptDecoder, transformer_parts
from ehrmem_widgets.blackbox.rows import Rows
from ehrmem_widgets.blackbox.state_space_decoding import StateSpaceDecoder, state_space_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_DISAGREES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Decoder(Protocol):
    """What the sampling loop needs."""

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        """Read the prompts; ``room`` is the number of steps to come. Returns logits (prompts, codes), float32."""
        ...

    def step(self, codes: Tensor) -> Tensor:
        """Append one code to each continuation. ``codes``: (rows,), at first all samples of the first prompt, then of the next; -1
        where one has ended, whose logits no longer matter. Returns (rows, codes), float32."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows (ascending) alone: the next codes are theirs."""
        ...

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """About how much memory one continuation of a prompt of ``longest`` codes holds for ``room`` steps."""
        ...


class LibraryDecoder:
    """Any causal model of transformers, by its own forward and its own cache, one prompt after the other."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        takes = inspect.signature(model.forward).parameters
        self._cache_name = "cache_params" if "cache_params" in takes else "past_key_values"

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: as many keys and values as the layers are wide, or states of that size."""
        return _numbers_of_a_code(self._model) * (longest + room) * self._model.dtype.itemsize

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        device = self._model.device
        self._rows, self._caches, logits = Rows(len(prompts), samples, device), [], []
        same = torch.zeros(samples, dtype=torch.long, device=device)
        for prompt in prompts:
            answer = self._model(input_ids=torch.tensor([prompt], device=device), use_cache=True)
            cache = getattr(answer, self._cache_name)
            if samples > 1:
                cache.reorder_cache(same)  # every sample is the first (and only) row
            self._caches.append(cache)
            logits.append(answer.logits[:, -1].float())
        return torch.cat(logits)

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        logits = []
        for cache, row in zip(self._caches, self._rows.parts(codes.clamp(min=0)), strict=True):
            answer = self._model(input_ids=row[:, None], use_cache=True, **{self._cache_name: cache})
            logits.append(answer.logits[:, -1].float())
        return torch.cat(logits)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        kept = self._rows.parts(self._rows.mask(rows))
        self._caches = [cache for cache, there in zip(self._caches, kept, strict=True) if bool(there.any())]
        for cache, there in zip(self._caches, (one for one in kept if bool(one.any())), strict=True):
            cache.reorder_cache(there.nonzero()[:, 0])
        self._rows.keep(rows)


class RereadingDecoder:
    """Any causal model of transformers, read from its first code at every step: slow, and right by definition."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: the logits of every place, and as much as a cache would hold."""
        numbers = _numbers_of_a_code(self._model) + self._model.get_output_embeddings().weight.shape[0]
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


def best_decoder(model: PreTrainedModel) -> Callable[[], Decoder]:
    """What makes a decoder: the fastest that gives the logits of the library's plain forward pass, code for code."""
    size = cast("nn.Embedding", model.get_input_embeddings()).weight.shape[0]
    length = min(12, (context_length(model) or 12) - 1)
    ids = [(7 * i + 1) % size for i in range(length)]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
    tolerance = (5e-4 if model.dtype == torch.float32 else 0.05) * float(expected.std())
    for new_decoder in _decoders(model):
        try:
            decoder = new_decoder()
            found = [decoder.begin([ids[:2], ids[:4]], 2, length)]  # two lengths, for the padding
            for number, (short, long) in enumerate(zip(ids[2:-2], ids[4:], strict=True)):
                if number == 2:  # from here on without those that have ended
                    decoder.keep(torch.tensor([0, 2], device=model.device))
                codes = [short, -1, long, -1] if number < 2 else [short, long]
                found.append(decoder.step(torch.tensor(codes, device=model.device))[:: len(codes) // 2])
            of_short, of_long = torch.stack(found, dim=1)
            difference = torch.cat([of_short - expected[1 : length - 2], of_long - expected[3:]])
            if float(difference.abs().max()) <= tolerance:
                return new_decoder
        except _DISAGREES:  # a config of this architecture that the decoder does not know
            continue
    return lambda: RereadingDecoder(model)


def _decoders(model: PreTrainedModel) -> Iterator[Callable[[], Decoder]]:
    """From the fastest on."""
    transformer, state_space = transformer_parts(model), state_space_parts(model)
    if transformer is not None:
        yield lambda: SharedPromptDecoder(transformer)
    if state_space is not None:
        yield lambda: StateSpaceDecoder(state_space)
    yield lambda: LibraryDecoder(model)


def context_length(model: PreTrainedModel) -> int | None:
    """How many codes a model of transformers takes; None where its config sets no bound, as with states."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    return next((int(n) for name in names if (n := getattr(config, name, None))), None)


def _numbers_of_a_code(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    return 2 * config.num_hidden_layers * config.hidden_size
