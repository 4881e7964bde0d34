"""How long a black box takes for a question is measured by asking it, and nothing else is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.pace import ROUNDS, TOGETHER, Stopwatch, measured, pace_of_rounds, paces_of
from ehrmem_widgets.blackbox.protocol import Query, Step
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.leak import SumForm
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.widgets.opened import few_patients

SLEPT = 0.002


class Slow(MarkovChain):
    """Waits before each step, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(np.full((3, 3), 1 / 3))
        self.asked = 0

    def generate(self, *given: Any, **more: Any) -> Iterator[Step]:
        """As ``MarkovChain.generate``."""
        self.asked += 1
        for step in super().generate(*given, **more):
            time.sleep(SLEPT)
            yield step


def test_the_seconds_are_those_of_the_model_and_the_codes_those_read_and_written() -> None:
    model = Slow()
    pace = measured(model, Query.SAMPLE, [0, 1])
    assert model.asked == ROUNDS == pace.seconds.n and pace.seconds.low >= 64 * SLEPT / TOGETHER
    assert (pace.codes.value, pace.codes.low, pace.codes.high) == (66, 66, 66)


def test_what_is_done_between_the_steps_is_not_counted() -> None:
    watch = Stopwatch()
    for _ in watch.over(iter(range(3))):
        time.sleep(0.1)
    assert watch.seconds < 0.3


def test_only_what_the_model_answers_is_measured(tmp_path: Path) -> None:
    data = MedsDataset(few_patients(tmp_path))
    record = data.record(data.ids()[0])
    codes = ("<start>", *dict.fromkeys(event.code for event in record.events))
    chain = MarkovChain(
        np.full((len(codes),) * 2, 1 / len(codes)), Vocabulary(codes, start="<start>", stops=frozenset(), pad=None)
    )
    assert set(paces_of(chain, [record])) == {Query.SAMPLE, Query.SCORES}


def test_an_answer_s_own_rounds_are_its_pace() -> None:
    model = Slow()
    form = SumForm(model, [[0], [1]], np.eye(3, 1, dtype=bool), 4)
    assert pace_of_rounds(form.rounds) == {}
    for samples in (2, 3):
        for _ in form.add(samples, samples):
            time.sleep(SLEPT)
    assert model.asked == len(form.rounds) == 2 and [codes for _, codes in form.rounds] == [6.0, 6.0]
    pace = pace_of_rounds(form.rounds)[Query.SAMPLE]
    assert pace.seconds.n == 2 and pace.codes == Estimate(6.0, 6.0, 6.0, 2)
    assert [seconds >= 4 * SLEPT / samples for (seconds, _), samples in zip(form.rounds, (2, 3), strict=True)] == [
        True
    ] * 2
