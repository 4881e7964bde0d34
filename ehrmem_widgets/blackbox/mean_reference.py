"""Several reference models as one black box that answers with their mean, so that no control rests on one training run alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds, Step, within_context
from ehrmem_widgets.errors import BadInput


class MeanReference:
    """The mean of several reference models.

    - ``generate``: each model gives its share of the samples, stacked along the samples: the mean of a leak over the
      trajectories is then the mean of the models' leaks. A number that cannot be shared equally is shared as evenly as it can
      be, and the seed decides who gives one more. Each model draws with a seed of its own: with the same numbers, models that are
      alike would give the same trajectories, and an interval over the trajectories would be too narrow. Shares of a fixed size
      make the mean a stratified one, so that the interval is, if anything, too wide.
    - ``score``, ``score_moments``: the means of the models' figures, code by code.
    - ``embed``: the models' vectors side by side, over the square root of their number: a cosine is the mean of the models' cosines.

    ``answers`` is what all of them answer, ``context_length`` the smallest, ``fingerprint`` all fingerprints; ``references`` are
    the models themselves. ``training_split`` is the one that all name, None otherwise: ``training_splits.seen_by`` asks each.

    Raises
    ------
    BadInput
        For fewer than two models, the same one twice, and models that do not read the same codes in the same way.

    """

    def __init__(self, references: Sequence[BlackBox]) -> None:
        self.references = tuple(references)
        _check_same_codes(self.references)
        self.name = f"mean of {_in_words(_names(self.references))}"
        self.fingerprint = "+".join(one.fingerprint for one in self.references)
        self.vocabulary = self.references[0].vocabulary
        self.context_length = min(one.context_length for one in self.references)
        self.answers = frozenset[Query].intersection(*(one.answers for one in self.references))
        splits = {one.training_split for one in self.references}
        self.training_split = splits.pop() if len(splits) == 1 else None

    def __repr__(self) -> str:
        return f"MeanReference({', '.join(map(repr, self.references))})"

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
        """As ``BlackBox.generate``; stops early when the smallest context is full or every continuation has ended."""
        if not self.vocabulary.timed:
            horizon = within_context(prompts, horizon, self.context_length)
        track = track if Query.PROBABILITIES in self.answers else None
        k = len(self.references)
        shares = [samples // k + ((place - seed) % k < samples % k) for place in range(k)]
        running = [
            one.generate(prompts, horizon, share, track=track, banned=banned, seed=_seed(seed, place))
            for place, (one, share) in enumerate(zip(self.references, shares, strict=True))
            if share
        ]
        try:
            yield from _stacked(running, with_mass=track is not None)
        finally:
            for one in running:
                if isinstance(one, Generator):
                    one.close()

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``, the mean of the models' log-probabilities; of a sequence longer than the smallest context, its first
        part."""
        return self._mean([one.score for one in self.references], sequences)

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``, the mean of each of the models' three figures; of a sequence longer than the smallest
        context, its first part."""
        return self._mean([one.score_moments for one in self.references], sequences)

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """As ``BlackBox.embed``: (n, the sum of the models' d)."""
        vectors = [one.embed(self._cut(sequences)) for one in self.references]
        return np.concatenate(vectors, axis=1) / np.sqrt(len(vectors))

    def _cut(self, sequences: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        return [sequence[: self.context_length] for sequence in sequences]

    def _mean(
        self, asks: Sequence[Callable[[Sequence[Sequence[int]]], list[np.ndarray]]], sequences: Sequence[Sequence[int]]
    ) -> list[np.ndarray]:
        by_model = [ask(self._cut(sequences)) for ask in asks]
        return [np.mean(figures, axis=0) for figures in zip(*by_model, strict=True)]


def models_of(reference: BlackBox | None) -> tuple[BlackBox, ...]:
    """The reference models behind what may be their mean: none, one or several."""
    if reference is None:
        return ()
    several: tuple[BlackBox, ...] = getattr(reference, "references", (reference,))
    return several


def _stacked(running: Sequence[Iterator[Step]], *, with_mass: bool) -> Iterator[Step]:
    """The models' steps side by side, as long as one of them goes on; -1 and no mass for those that have ended."""
    last: list[Step] = []
    while True:
        said = [next(one, None) for one in running]
        if all(step is None for step in said):
            return
        # Each of them says something at the first step, or raises.
        last = [step or _ended(last[place]) for place, step in enumerate(said)]
        masses = [
            np.broadcast_to(step.mass, (*step.codes.shape, step.mass.shape[-1]))
            for step in last
            if with_mass and step.mass is not None
        ]
        yield Step(
            np.concatenate([step.codes for step in last], axis=1),
            np.concatenate(masses, axis=1) if masses else None,
            np.concatenate([step.log_weight for step in last], axis=1),
            _beside([step.days for step in last]),
            _beside([step.rates for step in last]),
        )


def _beside(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there, axis=1) if there else None


def _ended(step: Step) -> Step:
    mass, rates = (None if one is None else np.zeros_like(one) for one in (step.mass, step.rates))
    return Step(np.full_like(step.codes, -1), mass, step.log_weight, step.days, rates)


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])


def _check_same_codes(references: Sequence[BlackBox]) -> None:
    if len(references) < 2:
        raise BadInput("A mean needs two reference models or more.")
    first = references[0]
    for place, other in enumerate(references[1:], 1):
        if other.fingerprint in [one.fingerprint for one in references[:place]]:
            raise BadInput(f"The reference model {other.name!r} is named twice. Name each once.")
        mine, theirs = first.vocabulary, other.vocabulary
        if mine.codes != theirs.codes:
            missing = sorted(set(mine.codes) ^ set(theirs.codes))
            how = f"such as {missing[0]}, which one of them lacks" if missing else "the same ones in another order"
            raise BadInput(
                f"The reference models {first.name!r} and {other.name!r} have different codes ({len(mine):,} and {len(theirs):,}; {how}), "
                "so there is no mean of them. Name models that share their list of codes ('ehrmem train --vocabulary')."
            )
        for what in ("token_scheme", "bins", "start", "stops"):
            if getattr(mine, what) != getattr(theirs, what):
                raise BadInput(
                    f"The reference models {first.name!r} and {other.name!r} have the same codes but read records differently (their {what} "
                    "differ), so there is no mean of them. Name models that were trained on records written in the same way."
                )


def _names(models: Sequence[BlackBox]) -> list[str]:
    """The models' names, with the start of the fingerprint where several have the same."""
    times = Counter(one.name for one in models)
    return [one.name if times[one.name] == 1 else f"{one.name} ({one.fingerprint[:4]})" for one in models]


def _in_words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
