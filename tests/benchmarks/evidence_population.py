"""k is about people, and the ranking has a null (methods, 8.5 and 8.6).

The 3,000 synthetic patients are the population and 500 of them, drawn anew for each patient asked about, the data set: how often the
interval holds the number of people who really fit, and how well the chance that nobody else does agrees with how often that is so.
Then the attack ranking on the memorizing sample model: what the search finds about people whom neither model saw.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, KnownFacts, ValuePrecision, facts_of_level
from ehrmem_widgets.attacker.identifiability import FactIndex, PopulationFit
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.people import CANARY, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.ranking.ask import NEVER_SEEN, ranked
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.population import others_in_population
from ehrmem_widgets.statistics.verdicts import Peers
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.lines import Lines
from tests.probes.alone import ask_alone

ASKED, SAMPLE = 250, 500
DIVISIONS = 200
LADDER = ("demographics", "one_lab", "lab_values")


def main(lines: Lines) -> None:
    """A line a figure."""
    dataset = MedsDataset(sample_data())
    model = FolderModel(sample_model())
    population(lines, dataset, model.vocabulary)
    ranking_null(lines, dataset, model)


def population(lines: Lines, dataset: MedsDataset, vocabulary: Vocabulary) -> None:
    """Coverage of the number who fit, and calibration of the chance that nobody else does."""
    rng = np.random.default_rng(0)
    index, ids = FactIndex(dataset, vocabulary), np.array(dataset.ids())
    found = []
    for row in rng.choice(len(ids), ASKED, replace=False):
        record = dataset.record(int(ids[row]))
        for facts in sets_of_facts(record, vocabulary, rng):
            fits = np.delete(index.fits(record, facts), row, axis=1)
            seen = fits[:, rng.choice(len(ids) - 1, SAMPLE - 1, replace=False)]
            others, nobody = others_in_population(seen, len(ids))
            fit = PopulationFit(len(ids), others, nobody)
            truth, k = int(fits.all(axis=0).sum()), 1 + int(seen.all(axis=0).sum())
            covered = others.low <= truth <= others.high
            found.append((k, truth, covered, nobody.value, fit.already_identified, others.value))
    k, truth, covered, chance, identified, expected = (np.array(column) for column in zip(*found, strict=True))
    unique = k == 1
    for name, which in (
        ("all", k > 0),
        ("unique_in_data", unique),
        ("unique_in_data_not_in_population", unique & (truth > 0)),
    ):
        rate = proportion(int(covered[which].sum()), int(which.sum()))
        lines.add(f"population_coverage_{name}", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", rate.n, ">= 0.94")
    total = float(truth[unique].sum() / expected[unique].sum())
    lines.add(
        "population_others_found_over_expected", total, f"{truth[unique].sum():.0f} others", unique.sum(), "0.7..1.3"
    )
    apart = 0.0
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 0.975), (0.975, 1.01)):
        which = unique & (chance >= low) & (chance < high)
        rate, said = proportion(int((truth[which] == 0).sum()), int(which.sum())), float(chance[which].mean())
        apart += rate.n * abs(rate.value - said) / unique.sum()
        name = f"population_uniqueness_where_said_{low:g}_to_{min(high, 1):g}"
        lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}; said {said:.3f}", rate.n, "0..1")
    lines.add("population_uniqueness_calibration_error", apart, "mean distance of said and so", unique.sum(), "<= 0.05")
    wrong = proportion(int((truth[identified] > 0).sum()), int(identified.sum()))
    lines.add(
        "population_already_identified_wrongly",
        wrong.value,
        f"{wrong.low:.3f} to {wrong.high:.3f}",
        wrong.n,
        "<= 0.025",
    )
    plain = np.sqrt(SAMPLE / len(ids))  # Jeffreys' posterior of theta from k = 1 alone, whatever the facts are
    brier = [float(((said - (truth == 0)) ** 2)[unique].mean()) for said in (chance, plain)]
    lines.add(
        "population_uniqueness_brier_over_k_alone", brier[0] / brier[1], f"{brier[0]:.3f} against {brier[1]:.3f}",
        unique.sum(), "<= 0.5",
    )  # fmt: skip


def sets_of_facts(record: Record, vocabulary: Vocabulary, rng: np.random.Generator) -> Iterator[KnownFacts]:
    """What attackers may know: knowledge levels, and facts at random, roughly or exactly, with and without dates."""
    for knowledge in ("demographics", "one_lab", "lab_values", "first_10"):
        yield facts_of_level(knowledge, record, vocabulary)
    dated = [place for place, event in enumerate(record.events) if event.time is not None]
    static = [KnownFact(place) for place, event in enumerate(record.events) if event.time is None]
    age = [KnownFact(AGE, ValuePrecision.COARSE)] if record.age_at_start() is not None else []
    for size in (1, 2, 3, 5):
        places = np.sort(rng.choice(dated, min(size, len(dated)), replace=False)).tolist()
        yield (*age, *static, *(KnownFact(place, ValuePrecision.COARSE, DatePrecision.UNKNOWN) for place in places))
        yield (*age, *(KnownFact(place, ValuePrecision.UNKNOWN, DatePrecision.MONTH) for place in places))


def ranking_null(lines: Lines, dataset: MedsDataset, model: FolderModel) -> None:
    """The search over never-seen people who hold an attribute and a few canaries: leaks found, and the ranks of either."""
    reference = FolderModel(sample_reference())
    chosen = choose_people(dataset, model, reference, most=160)
    records = (*chosen.of(NON_MEMBER, NULL_CANARY), *chosen.of(CANARY)[:12])
    people = People(records, {record.patient_id: chosen.group(record) for record in records})
    found = ask_alone("ranking", model, dataset, reference=reference, people=people, knowledge_levels=LADDER)
    asked = found.about("figures", figure="given_away").set_index("group")["n"]
    never = int(asked[[group for group in NEVER_SEEN if group in asked]].sum())
    bits = found.about("patients", figure="bits")
    cheapest = bits[bits["group"].isin(NEVER_SEEN)].groupby("patient")["value"].min().to_numpy()
    rate = proportion(len(cheapest), never)
    lines.add("ranking_never_seen_given_away", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", never, "<= 0.05")
    statistic = np.concatenate([-cheapest, np.full(never - len(cheapest), -np.inf)])
    called = 0
    for seed in range(DIVISIONS):  # half of the people never seen are ranked among the other half
        drawn = np.random.default_rng(seed).permutation(statistic)
        tested, null = drawn[: never // 2], drawn[never // 2 :]
        called += sum(Peers.of(one, null).p <= 0.05 for one in tested if np.isfinite(one))
    share = called / (DIVISIONS * (never // 2))
    lines.add("ranking_never_seen_rank_p_below_05", share, f"{DIVISIONS} divisions", never, "<= 0.05")
    leaks = ranked(found)
    best = leaks.groupby("patient")["p_adjusted"].min()
    canaries = proportion(int((best <= 0.05).sum()), int(asked[CANARY]))
    lines.add(
        "ranking_canaries_x16_adjusted_p_below_05", canaries.value, f"{canaries.low:.3f} to {canaries.high:.3f}", canaries.n,
        ">= 0.8",
    )  # fmt: skip


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
