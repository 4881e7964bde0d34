"""Decode many continuations of few prompts, fast: which decoder serves a model.

``attention_decoding`` and ``state_space_decoding`` run the layers of the architectures that they know themselves;
``library_decoding`` leaves the others to transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from ehrmem_widgets.blackbox.attention_decoding import SharedPromptDecoder, transformer_parts
from ehrmem_widgets.blackbox.state_space_decoding import StateSpaceDecoder, state_space_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NARROWEST = 256  # width of a model that gains by 16-bit products
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


def best_decoder(model: PreTrainedModel, *, sixteen_bits: bool = False) -> Callable[[], Decoder]:
    """What makes a decoder: the fastest that gives the logits of the library's plain forward pass, code for code; ``sixteen_bits``: by products in
    bfloat16, too, where they pay."""
    size = cast("nn.Embedding", model.get_input_embeddings()).weight.shape[0]
    length = min(12, (context_length(model) or 12) - 1)
    ids = [(7 * i + 1) % size for i in range(length)]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
    spread = float(expected.std())
    for number_format, new_decoder in _decoders(model, sixteen_bits):
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
            if float(difference.abs().max()) <= (5e-4 if number_format == torch.float32 else 0.05) * spread:
                return new_decoder
        except _DISAGREES:  # a config of this architecture that the decoder does not know
            continue
    from ehrmem_widgets.blackbox.library_decoding import RereadingDecoder

    return lambda: RereadingDecoder(model)


def _decoders(model: PreTrainedModel, sixteen_bits: bool) -> Iterator[tuple[torch.dtype, Callable[[], Decoder]]]:
    """From the fastest on, with the number format that each computes in."""
    for number_format in (torch.bfloat16, model.dtype) if sixteen_bits and _pays(model) else (model.dtype,):
        transformer = transformer_parts(model, packed=number_format)
        if transformer is not None:
            yield number_format, partial(SharedPromptDecoder, transformer)
    state_space = state_space_parts(model)
    if state_space is not None:
        yield model.dtype, partial(StateSpaceDecoder, state_space)
    from ehrmem_widgets.blackbox.library_decoding import LibraryDecoder

    yield model.dtype, lambda: LibraryDecoder(model, shared=True)
    yield model.dtype, lambda: LibraryDecoder(model, shared=False)


def _pays(model: PreTrainedModel) -> bool:
    """Whether 16-bit products are faster, and were held against float32 (``make evidence``): on a processor that has them, not where torch does
    them in software, and for wide models of codes alone."""
    return (
        model.config.model_type in ("gpt2", "llama", "gpt_neox")
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and cast("nn.Embedding", model.get_input_embeddings()).weight.shape[1] >= _NARROWEST
        and torch.backends.mkldnn.is_available()
        and torch.cpu._is_avx512_bf16_supported()
    )


def context_length(model: PreTrainedModel) -> int | None:
    """How many codes a model of transformers takes; None where its config sets no bound, as with states."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    return next((int(n) for name in names if (n := getattr(config, name, None))), None)
