"""What membership scores say about a cohort: can members be told from non-members, how often at few false alarms, and by what
part of their records? Rows and sentences for ``membership``, whose documentation names the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ehrmem_widgets.findings.finding import Finding, FindingRow, Sentence, Where, row, told
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.confounding.ask import explains
from ehrmem_widgets.probes.membership.scores import (
    LIRA,
    LOSS,
    MIN_K,
    MIN_K_PLUS_PLUS,
    OF_BOTH,
    RATIO,
    RECALL,
    SAMIA,
    headline,
)
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.statistics.discrimination import (
    auroc,
    auroc_p,
    controls_needed,
    ppv_at_fpr,
    tpr_at_fpr,
)
from ehrmem_widgets.statistics.intervals import Estimate
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
TOO_EASY = 0.99
"""Canaries that are told apart more often than this are too easy to show how sensitive a score is."""
FEWEST_IN_A_PART = 11  # patients on each side, before a figure about a kind of code is shown (methods, T6)
CONTROL = "control"  # the topic of what says whether the scores can be trusted
_GROUPS = {"all": (MEMBER, NON_MEMBER), "canaries": (CANARY, NULL_CANARY)}


def compare(
    answers: Rows, priors: tuple[float, ...], confounding: Finding | None
) -> tuple[list[FindingRow], list[str]]:
    """Cohort rows and sentences, the verdict first, from ``membership``'s answers (one a patient, with its ``group``)."""
    every = (LOSS, MIN_K, MIN_K_PLUS_PLUS, RECALL, RATIO, LIRA, SAMIA)
    names = [n for n in every if any(n in a["scores"] for a in answers)]
    first = headline(names)
    planted_found = positive_control(*_two_sides(answers, "canaries", "scores", first))
    rows: list[FindingRow] = []
    said: dict[str, list[str]] = {}
    for group in _GROUPS:
        if group != "all" and not any(a["group"] in _GROUPS[group] for a in answers):
            continue
        by_score = {n: _two_sides(answers, group, "scores", n) for n in names}
        here = _aurocs("auroc", by_score, group)
        for one in here:
            one["model"] = "" if one["attribute"] in OF_BOTH else "audited"
        verdict = _verdict(
            by_score.get(first),
            here,
            first,
            confounding if group == "all" else None,
            planted_found,
            planted=group == "canaries",
        )
        for one in here:
            if one["attribute"] == first:
                one |= told(verdict)
        rows += here
        told_of = f"{verdict.verdict}: {verdict.sentence}"
        said[group] = [told_of if group == "all" else Sentence(_of_canaries(verdict, here, first), CONTROL)]
        controls = {n: _two_sides(answers, group, "reference", n) for n in (LOSS, MIN_K)}
        if RATIO in names:
            rows += (control := _aurocs("auroc", controls, group, adjust=False, model="reference"))
            if group == "all":
                said[group].append(Sentence(_of_reference(control[0]), CONTROL))
        if group == "all":
            for name in names:
                rows += _at_small_rates(name, *by_score[name], priors)
            rows += (parts := _parts(answers, RATIO if RATIO in names else LOSS))
            said[group] += _of_rates(rows, first, priors, len(by_score.get(first, ((), ()))[1]))
            said[group] += _of_parts(parts)
            if confounding is None:
                said[group].append(
                    "No confounding check was given: whether members and non-members differ by themselves is not known."
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
    *,
    adjust: bool = True,
    model: str = "",
) -> list[FindingRow]:
    """A row for each name, with Holm's p-values over all of them."""
    p = [1.0 if _constant(*sides) else auroc_p(*sides) for sides in by_name.values()]
    adjusted = holm(p) if adjust else [math.nan] * len(p)
    return [
        row(figure, auroc(*sides), attribute=name, group=group, p=p_, p_adjusted=float(a), model=model)
        for (name, sides), p_, a in zip(by_name.items(), p, adjusted, strict=True)
    ]


def _constant(members: np.ndarray, non_members: np.ndarray) -> bool:
    return len(members) > 0 and len(non_members) > 0 and len(np.unique(np.concatenate([members, non_members]))) == 1


def _verdict(
    sides: tuple[np.ndarray, np.ndarray] | None,
    rows: list[FindingRow],
    first: str,
    confounding: Finding | None,
    control: PositiveControl,
    *,
    planted: bool,
) -> Judgement:
    if sides is None:
        return Judgement(Verdict.CANNOT_CONCLUDE, "no_score", "no record could be scored.")
    if _constant(*sides):
        return all_equal(first)
    one = next(r for r in rows if r["attribute"] == first)
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
        what=f"AUROC of {first}",
        confounded=explains(confounding, effect),
        tests=len(rows),
    )


def no_difference(members: int, non_members: int, control: PositiveControl) -> Judgement:
    """The verdict where so many members and non-members score alike: whether they are enough to rule memory out."""
    alike = [(np.arange(n) + 0.5) / max(n, 1) for n in (members, non_members)]  # both spread evenly
    return judge_cohort(
        auroc(*alike), 1.0, margin=AUROC_MARGIN,
        kind=ProbeKind.DETECTOR, no_effect=0.5, control=control, members=members, non_members=non_members, what="AUROC",
        confounded=None,
    )  # fmt: skip


