"""How likely a model recites what really followed, word for word or nearly: a bound from below, without sampling.

Near-verbatim extraction (Cooper et al., arXiv 2603.24917): a beam search under the very distribution that the model samples from. Of all beginnings
that can still end within so many edits of the truth the likeliest are kept, and the probabilities of those that end there are summed. What is dropped,
and what a model does not show, counts 0: the sum never exceeds the true probability, and is it where nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.errors import BadInput, CannotAnswer

EDITS = (0, 1, 2, 5)
CODES = 16
WIDTH = 20
FLOOR = 1e-5


@dataclass(frozen=True)
class NearVerbatim:
    """``bounds``: by number of edits, at least how likely the model's first codes, as many as the true ones, come within them. ``asked``: how many
    next-code distributions that took; one sample takes as many as there are true codes."""

    bounds: Mapping[int, float]
    asked: int


def near_verbatim(
    model: BlackBox,
    prompts: Sequence[Sequence[int]],
    truths: Sequence[Sequence[int]],
    *,
    edits: Sequence[int] = EDITS,
    width: int = WIDTH,
    floor: float = FLOOR,
    tracked: np.ndarray | None = None,
) -> list[NearVerbatim]:
    """A bound for each prompt (ids) and the codes that truly follow it (ids). An edit inserts, drops or replaces one code (Levenshtein).

    ``width``: beginnings kept at each code. ``floor``: less likely beginnings are dropped, and nothing is searched where even the truth without its
    least likely codes, as many as the widest number of ``edits``, is less likely (0: all is). Each bound is at least the probability of the exact
    truth, which is all there is for a model that gives no whole distributions. ``tracked``: (codes,) bool, the codes that may stand in for a true one (None: all); with tens of
    thousands of codes, those that are not rare.

    Raises BadInput for a truth of no more codes than edits, CannotAnswer for a model that gives no log-probabilities, or elapsed times with its codes.
    """
    if any(len(truth) <= max(edits) for truth in truths):
        shortest = min(map(len, truths))
        raise BadInput(
            f"{max(edits)} edits turn any {shortest} codes into any others. Ask about at least {max(edits) + 1} codes, or about fewer edits."
        )
    if Query.SCORES not in model.answers or model.vocabulary.timed:
        why = "tells time" if model.vocabulary.timed else "gives no log-probabilities of given codes"
        raise CannotAnswer(f"The model {why}, so it cannot be said how likely it recites a record.")
    scores = model.score([[*prompt, *truth] for prompt, truth in zip(prompts, truths, strict=True)])
    own = [found[len(prompt) - 1 :] for prompt, found in zip(prompts, scores, strict=True)]
    searches = {
        place: _Search(prompts[place], truths[place], edits, width, floor)
        for place, logs in enumerate(own)
        if Query.PROBABILITIES in model.answers and np.exp(np.sort(logs)[max(edits) :].sum()) >= floor
    }
    if searches:
        _search(model, list(searches.values()), tracked)
    found = []
    for place, logs in enumerate(own):
        exact, search = min(1.0, float(np.exp(logs.sum()))), searches.get(place)
        bounds = {most: max(exact, min(1.0, search.found[most])) if search else exact for most in edits}
        found.append(NearVerbatim(bounds, len(logs) + (search.asked if search else 0)))
    return found


def _search(model: BlackBox, searches: list[_Search], tracked: np.ndarray | None) -> None:
    """All searches at the same pace, so that a model is asked about many beginnings at once."""
    vocabulary = model.vocabulary
    common = np.ones(len(vocabulary), dtype=bool) if tracked is None else tracked[: len(vocabulary)]
    stops = vocabulary.ids(sorted(vocabulary.stops))
    ids = np.union1d(np.flatnonzero(common), [*stops, *(code for one in searches for code in one.truth)]).astype(int)
    track = np.zeros((len(vocabulary), len(ids)), dtype=np.float32)
    track[ids, np.arange(len(ids))] = 1
    for one in searches:
        one.begin(ids, common, stops)
    while going := [one for one in searches if len(one.mass)]:
        prompts = [[[code] for code in beginning] for one in going for beginning in one.beginnings]
        step = next(iter(model.generate(prompts, 1, 1, track=track)))
        assert step.mass is not None
        ends = np.cumsum([len(one.mass) for one in going])
        for one, probabilities in zip(going, np.split(step.mass[:, 0], ends[:-1]), strict=True):
            one.advance(probabilities.astype(float))


class _Search:
    """One search: ``beginnings`` with their ``mass``, and for each the edits that lead from it to every beginning of the truth (a row of the dynamic
    programme). ``found``: by number of edits, the probability that ended within them."""

    def __init__(
        self, prompt: Sequence[int], truth: Sequence[int], edits: Sequence[int], width: int, floor: float
    ) -> None:
        self.truth, self._width, self._floor, self._most = np.asarray(truth), width, floor, max(edits)
        self.beginnings, self.mass = [list(prompt)], np.ones(1)
        self.found, self.asked = dict.fromkeys(edits, 0.0), 0
        self._rows, self._done = np.arange(len(truth) + 1)[None], 0

    def begin(self, ids: np.ndarray, common: np.ndarray, stops: Sequence[int]) -> None:
        """Of the columns to come: which code each is, and of which kind: one of the true codes or stop codes, or any other."""
        kinds = np.union1d(self.truth, stops).astype(int)
        place = np.searchsorted(kinds, ids).clip(max=len(kinds) - 1)
        known = kinds[place] == ids
        self._ids, self._kind = ids, np.where(known, place, len(kinds))
        self._shown = common[ids] | known
        self._same = np.vstack([kinds[:, None] == self.truth, np.zeros(len(self.truth), dtype=bool)])
        self._stops = np.append(np.isin(kinds, stops), False)

    def advance(self, probabilities: np.ndarray) -> None:
        """One code more: ``probabilities`` (beginnings, columns) of the next code."""
        self.asked += len(self.mass)
        self._done += 1
        mass = self.mass[:, None] * probabilities * self._shown
        rows = _next_rows(self._rows, self._same, self._done)
        last = self._done == len(self.truth)
        self._count(mass, rows[..., -1], np.ones_like(self._stops) if last else self._stops)
        # to come are as many codes as are left of the truth, or fewer: whoever is ahead of the truth must drop the difference
        least = (rows + np.maximum(0, self._done - np.arange(rows.shape[-1]))).min(axis=-1)
        goes_on = (least <= self._most) & ~self._stops & ~last
        self._keep(mass * goes_on[:, self._kind], rows)

    def _count(self, mass: np.ndarray, edits: np.ndarray, ended: np.ndarray) -> None:
        """Add what ended: ``edits`` (beginnings, kinds), ``ended`` (kinds,)."""
        for most in self.found:
            self.found[most] += float(mass[((edits <= most) & ended)[:, self._kind]].sum())

    def _keep(self, mass: np.ndarray, rows: np.ndarray) -> None:
        likely = np.flatnonzero(mass > self._floor)
        if len(likely) > self._width:
            likely = likely[np.argpartition(-mass.flat[likely], self._width)[: self._width]]
        beam, column = np.unravel_index(likely, mass.shape)
        self.beginnings = [[*self.beginnings[b], int(self._ids[c])] for b, c in zip(beam, column, strict=True)]
        self.mass, self._rows = mass[beam, column], rows[beam, self._kind[column]]


def _next_rows(rows: np.ndarray, same: np.ndarray, done: int) -> np.ndarray:
    """The rows of the edit distance after one code more: (beginnings, n + 1) rows and (kinds, n) whether a kind is the true code at a place ->
    (beginnings, kinds, n + 1)."""
    ahead = np.minimum(rows[:, None, 1:] + 1, rows[:, None, :-1] + ~same)
    first = np.full((*ahead.shape[:2], 1), done)
    steps = np.arange(rows.shape[1])
    return np.minimum.accumulate(np.concatenate([first, ahead], axis=-1) - steps, axis=-1) + steps
