"""The whole pattern on the sample models: each probe finds the memorizing model's memory, and falls silent on the private one
and on the reference, which never saw these members. Figures whose goal is about an interval show the bound that the goal
is about; the interval stands beside it."""

from __future__ import annotations

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.attribute import ALL, attribute
from ehrmem_widgets.probes.embedding_neighbours import embedding_neighbours
from ehrmem_widgets.probes.exposure import canary_exposures
from ehrmem_widgets.probes.membership import membership
from ehrmem_widgets.probes.membership_scores import LOSS, RATIO
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.perturbation import perturbation
from ehrmem_widgets.probes.reconstruction import reconstruction
from ehrmem_widgets.samples.canary_alternatives import canary_alternatives
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_private, sample_reference
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict
from tests.benchmarks.lines import Lines

RUNGS = ("demographics", "one_lab", "first_20")


def main(lines: Lines) -> None:
    """Lines of the memorizing model, then of the two that must be silent, then false alarms."""
    dataset = MedsDataset(sample_data())
    memorizing, private, reference = map(FolderModel, (sample_model(), sample_private(), sample_reference()))
    people = choose_people(dataset, memorizing, reference)
    everybody = choose_people(dataset, memorizing, reference, most=100_000)
    told_apart(lines, dataset, memorizing, reference, everybody, "memorizing", found=True)
    told_apart(lines, dataset, private, reference, everybody, "private", found=False)
    exposed(lines, dataset, memorizing, reference, people, "memorizing", found=True)
    exposed(lines, dataset, private, None, people, "private", found=False)
    leaks(lines, dataset, memorizing, reference, people, "memorizing", found=True)
    leaks(lines, dataset, private, reference, people, "private", found=False)
    leaks(lines, dataset, reference, private, people, "reference", found=False)
    rebuilt(lines, dataset, memorizing, reference, people)
    spikes(lines, dataset, memorizing, reference, people, "memorizing", found=True)
    spikes(lines, dataset, private, reference, people, "private", found=False)
    neighbours(lines, dataset, memorizing, reference, people)
    false_alarms(lines, dataset, memorizing, reference, everybody)


def told_apart(
    lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, people: People, name: str, *, found: bool
) -> None:
    """T4 over every member and non-member, and over the canaries."""
    made = membership(model, dataset, reference=reference, people=people)
    for group in ("all", "canaries"):
        for score in (LOSS, RATIO):
            of = "" if score == RATIO else "audited"
            one = made.estimate("auroc", group=group, attribute=score, model=of)
            above(lines, f"t4_auroc_{score.lower()}_{group}_{name}", one, 0.8 if found else None, 0.5)
        if name == "memorizing":
            one = made.estimate("auroc", group=group, attribute=LOSS, model="reference")
            above(lines, f"t4_auroc_{LOSS.lower()}_{group}_reference", one, None, 0.5)


def exposed(
    lines: Lines,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None,
    people: People,
    name: str,
    *,
    found: bool,
) -> None:
    """Mean exposure in bits of 256 candidates; by chance 1.42."""
    made = canary_exposures(
        model, dataset, reference=reference, people=people, alternatives_of=canary_alternatives
    ).about("cohort", figure="mean_exposure")
    for one in made.itertuples():
        if one.group == NULL_CANARY or not one.group.startswith(CANARY):
            continue
        of = name if one.model == "audited" else "reference"
        estimate = Estimate(one.value, one.low, one.high, one.n)
        above(
            lines,
            f"exposure_bits_{one.group.replace(' ', '_')}_{of}",
            estimate,
            6 if found and of == name else None,
            1.42,
        )


