"""T4's intervals on laws whose truth is known: how often that of the AUROC, of its mean and difference, and of the members found at
a share of false alarms hold the truth; and that the AUROC's neither falls nor jumps as scores move apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from ehrmem_widgets.statistics.discrimination import (
    NOTHING,
    auroc,
    auroc_difference,
    controls_needed,
    macro_auroc,
    ppv_at_fpr,
    tpr_at_fpr,
)
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from tests.benchmarks.lines import Lines

RUNS = 1000
MEMBERS = 500
COVERED = ">= 0.94"
RATES = ((0.01, 660), (0.01, 3000), (0.001, 3000))
"""Shares of false alarms, and how many non-members there are; ``TOO_FEW``: so few that no figure may be given."""
TOO_FEW = ((0.01, 200), (0.001, 200), (0.001, 660))

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""Scores of so many members and so many non-members."""


def main(lines: Lines) -> None:
    """A line a figure; the share of runs whose interval holds the truth, or a fall or a jump of the AUROC's."""
    coverage_of_auroc(lines)
    shape_of_auroc(lines)
    coverage_of_several(lines)
    coverage_of_tpr(lines)


def coverage_of_auroc(lines: Lines, runs: int = 2 * RUNS) -> None:
    """Binormal scores; then members twice as scattered, and a few of them remembered far above all others."""
    for exact in (0.5, 0.7, 0.9, 0.99, 0.999):
        for members, others in ((20, 20), (100, 100), (950, 660)):
            draw = binormal(math.sqrt(2) * float(stats.norm.ppf(exact)))
            name = f"t4_auroc_coverage_{exact:g}_n{members}_{others}"
            covered(lines, name, exact, _aurocs(draw, members, others, runs))
    for members, others in ((20, 20), (20, 180), (100, 100)):
        wide = binormal(math.sqrt(5) * float(stats.norm.ppf(0.8)), spread=2.0)
        name = f"t4_auroc_coverage_0.8_unequal_n{members}_{others}"
        covered(lines, name, 0.8, _aurocs(wide, members, others, runs))
        name = f"t4_auroc_coverage_0.6_one_in_five_remembered_n{members}_{others}"
        covered(lines, name, 0.6, _aurocs(remembered(0.2), members, others, runs))


def shape_of_auroc(lines: Lines) -> None:
    """Scores move past each other one at a time, from an AUROC of about .9 to 1: how far an end falls, and how far the lower end
    jumps at the last step."""
    for size in (25, 200):
        falls, falls_high, jumps, steps = [0.0], [0.0], [], 0
        for seed in range(6):
            ends = np.array([(one.low, one.high) for one in moving_apart(size, seed)])
            steps += len(ends)
            falls.append(float(-np.diff(ends[:, 0]).min()))
            falls_high.append(float(-np.diff(ends[:, 1]).min()))
            jumps.append(float(np.diff(ends[:, 0])[-1]))
        words = f"{steps} steps of one pair"
        lines.add(f"t4_auroc_low_end_falls_n{size}_{size}", max(falls), words, 6, "<= 1e-9")
        lines.add(f"t4_auroc_high_end_falls_n{size}_{size}", max(falls_high), words, 6, "<= 0.001")
        lines.add(f"t4_auroc_low_end_jumps_at_1_n{size}_{size}", max(jumps), f"{min(jumps):.2g} at least", 6, "<= 0.01")


def coverage_of_several(lines: Lines, runs: int = RUNS) -> None:
    """Two scores of the same people (paired), and the mean over six attributes of the same people, of dependent scores."""
    for one, other, dependence in ((0.8, 0.7, 0.5), (0.7, 0.7, 0.9), (0.999, 0.9, 0.5)):
        name = f"t4_auroc_difference_coverage_{one:g}_{other:g}_n50_150"
        covered(lines, name, one - other, _differences(one, other, dependence, runs))
    for exact in (0.7, 0.9, 0.999):
        covered(lines, f"t4_macro_auroc_coverage_{exact:g}_n200", exact, _macros(exact, runs))


