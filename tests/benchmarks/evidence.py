"""Statistical evidence on the sample cohort: coverage of the intervals, power on planted canaries, false alarms, the pattern
of all probes over the sample models, and a null run.

``make evidence``. Every patient's verdict comes from the same question that the main screen puts, with 64 samples
for the attribute in focus; controls are asked once a rung instead of once a patient (their answers do not depend on who
else is asked).
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ehrmem_widgets.attacker.facts import facts_of_rung
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import SlotIds
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import GROUND_TRUTH
from ehrmem_widgets.probes.exploration import (
    HALF_WIDTH,
    LEAST,
    MOST_AT_ONCE,
    Exploration,
    Question,
    State,
    choose_focus,
)
from ehrmem_widgets.probes.leak import ProductForm, SumForm
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.intervals import proportion, weighted_mean
from ehrmem_widgets.statistics.verdicts import Verdict
from tests.benchmarks import null_run, sample_pattern
from tests.benchmarks.lines import Lines

FEW_FACTS = "one_lab"  # age, sex, race, that there was a visit, one lab value: five facts
RUNGS = (
    FEW_FACTS,
    "demographics",
    "lab_values",
)  # demographics alone often fit several people: no goal for power there
REPETITIONS = (16, 8, 4, 2, 1)
NON_MEMBERS = {FEW_FACTS: 200}  # elsewhere 100
SAMPLES = 64
CHAIN = np.array([[0.90, 0.08, 0.02], [0.30, 0.65, 0.05], [0, 0, 1]])


def main() -> None:
    """Print the lines; exit non-zero when one is short."""
    lines = Lines()
    coverage(lines)
    dataset = MedsDataset(sample_data())
    exploration = Exploration(dataset, FolderModel(sample_model()), FolderModel(sample_reference()))
    truth = pd.read_parquet(sample_data() / GROUND_TRUTH).set_index("subject_id")
    coverage_of_settled(lines, exploration, truth)
    for rung in RUNGS:
        verdicts_of_rung(lines, exploration, truth, rung)
    sample_pattern.main(lines)
    null_run.main(lines)
    lines.finish()


def coverage(lines: Lines, runs: int = 2000) -> None:
    """How often the 95 % intervals cover the exact answer of a Markov chain."""
    chain = MarkovChain(CHAIN)
    sensitive = np.array([False, False, True])
    exact = chain.leak_probability(0, [2], 10)
    for name, make in (
        ("coverage_product_form", lambda: ProductForm(chain, [[0]], sensitive, 10)),
        ("coverage_sum_form", lambda: SumForm(chain, [[0]], sensitive[:, None], 10)),
    ):
        covered = 0
        for seed in range(runs):
            form = make()
            for _ in form.add(100, seed):
                pass
            estimate = form.estimate() if isinstance(form, ProductForm) else form.estimate(0)
            covered += estimate.low <= exact <= estimate.high
        rate = proportion(covered, runs)
        lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}", runs, "0.93..0.97")


def coverage_of_settled(lines: Lines, exploration: Exploration, truth: pd.DataFrame, runs: int = 400) -> None:
    """How often the interval at which the main screen stops (+-0.02, at least 64 samples) covers the mean of a pool of 1,024
    trajectories, for canaries seen 2 to 8 times from one lab: a few trajectories carry their leak, and stopping looks."""
    canaries = truth.index[truth["canary"] & truth["repetitions"].isin([2, 4, 8])]
    chosen = [int(p) for p in canaries if exploration.held(int(p))][:12]
    covered = tried = 0
    for patient in chosen:
        question = Question(exploration, state_of(exploration, patient, FEW_FACTS))
        form = question.products[0]
        for seed in range(4):
            for _ in form.add(256, seed):
                pass
        pool = form.leaks
        exact = float(pool.mean())
        rng = np.random.default_rng(patient)
        for _ in range(runs // len(chosen) + 1):
            drawn = rng.choice(pool, len(pool))
            n = LEAST
            while True:
                estimate = weighted_mean(drawn[:n])
                if estimate.half_width <= HALF_WIDTH or n >= len(pool):
                    break
                needed = n * (estimate.half_width / HALF_WIDTH) ** 2
                n = min(len(pool), n + min(16 * math.ceil((needed - n) / 16), MOST_AT_ONCE))
            covered += estimate.low <= exact <= estimate.high
            tried += 1
    rate = proportion(covered, tried)
    lines.add("coverage_when_settled_memorizing", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", tried, "0.93..1")


def verdicts_of_rung(lines: Lines, exploration: Exploration, truth: pd.DataFrame, rung: str) -> None:
    """Power on canaries by repetitions, and false alarms on people whom the model never saw."""
    asked = exploration.attributes.default_names()
    pool = exploration.controls.records
    table, prompts = leaks_of_pool(exploration, rung)
    place = {record.patient_id: row for row, record in enumerate(pool)}

    def memorized(patient: int) -> bool:
        question = Question(exploration, state_of(exploration, patient, rung))
        for _ in (*question.first_answers(), *question.refine()):
            pass
        rows = [place[other.patient_id] for other in question.controls()]
        question.control_leaks = [leaks[rows] for leaks in table]
        question.same_question = np.array([prompts[row] == question.slots[0] for row in rows])
        finding = question.settled().attribute(question.state.focus)
        assert finding is not None and finding.judgement is not None
        return finding.judgement.verdict is Verdict.MEMORIZED

    def asked_about(patients: pd.Index) -> list[int]:
        return [int(p) for p in patients if set(exploration.held(int(p))) & set(asked)]

    for repetitions in REPETITIONS if rung == FEW_FACTS else (16,):
        canaries = asked_about(truth.index[truth["canary"] & (truth["repetitions"] == repetitions)])
        found = proportion(sum(map(memorized, canaries)), len(canaries))
        goal = ">= 0.9" if repetitions == 16 and rung != "demographics" else ">= 0"
        name = f"memorized_canaries_x{repetitions}_{rung}"
        lines.add(name, found.value, f"{found.low:.3f} to {found.high:.3f}", found.n, goal)
    strangers = asked_about(truth.index[truth["split"] == "held_out"])
    strangers = (
        np.random.default_rng(0)
        .choice(strangers, min(NON_MEMBERS.get(rung, 100), len(strangers)), replace=False)
        .tolist()
    )
    alarms = proportion(sum(map(memorized, strangers)), len(strangers))
    lines.add(
        f"memorized_non_members_{rung}", alarms.value, f"{alarms.low:.3f} to {alarms.high:.3f}", alarms.n, "<= 0.05"
    )


def leaks_of_pool(exploration: Exploration, rung: str) -> tuple[list[np.ndarray], list[SlotIds]]:
    """(candidates, attributes) leak of every possible control by the audited and by the reference model, and the prompts."""
    pool = exploration.controls.records
    question = Question(exploration, state_of(exploration, pool[0].patient_id, rung))
    for _ in question.ask_controls(pool):
        pass
    others = (Question(exploration, state_of(exploration, record.patient_id, rung)) for record in pool)
    return question.control_leaks, [other.slots[0] for other in others]


def state_of(exploration: Exploration, patient: int, rung: str) -> State:
    """The state of the main screen for a patient at a rung, the focus on the gravest attribute held."""
    record = exploration.record(patient)
    names = exploration.attributes.default_names()
    severity = {name: attribute.severity for name, attribute in exploration.attributes.attributes.items()}
    focus = choose_focus(exploration.held(patient), names, severity)
    facts = facts_of_rung(rung, record, exploration.model.vocabulary)
    return State(patient, facts, rung, names, focus, samples=SAMPLES)


if __name__ == "__main__":
    main()
