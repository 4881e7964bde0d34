"""What membership scores say about a cohort: can members be told from non-members, how often at few false alarms, and by what
part of their records? Rows and sentences for ``membership``, whose documentation names the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ehrmem_widgets.probes.cohort_finding import CohortFinding, row
from ehrmem_widgets.probes.membership_scores import LOSS, MIN_K, MIN_K_PLUS_PLUS, RATIO, RECALL, RMIA
from ehrmem_widgets.probes.over_patients import Rows
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.preflight import explains
from ehrmem_widgets.statistics.discrimination import (
    RESAMPLES,
    auroc,
    auroc_p,
    controls_needed,
    positive_predictive_value,
    tpr_at_fpr,
)
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate
from ehrmem_widgets.statistics.multiple_testing import holm
from ehrmem_widgets.statistics.verdicts import (
    AUROC_MARGIN,
    Judgement,
    PositiveControl,
    ProbeKind,
    Verdict,
    judge_cohort,
    positive_control,
)

FALSE_POSITIVE_RATES = (0.01, 0.001)
FEWEST_IN_A_PART = 11  # patients on each side, before a figure about a kind of code is shown (methods, T6)
_GROUPS = {"all": (MEMBER, NON_MEMBER), "canaries": (CANARY, NULL_CANARY)}


def compare(
    answers: Rows, priors: tuple[float, ...], preflight: CohortFinding | None, seed: int
) -> tuple[Rows, list[str]]:
    """Cohort rows and sentences, the verdict first, from ``membership``'s answers (one a patient, with its ``group``)."""
    names = [n for n in (LOSS, MIN_K, MIN_K_PLUS_PLUS, RECALL, RATIO, RMIA) if any(n in a["scores"] for a in answers)]
    headline = RATIO if RATIO in names else LOSS
    planted_found = positive_control(*_two_sides(answers, "canaries", "scores", headline))
    rows: Rows = []
    said: dict[str, list[str]] = {}
    for group in _GROUPS:
        if group != "all" and not any(a["group"] in _GROUPS[group] for a in answers):
            continue
        by_score = {n: _two_sides(answers, group, "scores", n) for n in names}
        here = _aurocs("auroc", by_score, group, seed)
        for one in here:
            one["model"] = "" if one["attribute"] in (RATIO, RMIA) else "audited"
        verdict = _verdict(
            by_score.get(headline),
            here,
            headline,
            preflight if group == "all" else None,
            planted_found,
            planted=group == "canaries",
        )
        for one in here:
            if one["attribute"] == headline:
                one |= {"verdict": str(verdict.verdict), "note": verdict.sentence}
        rows += here
        said[group] = [f"{verdict.verdict}: {verdict.sentence}" if group == "all" else _of_canaries(verdict)]
        controls = {n: _two_sides(answers, group, "reference", n) for n in (LOSS, MIN_K)}
        if headline == RATIO:
            rows += (control := _aurocs("auroc", controls, group, seed, adjust=False, model="reference"))
            if group == "all":
                said[group].append(_of_reference(control[0]))
        if group == "all":
            for name in names:
                rows += _at_small_rates(name, *by_score[name], priors, seed)
            rows += (parts := _parts(answers, headline, seed))
            said[group] += _of_rates(rows, headline, priors, len(by_score.get(headline, ((), ()))[1]))
            said[group] += _of_parts(parts)
            if preflight is None:
                said[group].append(
                    "No data preflight was given: whether members and non-members differ by themselves is not known."
                )
    return rows, [sentence for group in said for sentence in said[group]]


