"""Speed, each figure a ratio of two ways measured in turn in this very run. ``make bench``."""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.exploration import HALF_WIDTH, Exploration, Question, State, choose_focus
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.intervals import proportion
from tests.benchmarks import (
    all_probes,
    attribute,
    audit,
    audit_report,
    browser,
    endpoint,
    explorable,
    hf,
    hospital,
    live,
    membership,
    neighbours,
    one_run,
    patient_reports,
    reconstruction,
)
from tests.benchmarks.hf import hf_generate
from tests.benchmarks.lines import Lines

ROUNDS = 3


def main() -> None:
    """Print the lines; exit non-zero when one is short. ``--only WORDS``: the parts whose name holds these words."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", metavar="WORDS", default="", help=f"one of {', '.join(PARTS)}")
    only = parser.parse_args().only
    lines = Lines()
    for name, part in PARTS.items():
        if only in name:
            part(lines)
    lines.finish()


def main_screen(lines: Lines) -> None:
    """What the main screen waits for."""
    exploration = Exploration(MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference()))
    settled_answer(lines, exploration)
    variance_ratio(lines, exploration)
    import_time(lines)


def settled_answer(lines: Lines, exploration: Exploration, patients: int = 6) -> None:
    """A dial change until the focus is known to +-0.02 on the audited and the reference model, against HF ``generate`` and
    counting hits until the Wilson interval is as narrow: patients drawn at random, at two knowledge levels each."""
    names = exploration.attributes.default_names()
    chosen = np.random.default_rng(0).choice(exploration.dataset.ids(), patients, replace=False)
    ratios, first = [], []
    for patient, knowledge in itertools.product(map(int, chosen), ("one_lab", "lab_values")):
        state = state_of(exploration, patient, knowledge, names)
        began = time.perf_counter()
        question = Question(exploration, state)
        painted = (a for a in itertools.chain(question.first_answers(), question.refine()) if a is not None)
        for number, _ in enumerate(painted):
            if number == 0:
                first.append(time.perf_counter() - began)
            if question.focus_settled:
                break
        ours = time.perf_counter() - began
        began = time.perf_counter()
        for model, slots, track in zip(question.models, question.slots, question.watches, strict=True):
            count_with_hf(model, slots, track[:, question.focus_column], question.horizon)
        ratios.append((time.perf_counter() - began) / ours)
    lines.add(
        "settled_answer_vs_hf_generate_and_counting", statistics.median(ratios), span(ratios), len(ratios), ">= 20"
    )
    lines.add(
        "first_interval_ms_without_browser",
        1000 * statistics.median(first),
        span([1000 * t for t in first]),
        len(first),
        "<= 150",
    )


def count_with_hf(model: Any, slots: Any, codes: np.ndarray, horizon: int, batch: int = 128) -> None:
    """HF ``generate`` until the share of continuations that hit is known to +-0.02."""
    prompt = [[slot[0]] for slot in slots]
    hits = n = 0
    while n == 0 or proportion(hits, n).half_width > HALF_WIDTH:
        found = hf_generate(model, prompt, horizon, batch)
        padded = np.concatenate([codes, np.zeros(model.codes_in_head - len(codes), dtype=bool)])
        hits += int(padded[found].any(axis=1).sum())
        n += batch


def variance_ratio(lines: Lines, exploration: Exploration, patients: int = 40, samples: int = 128) -> None:
    """Variance of counting, P (1 - P), over that of the product and of the sum form, over sample patients with P < 0.05."""
    names = exploration.attributes.default_names()
    chosen = np.random.default_rng(0).choice(exploration.dataset.ids(), patients, replace=False)
    ratios: dict[str, list[float]] = defaultdict(list)
    for patient in map(int, chosen):
        question = Question(exploration, state_of(exploration, patient, "one_lab", names))
        for place, name in enumerate(("audited", "reference")):
            product, total = question.products[place], question.sums[place]
            for _ in itertools.chain(product.add(samples, 1), total.add(samples, 1)):
                pass
            p = product.estimate().value
            if 0 < p < 0.05 and np.ptp(product._log_weights) == 0:
                counting = p * (1 - p)
                spread = {"product": product.leaks, "sum": total.leaks.raw[0, :, question.focus_column]}
                for form, values in spread.items():
                    ratios[f"{form}_form_{name}"].append(counting / max(float(values.var(ddof=1)), 1e-12))
    for name, found in ratios.items():
        goal = ">= 30" if name.startswith("product") else ">= 1"
        lines.add(f"variance_counting_over_{name}_median", statistics.median(found), span(found), len(found), goal)
        lines.add(f"variance_counting_over_{name}_worst", min(found), span(found), len(found), ">= 1")


def state_of(exploration: Exploration, patient: int, knowledge: str, names: tuple[str, ...]) -> State:
    """The main screen's state for a patient at one knowledge level."""
    severity = {name: attribute.severity for name, attribute in exploration.attributes.attributes.items()}
    record = exploration.record(patient)
    facts = facts_of_level(knowledge, record, exploration.model.vocabulary)
    return State(patient, facts, knowledge, names, choose_focus(exploration.held(patient), names, severity))


def import_time(lines: Lines) -> None:
    """Seconds that ``import ehrmem_widgets`` takes beyond an empty interpreter."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    spent = [run("import ehrmem_widgets") - run("pass") for _ in range(ROUNDS)]
    lines.add("import_seconds", statistics.median(spent), span(spent), ROUNDS, "<= 1")


def span(values: list[float]) -> str:
    """The lowest and the highest."""
    return f"{min(values):.3g} to {max(values):.3g}"


PARTS: dict[str, Callable[[Lines], None]] = {
    "decoding": hf.main,
    "main screen": main_screen,
    "live kernel": live.main,
    "membership": membership.main,
    "neighbours": neighbours.main,
    "reconstruction": reconstruction.main,
    "attribute": attribute.main,
    "one run": one_run.main,
    "all probes": all_probes.main,
    "endpoint": endpoint.main,
    "hospital": hospital.main,
    "cohort audit": audit.main,
    "patient reports": patient_reports.main,
    "audit report": audit_report.main,
    "compare": audit_report.compared,
    "browser": browser.main,
    "explorable": explorable.main,
}


if __name__ == "__main__":
    main()
