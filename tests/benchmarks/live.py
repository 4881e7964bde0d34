"""What the main screen costs its kernel: processor time, so that a busy machine says about the same as a quiet one."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.widgets.patient_table import PatientTable
from tests.benchmarks.lines import Lines

ANSWERS, SECONDS, KERNELS, PATIENTS = 6, 90, 8, 100_000
_ASKED = (("", "pseudonym"), ("", "age"), ("", "attributes"), ("male", "age"), ("substance over 60", "events"))


def main(lines: Lines) -> None:
    """Processor seconds of the first and of later answers, eight kernels against one, and the table of patients."""
    answer_cpu(lines)
    kernels(lines)
    picker(lines)


def opened() -> Exploration:
    """The samples."""
    return Exploration(
        MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference()), folder=sample_model()
    )


def states(exploration: Exploration, n: int, seed: int = 0) -> list[State]:
    """Of patients drawn at random, one after the other at two knowledge levels."""
    names = exploration.attributes.default_names()
    severity = {name: attribute.severity for name, attribute in exploration.attributes.attributes.items()}
    found = []
    for number, patient in enumerate(
        np.random.default_rng(seed).choice(exploration.dataset.ids(), n, replace=False).tolist()
    ):
        knowledge = ("one_lab", "lab_values")[number % 2]
        facts = facts_of_level(knowledge, exploration.record(patient), exploration.model.vocabulary)
        focus = choose_focus(exploration.held(patient), names, severity)
        found.append(State(patient, facts, knowledge, names, focus))
    return found


def answer_cpu(lines: Lines) -> None:
    """Processor seconds of whole answers, until the last is settled, on models that are already open."""
    exploration = opened()
    for _ in exploration.store.build() if exploration.store else ():  # read once a model and kept on disk
        pass
    spent = []
    for state in states(exploration, ANSWERS + 1):
        began = time.process_time()
        for _ in exploration.answers(state):
            pass
        spent.append(time.process_time() - began)
    first, *later = spent
    lines.add("first_answer_cpu_seconds", first, "", 1, "<= 3")
    lines.add(
        "settled_answer_cpu_seconds",
        statistics.median(later),
        f"{min(later):.3g} to {max(later):.3g}",
        len(later),
        "<= 2",
    )


def kernels(lines: Lines) -> None:
    """Answers a minute of one process, and of eight at once, that answer the same questions."""
    (alone,), together = _answered(1), _answered(KERNELS)
    lines.add(
        "answers_a_minute_of_8_kernels_over_1",
        sum(together) / max(alone, 1 / SECONDS),
        f"{60 * alone / SECONDS:.3g} a minute alone",
        KERNELS,
        ">= 1",
    )
    lines.add(
        "answers_of_the_slowest_of_8_kernels", min(together), f"{min(together)} to {max(together)}", KERNELS, ">= 1"
    )


def _answered(processes: int) -> list[int]:
    command = [sys.executable, "-m", "tests.benchmarks.live"]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for one in running:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [int(one.communicate()[0]) for one in running]


def answer_for(seconds: float) -> int:
    """How many answers this process gives in that time, once it hears that it may begin."""
    exploration = opened()
    asked = states(exploration, 200)
    print("ready", flush=True)
    sys.stdin.readline()
    end, answered = time.monotonic() + seconds, 0
    for state in asked:
        for _ in exploration.answers(state):
            if time.monotonic() > end:
                return answered
        answered += 1
    return answered


def picker(lines: Lines) -> None:
    """Milliseconds in which the table of patients is sorted and filtered, the sample's patients over and over; the slowest of what is asked."""
    dataset = MedsDataset(sample_data())
    some = dataset.patients
    many = pd.concat([some] * (PATIENTS // len(some) + 1)).iloc[:PATIENTS].copy()
    many.index = pd.Index(range(PATIENTS), name=some.index.name)
    many["pseudonym"] = [f"P-{number:06d}" for number in np.random.default_rng(0).permutation(PATIENTS)]
    dataset.__dict__["patients"] = many
    table = PatientTable(dataset, MEMBER_SPLIT)
    table.find("")  # the table is made when it is first opened
    spent = {}
    for text, sort in _ASKED:
        began = time.process_time()
        found = table.find(text, sort=sort)
        spent[f"{text or 'all'} by {sort}"] = 1000 * (time.process_time() - began)
        assert found.rows
    slowest = max(spent, key=lambda name: spent[name])
    lines.add("picker_100000_patients_slowest_ms", spent[slowest], slowest, len(spent), "<= 300")


if __name__ == "__main__":
    print(answer_for(SECONDS))
