"""The price of a defence: that defences of the small sample models buy and cost what they must, and how often a model is called dominated that is not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ehrmem_widgets.audit.comparison import PAIRED, Comparison
from ehrmem_widgets.audit.frontier import Frontier
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.samples.build import RUNGS
from ehrmem_widgets.samples.folders import SAMPLES, sample_data, sample_reference
from ehrmem_widgets.statistics.intervals import proportion
from tests.benchmarks.lines import Lines
from tests.reports.synthetic_audit import SyntheticAudit

PEOPLE, RUNS, POWER_RUNS, MEASURED = 200, 60, 20, ("membership", "exposure", "utility")
EXPOSED, TOLD, LOSS = ("mean exposure", "16 times"), ("AUROC", "Ratio"), ("loss", "")
"""What a figure's heading and words hold."""


def main(lines: Lines) -> None:
    """A line a figure."""
    simulated(lines)
    with tempfile.TemporaryDirectory() as folder:
        none, again, fewer, private = (
            audited(Path(folder) / f"{name}_{seed}", name, seed)
            for name, seed in (("none", 0), ("none", 1), ("deduplicated", 0), ("epsilon_8", 0))
        )
        lowered(lines, "deduplicated_exposure_bought_bits", fewer, none, EXPOSED)
        lowered(lines, "epsilon_8_exposure_bought_bits", private, none, EXPOSED)
        lowered(lines, "epsilon_8_t4_ratio_bought", private, none, TOLD)
        lowered(lines, "epsilon_8_loss_paid_nats", none, private, LOSS)
        called = Frontier({"one seed": none, "another": again}).dominated
        lines.add("frontier_dominated_by_itself", len(called), "one pair: one model, two seeds", PEOPLE, "<= 0")


def simulated(lines: Lines) -> None:
    """Pages of three models: all are good for the same, and remember much, less and nothing; and one that is good for less besides."""
    alike = proportion(sum(bool(_dominated(seed, AsGood)) for seed in range(RUNS)), RUNS)
    words = f"{alike.low:.3f} to {alike.high:.3f}"
    lines.add("frontier_as_good_called_dominated", alike.value, words, RUNS, "<= 0.05")
    # So few people are not enough for the first: AUROCs of about 0.64 and 0.50 are rarely told apart among 12 differences.
    for effect in (0.3, 0.6):
        found = sum("m0" in _dominated(seed, SyntheticAudit, effect) for seed in range(POWER_RUNS))
        worse = proportion(found, POWER_RUNS)
        words = f"{worse.low:.3f} to {worse.high:.3f}"
        lines.add(f"frontier_worse_both_ways_by_{effect:g}_called_dominated", worse.value, words, worse.n, ">= 0.95")


class AsGood(SyntheticAudit):
    """Predicts people never seen as well as any other, whatever it remembers."""

    def _utility(self) -> Any:
        effect, self.effect = self.effect, 0.0
        made = super()._utility()
        self.effect = effect
        return made


def _dominated(seed: int, kind: type[SyntheticAudit], most: float = 0.3) -> list[str]:
    """Those that are called so, on a page of three models; each person's figures scatter in each model by themselves."""
    with tempfile.TemporaryDirectory() as folder:
        audits = {
            f"m{place}": AuditResults(
                kind(PEOPLE, effect=effect, seed=3 * seed + place).write(Path(folder) / str(place), names=MEASURED)
            )
            for place, effect in enumerate((most, most / 3, 0.0))
        }
        return [one.name for one in Frontier(audits).dominated]


def audited(folder: Path, rung: str, seed: int) -> AuditResults:
    """An audit of one of the small sample models."""
    folder.mkdir()
    plan = folder / "plan.yaml"
    plan.write_text(
        f"data: {sample_data()}\nmodel: {SAMPLES / 'models' / RUNGS / rung}\nreference: {sample_reference()}\n"
        f"patients: {PEOPLE}\nholders: 0\nseed: {seed}\nprobes: [{', '.join(MEASURED)}]\n"
    )
    run_audit(read_plan(plan), folder / "results")
    return AuditResults(folder / "results")


def lowered(lines: Lines, name: str, less: AuditResults, more: AuditResults, which: tuple[str, str]) -> None:
    """How much less of a figure one has, each person compared with themselves: the interval must lie above 0."""
    comparison = Comparison(less, more)
    (one,) = [
        one for one in (*comparison.figures, *comparison.useful) if which[0] in one.heading and which[1] in one.words
    ]
    assert one.how == PAIRED
    gap = one.gap
    words = f"{gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f})"
    lines.add(f"{name}_low", gap.low, words, gap.n, ">= 0.001")
