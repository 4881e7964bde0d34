"""Verdicts that hold: no false *memorized* where the reference is merely worse, no unearned *population knowledge*, power on planted
canaries, and a whole live session on people never seen (methods, sections 8.1, 8.2 and 8.9)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import GROUND_TRUTH
from ehrmem_widgets.probes.attribute.ask import _KnowledgeLevel
from ehrmem_widgets.probes.attribute.holders import Holders
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.exploration import CONTROL_SAMPLES, Exploration, Question
from ehrmem_widgets.probes.leak import ProductForm, leaks_of_many
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People
from ehrmem_widgets.probes.reconstruction import recited
from ehrmem_widgets.probes.reconstruction.ask import AUDITED, FIGURES, _excesses
from ehrmem_widgets.probes.sealing import Asked
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc_p, difference_of_means
from ehrmem_widgets.statistics.intervals import STOPPED, difference, proportion
from ehrmem_widgets.statistics.verdicts import (
    DISTANCE_MARGIN,
    LEAK_MARGIN,
    Judgement,
    Peers,
    PositiveControl,
    ProbeKind,
    Verdict,
    beyond_people_never_seen,
    judge_cohort,
    judge_person,
    within,
)
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from tests.benchmarks.lines import Lines
from tests.benchmarks.people import Pool, at_random, state_of

FEW_FACTS = "one_lab"  # age, sex, race, that there was a visit, one lab value: five facts
REPETITIONS = (16, 8, 4, 2, 1)
WORSE = ((0.20, 0.05, 0.0), (0.20, 0.05, 0.02), (0.15, 0.02, 0.02), (0.30, 0.10, 0.03))
"""Audited leak, reference leak, spread between people: the rows of the methods page."""
CONTROLS, HORIZON = 40, 10
SESSION = tuple(
    [
        "demographics",
        "one_lab",
        "lab_dates",
        "lab_values",
        "first_1",
        "first_2",
        "first_3",
        "first_4",
        "first_5",
        "first_6",
        "first_8",
        "first_10",
        "first_12",
        "first_14",
        "first_16",
        "first_18",
        "first_20",
        "first_24",
        "first_28",
        "first_32",
    ]
)


def simulated(lines: Lines) -> None:
    """Worse references, no reference, and the verdicts on cohorts with and without an effect."""
    for audited, reference, spread in WORSE:
        worse_reference(lines, audited, reference, spread)
    without_reference(lines)
    cohorts(lines)


def worse_reference(lines: Lines, audited: float, reference: float, spread: float, runs: int = 1000) -> None:
    """Everybody is alike, nobody is memorized, and the reference merely knows less: who is called memorized? And among those whose
    excess is above the margin?"""
    called = above = 0
    sensitive = np.zeros(CONTROLS + 2, dtype=bool)
    sensitive[-1] = True
    prompts = [[[person]] for person in range(CONTROLS + 1)]
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        own = np.clip(rng.normal(audited, spread, CONTROLS + 1), 0.001, 0.999)
        models = [_stays(own), _stays(np.full(CONTROLS + 1, reference))]
        means, refined = [], []
        for model in models:
            *_, leaks = leaks_of_many(model, prompts, sensitive[:, None], HORIZON, CONTROL_SAMPLES, seed)
            assert leaks is not None
            means.append(leaks.means[:, 0])
            form = ProductForm(model, prompts[0], sensitive, HORIZON)
            for _ in form.add(256, seed + 1):
                pass
            refined.append(form.estimate(level=STOPPED))
        excess = means[0] - means[1]
        gap = difference(*refined)
        found = judge_person(
            gap, Peers.of(float(excess[0]), excess[1:]), margin=LEAK_MARGIN, kind=ProbeKind.MEASURE, shown="the leak"
        )
        called += found.verdict is Verdict.MEMORIZED
        above += gap.low > LEAK_MARGIN
    for what, n in (("", runs), ("_given_excess", above)):
        _at_most(
            lines, f"worse_reference_{audited:g}_{reference:g}_{spread:g}{what}_memorized_upper", called, max(n, 1)
        )


def _stays(leaks: np.ndarray) -> MarkovChain:
    """A chain in which person i stays at i until the attribute is emitted, within the horizon with the probability given."""
    n = len(leaks)
    hazard = 1 - (1 - leaks) ** (1 / HORIZON)
    transitions = np.zeros((n + 1, n + 1))
    transitions[np.arange(n), np.arange(n)], transitions[:n, n] = 1 - hazard, hazard
    transitions[n, n] = 1
    return MarkovChain(transitions)


def cohorts(lines: Lines, runs: int = 500) -> None:
    """Cohorts without an effect, and with one of half the margin, the margin and twice the margin: the share of each verdict."""
    rng = np.random.default_rng(11)
    for times in (0.0, 0.5, 1.0, 2.0):
        for n in (40, 400):
            said: list[tuple[Verdict, bool]] = []
            for _ in range(runs):
                members, others = rng.beta(1, 9, (2, n))  # leaks: most small, some large; mean .1, sd .09
                members = members + times * LEAK_MARGIN
                effect = difference_of_means(members, others)
                found = judge_cohort(
                    effect, auroc_p(members, others), margin=LEAK_MARGIN, kind=ProbeKind.MEASURE, members=n, non_members=n,
                    what="excess",
                )  # fmt: skip
                said.append((found.verdict, within(effect, LEAK_MARGIN)))
            for verdict in Verdict:
                rate = proportion(sum(one is verdict for one, _ in said), runs)
                goal = ">= 0"
                if verdict is Verdict.MEMORIZED and not times:
                    goal = "<= 0.05"
                if verdict is Verdict.POPULATION and times >= 1:
                    goal = "<= 0.05"
                name = f"cohort_effect_{times:g}_margins_n{n}_{verdict.name.lower()}"
                lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}", runs, goal)
            unearned = sum(verdict is Verdict.POPULATION and not equivalent for verdict, equivalent in said)
            lines.add(f"cohort_effect_{times:g}_margins_n{n}_unearned_population", unearned, "a count", runs, "<= 0")
    silent = [
        judge_cohort(
            effect, 0.5, margin=0.1, kind=ProbeKind.DETECTOR, control=control, no_effect=0.5, members=200, non_members=200, what="AUROC"
        ).verdict
        for effect in [difference_of_means(*rng.normal(0.5, 0.01, (2, 200)))]
        for control in (PositiveControl.NONE, PositiveControl.MISSED)
    ]  # fmt: skip
    lines.add("detector_without_control_population", silent.count(Verdict.POPULATION), "a count", len(silent), "<= 0")


ALIKE = ((0.2, 0.0), (0.2, 0.02), (0.1, 0.09), (0.5, 0.29))
"""Mean and standard deviation of the leaks of people who are alike, members and others: the last are nearly uniform between 0 and 1."""


def without_reference(lines: Lines) -> None:
    """No reference model, members and people never seen alike: who is called memorized, on the screen, by T2 and by T1? And the power."""
    for mean, spread in ALIKE:
        _screen_alone(lines, mean, spread)
    for times in (0, 6):
        _attributes_alone(lines, times * LEAK_MARGIN)
        _reconstruction_alone(lines, times * DISTANCE_MARGIN)


def _screen_alone(lines: Lines, mean: float, spread: float, runs: int = 1000) -> None:
    """One patient beside 40 people never seen who hold the attribute, too; and the patient seen, who leaks at .9."""
    sensitive = np.zeros(CONTROLS + 2, dtype=bool)
    sensitive[-1] = True
    prompts = [[[person]] for person in range(CONTROLS + 1)]
    called, found = 0, 0
    for seed in range(runs):
        leaks = _alike(np.random.default_rng(seed), mean, spread, CONTROLS + 1)
        called += _judged_alone(leaks, prompts, sensitive, seed) is Verdict.MEMORIZED
        if seed % 10 == 0:
            found += _judged_alone(np.array([0.9, *leaks[1:]]), prompts, sensitive, seed) is Verdict.MEMORIZED
    name = f"alone_screen_{mean:g}_{spread:g}_memorized"
    _at_most(lines, f"{name}_upper", called, runs)
    power = proportion(found, runs // 10)
    lines.add(f"{name}_leak_0.9", power.value, f"{power.low:.3f} to {power.high:.3f}", power.n, ">= 0")


def _judged_alone(leaks: np.ndarray, prompts: list[list[list[int]]], sensitive: np.ndarray, seed: int) -> Verdict:
    model = _stays(leaks)
    *_, asked = leaks_of_many(model, prompts, sensitive[:, None], HORIZON, CONTROL_SAMPLES, seed)
    assert asked is not None
    own, *others = asked.means[:, 0]
    form = ProductForm(model, prompts[0], sensitive, HORIZON)
    for _ in form.add(256, seed + 1):
        pass
    never = np.array(others)
    effect = beyond_people_never_seen(form.estimate(level=STOPPED), never)
    return judge_person(
        effect,
        Peers.of(float(own), never),
        margin=LEAK_MARGIN,
        kind=ProbeKind.MEASURE,
        shown="the leak",
        reference=False,
    ).verdict


def _attributes_alone(lines: Lines, more: float, runs: int = 1000, people: int = 60) -> None:
    """T2's own tables of 60 members and 60 people never seen, each of whom holds some of three attributes that leak at about .05, .3 and
    .7 from anybody; members leak by ``more``."""
    names, groups = ("a", "b", "c"), {f"p{i}": MEMBER if i < people else NON_MEMBER for i in range(2 * people)}
    codes = cast(AttributeCodes, SimpleNamespace(attributes={name: SimpleNamespace(title=name) for name in names}))
    called = persons = cohort = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        leaks = np.clip(
            rng.beta([0.5, 3, 7], [9.5, 7, 3], (2 * people, 3)) + more * (np.arange(2 * people) < people)[:, None], 0, 1
        )
        held = rng.random((2 * people, 3)) < 0.6
        rows: Rows = [
            {"patient": f"p{i}", "held": held[i].astype(float).tolist(), "reached": held[i].tolist(),
             "audited": [[v, max(v - 0.04, 0.0), min(v + 0.04, 1.0)] for v in leaks[i]]}
            for i in range(2 * people)
        ]  # fmt: skip
        level = _KnowledgeLevel("one_lab", rows, groups, 16)
        made = [] if seed % 10 else level.leak_rows(names, codes, Holders((), {}, {}), None)
        judged = [one for one in made if one["group"] == MEMBER and one["figure"] == "leak"]
        persons += len({one["patient"] for one in judged})
        called += len({one["patient"] for one in judged if one["verdict"] == Verdict.MEMORIZED})
        effect, p, members, others = level.gap(MEMBER, NON_MEMBER)
        said = judge_cohort(
            effect, p, margin=LEAK_MARGIN, kind=ProbeKind.MEASURE, members=members, non_members=others, what="leak"
        )
        cohort += said.verdict is Verdict.MEMORIZED
    _told(lines, "alone_t2_cohort", cohort, runs, more)
    _told(lines, "alone_t2_patients", called, persons, more)


def _reconstruction_alone(lines: Lines, more: float, runs: int = 300, people: int = 100) -> None:
    """T1's own comparisons of as many members and people never seen, at five knowledge levels and three figures: is any called memorized?"""
    groups = {f"p{i}": MEMBER if i < people else NON_MEMBER for i in range(2 * people)}
    chosen = cast(
        People, SimpleNamespace(group_of_pseudonym=groups, counts=lambda: {MEMBER: people, NON_MEMBER: people})
    )
    levels = ("nothing", "demographics", "first_10", "first_20", "first_50")
    called = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        ease = rng.normal(0, 0.1, 2 * people)  # some records are easier than others, at every level
        nearer = more * (np.arange(2 * people) < people)
        measured = {
            (figure, knowledge, AUDITED): dict(
                zip(groups, np.clip(0.5 + ease + rng.normal(0, 0.05, 2 * people) + sign * nearer, 0, 1).tolist(), strict=True)
            )
            for figure, sign in FIGURES.items()
            for knowledge in levels
        }  # fmt: skip
        called += any(
            one.get("verdict") == Verdict.MEMORIZED
            for one in _excesses(measured, chosen, levels, None, recited.Asked.within(64))
        )
    _told(lines, "alone_t1_any_comparison", called, runs, more)