def leaks(
    lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, people: People, name: str, *, found: bool
) -> None:
    """T2: excess risk of canaries beyond those never trained on; AUROC with more known facts."""
    made = attribute(model, dataset, reference=reference, people=people, rungs=("nothing", *RUNGS))
    for rung in RUNGS:
        one = made.estimate("excess_gap", group="canaries", rung=rung)
        above(lines, f"t2_excess_risk_canaries_{rung}_{name}", one, 0.3 if found else None, 0.0)
    if name == "reference":
        return
    for group in (MEMBER, CANARY):
        aurocs = [
            made.estimate("auroc", group=group, rung=rung, model="audited", attribute=ALL)
            for rung in ("nothing", *RUNGS)
        ]
        words = ", ".join(f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" for one in aurocs)
        rise = aurocs[-1].low - aurocs[0].high
        lines.add(f"t2_auroc_rise_{group}_{name}", rise, words, aurocs[-1].n, ">= 0" if found else ">= -1")
    rows = made.about("patient", figure="excess", rung="one_lab", group=CANARY)
    called = proportion(rows.loc[rows["verdict"] == Verdict.MEMORIZED, "patient"].nunique(), rows["patient"].nunique())
    lines.add(
        f"t2_canaries_x16_called_memorized_one_lab_{name}", called.value, words_of(called), called.n,
        ">= 0.9" if found else "<= 0.1",
    )  # fmt: skip


def rebuilt(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, people: People) -> None:
    """T1: the distance falls with more known facts, for canaries and for members."""
    made = reconstruction(model, dataset, reference=reference, people=people, rungs=("nothing", "first_10", "first_50"))
    for group in (CANARY, MEMBER, NON_MEMBER):
        found = [
            made.estimate("timed_distance", group=group, model="audited", rung=rung)
            for rung in ("nothing", "first_10", "first_50")
        ]
        words = ", ".join(f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f}, n = {one.n})" for one in found)
        fall = found[0].low - found[-1].high  # the intervals lie apart
        lines.add(
            f"t1_distance_fall_{group}_memorizing", fall, words, found[-1].n, ">= -1" if group == NON_MEMBER else ">= 0"
        )


def spikes(
    lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, people: People, name: str, *, found: bool
) -> None:
    """T5: who stands out by a spike, after Holm over the identifiers."""
    made = perturbation(model, dataset, reference=reference, people=people)
    rows = made.about("patient")
    rows = rows[rows["figure"].str.startswith("spike")]
    trained = rows["group"].str.startswith(f"{CANARY} x")
    never = rows["group"].isin((NON_MEMBER, NULL_CANARY))
    for chosen, label in ((trained, "canaries_x16"), (never, "never_trained")):
        its = rows[chosen].groupby("patient")["p_adjusted"].min()
        one = proportion(int((its <= ALARM_RATE).sum()), len(its))
        goal = (
            ">= 0.9"
            if label == "canaries_x16" and found
            else f"<= {ALARM_RATE}"
            if label == "never_trained"
            else "<= 0.1"
        )
        lines.add(f"t5_spike_{label}_{name}", one.value, words_of(one), one.n, goal)


def neighbours(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, people: People) -> None:
    """Embedding neighbours: hit@10 of members less non-members, and of canaries."""
    made = embedding_neighbours(
        model, dataset, reference=reference, people=people, rungs=("demographics", "lab_values")
    )
    rows = made.about("cohort")
    for one in rows[rows["figure"].str.contains("difference") & (rows["model"] == "audited")].itertuples():
        if "10" in one.figure:
            name = f"neighbours_{one.figure}_{one.group}_{one.rung}".replace(" ", "_")
            lines.add(name, one.value, f"{one.low:.3f} to {one.high:.3f}, verdict: {one.verdict}", one.n, ">= -1")


def false_alarms(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox, everybody: People) -> None:
    """People never trained on, called memorized of any attribute that they hold."""
    never = tuple(everybody.of(NON_MEMBER, NULL_CANARY))
    people = People(never, {r.patient_id: everybody.group(r) for r in never})
    made = attribute(model, dataset, reference=reference, people=people, rungs=(*RUNGS, "lab_values"))
    rows = made.about("patient", figure="excess")
    for rung in (*RUNGS, "lab_values"):
        its = rows[rows["rung"] == rung]
        called = its[its["verdict"] == Verdict.MEMORIZED]["patient"].nunique()
        one = proportion(called, its["patient"].nunique())
        lines.add(f"t2_false_alarms_all_attributes_{rung}", one.value, words_of(one), one.n, f"<= {ALARM_RATE}")
    for name, its in rows[rows["rung"] == "one_lab"].groupby("attribute"):
        one = proportion(int((its["verdict"] == Verdict.MEMORIZED).sum()), len(its))
        lines.add(f"t2_false_alarms_{name}_one_lab", one.value, words_of(one), one.n, "<= 1")


def above(lines: Lines, name: str, one: Estimate, least: float | None, chance: float) -> None:
    """A figure whose interval must lie above ``least``; or, with None, must hold ``chance`` or lie below it."""
    goal = f">= {least}" if least is not None else f"<= {chance}"
    lines.add(f"{name}_low", one.low, f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})", one.n, goal)


def words_of(one: Estimate) -> str:
    """The interval."""
    return f"{one.low:.3f} to {one.high:.3f}"


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
