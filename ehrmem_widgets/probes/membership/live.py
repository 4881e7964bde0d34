"""On the main screen: which patients the audited model knows better than a model that never saw them, as a start for looking closer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import platformdirs

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, hidden_as_guessed
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.embedding_store import kept_rows, save_arrays
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.probes.live_part import QuickScan
from ehrmem_widgets.probes.membership.ask import in_windows
from ehrmem_widgets.probes.membership.scores import ratio
from ehrmem_widgets.tokens.sequence import encode

_AT_ONCE = 64


class MostExposed(QuickScan):
    """The score Ratio of every record (methods, section 3), kept in the user's cache folder."""

    title = "Exposed"
    term = "exposed"

    def __init__(self, exploration: Exploration, most_patients: int = 20_000) -> None:
        model, reference, dataset = exploration.model, exploration.reference, exploration.dataset
        if reference is None:
            raise BadInput(
                "Who is most exposed is seen beside a reference model that never saw the patients, and there is none."
            )
        for one in (model, reference):
            if Query.SCORES not in one.answers:
                raise BadInput(
                    f"The model {one.name} gives no probabilities, so nobody can be called most exposed by them."
                )
        self._model, self._reference, self._dataset = model, reference, dataset
        self.ids = np.array(dataset.some_ids(most_patients), dtype=np.int64)
        key = f"{model.fingerprint} {reference.fingerprint} {dataset.fingerprint} {len(self.ids)}"
        self._path = (
            platformdirs.user_cache_path("ehrmem") / f"exposed-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
        )
        kept = kept_rows(self._path, "scores", len(self.ids), may_miss=True)
        self.values = None if kept is None else kept[:, 0]
        self._found: list[float] = []

    def build(self) -> Iterator[float]:
        """See ``QuickScan``. 3,000 sample patients take about half a minute."""
        while self.values is None and len(self._found) < len(self.ids):
            batch = self.ids[len(self._found) : len(self._found) + _AT_ONCE].tolist()
            self._found += ratios(self._dataset.records(batch), self._model, self._reference)
            yield len(self._found) / len(self.ids)
        if self.values is None:
            self.values = np.array(self._found, dtype=np.float32)
            save_arrays(self._path, scores=self.values[:, None])

    @staticmethod
    def in_words(value: float) -> str:
        """How many times likelier each code is, on average."""
        times = math.exp(min(value, 12))
        return "" if math.isnan(value) else f"{times:,.0f} ×" if times >= 10 else f"{times:.1f} ×"


def ratios(records: Sequence[Record], model: BlackBox, reference: BlackBox) -> list[float]:
    """The score Ratio of each record; nan where it has fewer than two codes that a model knows."""
    said = []
    for one in (model, reference):
        ids = [encode(record, one.vocabulary).ids(one.vocabulary) for record in records]
        long = [place for place, row in enumerate(ids) if len(row) > 1]
        scored = in_windows(one.score, [ids[place] for place in long], one.context_length)
        guessed = [hidden_as_guessed(scores, len(one.vocabulary)) for scores in scored]
        said.append(dict(zip(long, guessed, strict=True)))
    ours, theirs = said
    return [ratio(ours[i], theirs[i]) if i in ours and i in theirs else math.nan for i in range(len(records))]