def coverage_of_tpr(lines: Lines, runs: int = RUNS) -> None:
    """Members found at 1 and 0.1 % false alarms, where a figure is given; where none is given, that none is."""
    laws: dict[str, tuple[Draw, Callable[[float], float]]] = {
        f"binormal_{shift:g}": (binormal(shift), lambda fpr, d=shift: float(stats.norm.sf(stats.norm.isf(fpr) - d)))
        for shift in (0.0, 0.5, 1.0, 2.0)
    }
    laws["heavy_tails"] = (heavy, lambda fpr: float(stats.t.sf(stats.t.isf(fpr, 2) - 1, 2)))
    laws["ties"] = (tied, found_with_ties)
    laws["one_in_ten_remembered"] = (remembered(0.1), lambda fpr: 0.1 + 0.9 * fpr)
    for law, (draw, truth) in laws.items():
        for fpr, others in RATES:
            name = f"t4_tpr_at_fpr_{fpr:g}_{law}_n{others}"
            found = _tprs(draw, others, fpr, runs)
            covered(lines, name, truth(fpr), found)
            if law == "binormal_1":
                exact = ppv_at_fpr(Estimate(truth(fpr), 0, 1, 1), fpr, 0.1).value
                covered(lines, name.replace("tpr_at", "ppv_at"), exact, [ppv_at_fpr(one, fpr, 0.1) for one in found])
    for fpr, others in TOO_FEW:
        given = sum(one != NOTHING for one in _tprs(binormal(1.0), others, fpr, 20))
        needed = f"{controls_needed(fpr):,} needed"
        lines.add(f"t4_tpr_at_fpr_{fpr:g}_n{others}_given", given, needed, 20, "<= 0")


def covered(lines: Lines, name: str, exact: float, made: list[Estimate]) -> None:
    """A line: the share of intervals that hold ``exact``."""
    rate = proportion(sum(one.low - 1e-12 <= exact <= one.high + 1e-12 for one in made), len(made))
    width = np.median([one.high - one.low for one in made])
    lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}, width {width:.2g}", rate.n, COVERED)


def binormal(shift: float, *, spread: float = 1.0) -> Draw:
    """Members normal around ``shift`` with standard deviation ``spread``, others standard normal."""
    return lambda rng, members, others: (rng.normal(shift, spread, members), rng.normal(0, 1, others))


def remembered(share: float) -> Draw:
    """Members like all others, but for a share of them far above."""
    return lambda rng, m, n: (rng.normal(0, 1, m) + 100 * (rng.random(m) < share), rng.normal(0, 1, n))


def heavy(rng: np.random.Generator, members: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Student's t with two degrees of freedom; members higher by one."""
    return rng.standard_t(2, members) + 1, rng.standard_t(2, others)


def tied(rng: np.random.Generator, members: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores, members higher by one, rounded down to halves."""
    return np.floor(2 * rng.normal(1, 1, members)) / 2, np.floor(2 * rng.normal(0, 1, others)) / 2


def found_with_ties(fpr: float) -> float:
    """The share of such members above the lowest half that at most ``fpr`` of others exceed."""
    halves = np.arange(-6, 8, 0.5)
    threshold = halves[stats.norm.sf(halves + 0.5) <= fpr][0]  # above a half: at or above the next one
    return float(stats.norm.sf(threshold + 0.5 - 1))


def moving_apart(size: int, seed: int) -> Iterator[Estimate]:
    """The AUROC as neighbouring scores change places, one pair at a time (by chance, from below or from above), to 1."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(1.8, 1 + seed % 2, size), rng.normal(0, 1, size)])
    member = np.repeat([True, False], size)[np.argsort(scores)]
    while True:
        yield auroc(np.flatnonzero(member), np.flatnonzero(~member))
        places = np.flatnonzero(member[:-1] & ~member[1:])
        if not len(places):
            return
        place = (rng.choice(places), places[0], places[-1])[seed % 3]
        member[[place, place + 1]] = False, True


def _aurocs(draw: Draw, members: int, others: int, runs: int) -> list[Estimate]:
    rng = np.random.default_rng([members, others])
    return [auroc(*draw(rng, members, others)) for _ in range(runs)]


def _tprs(draw: Draw, others: int, fpr: float, runs: int) -> list[Estimate]:
    rng = np.random.default_rng(others)
    return [tpr_at_fpr(*draw(rng, MEMBERS, others), fpr) for _ in range(runs)]


def _differences(one: float, other: float, dependence: float, runs: int) -> list[Estimate]:
    rng, found = np.random.default_rng(1), []
    shift = math.sqrt(2) * stats.norm.ppf([one, other])
    for _ in range(runs):
        scores = rng.multivariate_normal([0, 0], [[1, dependence], [dependence, 1]], 200)
        scores[:50] += shift
        found.append(auroc_difference(scores[:50, 0], scores[50:, 0], scores[:50, 1], scores[50:, 1]))
    return found


def _macros(exact: float, runs: int) -> list[Estimate]:
    rng, found = np.random.default_rng(2), []
    for _ in range(runs):
        truth = (rng.random((200, 6)) < 0.15).astype(float)
        scores = (rng.normal(size=(200, 6)) + rng.normal(size=(200, 1))) / math.sqrt(2)
        found.append(macro_auroc(truth, scores + math.sqrt(2) * stats.norm.ppf(exact) * truth))
    return found


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
