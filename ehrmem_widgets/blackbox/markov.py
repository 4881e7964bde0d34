"""A Markov chain as a black box: slow to learn anything from, but its leak probabilities are known exactly (an oracle)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ehrmem_widgets.blackbox.protocol import Query, SlotIds, Step, slot_uniforms, split_prompts
from ehrmem_widgets.tokens.vocabulary import Vocabulary


class MarkovChain:
    """A black box whose next code depends on the last one only.

    ``transitions`` is (codes, codes): row i holds the probabilities of the code that follows code i.
    """

    name = fingerprint = "Markov chain"
    context_length = 1_000_000
    training_split: str | None = None
    answers = frozenset(Query) - {Query.EMBEDDINGS}

    def __init__(self, transitions: np.ndarray, vocabulary: Vocabulary | None = None) -> None:
        self.transitions = np.asarray(transitions, dtype=float)
        size = len(self.transitions)
        if self.transitions.shape != (size, size) or not np.allclose(self.transitions.sum(axis=1), 1):
            raise ValueError(f"transitions must be square with rows that add up to 1; got {self.transitions.shape}")
        self.vocabulary = vocabulary or Vocabulary(
            tuple(f"STATE//{i}" for i in range(size)), start=None, stops=frozenset(), pad=None
        )

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
        shared, slots = split_prompts(prompts)
        rng, to_fill = np.random.default_rng(seed), slot_uniforms(len(slots[0]), samples, seed)
        shape = (len(prompts), samples)
        now = np.repeat([[ids[-1]] for ids in shared], samples, axis=1)
        log_weight = np.zeros(shape)
        for place in range(len(slots[0])):
            allowed = np.zeros((shape[0], 1, len(self.transitions)), dtype=bool)
            for row, filled in enumerate(slots):
                allowed[row, 0, filled[place]] = True
            now, kept = _draw(self.transitions[now] * allowed, to_fill[place])
            with np.errstate(divide="ignore"):
                log_weight = log_weight + np.log(kept)
        track = np.zeros((len(self.transitions), 0)) if track is None else track
        stops = [self.vocabulary.id(code) for code in self.vocabulary.stops]
        alive = np.ones(shape, dtype=bool)
        for _ in range(horizon):
            following = self.transitions[now]
            mass = (following @ track) * alive[..., None]
            now, _kept = _draw(
                following if banned is None else following * ~banned, rng.random(samples, dtype=np.float32)
            )
            yield Step(np.where(alive, now, -1), mass, log_weight)
            alive &= ~np.isin(now, stops)
            if not alive.any():
                return

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``."""
        with np.errstate(divide="ignore"):
            return [np.log(self.transitions[list(s[:-1]), list(s[1:])]) for s in sequences]

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``, exactly; impossible codes have no part in the moments (0 log 0 = 0)."""
        logs = np.log(np.where(self.transitions > 0, self.transitions, 1.0))
        mean = (self.transitions * logs).sum(axis=1)
        spread = np.sqrt((self.transitions * (logs - mean[:, None]) ** 2).sum(axis=1))
        return [
            np.column_stack([scores, mean[list(s[:-1])], spread[list(s[:-1])]])
            for s, scores in zip(sequences, self.score(sequences), strict=True)
        ]

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """A Markov chain has no embeddings."""
        raise NotImplementedError("a Markov chain gives no embeddings")

    def leak_probability(self, start: int, sensitive: Sequence[int], horizon: int) -> float:
        """Exact P(at least one sensitive code within the horizon), from the chain stopped at a sensitive code."""
        others = np.setdiff1d(np.arange(len(self.transitions)), sensitive)
        staying = self.transitions[np.ix_(others, others)]
        first = self.transitions[start][others]
        return float(1 - (first @ np.linalg.matrix_power(staying, horizon - 1)).sum())


def _draw(weights: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cumulated = weights.cumsum(axis=-1)
    total = cumulated[..., -1:]
    drawn = (cumulated <= uniform[:, None] * total).sum(axis=-1)
    return np.minimum(drawn, weights.shape[-1] - 1), total[..., 0]
