"""One membership finding, cut as a person asks: by score, group, tolerated false alarms and prior. No model is asked again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.findings.finding import Finding, estimate_of, judgement_of
from ehrmem_widgets.probes.confounding.ask import explains
from ehrmem_widgets.probes.membership.judge import all_equal
from ehrmem_widgets.probes.membership.scores import SCORES
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.statistics.discrimination import NOTHING, controls_needed, ppv_at_fpr, tpr_at_fpr
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import (
    AUROC_MARGIN,
    Judgement,
    ProbeKind,
    Verdict,
    judge_cohort,
    positive_control,
)

SMALLEST_FPR = 0.001
GROUPS: Mapping[str, tuple[str, str, str]] = {
    "ordinary": ("all", MEMBER, NON_MEMBER),
    "canaries": ("canaries", CANARY, NULL_CANARY),
}
"""By the name that a person gives: the finding's name of the comparison, those trained on and those never seen."""

_BAND = np.geomspace(SMALLEST_FPR, 1, 19)


@dataclass(frozen=True)
class Roc:
    """The share of members found (``true``) at each share of false alarms (``false``), both (k,) and rising from 0 to 1; and
    the 95 % interval of ``true`` at the shares ``band_at`` (from those for which there are enough others to 1). ``members`` and
    ``others`` are how many it rests on. A threshold that c of n others exceed stands at (c + 1) / (n + 1), the mean of the share
    of all others that do."""

    false: np.ndarray
    true: np.ndarray
    band_at: np.ndarray
    low: np.ndarray
    high: np.ndarray
    members: int
    others: int


@dataclass(frozen=True)
class ScoreFigures:
    """One score: its AUROC, the share of members found (TPR) and P(member | called a member) (PPV) at the chosen settings."""

    name: str
    auroc: Estimate
    tpr: Estimate
    ppv: Estimate


@dataclass(frozen=True)
class Part:
    """The AUROC of one part of the record: a kind of code, or a quarter of the codes in time. ``note``: why there is none."""

    name: str
    is_quarter: bool
    auroc: Estimate
    p_adjusted: float
    note: str = ""


@dataclass(frozen=True)
class MembershipSlice:
    """What a membership finding says at one setting. ``roc`` is None and ``scores`` empty where nothing could be scored."""

    score: str
    group: str
    fpr: float
    prior: float
    judgement: Judgement
    roc: Roc | None
    scores: tuple[ScoreFigures, ...]
    parts: tuple[Part, ...]
    needed: int  # non-members that bound this share of false alarms

    @property
    def chosen(self) -> ScoreFigures | None:
        """The figures of the chosen score."""
        return next((one for one in self.scores if one.name == self.score), None)


