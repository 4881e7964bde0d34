"""A lower bound of epsilon from one training run (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846), and the larger one that holds if training
added Gaussian noise (Mahloujifar, Melis and Chaudhuri 2024, arXiv 2410.22235).

Each canary was put into the training data by a fair coin of its own. An attacker who sees the model's membership scores guesses the coins
of the canaries with the highest scores (in) and with the lowest (out). Nobody can guess more of them than privacy allows: from how many
are right follows how large epsilon is at least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ehrmem_widgets.cohort.ground_truth import coin_flips
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Exclusion, Finding, FindingRow, excluded_row, finding, row
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.scores import headline
from ehrmem_widgets.probes.needs import SCORES, AtHand, Can, Lack, Need, reference
from ehrmem_widgets.probes.people import CANARIES, CANARY, NULL_CANARY
from ehrmem_widgets.settings import check_claim
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.discrimination import auroc_p
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.privacy_loss import (
    ERROR,
    MOST_CANARIES,
    SHARES,
    canaries_to_refute,
    epsilon_bound,
    gaussian_epsilon_bound,
    provable,
)
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Fact, Judgement, Verdict

BOUND, GAUSSIAN, CLAIMED, RIGHT = "epsilon_bound", "epsilon_bound_gaussian", "claimed_epsilon", "guesses_right"
NO_SCORE = Exclusion("no_score", "no membership score: its coin is not guessed")
_UNBALANCED = 0.001  # how seldom fair coins are called unfair
_SURELY_ENOUGH = 44  # coins, of which fewer than 11 fall on one side once in 2,000 times


@dataclass(frozen=True)
class Guessed:
    """So many coins were guessed, the surest ``share`` of all, and so many of them right."""

    share: float
    guesses: int
    right: int


def guess(scores: np.ndarray, coins: np.ndarray, share: float, *, seed: int = 0) -> Guessed:
    """Guess the (n,) coins of the canaries with the highest scores as in, and of as many with the lowest as out. Among equal scores the order is
    drawn, by nothing that depends on the coins.

    >>> guess(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]), 0.5)
    Guessed(share=0.5, guesses=2, right=2)
    """
    order = np.lexsort((np.random.default_rng([seed, 7]).random(len(scores)), scores))
    each = int(share * len(scores)) // 2
    right = int(coins[order[len(order) - each :]].sum() + (~coins[order[:each]]).sum())
    return Guessed(share, 2 * each, right)


def bound(canaries: int, guessed: tuple[Guessed, ...], delta: float = 0.0) -> float:
    """The largest bound of all shares, each corrected for their number."""
    error = ERROR / len(SHARES)
    return max(epsilon_bound(canaries, one.guesses, one.right, delta=delta, error=error) for one in guessed)


def bound_gaussian(canaries: int, guessed: tuple[Guessed, ...], delta: float) -> float:
    """The same if training added Gaussian noise; 0 at delta 0, where that has no epsilon."""
    error = ERROR / len(SHARES)
    return max(
        gaussian_epsilon_bound(canaries, one.guesses, one.right, delta=delta, error=error) if delta else 0.0
        for one in guessed
    )


def unbalanced(coins: Mapping[int, bool]) -> str:
    """What is wrong with coins that are not fair, in a sentence; empty for fair ones."""
    heads, n = sum(coins.values()), len(coins)
    p = float(stats.binomtest(heads, n).pvalue) if n else 1.0
    if p >= _UNBALANCED:
        return ""
    return (
        f"The file of canaries says that {heads:,} of {n:,} coins put a canary in; fair coins hardly ever do that. A bound of epsilon needs a "
        "fair coin for each."
    )


def _coins(at_hand: AtHand) -> Lack | None:
    coins = coin_flips(at_hand.dataset)
    if not coins:
        return Lack(
            "There are no canaries that coins put into the training data.",
            "Make some with 'ehrmem canaries make --coin-flip' before training, and name their key with --canaries.",
        )
    if words := unbalanced(coins):
        return Lack(words, "Make canaries with 'ehrmem canaries make --coin-flip'.")
    return None


class OneRun(ProbeRun):
    """The bound, from the membership scores of the canaries: LiRA with a folder of shadow models (``shadow``), else Ratio, and without a
    reference model Loss.

    Cohort rows of the group "canaries": ``guesses_right``, ``attribute`` the share of the canaries that was guessed about; ``epsilon_bound``,
    by share, and without one over all shares at 95 % (with ``claimed_delta``, of an epsilon at that delta), with the verdict;
    ``epsilon_bound_gaussian`` at a ``claimed_delta`` above 0, if training added Gaussian noise; ``claimed_epsilon``, with the verdict *memorized*
    where one of them contradicts it. ``high`` of a bound is infinite: it bounds from below alone.
    """

    doing = "bound of epsilon"
    asks = False
    needs = (SCORES, Need(_coins), reference(Can.YES, "its strongest score (Ratio) is missing"))

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self.records = ()
        self.settings |= {"shares": list(SHARES), "shadow": None}
        check_claim(task.options.get(CLAIMED), task.options.get("claimed_delta"))
        groups = task.people.groups
        self.coins = {patient: put_in for patient, put_in in coin_flips(task.dataset).items() if patient in groups}
        if not self.coins:
            raise CannotAnswer("No canaries that coins put into the training data were asked about.")
        if words := unbalanced(self.coins):
            raise CannotAnswer(words)
        if wrong := sum((groups[patient] == CANARY) != put_in for patient, put_in in self.coins.items()):
            raise CannotAnswer(
                f"The coins of {wrong:,} canaries do not say whether they stand in the split that the model was trained on. Were they trained "
                "on? Name that split with --training-split."
            )

    def ask(self, records: list[Record]) -> Rows:
        """Nothing: membership has asked."""
        return []

    def judge(self, answers: Rows) -> Finding:
        """The bound, and what it says of a claim."""
        scores, out = self._scores()
        coins = np.array([self.coins[patient] for patient in scores], dtype=bool)
        values = np.array(list(scores.values()), float)
        if min(coins.sum(), (~coins).sum()) < FEWEST:
            verdict = _too_few(int(coins.sum()), int((~coins).sum()))
            rows = [row(BOUND, n=len(coins), group=CANARIES, judgement=verdict)]
            return finding(self.probe.name, [*rows, *out], self.settings, [f"{verdict.verdict}: {verdict.sentence}"])
        told = [judge_bound(values, coins, seed=self.task.seed, delta=self.task.options.get("claimed_delta") or 0.0)]
        claimed = self.task.options.get(CLAIMED)
        if claimed is not None:
            told.append(judge_claim(told[0], claimed, float(self.task.options["claimed_delta"])))
        sentences = [f"{one.verdict.verdict}: {one.verdict.sentence}" for one in reversed(told)]
        return finding(self.probe.name, [*(r for one in told for r in one.rows), *out], self.settings, sentences)

    def _scores(self) -> tuple[dict[int, float], list[FindingRow]]:
        """The scores by canary; those without one abstain, whatever their coin."""
        table = self.task.earlier["membership"].about("patients", figure="score")
        kind = headline(table["attribute"])
        self.settings |= {"score": kind, "shadow": self.task.earlier["membership"].settings.get("shadow")}
        of = table[table["attribute"] == kind].set_index("patient")["value"]
        found = {patient: self.task.dataset.pseudonym(patient) for patient in sorted(self.coins)}
        there = {patient: float(of[name]) for patient, name in found.items() if name in of.index}
        group = {True: CANARY, False: NULL_CANARY}
        out = [excluded_row(name, NO_SCORE, group=group[self.coins[p]]) for p, name in found.items() if p not in there]
        return there, out


def _too_few(put_in: int, left_out: int) -> Judgement:
    words = (
        "there are {put_in} canaries that coins put in and {left_out} that they left out; at least {fewest} of each are needed. Make {make} or more "
        "with 'ehrmem canaries make --coin-flip --n', and train again."
    )
    facts: dict[str, Fact] = {"put_in": put_in, "left_out": left_out, "fewest": FEWEST, "make": _SURELY_ENOUGH}
    return Judgement(Verdict.CANNOT_CONCLUDE, "too_few", words, facts)


@dataclass(frozen=True)
class Told:
    """Rows of a finding, the verdict that stands in one of them, and the bounds from so many canaries: whatever was done to the training, and if
    it added Gaussian noise."""

    rows: list[FindingRow]
    verdict: Judgement
    epsilon: float
    gaussian: float
    canaries: int


def judge_bound(scores: np.ndarray, coins: np.ndarray, *, seed: int = 0, delta: float = 0.0) -> Told:
    """The bound from (n,) scores and coins, and what it shows."""
    n, rows = len(scores), []
    guessed = tuple(guess(scores, coins, share, seed=seed) for share in SHARES)
    for one in guessed:
        alone, words = bound(n, (one,), delta), f"{one.share:.0%}"
        rows.append(row(RIGHT, proportion(one.right, one.guesses), group=CANARIES, attribute=words))
        rows.append(row(BOUND, Estimate(alone, alone, np.inf, one.guesses), group=CANARIES, attribute=words))
    epsilon, gaussian = bound(n, guessed, delta), bound_gaussian(n, guessed, delta)
    at = f" at delta {delta:g}" if delta else ""
    if epsilon > 0:
        facts: dict[str, Fact] = {"epsilon": epsilon, "at": at}
        verdict = Judgement(
            Verdict.MEMORIZED,
            "privacy_loss",
            "what it says of the canaries proves an epsilon of at least {epsilon:.2f}{at}.",
            facts,
        )
    elif auroc_p(scores[coins], scores[~coins]) > ALARM_RATE:
        words = (
            "canaries that were put in are not told from those left out: the model does not remember them, or they never reached training. "
            "Were they trained on?"
        )
        verdict = Judgement(Verdict.CANNOT_CONCLUDE, "not_told_apart", words)
    else:
        words = "canaries that were put in are told from those left out, but too seldom to prove any epsilon{at}. Plant more."
        verdict = Judgement(Verdict.CANNOT_CONCLUDE, "too_weak", words, {"at": at})
    rows.append(row(BOUND, Estimate(epsilon, epsilon, np.inf, n), group=CANARIES, judgement=verdict))
    if delta:
        rows.append(row(GAUSSIAN, Estimate(gaussian, gaussian, np.inf, n), group=CANARIES))
    return Told(rows, verdict, epsilon, gaussian, n)


def judge_claim(told: Told, claimed: float, delta: float) -> Told:
    """A claimed (epsilon, delta) beside the bounds at that delta: contradicted, consistent, or too few canaries to tell."""
    facts: dict[str, Fact] = {
        "claim": f"epsilon {claimed:g} at delta {delta:g}",
        "epsilon": told.epsilon,
        "gaussian": told.gaussian,
    }
    if told.epsilon > claimed:
        words = "the claimed {claim} is contradicted: epsilon is at least {epsilon:.2f} there."
        verdict = Judgement(Verdict.MEMORIZED, "contradicted", words, facts)
    elif told.gaussian > claimed:
        words = (
            "the claimed {claim} is contradicted if it rests on Gaussian noise, as with DP-SGD: epsilon is at least {gaussian:.2f} there then. "
            "For any other training only {epsilon:.2f} is proved."
        )
        verdict = Judgement(Verdict.MEMORIZED, "contradicted_if_gaussian", words, facts)
    elif provable(told.canaries, delta) > claimed:
        words = (
            "the claimed {claim} is consistent with what this attack finds (at least {epsilon:.2f}; if it rests on Gaussian noise, {gaussian:.2f}). "
            "That is no proof of it: a stronger attack may find more."
        )
        verdict = Judgement(Verdict.CANNOT_CONCLUDE, "consistent", words, facts)
    else:
        needed = canaries_to_refute(claimed, delta)
        more = f"at least {needed:,}" if needed else f"more than {MOST_CANARIES:,}"
        words = (
            "there are too few canaries to tell whether the claimed {claim} holds: even if all coins were guessed, nothing would contradict it; "
            "{needed} would be needed, and more where guesses are wrong."
        )
        verdict = Judgement(Verdict.CANNOT_CONCLUDE, "too_few_canaries", words, {**facts, "needed": more})
    claim = row(CLAIMED, Estimate(claimed, claimed, claimed, told.canaries), group=CANARIES, judgement=verdict)
    return Told([claim], verdict, told.epsilon, told.gaussian, told.canaries)