def _alike(rng: np.random.Generator, mean: float, spread: float, n: int) -> np.ndarray:
    """Leaks between 0 and 1 with a mean and a standard deviation (a beta law)."""
    if not spread:
        return np.full(n, mean)
    size = mean * (1 - mean) / spread**2 - 1
    return np.asarray(rng.beta(mean * size, (1 - mean) * size, n).clip(0.001, 0.999))


def _told(lines: Lines, name: str, called: int, n: int, more: float) -> None:
    if not more:
        return _at_most(lines, f"{name}_memorized_upper", called, n)
    rate = proportion(called, n)
    lines.add(f"{name}_memorized_effect_{more:g}", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", n, ">= 0")


def _at_most(lines: Lines, name: str, called: int, n: int) -> None:
    rate = proportion(called, n)
    lines.add(name, rate.high, f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})", n, "<= 0.07")


def power_memorizing(lines: Lines) -> None:
    """The memorizing model: canaries by repetitions, and people never seen, at three levels of knowledge."""
    exploration, truth = _opened("memorizing")
    for knowledge, non_members in ((FEW_FACTS, 150), ("demographics", 40), ("lab_values", 40)):
        pool = Pool(exploration, knowledge)
        for times in REPETITIONS if knowledge == FEW_FACTS else (16,):
            goal = (
                ">= 0.9" if times == 16 and knowledge != "demographics" else ">= 0"
            )  # demographics alone often fit several
            _canaries(lines, exploration, truth, pool, knowledge, times, "memorizing", goal)
        _never_seen(lines, exploration, truth, pool, knowledge, non_members, "memorizing")


