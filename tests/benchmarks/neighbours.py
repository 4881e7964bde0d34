"""Embedding neighbours with the model's own continuations against the facts alone, over the same people, in turn."""

from __future__ import annotations

import statistics
import time
from typing import Any

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.benchmarks.lines import Lines
from tests.probes.alone import ask_alone

PEOPLE, ROUNDS = 400, 2


class FactsAlone:
    """A model that gives no continuations."""

    def __init__(self, model: FolderModel) -> None:
        self._model, self.answers = model, model.answers - {Query.SAMPLE}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def main(lines: Lines) -> None:
    """One line; the stores are made before."""
    dataset, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference, most=PEOPLE)
    few = choose_people(dataset, model, reference, most=4, canaries=False)
    ask_alone("neighbours", model, dataset, reference=reference, people=few)
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for audited, other in ((FactsAlone(model), FactsAlone(reference)), (model, reference)):
            began = time.perf_counter()
            ask_alone("neighbours", audited, dataset, reference=other, people=people)  # type: ignore[arg-type]  # a black box by its parts
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[1] / seconds[0])
    interval = f"{min(ratios):.3g} to {max(ratios):.3g}"
    lines.add("neighbours_continued_vs_facts_alone", statistics.median(ratios), interval, ROUNDS, "<= 3")
