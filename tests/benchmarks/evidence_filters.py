"""Output filters: the answers of a filtered chain against the exact ones, what filters leave of the memorizing model's memory, and that they make none up
about people never seen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehrmem_widgets.blackbox.filtered import FilteredModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.attribute.ask import LEAK_RISK
from ehrmem_widgets.probes.leak import ProductForm
from ehrmem_widgets.probes.membership.scores import RATIO
from ehrmem_widgets.probes.neighbours.ask import CONTINUED
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.utility.figures import RECALL
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import proportion
from tests.benchmarks.lines import Lines
from tests.benchmarks.null_run import divided
from tests.benchmarks.sample_pattern import above
from tests.blackbox.test_filtered import BY_HAND, HIV, VOCABULARY, P
from tests.probes.alone import ask_alone

SEEDS, SAMPLES, STEPS, ASKED, LEVEL = 200, 100, 10, 120, "first_10"
FILTERS = ("suppress_below=0.05", "round_to=0.05", "top_k=3", "withhold=probabilities")
HIDES_ALL = "suppress_below=1"


def main(lines: Lines) -> None:
    """A line a figure."""
    against_exact(lines)
    dataset, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference, most=ASKED, canaries=False)
    what_is_left(lines, dataset, model, reference, people)
    on_the_map(lines, dataset, model, reference)
    nothing_made_up(lines, dataset, model, reference)


def against_exact(lines: Lines) -> None:
    """Leak probabilities of a chain through filters worked out by hand: how often the interval holds the exact one."""
    held = [
        low - 1e-9 <= exact <= high + 1e-9
        for text, shown in BY_HAND.items()
        for exact in [MarkovChain(np.array(shown), VOCABULARY).leak_probability(0, [HIV], STEPS)]
        for low, high in _leaks(FilteredModel(MarkovChain(P, VOCABULARY), read_filter(text)))
    ]
    rate = proportion(sum(held), len(held))
    lines.add("filter_leak_coverage", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", rate.n, ">= 0.93")


def _leaks(model: FilteredModel) -> list[tuple[float, float]]:
    found = []
    for seed in range(SEEDS // len(BY_HAND)):
        form = ProductForm(model, [[0]], np.arange(4) == HIV, STEPS)
        list(form.add(SAMPLES, seed))
        found.append((form.estimate().low, form.estimate().high))
    return found


def what_is_left(
    lines: Lines, dataset: MedsDataset, model: FolderModel, reference: FolderModel, people: People
) -> None:
    """T4 and T1 of the memorizing model through each filter; and T2 through one that hides sensitive codes always."""
    recall = _recall(model, dataset, people)
    for text in FILTERS:
        behind, name = FilteredModel(model, read_filter(text)), text.partition("=")[0]
        if "withhold" not in text:
            scored = ask_alone("membership", behind, dataset, reference=reference, people=people)
            one = scored.estimate("auroc", group="all", attribute=RATIO)
            above(lines, f"filter_{name}_t4_ratio_memorizing", one, 0.7, 0.5)
            lost = mean_with_interval((recall - _recall(behind, dataset, people)).to_numpy(), bounds=(-1, 1))
            # A diagnosis that is sensitive is a small part of all, so that suppressing these may cost nothing to be seen.
            above(lines, f"filter_{name}_recall_lost_memorizing", lost, -1 if "suppress" in text else 0.001, 0.0)
        rebuilt = ask_alone(
            "reconstruction", behind, dataset, reference=reference, people=people, knowledge_levels=(LEVEL,), samples=4
        )
        one = rebuilt.estimate("timed_distance_gap", group="member - non-member")
        above(lines, f"filter_{name}_t1_gap_memorizing", one, 0.0, 0.0)
    hidden = FilteredModel(model, read_filter(HIDES_ALL))
    leaks = ask_alone("attribute", hidden, dataset, reference=None, people=people, knowledge_levels=(LEVEL,))
    one = leaks.estimate(LEAK_RISK, group=MEMBER)
    lines.add("filter_hides_all_t2_memorizing", one.high, f"{one.low:.3f} to {one.high:.3f}", one.n, "<= 0.05")


def _recall(model: BlackBox, dataset: MedsDataset, people: People) -> pd.Series:
    """Of each person never seen, recall@10 of the next diagnosis."""
    rows = ask_alone("utility", model, dataset, people=people).about("patients", figure=RECALL)
    return rows.set_index("patient")["value"]


def on_the_map(lines: Lines, dataset: MedsDataset, model: FolderModel, reference: FolderModel) -> None:
    """Canaries whose own record is the nearest to what the model makes of one lab through a filter, less those never trained on."""
    people = choose_people(dataset, model, reference, most=4)
    behind = FilteredModel(model, read_filter("top_k=3"))
    found = ask_alone("neighbours", behind, dataset, people=people, knowledge_levels=("one_lab",))
    where = {"group": "canaries", "model": "audited", "attribute": CONTINUED}
    above(lines, "filter_top_k_neighbours_canaries_memorizing", found.estimate("hit@1_difference", **where), 0.001, 0.0)


def nothing_made_up(lines: Lines, dataset: MedsDataset, model: FolderModel, reference: FolderModel) -> None:
    """Random divisions of people never seen, through filters: how often they are told apart."""
    every = choose_people(dataset, model, reference, most=100_000, canaries=False)
    strangers = tuple(every.of(NON_MEMBER))[:300]
    people = People(strangers, {one.patient_id: NON_MEMBER for one in strangers})
    for text in ("top_k=3", "round_to=0.05"):
        behind = FilteredModel(model, read_filter(text))
        scored = ask_alone("membership", behind, dataset, reference=reference, people=people)
        rows = scored.about("patients", figure="score", attribute=RATIO)
        _p, called, _ranks = divided(rows["value"].to_numpy())
        rate = proportion(called, len(_p))
        name = f"filter_{text.partition('=')[0]}_null_t4_ratio_memorized"
        lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}", rate.n, "<= 0.05")