def power_moderate(lines: Lines) -> None:
    """The moderate model: the power curve by repetitions."""
    exploration, truth = _opened("moderate")
    pool = Pool(exploration, FEW_FACTS)
    for times in REPETITIONS:
        _canaries(lines, exploration, truth, pool, FEW_FACTS, times, "moderate", ">= 0")
    _never_seen(lines, exploration, truth, pool, FEW_FACTS, 60, "moderate")


def live_session(lines: Lines, people: int = 20) -> None:
    """Twenty states dialled one after the other about each of some people never seen, all attributes each. The first is sealed; what the
    others find is labelled exploratory. Who has at least one *memorized* that is not labelled so?"""
    exploration, truth = _opened("memorizing")
    chosen = _held(exploration, truth.index[truth["split"] == "held_out"])
    chosen = at_random(chosen, people, seed=5)
    exploration.controls.records = exploration.controls.records[:160]  # whom the similar people are chosen from
    confirmed, explored = set[int](), set[int]()
    for place, knowledge in enumerate(SESSION):
        pool = Pool(exploration, knowledge)
        for patient in chosen:
            question = Question(exploration, state_of(exploration, patient, knowledge))
            for total in question.sums:
                for _ in total.add(48, question._seed(0)):
                    pass
            question._update()
            pool.answer(question)
            answer = question.settled()
            asked = Asked(place + 1, "sealed", "2026-01-01T00:00:00+00:00") if place == 0 else Asked(place + 1)
            for finding in answer.attributes:
                if finding.judgement is not None and finding.judgement.verdict is Verdict.MEMORIZED:
                    of_focus = finding.name == answer.focus
                    (confirmed if asked.confirms and of_focus else explored).add(patient)
    for name, hits, goal in (
        ("not_labelled_exploratory", confirmed, "<= 0.05"),
        ("labelled_exploratory", explored, "<= 1"),
    ):
        rate = proportion(len(hits), len(chosen))
        interval = f"{rate.low:.3f} to {rate.high:.3f}"
        lines.add(f"live_session_20_states_memorized_{name}", rate.value, interval, rate.n, goal)


