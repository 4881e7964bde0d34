"""The whole pattern on the sample models: each probe finds the memorizing model's memory, and falls silent on the private one
and on the reference, which never saw these members. Figures whose goal is about an interval show the bound that the goal
is about; the interval stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.attribute.ask import ALL
from ehrmem_widgets.probes.membership.scores import LOSS, RATIO
from ehrmem_widgets.probes.neighbours.ask import CONTINUED
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.samples.canary_alternatives import canary_alternatives
from ehrmem_widgets.samples.folders import (
    sample_data,
    sample_model,
    sample_moderate,
    sample_private,
    sample_reference,
)
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict
from tests.benchmarks.lines import Lines
from tests.probes.alone import ask_alone

KNOWLEDGE_LEVELS = ("demographics", "one_lab", "first_20")
ALARM_LEVELS = ("one_lab", "first_20")
MAP_LEVELS = ("one_lab", "lab_dates", "lab_values")
MAP_SEED = 21  # of people on whom nothing was chosen
ASKED = 200  # ordinary people, half of them members, of the models between and without


def memorizing(lines: Lines) -> None:
    """Found by every probe, and no false alarms."""
    dataset, model, reference = _opened(sample_model)
    people, everybody = _people(dataset, model, reference)
    people = choose_people(dataset, model, reference)  # 400
    told_apart(lines, dataset, model, reference, everybody, "memorizing", low=0.8)
    exposed(lines, dataset, model, reference, people, "memorizing", least=6)
    leaks(lines, dataset, model, reference, people, "memorizing", found=True)
    rebuilt(lines, dataset, model, reference, people, "memorizing", found=True)
    spikes(lines, dataset, model, reference, people, "memorizing", found=True)
    found_on_the_map(lines, dataset, model, reference, "memorizing", found=True)
    read_from_continuations(lines, dataset, model, reference, "memorizing")
    false_alarms(lines, dataset, model, reference, everybody)


def moderate(lines: Lines) -> None:
    """Between all and nothing: T4 tells members a little, which a test that only sees the extremes would miss."""
    dataset, model, reference = _opened(sample_moderate)
    people, everybody = _people(dataset, model, reference)
    told_apart(lines, dataset, model, reference, everybody, "moderate", low=0.5, high=0.7)
    by_repetitions(lines, dataset, model, reference)
    leaks(lines, dataset, model, reference, people, "moderate", found=None)
    rebuilt(lines, dataset, model, reference, people, "moderate", found=None)
    spikes(lines, dataset, model, reference, people, "moderate", found=None)


def private(lines: Lines) -> None:
    """Trained on the same people with differential privacy: nothing."""
    dataset, model, reference = _opened(sample_private)
    people, everybody = _people(dataset, model, reference)
    told_apart(lines, dataset, model, reference, everybody, "private")
    exposed(lines, dataset, model, None, people, "private")
    leaks(lines, dataset, model, reference, people, "private", found=False)
    rebuilt(lines, dataset, model, reference, people, "private", found=None)
    spikes(lines, dataset, model, reference, people, "private", found=False)
    found_on_the_map(lines, dataset, model, reference, "private", found=False)


def reference(lines: Lines) -> None:
    """Never trained on these members: nothing."""
    dataset, model, _ = _opened(sample_reference)
    memorizing_, private_ = FolderModel(sample_model()), FolderModel(sample_private())
    people, everybody = _people(dataset, memorizing_, model)
    made = ask_alone("membership", memorizing_, dataset, reference=model, people=everybody)
    for group in ("all", "canaries"):
        one = made.estimate("auroc", group=group, attribute=LOSS, model="reference")
        above(lines, f"t4_auroc_{LOSS.lower()}_{group}_reference", one, None, 0.5)
    exposed(lines, dataset, model, None, people, "reference")
    leaks(lines, dataset, model, private_, people, "reference", found=False)
    found_on_the_map(lines, dataset, model, private_, "reference", found=False)


def _opened(folder: Callable[[], Path]) -> tuple[MedsDataset, FolderModel, FolderModel]:
    return MedsDataset(sample_data()), FolderModel(folder()), FolderModel(sample_reference())


def _people(dataset: MedsDataset, model: BlackBox, other: BlackBox) -> tuple[People, People]:
    """200 and the canaries, and everybody."""
    return choose_people(dataset, model, other, most=ASKED), choose_people(dataset, model, other, most=100_000)


def told_apart(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox,
    people: People,
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """T4 over every member and non-member, and over the canaries: the AUROC's interval above ``low`` (None: it holds chance), its
    value at most ``high`` for ordinary members."""
    made = ask_alone("membership", model, dataset, reference=reference, people=people)
    for group in ("all", "canaries"):
        for score in (LOSS, RATIO):
            of = "" if score == RATIO else "audited"
            one = made.estimate("auroc", group=group, attribute=score, model=of)
            above(lines, f"t4_auroc_{score.lower()}_{group}_{name}", one, low, 0.5)
            if high is not None and group == "all" and score == RATIO:
                lines.add(f"t4_auroc_ratio_all_{name}", one.value, words_of(one), one.n, f"0.55..{high}")
    rows = made.about("figures", figure="auroc", group="all")
    verdicts = rows.loc[rows["verdict"] != "", "verdict"]
    lines.add(
        f"t4_population_knowledge_{name}", (verdicts == Verdict.POPULATION).sum(), "a count", len(verdicts), "<= 0"
    )


def exposed(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None,
    people: People,
    name: str,
    *,
    least: float | None = None,
) -> None:
    """Mean exposure in bits of 256 candidates (by chance 1.42): the interval above ``least``; None: it holds chance."""
    made = ask_alone(
        "exposure", model, dataset, reference=reference, people=people, alternatives_of=canary_alternatives
    ).about("figures", figure="mean_exposure")
    for one in made.itertuples():
        if one.group == NULL_CANARY or one.model != "audited":
            continue
        estimate = Estimate(one.value, one.low, one.high, one.n)
        above(lines, f"exposure_bits_{one.group.replace(' ', '_')}_{name}", estimate, least, 1.42)


def by_repetitions(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox) -> None:
    """The power curve of exposure: how far planted values stand out, by how often training saw them."""
    canaries = choose_people(
        dataset, model, reference, patients=[int(patient) for patient in canary_repetitions(dataset)]
    )
    made = ask_alone("exposure", model, dataset, people=canaries, alternatives_of=canary_alternatives).about("figures")
    for figure, chance in (("mean_exposure", 1.42), ("auroc_exposure", 0.5)):
        for one in made[made["figure"] == figure].itertuples():
            often = one.group == f"{CANARY} x16"
            goal = f">= {chance}" if often else ">= 0"
            lines.add(
                f"{figure}_{one.group.replace(' ', '_')}_moderate_low", one.low, f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})",
                one.n, goal,
            )  # fmt: skip


def leaks(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox,
    people: People,
    name: str,
    *,
    found: bool | None,
) -> None:
    """T2 (``found`` None: no goal): excess risk of canaries beyond those never trained on; AUROC with more known facts."""
    made = ask_alone(
        "attribute", model, dataset, reference=reference, people=people, knowledge_levels=("nothing", *KNOWLEDGE_LEVELS)
    )
    for knowledge in KNOWLEDGE_LEVELS:
        one = made.estimate("excess_gap", group="canaries", knowledge=knowledge)
        least = {True: 0.3, False: None, None: -1.0}[found]
        above(lines, f"t2_excess_risk_canaries_{knowledge}_{name}", one, least, 0.0)
    if name == "reference":
        return
    for group in (MEMBER, CANARY):
        aurocs = [
            made.estimate("auroc", group=group, knowledge=knowledge, model="audited", attribute=ALL)
            for knowledge in ("nothing", *KNOWLEDGE_LEVELS)
        ]
        words = ", ".join(f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for one in aurocs)
        rise = aurocs[-1].low - aurocs[0].high
        lines.add(f"t2_auroc_rise_{group}_{name}", rise, words, aurocs[-1].n, ">= 0" if found else ">= -1")
    rows = made.about("patients", figure="excess", knowledge="one_lab", group=CANARY)
    called = proportion(rows.loc[rows["verdict"] == Verdict.MEMORIZED, "patient"].nunique(), rows["patient"].nunique())
    lines.add(
        f"t2_canaries_x16_called_memorized_one_lab_{name}", called.value, words_of(called), called.n,
        {True: ">= 0.9", False: "<= 0.1", None: ">= 0"}[found],
    )  # fmt: skip


def rebuilt(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox,
    people: People,
    name: str,
    *,
    found: bool | None,
) -> None:
    """T1: the distance falls with more known facts, for canaries and for members."""
    made = ask_alone(
        "reconstruction",
        model,
        dataset,
        reference=reference,
        people=people,
        knowledge_levels=("nothing", "first_10", "first_50"),
    )
    for group in (CANARY, MEMBER, NON_MEMBER):
        distances = [
            made.estimate("timed_distance", group=group, model="audited", knowledge=knowledge)
            for knowledge in ("nothing", "first_10", "first_50")
        ]
        words = ", ".join(f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f}, n = {one.n})" for one in distances)
        fall = distances[0].low - distances[-1].high  # the intervals lie apart
        goal = ">= 0" if found and group != NON_MEMBER else ">= -1"
        lines.add(f"t1_distance_fall_{group}_{name}", fall, words, distances[-1].n, goal)
    recited(lines, made, name, found=found)


def recited(lines: Lines, made: Finding, name: str, *, found: bool | None) -> None:
    """T1, what comes back gross and net of templates, and of how many people nearly word for word (a bound from below)."""
    for group in (CANARY, MEMBER, NON_MEMBER, NULL_CANARY):
        label = group.replace(" ", "_")
        gross, net = (
            made.estimate(figure, group=group, model="audited", knowledge="first_10")
            for figure in ("recited", "recited_net")
        )
        lines.add(f"t1_recited_{label}_{name}", gross.value, words_of(gross), gross.n, ">= 0")
        lines.add(f"t1_recited_net_of_templates_{label}_{name}", net.value, words_of(net), net.n, ">= 0")
        people = made.estimate("people_within_2", group=group, model="audited", knowledge="first_10")
        goal = {CANARY: ">= 0.9", NON_MEMBER: "<= 0.05", NULL_CANARY: "<= 0.05"}.get(group, ">= 0") if found else ">= 0"
        lines.add(f"t1_people_within_2_edits_{label}_{name}", people.value, words_of(people), people.n, goal)
    judged = made.figures[made.figures["figure"].str.startswith("people_within_") & (made.figures["verdict"] != "")]
    called = (judged["verdict"] == Verdict.MEMORIZED).sum()
    lines.add(
        f"t1_nearly_word_for_word_memorized_{name}",
        called,
        "a count",
        len(judged),
        "<= 0" if name == "private" else ">= 0",
    )


def spikes(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox,
    people: People,
    name: str,
    *,
    found: bool | None,
) -> None:
    """T5: who stands out by a spike, after Holm over the identifiers."""
    made = ask_alone("perturbation", model, dataset, reference=reference, people=people)
    rows = made.about("patients")
    rows = rows[rows["figure"].str.startswith("spike")]
    trained = rows["group"].str.startswith(f"{CANARY} x")
    never = rows["group"].isin((NON_MEMBER, NULL_CANARY))
    for chosen, label in ((trained, "canaries_x16"), (never, "never_trained")):
        its = rows[chosen].groupby("patient")["p_adjusted"].min()
        one = proportion(int((its <= ALARM_RATE).sum()), len(its))
        goal = {True: ">= 0.9", False: "<= 0.1", None: ">= 0"}[found]
        if label == "never_trained":
            goal = f"<= {ALARM_RATE}"
        lines.add(f"t5_spike_{label}_{name}", one.value, words_of(one), one.n, goal)


def found_on_the_map(
    lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, name: str, *, found: bool
) -> None:
    """Embedding neighbours of a sample of people drawn for this alone: members beyond others, by the facts alone and by the model's own continuations
    of them; and of the canaries, whose own record is the very nearest."""
    people = choose_people(dataset, model, reference, most=400, seed=MAP_SEED)
    made = ask_alone(
        "neighbours", model, dataset, reference=reference, people=people, knowledge_levels=MAP_LEVELS, seed=MAP_SEED
    )
    rows = made.about("figures", figure="hit@10_difference", model="audited", group="all")
    for one in rows.itertuples():
        label = f"neighbours_members_{one.attribute or 'facts_alone'}_{one.knowledge}_{name}"
        lines.add(label, one.value, f"{one.low:.3f} to {one.high:.3f}, verdict: {one.verdict}", one.n, ">= -1")
    continued = rows[rows["attribute"] == CONTINUED]
    levels = int((continued["low"] > 0).sum()) if found else int((continued["verdict"] == Verdict.MEMORIZED).sum())
    goal = ">= 2" if found else "<= 0"
    lines.add(f"neighbours_levels_that_tell_members_{name}", levels, "a count", len(continued), goal)
    for group, goal in ((CANARY, ">= 0.9" if found else ">= 0"), (NULL_CANARY, "<= 0.35" if found else ">= 0")):
        where = {"group": group, "knowledge": "one_lab", "model": "audited", "attribute": CONTINUED}
        if not len(made.about("figures", figure="hit@1", **where)):
            continue  # nobody planted was trained on by the reference
        hit = made.estimate("hit@1", **where)
        label = f"neighbours_hit@1_{group}_continued_one_lab_{name}".replace(" ", "_")
        lines.add(label, hit.value, words_of(hit), hit.n, goal)


def read_from_continuations(
    lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, name: str
) -> None:
    """T3 by the embedding of continuations, and what the same reader makes of whole records."""
    people = choose_people(dataset, model, reference, most=400, seed=MAP_SEED)
    made = ask_alone(
        "embedding", model, dataset, reference=reference, people=people, knowledge_levels=("lab_values",), seed=MAP_SEED
    )
    for group in ("all", "canaries"):
        where = {"group": group, "model": "audited", "attribute": ""}
        one = made.estimate("excess_gain_continued", **where)
        lines.add(f"t3_excess_gain_continued_{group}_{name}", one.value, words_of(one), one.n, ">= -1")
    for group in (MEMBER, NON_MEMBER, CANARY, NULL_CANARY):
        one = made.estimate("ceiling_auroc_continued", group=group, attribute="")
        label = f"t3_ceiling_auroc_{group}_{name}".replace(" ", "_")
        lines.add(label, one.value, words_of(one), one.n, ">= 0")


def false_alarms(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, everybody: People) -> None:
    """People never trained on, called memorized of any attribute that they hold."""
    never = tuple(everybody.of(NON_MEMBER, NULL_CANARY))
    people = People(never, {r.patient_id: everybody.group(r) for r in never})
    made = ask_alone("attribute", model, dataset, reference=reference, people=people, knowledge_levels=ALARM_LEVELS)
    rows = made.about("patients", figure="excess")
    for knowledge in ALARM_LEVELS:
        its = rows[rows["knowledge"] == knowledge]
        called = its[its["verdict"] == Verdict.MEMORIZED]["patient"].nunique()
        one = proportion(called, its["patient"].nunique())
        lines.add(f"t2_false_alarms_all_attributes_{knowledge}", one.value, words_of(one), one.n, f"<= {ALARM_RATE}")
    for name, its in rows[rows["knowledge"] == "one_lab"].groupby("attribute"):
        one = proportion(int((its["verdict"] == Verdict.MEMORIZED).sum()), len(its))
        lines.add(f"t2_false_alarms_{name}_one_lab", one.value, words_of(one), one.n, "<= 1")


def above(lines: Lines, name: str, one: Estimate, least: float | None, chance: float) -> None:
    """A figure whose interval must lie above ``least``; or, with None, must hold ``chance`` or lie below it."""
    goal = f">= {least}" if least is not None else f"<= {chance}"
    lines.add(f"{name}_low", one.low, f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})", one.n, goal)


def words_of(one: Estimate) -> str:
    """The interval."""
    return f"{one.low:.3f} to {one.high:.3f}"