def all_equal(score: str) -> Judgement:
    """That a score tells nobody from anybody."""
    words = "every record has the same {score}, so nobody can be told from anybody."
    return Judgement(Verdict.CANNOT_CONCLUDE, "all_equal", words, {"score": score})


def _at_small_rates(
    name: str, members: np.ndarray, non_members: np.ndarray, priors: tuple[float, ...]
) -> list[FindingRow]:
    more: Where = {"attribute": name, "group": "all", "model": "" if name in OF_BOTH else "audited"}
    found = {fpr: tpr_at_fpr(members, non_members, fpr) for fpr in FALSE_POSITIVE_RATES}
    too_few = {fpr: _too_few(len(non_members), fpr) for fpr in FALSE_POSITIVE_RATES}
    rows = [row(f"tpr_at_fpr_{fpr:g}", tpr, note=too_few[fpr], **more) for fpr, tpr in found.items()]
    first = FALSE_POSITIVE_RATES[0]
    note = too_few[first] or f"members are called at the threshold of {_percent(first)} false alarms"
    rows += [
        row(f"ppv_at_prior_{prior:g}", ppv_at_fpr(found[first], first, prior), note=note, **more) for prior in priors
    ]
    return rows


def _too_few(non_members: int, fpr: float) -> str:
    needed = controls_needed(fpr)
    if non_members >= needed:
        return ""
    return (
        f"{non_members:,} non-members are too few to say how many members are found at {_percent(fpr)} false alarms: "
        f"{needed:,} are needed"
    )


def _parts(answers: Rows, score: str) -> list[FindingRow]:
    """The AUROC by kind of code and by quarter: which part of a record gives membership away."""
    found = sorted({part for a in answers for part in a["parts"]})
    sides = {part: _two_sides(answers, "all", "parts", part) for part in found}
    few = {part: f"fewer than {FEWEST_IN_A_PART} members or non-members hold such codes"
           for part, (m, n) in sides.items() if min(len(m), len(n)) < FEWEST_IN_A_PART}  # fmt: skip
    rows = _aurocs("auroc_by_kind", {p: s for p, s in sides.items() if p not in few}, "all")
    rows += [row("auroc_by_kind", attribute=part, group="all", note=why) for part, why in few.items()]
    for one in rows:
        if one["attribute"].startswith("quarter "):
            one["figure"] = "auroc_by_quarter"
        one |= {"model": "" if score == RATIO else "audited", "note": one.get("note", f"{score} of these codes")}
    return rows


# In words -------------------------------------------------------------------------------------------------------------


def _of_canaries(verdict: Judgement, rows: list[FindingRow], first: str) -> str:
    if verdict.verdict is not Verdict.MEMORIZED:
        return (
            f"Positive control: the planted canaries are not found ({verdict.sentence.rstrip('.')}), "
            "so a low score about others means little."
        )
    found = f"Positive control: the planted canaries are found ({verdict.sentence.split(':')[0]})"
    if next(r["value"] for r in rows if r["attribute"] == first) <= TOO_EASY:
        return f"{found}."
    return (
        f"{found}, but they are so easy to find that this does not show whether weaker memory would be found; "
        "the sample model `moderate` shows that."
    )


def _of_reference(control: FindingRow) -> str:
    shown = Estimate(control["value"], control["low"], control["high"], control["n"])
    if not math.isfinite(shown.value):
        return "Negative control: the reference model could not be compared."
    told = "tells the same people apart too" if shown.low > 0.5 else "does not tell the same people apart"
    return f"Negative control: the reference model, which saw none of them, {told} (AUROC of {LOSS} {shown})."


def _of_rates(rows: list[FindingRow], score: str, priors: tuple[float, ...], non_members: int) -> list[str]:
    def shown(figure: str) -> Estimate:
        one = next(r for r in rows if r["figure"] == figure and r["attribute"] == score and r["group"] == "all")
        return Estimate(one["value"], one["low"], one["high"], one["n"])

    if not any(r["figure"] == "tpr_at_fpr_0.01" and r["attribute"] == score for r in rows):
        return []
    said = []
    if math.isfinite(shown("tpr_at_fpr_0.01").value):
        said.append(f"At 1 % false alarms {score} finds a share of {shown('tpr_at_fpr_0.01')} of the members.")
        said += [
            f"Where {_percent(prior)} of those asked are members, who is called one is one with probability "
            f"{shown(f'ppv_at_prior_{prior:g}')}."
            for prior in priors
        ]
    few = [_too_few(non_members, fpr) for fpr in FALSE_POSITIVE_RATES if non_members]
    return said + [f"{why[0].upper()}{why[1:]}." for why in few if why]


def _of_parts(parts: list[FindingRow]) -> list[str]:
    standing_out = [r for r in parts if r.get("p_adjusted", math.nan) <= 0.05 and r["figure"] == "auroc_by_kind"]
    if not standing_out:
        return []
    best = max(standing_out, key=lambda r: r["value"])
    shown = Estimate(best["value"], best["low"], best["high"], best["n"])
    return [f"Of the kinds of codes, {best['attribute']} codes give membership away most (AUROC {shown})."]


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