class MembershipSlices:
    """Cuts one finding again and again; what does not change with the settings is computed once.

    ``found`` is a finding of ``membership``, ``confounding`` that of the confounding check.
    """

    def __init__(self, found: Finding, confounding: Finding | None) -> None:
        self.found, self.confounding = found, confounding
        self._by_score = {
            (score, group): of.to_numpy(float)
            for (score, group), of in found.about("patients", figure="score").groupby(["attribute", "group"])["value"]
        }
        self._rocs: dict[tuple[str, str], Roc | None] = {}

    def at(self, *, score: str, group: str, fpr: float, prior: float) -> MembershipSlice:
        """The slice at a score of ``SCORES``, a group of ``GROUPS``, a share of false alarms and a prior, both in (0, 1)."""
        return MembershipSlice(
            score, group, fpr, prior, self._judgement(score, group), self._roc(score, group),
            tuple(self._figures(name, group, fpr, prior) for name in SCORES if len(self._sides(name, group)[0])),
            tuple(self._parts()), controls_needed(fpr),
        )  # fmt: skip

    def _sides(self, score: str, group: str) -> tuple[np.ndarray, np.ndarray]:
        _, members, others = GROUPS[group]
        nobody = np.empty(0)
        return self._by_score.get((score, members), nobody), self._by_score.get((score, others), nobody)

    def _figures(self, name: str, group: str, fpr: float, prior: float) -> ScoreFigures:
        sides = self._sides(name, group)
        tpr = tpr_at_fpr(*sides, fpr)
        return ScoreFigures(name, self._auroc(name, group)[0], tpr, ppv_at_fpr(tpr, fpr, prior))

    def _auroc(self, score: str, group: str) -> tuple[Estimate, float, Judgement | None]:
        rows = self.found.about("figures", figure="auroc", attribute=score, group=GROUPS[group][0])
        rows = rows[rows["model"] != "reference"]
        if not len(rows):
            return NOTHING, math.nan, None
        one = rows.iloc[0]
        return estimate_of(one), float(one["p_adjusted"]), judgement_of(one)

    def _judgement(self, score: str, group: str) -> Judgement:
        effect, p, judged = self._auroc(score, group)
        if judged is not None:
            return judged
        members, others = self._sides(score, group)
        if not len(members) and not len(others):
            return Judgement(Verdict.CANNOT_CONCLUDE, "no_score", "no record has a {score} score.", {"score": score})
        if len(np.unique(np.concatenate([members, others]))) == 1:
            return all_equal(score)
        return judge_cohort(
            effect, p, margin=AUROC_MARGIN, kind=ProbeKind.DETECTOR, no_effect=0.5, planted=group == "canaries",
            control=positive_control(*self._sides(score, "canaries")), members=len(members), non_members=len(others), what=f"AUROC of {score}",
            confounded=explains(self.confounding, effect) if group == "ordinary" else None,
            tests=sum(1 for name in SCORES if len(self._sides(name, group)[0])),
        )  # fmt: skip

    def _roc(self, score: str, group: str) -> Roc | None:
        key = (score, group)
        if key not in self._rocs:
            self._rocs[key] = roc(*self._sides(score, group))
        return self._rocs[key]

    def _parts(self) -> list[Part]:
        rows = self.found.about("figures", group="all")
        rows = rows[rows["figure"].isin(["auroc_by_kind", "auroc_by_quarter"])]
        parts = [
            Part(
                str(one["attribute"]),
                one["figure"] == "auroc_by_quarter",
                Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"])),
                float(one["p_adjusted"]),
                str(one["note"]) if math.isnan(one["value"]) else "",
            )
            for one in rows.to_dict("records")
        ]
        return sorted(parts, key=_order)


def roc(members: np.ndarray, others: np.ndarray) -> Roc | None:
    """The empirical ROC curve with the pointwise interval of ``tpr_at_fpr``; None where a group is empty.

    >>> roc(np.array([2.0, 3.0]), np.array([1.0, 2.5])).true.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    if not len(members) or not len(others):
        return None
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    rising_m, rising_o = np.sort(members), np.sort(others)
    true = (len(members) - np.searchsorted(rising_m, thresholds)) / len(members)  # at or above each threshold
    false = (len(others) - np.searchsorted(rising_o, thresholds) + 1) / (len(others) + 1)
    at = [float(fpr) for fpr in _BAND[:-1] if len(others) >= controls_needed(fpr)]
    band = [tpr_at_fpr(members, others, fpr) for fpr in at]
    low, high = ([getattr(one, name) for one in band] + [1.0] for name in ("low", "high"))
    return Roc(
        np.append(0.0, false),
        np.append(0.0, true),
        np.array([*at, 1.0]),
        np.array(low),
        np.array(high),
        len(members),
        len(others),
    )


def _order(part: Part) -> tuple[bool, str, float]:
    """Kinds by what they give away, those without a figure last; then the quarters in time."""
    if part.is_quarter:
        return True, part.name, 0.0
    return False, "", -part.auroc.value if math.isfinite(part.auroc.value) else 1.0
