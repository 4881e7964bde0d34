"""A null run: members and non-members are the same population and the models saw neither. Then nothing may be found: p-values
are uniform (Kolmogorov-Smirnov over 200 random divisions) and verdicts *memorized* are rare."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.attribute.ask import LARGEST_EXCESS
from ehrmem_widgets.probes.membership.scores import LOSS, MIN_K, MIN_K_PLUS_PLUS, RATIO
from ehrmem_widgets.probes.people import NON_MEMBER, People, choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc, auroc_p, difference_of_means
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.verdicts import Peers, ProbeKind, Verdict, judge_cohort
from tests.benchmarks.lines import Lines
from tests.probes.alone import ask_alone

REPETITIONS, SIZE = 200, 25  # a small set-up: so many "members" and as many "non-members", all of them held out


def main(lines: Lines) -> None:
    """A line a figure: the p-value of the Kolmogorov-Smirnov test, and the share of verdicts *memorized*."""
    dataset = MedsDataset(sample_data())
    model, reference = FolderModel(sample_model()), FolderModel(sample_reference())
    chosen = choose_people(dataset, model, reference, most=100_000, canaries=False)
    strangers = tuple(chosen.of(NON_MEMBER))
    people = People(strangers, {r.patient_id: NON_MEMBER for r in strangers})
    values: dict[str, np.ndarray] = {}
    scored = ask_alone("membership", model, dataset, reference=reference, people=people).about(
        "patients", figure="score"
    )
    for name in (LOSS, MIN_K, MIN_K_PLUS_PLUS, RATIO):
        rows = scored[scored["attribute"] == name]
        values[f"t4_{name}"] = rows[rows["model"] != "reference"].drop_duplicates("patient")["value"].to_numpy()
    excess = ask_alone("attribute", model, dataset, reference=reference, people=people, knowledge_levels=("one_lab",))
    values["t2_largest_excess"] = excess.about("patients", figure=LARGEST_EXCESS)["value"].to_numpy()
    rebuilt = ask_alone(
        "reconstruction", model, dataset, reference=reference, people=people, knowledge_levels=("first_10",), samples=4
    )
    for name, figure, sign in (
        ("t1_distance", "timed_distance", -1),
        ("t1_rare_net", "rare_net_1", 1),
        ("t1_recited_net", "recited_net", 1),
    ):
        of = rebuilt.about("patients", figure=figure).pivot_table(index="patient", columns="model", values="value")
        values[name] = (sign * (of["audited"] - of["reference"])).dropna().to_numpy()
    for name, its in values.items():
        p, called, ranks = divided(its)
        name = name.lower().replace("-", "_").replace("%", "").replace("+", "p")
        rate = proportion(called, len(p))
        lines.add(f"null_{name}_memorized", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", rate.n, "<= 0.05")
        if name.endswith("_net"):
            continue  # mostly 0: the p-values of ties are too large, and not uniform
        uniform = stats.kstest(p, "uniform")
        lines.add(f"null_{name}_ks_p", uniform.pvalue, f"KS distance {uniform.statistic:.3f}", len(p), ">= 0.01")
        uniform = stats.kstest(ranks, "uniform")
        lines.add(
            f"null_{name}_rank_ks_p", uniform.pvalue, f"KS distance {uniform.statistic:.3f}", len(ranks), ">= 0.01"
        )


def divided(values: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Of random divisions: the p-values of members against non-members, how many are called memorized, and the rank p-value
    of one member against the non-members, smoothed (a rank is discrete; Vovk et al. 2005, Algorithmic Learning, 2.2)."""
    p, ranks, called = [], [], 0
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        drawn = rng.choice(values, 2 * SIZE, replace=False)
        members, others = drawn[:SIZE], drawn[SIZE:]
        p.append(auroc_p(members, others))
        gap = difference_of_means(members, others)
        verdict = judge_cohort(
            gap, p[-1], margin=0.05, kind=ProbeKind.MEASURE, members=SIZE, non_members=SIZE, what="gap"
        ).verdict
        called += verdict is Verdict.MEMORIZED
        first = float(members[0])
        ranks.append(Peers.of(first, others).p - rng.random() / (1 + len(others)))
        assert math.isfinite(auroc(members, others).value)
    return np.array(p), called, np.array(ranks)
