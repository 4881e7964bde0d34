"""A model behind an output filter, as whoever asks meets it: any black box whose next-code distribution can be asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ehrmem_widgets.blackbox.callable import CallableDecoder
from ehrmem_widgets.blackbox.decoding import Decoder
from ehrmem_widgets.blackbox.folder import FolderModel, moments
from ehrmem_widgets.blackbox.output_filter import OutputFilter
from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds, Step, next_code_probabilities
from ehrmem_widgets.blackbox.sampling import sample
from ehrmem_widgets.cohort.attributes import SensitiveAttribute, load_attributes
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes

_HIDDEN = 1e-26  # what a hidden code weighs where one must be drawn: never beside others, and all alike where nothing else is allowed


class FilteredModel:
    """A model of which only what ``output_filter`` lets through is heard; ``attributes`` are those that it may suppress (the kit's own, if not
    given).

    The filter comes before what is asked: leaving codes out, or filling open places, brings nothing back that it hides. A hidden code scores
    minus infinity, and is drawn only where every code that is not hidden was left out, each of them as likely as the others.

    Raises
    ------
    BadInput
        For a model that gives elapsed times, for one without probabilities where the filter would change them, and for attributes of which the
        model has no codes.
    CannotAnswer
        From every method, for what is withheld.

    """

    def __init__(
        self, model: BlackBox, output_filter: OutputFilter, attributes: Mapping[str, SensitiveAttribute] | None = None
    ) -> None:
        if model.vocabulary.timed:
            raise BadInput(f"The model {model.name!r} gives elapsed times, and no output filter is known for those.")
        if output_filter.changes and Query.PROBABILITIES not in model.answers:
            raise BadInput(
                f"The model {model.name!r} gives no probabilities that a filter could change. Leave the filter out, or only withhold."
            )
        self.model, self.output_filter = model, output_filter
        self._sensitive = _sensitive(model, output_filter, load_attributes() if attributes is None else attributes)
        identity = [model.fingerprint, output_filter.text, self._sensitive.nonzero().flatten().tolist()]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
        self.name = f"{model.name} ({output_filter.text})"
        self.vocabulary, self.context_length = model.vocabulary, model.context_length
        self.training_split = model.training_split
        self.answers = model.answers - output_filter.withheld
        self._at_hand: _AtHand = model if isinstance(model, FolderModel) else _Asked(model)

    @property
    def number_format(self) -> str:
        """As ``FolderModel.number_format``."""
        return getattr(self.model, "number_format", "float32")

    def __repr__(self) -> str:
        return f"FilteredModel({self.model!r}, {self.output_filter.text})"

    def generate(
        self,
        prompts: Sequence[SlotIds],
        horizon: int,
        samples: int,
        *,
        track: np.ndarray | None = None,
        banned: np.ndarray | None = None,
        seed: int = 0,
    ) -> Iterator[Step]:
        """As ``BlackBox.generate``; without probabilities where they are withheld, and then of exact prompts alone."""
        silent = Query.PROBABILITIES not in self.answers
        if silent and any(len(slot) > 1 for prompt in prompts for slot in prompt):
            raise CannotAnswer(
                f"{self.name!r} withholds probabilities, so a fact that leaves several codes open cannot be filled in. Give exact facts."
            )
        track = None if silent else track
        if self.output_filter.changes:
            stops = self.vocabulary.ids(sorted(self.vocabulary.stops))
            steps = sample(
                lambda: _FilteredDecoder(self._at_hand.new_decoder(), self._filtered), prompts, horizon, samples,
                size=len(self.vocabulary), context_length=self.context_length, stops=stops, track=track, banned=banned,
                seed=seed, device=self._at_hand.device,
            )  # fmt: skip
        else:
            steps = self.model.generate(prompts, horizon, samples, track=track, banned=banned, seed=seed)
        yield from (replace(step, mass=None) for step in steps) if silent else steps

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``, minus infinity for a code that is hidden; of a sequence longer than the context, its first part."""
        if Query.SCORES in self.answers and not self.output_filter.changes:
            return self.model.score(sequences)
        return [found[:, 0] for found in self.score_moments(sequences)]

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``, likewise."""
        if Query.SCORES not in self.answers:
            raise CannotAnswer(f"{self.name!r} withholds probabilities, so it cannot score a record.")
        if not self.output_filter.changes:
            return self.model.score_moments(sequences)
        found: list[np.ndarray] = [np.empty((0, 3))] * len(sequences)
        with torch.inference_mode():
            for place, logits, ids in self._at_hand.logits(sequences):
                one = moments(self._filtered(logits.float()), ids[1:]).cpu().numpy().astype(float)
                one[one[:, 0] < np.log(2 * _HIDDEN), 0] = -np.inf
                found[place] = one
        return found

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """As ``BlackBox.embed``: a filter changes no embedding."""
        if Query.EMBEDDINGS not in self.answers:
            raise CannotAnswer(f"{self.name!r} gives no embeddings.")
        return self.model.embed(sequences)

    def _filtered(self, logits: Tensor) -> Tensor:
        """(n, codes) logits -> log-probabilities of what is shown, those of hidden codes all alike and far below."""
        left = self.output_filter.apply(logits.softmax(dim=-1), self._sensitive.to(logits.device))
        return left.clamp(min=_HIDDEN).log()


def _sensitive(model: BlackBox, given: OutputFilter, attributes: Mapping[str, SensitiveAttribute]) -> Tensor:
    """(codes,) bool: those that may be suppressed."""
    none = torch.zeros(len(model.vocabulary), dtype=torch.bool)
    if given.suppress_below is None:
        return none
    codes = AttributeCodes(model.vocabulary, attributes)
    names = codes.check_names(given.attributes or codes.default_names())
    found = codes.listed(names)
    if not found.any():
        raise BadInput(f"The model {model.name!r} has no code of {', '.join(names)} that a filter could suppress.")
    return none | torch.from_numpy(found)


class _AtHand(Protocol):
    """A model whose next-code distributions are at hand. ``logits``: of each sequence its place, (n - 1, codes) logits behind each code but the
    last, and its (n,) ids."""

    @property
    def device(self) -> torch.device: ...
    @property
    def new_decoder(self) -> Callable[[], Decoder]: ...
    def logits(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[int, Tensor, Tensor]]: ...


class _Asked:
    """Any other black box: asked about one beginning after the other."""

    device = torch.device("cpu")

    def __init__(self, model: BlackBox) -> None:
        self._model = model

    def new_decoder(self) -> Decoder:
        return CallableDecoder(
            lambda prefixes: next_code_probabilities(self._model, prefixes), len(self._model.vocabulary)
        )

    def logits(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[int, Tensor, Tensor]]:
        for place, sequence in enumerate(sequences):
            ids = [int(code) for code in sequence[: self._model.context_length]]
            prefixes = [ids[:end] for end in range(1, len(ids))]
            if prefixes:
                said = next_code_probabilities(self._model, prefixes)
                yield place, torch.from_numpy(np.array(said)).log(), torch.tensor(ids)


class _FilteredDecoder:
    """A decoder of which only what the filter lets through is heard, as ``decoding.Decoder``."""

    def __init__(self, decoder: Decoder, filtered: Callable[[Tensor], Tensor]) -> None:
        self._decoder, self._filtered = decoder, filtered
        self.keep, self.bytes_a_sample = decoder.keep, decoder.bytes_a_sample

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        return self._filtered(self._decoder.begin(prompts, samples, room))

    def step(self, codes: Tensor) -> Tensor:
        return self._filtered(self._decoder.step(codes))