def _opened(name: str) -> tuple[Exploration, pd.DataFrame]:
    dataset = MedsDataset(sample_data())
    model = {"memorizing": sample_model, "moderate": sample_moderate}[name]()
    truth = pd.read_parquet(sample_data() / GROUND_TRUTH).set_index("subject_id")
    return Exploration(dataset, FolderModel(model), FolderModel(sample_reference())), truth


def _held(exploration: Exploration, patients: pd.Index) -> list[int]:
    """Those who hold an attribute that the model has codes of."""
    names = set(exploration.attributes.default_names())
    return [int(p) for p in patients if set(exploration.held(int(p))) & names]


def _judged(exploration: Exploration, pool: Pool, patient: int, knowledge: str) -> Judgement:
    """The verdict of the main screen on the attribute in focus, each model known to +-0.02 or by 128 samples."""
    question = Question(exploration, state_of(exploration, patient, knowledge))
    for _ in question.first_answers():
        pass
    look = 1
    while missing := question._missing():
        for form, size in missing:
            for _ in form.add(size, question._seed(2 * look + 1)):
                pass
        look += 1
    question._update()
    pool.answer(question)
    finding = question.settled().attribute(question.state.focus)
    assert finding is not None and finding.judgement is not None
    return finding.judgement


def _canaries(
    lines: Lines,
    exploration: Exploration,
    truth: pd.DataFrame,
    pool: Pool,
    knowledge: str,
    times: int,
    model: str,
    goal: str,
) -> None:
    canaries = _held(exploration, truth.index[truth["canary"] & (truth["repetitions"] == times)])
    verdicts = [_judged(exploration, pool, patient, knowledge).verdict for patient in canaries]
    found = proportion(verdicts.count(Verdict.MEMORIZED), len(verdicts))
    name = f"memorized_canaries_x{times}_{knowledge}_{model}"
    lines.add(name, found.value, f"{found.low:.3f} to {found.high:.3f}", found.n, goal)
    lines.add(f"population_knowledge_canaries_x{times}_{knowledge}_{model}", verdicts.count(Verdict.POPULATION), "a count",
              found.n, "<= 0")  # fmt: skip


def _never_seen(
    lines: Lines, exploration: Exploration, truth: pd.DataFrame, pool: Pool, knowledge: str, most: int, model: str
) -> None:
    strangers = at_random(_held(exploration, truth.index[truth["split"] == "held_out"]), most)
    verdicts = [_judged(exploration, pool, patient, knowledge).verdict for patient in strangers]
    for verdict in Verdict:
        rate = proportion(verdicts.count(verdict), len(verdicts))
        goal = "<= 0.05" if verdict is Verdict.MEMORIZED else ">= 0"
        name = f"{verdict.name.lower()}_never_seen_{knowledge}_{model}"
        lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}", rate.n, goal)