def _two_sides(answers: Rows, group: str, what: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A figure of those trained on and of those never seen; who has none is left out."""
    sides = []
    for side in _GROUPS[group]:
        found = [a[what].get(name, math.nan) for a in answers if a["group"] == side]
        sides.append(np.array([x for x in found if not math.isnan(x)], dtype=float))
    return sides[0], sides[1]


def _aurocs(
    figure: str,
    by_name: Mapping[str, tuple[np.ndarray, np.ndarray]],
    group: str,
    seed: int,
    *,
    adjust: bool = True,
    **more: Any,
) -> Rows:
    """A row for each name, with Holm's p-values over all of them."""
    p = [1.0 if _constant(*sides) else auroc_p(*sides) for sides in by_name.values()]
    adjusted = holm(p) if adjust else [math.nan] * len(p)
    return [
        row(figure, auroc(*sides, seed=seed), attribute=name, group=group, p=p_, p_adjusted=float(a), **more)
        for (name, sides), p_, a in zip(by_name.items(), p, adjusted, strict=True)
    ]


def _constant(members: np.ndarray, non_members: np.ndarray) -> bool:
    return len(members) > 0 and len(non_members) > 0 and len(np.unique(np.concatenate([members, non_members]))) == 1


def _verdict(
    sides: tuple[np.ndarray, np.ndarray] | None,
    rows: Rows,
    headline: str,
    preflight: CohortFinding | None,
    control: PositiveControl,
    *,
    planted: bool,
) -> Judgement:
    if sides is None:
        return Judgement(Verdict.CANNOT_CONCLUDE, "no record could be scored.")
    if _constant(*sides):
        return Judgement(
            Verdict.CANNOT_CONCLUDE, f"every record has the same {headline}, so nobody can be told from anybody."
        )
    one = next(r for r in rows if r["attribute"] == headline)
    effect = Estimate(one["value"], one["low"], one["high"], one["n"])
    return judge_cohort(
        effect,
        one["p_adjusted"],
        margin=AUROC_MARGIN,
        kind=ProbeKind.DETECTOR,
        no_effect=0.5,
        control=control,
        planted=planted,
        members=len(sides[0]),
        non_members=len(sides[1]),
        what=f"AUROC of {headline}",
        confounded=explains(preflight, effect),
    )


def _at_small_rates(
    name: str, members: np.ndarray, non_members: np.ndarray, priors: tuple[float, ...], seed: int
) -> Rows:
    more: dict[str, Any] = {"attribute": name, "group": "all", "model": "" if name in (RATIO, RMIA) else "audited"}
    rows = [
        row(
            f"tpr_at_fpr_{fpr:g}",
            tpr_at_fpr(members, non_members, fpr, seed=seed),
            note="; ".join(filter(None, [_too_few(len(non_members), fpr), _STEPS if name == RMIA else ""])),
            **more,
        )
        for fpr in FALSE_POSITIVE_RATES
    ]
    for prior in priors:
        ppv = ppv_at_fpr(members, non_members, FALSE_POSITIVE_RATES[0], prior, seed=seed)
        note = f"members are called at the threshold of {_percent(FALSE_POSITIVE_RATES[0])} false alarms"
        rows.append(row(f"ppv_at_prior_{prior:g}", ppv, note=note, **more))
    return rows


def ppv_at_fpr(members: np.ndarray, non_members: np.ndarray, fpr: float, prior: float, *, seed: int = 0) -> Estimate:
    """P(member | score above the threshold of ``fpr``) at a prior share of members, with an interval over both rates.

    The threshold is the (k + 1)-th highest of n non-members, k = floor(fpr n). Whatever the scores are like, the share of all
    non-members above it is distributed as Beta(k + 1, n - k) (an order statistic's coverage; Wilks 1941), so it is uncertain
    even though k of n is fixed, and its mean (k + 1) / (n + 1) is never 0. Given the threshold, the members above it are
    binomial (Jeffreys). The interval is of 1,000 joint draws; the value takes the share of members found and the mean.
    """
    m, n = len(members), len(non_members)
    if not m or not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    k = math.floor(fpr * n)
    hits = int((members > np.sort(non_members)[::-1][k]).sum())
    rng = np.random.default_rng([seed, 5])
    false = rng.beta(k + 1, n - k, RESAMPLES) * (1 - prior)
    true = rng.beta(hits + 0.5, m - hits + 0.5, RESAMPLES) * prior
    value = positive_predictive_value(hits / m, (k + 1) / (n + 1), prior)
    low, high = np.quantile(true / (true + false), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, min(value, float(low)), max(value, float(high)), m + n)


def _too_few(non_members: int, fpr: float) -> str:
    needed = controls_needed(fpr)
    if non_members >= needed:
        return ""
    return f"{non_members:,} non-members are too few to bound the false-positive rate at {_percent(fpr)}: {needed:,} are needed"


def _parts(answers: Rows, headline: str, seed: int) -> Rows:
    """The AUROC by kind of code and by quarter: which part of a record gives membership away."""
    found = sorted({part for a in answers for part in a["parts"]})
    sides = {part: _two_sides(answers, "all", "parts", part) for part in found}
    few = {part: f"fewer than {FEWEST_IN_A_PART} members or non-members hold such codes"
           for part, (m, n) in sides.items() if min(len(m), len(n)) < FEWEST_IN_A_PART}  # fmt: skip
    rows = _aurocs("auroc_by_kind", {p: s for p, s in sides.items() if p not in few}, "all", seed)
    rows += [row("auroc_by_kind", attribute=part, group="all", note=why) for part, why in few.items()]
    for one in rows:
        if one["attribute"].startswith("quarter "):
            one["figure"] = "auroc_by_quarter"
        one |= {"model": "" if headline == RATIO else "audited", "note": one.get("note", f"{headline} of these codes")}
    return rows


# In words -------------------------------------------------------------------------------------------------------------


def _of_canaries(verdict: Judgement) -> str:
    if verdict.verdict is Verdict.MEMORIZED:
        return f"Positive control: the planted canaries are found ({verdict.sentence.split(':')[0]})."
    return (
        f"Positive control: the planted canaries are not found ({verdict.sentence.rstrip('.')}), "
        "so a low score about others means little."
    )


def _of_reference(control: dict[str, Any]) -> str:
    shown = Estimate(control["value"], control["low"], control["high"], control["n"])
    if not math.isfinite(shown.value):
        return "Negative control: the reference model could not be compared."
    told = "tells the same people apart too" if shown.low > 0.5 else "does not tell the same people apart"
    return f"Negative control: the reference model, which saw none of them, {told} (AUROC of {LOSS} {shown})."


def _of_rates(rows: Rows, headline: str, priors: tuple[float, ...], non_members: int) -> list[str]:
    def shown(figure: str) -> Estimate:
        one = next(r for r in rows if r["figure"] == figure and r["attribute"] == headline and r["group"] == "all")
        return Estimate(one["value"], one["low"], one["high"], one["n"])

    if not any(r["figure"] == "tpr_at_fpr_0.01" and r["attribute"] == headline for r in rows):
        return []
    if not math.isfinite(shown("tpr_at_fpr_0.01").value):
        return []
    said = [f"At 1 % false alarms {headline} finds a share of {shown('tpr_at_fpr_0.01')} of the members."]
    said += [
        f"Where {_percent(prior)} of those asked about are members, who is called one is one with probability "
        f"{shown(f'ppv_at_prior_{prior:g}')}."
        for prior in priors
    ]
    few = [_too_few(non_members, fpr) for fpr in FALSE_POSITIVE_RATES]
    return said + [f"{why[0].upper()}{why[1:]}." for why in few if why]


def _of_parts(parts: Rows) -> list[str]:
    standing_out = [r for r in parts if r.get("p_adjusted", math.nan) <= 0.05 and r["figure"] == "auroc_by_kind"]
    if not standing_out:
        return []
    best = max(standing_out, key=lambda r: r["value"])
    shown = Estimate(best["value"], best["low"], best["high"], best["n"])
    return [f"Of the kinds of codes, {best['attribute']} codes give membership away most (AUROC {shown})."]


_STEPS = "RMIA is a share of the non-members, so that members and the likeliest non-member may tie at 1"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
