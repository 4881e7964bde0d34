"""The list of vulnerable patients: how many of those listed were never seen, simulated and on the sample models, and whether it finds the planted.

On a sample model half of the people never seen are hidden among the members, and the other half is what everybody is ranked among.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.audit.vulnerable import VulnerableList, vulnerable_list
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_private, sample_reference
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.multiple_testing import discoveries
from tests.benchmarks.lines import Lines

RATE, RUNS, DIVISIONS = 0.1, 2000, 200
PEOPLE = 100
LEVELS = {"attribute": "first_20", "ranking": "one_lab"}


def main(lines: Lines) -> None:
    """A line a figure."""
    simulated(lines)
    with tempfile.TemporaryDirectory() as folder:
        on_memorizing(lines, Path(folder))
        for name, model, reference in (
            ("private", sample_private(), sample_reference()),
            ("reference", sample_reference(), sample_private()),
        ):
            _, found = audited(Path(folder) / name, model, reference, "attribute", 400)
            listed = proportion(len(found.rows), found.searches[0].asked)
            lines.add(f"vulnerable_listed_{name}", listed.value, words(listed), listed.n, "<= 0")


def simulated(lines: Lines) -> None:
    """Normal scores, a part of them moved up by 4: false ones among those listed, and whether their said share holds them."""
    rng = np.random.default_rng(17)
    for part in (0.0, 0.3):
        false, covered = [], []
        for _ in range(RUNS):
            own = rng.normal(size=PEOPLE)
            own[: round(part * PEOPLE)] += 4
            found = discoveries(own, rng.normal(size=PEOPLE), RATE)
            wrong = int(found.chosen[round(part * PEOPLE) :].sum())
            false.append(wrong / max(1, found.chosen.sum()))
            if found.false_share is not None:
                covered.append(false[-1] <= found.false_share.high)
        mean = mean_with_interval(np.array(false))
        lines.add(
            f"vulnerable_false_share_simulated_{part:g}",
            mean.value,
            words(mean),
            RUNS,
            "<= 0.115",  # the rate and twice the standard error of so many runs
        )
        if part:
            held = proportion(sum(covered), len(covered))
            lines.add(
                "vulnerable_false_share_within_its_interval",
                held.value,
                words(held),
                held.n,
                ">= 0.95",
            )


def on_memorizing(lines: Lines, folder: Path) -> None:
    """Members and canaries listed by T2, and the people never seen whom the same rule lists; and canaries by the ranking."""
    results, found = audited(folder / "attribute", sample_model(), sample_reference(), "attribute", 1000)
    share = proportion(len(found.rows), found.searches[0].asked)
    lines.add("vulnerable_members_listed_memorizing", share.value, words(share), share.n, ">= 0.01")
    named(lines, found, "attribute")
    exposures = next(one for view in results.views.values() if (one := view.exposures()) is not None)
    members, never = exposures.statistic(MEMBER), exposures.statistic(NON_MEMBER)
    false, half = [], len(never) // 2
    for seed in range(DIVISIONS):
        drawn = np.random.default_rng(seed).permutation(never)
        chosen = discoveries(np.concatenate([members, drawn[:half]]), drawn[half:], RATE).chosen
        false.append(chosen[len(members) :].sum() / max(1, chosen.sum()))
    mean = float(np.mean(false))
    lines.add("vulnerable_never_seen_among_listed_memorizing", mean, f"{DIVISIONS} divisions", len(never), f"<= {RATE}")
    named(lines, audited(folder / "ranking", sample_model(), sample_reference(), "ranking", 60)[1], "ranking")


def named(lines: Lines, found: VulnerableList, test: str) -> None:
    """Of the planted, how many the same rule names."""
    (search,) = found.searches
    assert search.canaries is not None
    one = search.canaries
    lines.add(f"vulnerable_canaries_named_{test}_memorizing", one.value, words(one), one.n, ">= 0.8")


def audited(folder: Path, model: Path, reference: Path, test: str, people: int) -> tuple[AuditResults, VulnerableList]:
    """An audit by one test, and its list."""
    folder.mkdir()
    plan = folder / "plan.yaml"
    plan.write_text(
        f"data: {sample_data()}\nmodel: {model}\nreference: {reference}\npatients: {people}\nholders: 0\nprobes: [{test}]\n"
        f"knowledge_levels: [{LEVELS[test]}]\n"
    )
    run_audit(read_plan(plan), folder / "results")
    results = AuditResults(folder / "results")
    return results, vulnerable_list(results, MedsDataset(sample_data()), RATE)


def words(one: Estimate) -> str:
    """The interval."""
    return f"{one.low:.3f} to {one.high:.3f}"


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
