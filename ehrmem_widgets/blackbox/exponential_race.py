"""A Markov chain in continuous time as a black box: its leak probabilities within a time are known exactly (an oracle)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ehrmem_widgets.blackbox.protocol import Query, SlotIds, Step
from ehrmem_widgets.blackbox.race import Race
from ehrmem_widgets.blackbox.sampling import sample
from ehrmem_widgets.tokens.moments import days_of, ids_of
from ehrmem_widgets.tokens.token_scheme import TokenScheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary

AGES = TokenScheme(name="ages", age=None, time="ages", values=None)


class ExponentialRace:
    """A black box in which, after each code, all codes race at constant rates.

    ``rates`` is (codes, codes): row i holds how often each code comes a day while code i was the last, 0 for never. A code may follow itself.
    """

    name = fingerprint = "exponential race"
    training_split: str | None = None
    answers = frozenset(Query) - {Query.EMBEDDINGS}

    def __init__(
        self, rates: np.ndarray, vocabulary: Vocabulary | None = None, *, context_length: int = 100_000
    ) -> None:
        self.rates, self.context_length = np.asarray(rates, dtype=float), context_length
        size = len(self.rates)
        if self.rates.shape != (size, size) or (self.rates < 0).any():
            raise ValueError(f"rates must be square and not negative; got {self.rates.shape}")
        self.vocabulary = vocabulary or Vocabulary(
            tuple(f"STATE//{i}" for i in range(size)), start=None, stops=frozenset(), pad=None, token_scheme=AGES
        )
        nothing = torch.zeros(size, dtype=torch.bool)
        self._race = Race(never=nothing, once=nothing)

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
        """As ``BlackBox.generate``."""
        yield from sample(
            lambda: _LastCode(self.rates), prompts, horizon, samples, size=len(self.rates),
            context_length=self.context_length, stops=self.vocabulary.ids(sorted(self.vocabulary.stops)), track=track,
            banned=banned, seed=seed, race=self._race,
        )  # fmt: skip

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``."""
        return [moments[:, 0] for moments in self.score_moments(sequences)]

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``, exactly."""
        found = []
        for sequence in sequences:
            ids, wait = ids_of(sequence), np.diff(days_of(sequence))
            here = self.rates[ids[:-1]]
            with np.errstate(divide="ignore"):
                own = np.log(here[np.arange(len(wait)), ids[1:]])
            logs, p = np.log(np.where(here > 0, here, 1.0)), here / here.sum(axis=1, keepdims=True)
            mean = (p * logs).sum(axis=1)
            spread = (p * (logs - mean[:, None]) ** 2).sum(axis=1)
            found.append(np.column_stack([own - wait * here.sum(axis=1), mean - 1, np.sqrt(spread + 1)]))
        return found

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """A race of constant rates has no embeddings."""
        raise NotImplementedError("an exponential race gives no embeddings")

    def leak_probability(self, start: int, sensitive: Sequence[int], days: float) -> float:
        """Exact P(at least one sensitive code within so many days): 1 minus the mass that the generator without the sensitive codes keeps."""
        from scipy.linalg import expm

        others = np.setdiff1d(np.arange(len(self.rates)), sensitive)
        moves = self.rates[:, others]
        generator = moves[others] - np.diag(self.rates[others].sum(axis=1))
        if start in others:
            return float(1 - expm(generator * days)[list(others).index(start)].sum())
        # From a sensitive code, the first move is at that row's rates: one more state that is only left.
        size = len(others)
        whole = np.zeros((size + 1, size + 1))
        whole[:size, :size], whole[size, :size], whole[size, size] = generator, moves[start], -self.rates[start].sum()
        return float(1 - expm(whole * days)[size].sum())


class _LastCode:
    """As ``decoding.Decoder``: the log-rates of the last code."""

    def __init__(self, rates: np.ndarray) -> None:
        self._log_rates = torch.from_numpy(rates).log().float()

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        return self._log_rates[torch.from_numpy(ids_of([prompt[-1] for prompt in prompts]))]

    def step(self, codes: Tensor) -> Tensor:
        return self._log_rates[torch.from_numpy(ids_of(codes.clamp(min=0).numpy()))]

    def keep(self, rows: Tensor) -> None:
        """Nothing is held."""

    def bytes_a_sample(self, longest: int, room: int) -> int:
        return 8 * len(self._log_rates)
