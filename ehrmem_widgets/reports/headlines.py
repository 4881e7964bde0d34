"""What each test of an audit found, in one plain sentence for somebody who decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ehrmem_widgets.findings.finding import Finding, estimate_of
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation import IDENTIFIERS
from ehrmem_widgets.probes.ranking import GIVEN_AWAY_GAP
from ehrmem_widgets.reports.results_summary import AuditResults, knows
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.markup import known
from ehrmem_widgets.views.rank_ladder import rung_words
from ehrmem_widgets.views.subgroup_gaps import subgroup_name
from ehrmem_widgets.views.subgroup_page import overall
from ehrmem_widgets.views.tables import figure, inline

TESTS: Mapping[str, str] = {
    "membership": "T4 Membership",
    "attribute": "T2 Sensitive attributes",
    "reconstruction": "T1 Reconstruction",
    "embedding": "T3 Reading the embedding",
    "neighbours": "Nearest records",
    "perturbation": "T5 Moved identifiers",
    "subgroups": "T6 Subgroups",
    "ranking": "Attack ranking",
    "preflight": "Data preflight",
}
"""The tests by probe, in the order in which a person who decides asks."""

COMPARED = ("membership", "attribute", "reconstruction", "embedding", "neighbours", "perturbation", "ranking")
"""Those whose verdict is about members against people never seen."""

_JUDGED = {
    "attribute": "excess_gap",
    "embedding": "excess_gain_logistic",
    "neighbours": "hit@10_difference",
    "membership": "auroc",
    "ranking": GIVEN_AWAY_GAP,
}  # by probe, the one figure that its verdict is about

FOUND, MISSED, NONE = "found", "not found", "none planted"

NOT_SEEN = "The planted canaries do not stand out either: they too were not remembered, or this test cannot see it."


@dataclass(frozen=True)
class Headline:
    """``verdict``: of the whole test (None: it gives none), ``words``: one sentence, ``control``: whether the same test finds the
    planted canaries (``FOUND``, ``MISSED``, ``NONE``, or empty where that is not asked)."""

    verdict: Verdict | None
    words: str
    control: str = ""


def headline(name: str, audit: AuditResults) -> Headline:
    """The headline of a probe that was run."""
    found = audit.findings[name]
    if name == "subgroups":
        return _of_subgroups(audit)
    if name == "ranking":
        return _of_ranking(audit)
    if name == "preflight":
        return _of_preflight(found)
    rows = judged(name, found)
    if not len(rows):
        return Headline(Verdict.CANNOT_CONCLUDE, _why_nothing(audit), _control(name, found))
    control = _control(name, found)
    verdict = next(
        (v for v in (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE) if (rows["verdict"] == v).any()), Verdict.POPULATION
    )
    return Headline(verdict, _words(name, verdict, rows, control), control)


def judged(name: str, found: Finding) -> pd.DataFrame:
    """The rows of a finding that carry the verdicts on members against people never seen, in the finding's order."""
    rows = found.figures
    rows = rows[(rows["verdict"] != "") & rows["group"].isin(["all", f"{MEMBER} - {NON_MEMBER}"])]
    if name in _JUDGED:
        rows = rows[rows["figure"] == _JUDGED[name]]
    if name == "embedding":
        rows = rows[rows["attribute"] == ""]
    return rows[rows["model"] != "reference"]


def compared(name: str, one: Mapping[Any, Any] | pd.Series) -> str:
    """What a judged row of a probe compares, in words."""
    figure_name = str(one["figure"])
    if name == "membership":
        return f"AUROC of {one['attribute']}"
    if name == "perturbation":
        return IDENTIFIERS[figure_name.removeprefix("gap:")].removeprefix("the ")
    if name == "embedding":
        return "All attributes together"
    words = {
        "demd_gap": ", published distance",
        "timed_distance_gap": ", distance with order and time",
        "rare_overlap_1_gap": ", rare codes",
    }
    return f"{rung_words(str(one['rung']))}{words.get(figure_name, '')}"


_MEMORIZED = {
    "membership": "Who holds a whole record can tell whether the person was trained on: right in {figure} of pairs "
    "(0.5: guessing).",
    "attribute": "It names sensitive attributes of people it was trained on more than of others, beyond what a model "
    "that never saw them "
    "says: by {figure}{where}.",
    "reconstruction": "It continues the records of people it was trained on nearer to the truth than those of others: "
    "by {figure}{where}.",
    "embedding": "Its embedding gives away sensitive attributes of people it was trained on more than of others: by "
    "{figure}.",
    "neighbours": "It leads to the own record of people it was trained on more often than of others: by "
    "{figure}{where}.",
    "perturbation": "It answers about individuals: the leak falls when {what} is moved off the truth, by {figure} "
    "more for people it was "
    "trained on.",
}
_POPULATION = {
    "membership": "Who was trained on cannot be told by this: right in {figure} of pairs (0.5: guessing).",
    "attribute": "It names sensitive attributes of people it was trained on no more than of others: largest "
    "difference {figure}{where}.",
    "reconstruction": "It continues the records of people it was trained on no nearer to the truth: largest "
    "difference {figure}{where}.",
    "embedding": "Its embedding gives away no more about people it was trained on: difference {figure}.",
    "neighbours": "It leads to the own record of people it was trained on no more often: largest difference "
    "{figure}{where}.",
    "perturbation": "Moving an identifier off the truth changes no more for people it was trained on: largest "
    "difference {figure} ({what}).",
}


def _words(name: str, verdict: Verdict, rows: pd.DataFrame, control: str) -> str:
    of = rows[rows["verdict"] == verdict]
    others = (
        f" ({verdict.lower()} in {len(of)} of {len(rows)} comparisons{_rest(rows, verdict)})"
        if len(of) < len(rows)
        else ""
    )
    if verdict is Verdict.CANNOT_CONCLUDE:
        note = str(of.iloc[0]["note"]).strip() or "there are too few people."
        about = f"{compared(name, of.iloc[0])}: " if len(rows) > 1 else ""
        said = f"{about}{note.rstrip('.')}{others}."
        return f"{said[:1].upper()}{said[1:]}"
    first = verdict is Verdict.MEMORIZED or not of["value"].notna().any()
    one = of.iloc[0] if first else of.loc[of["value"].idxmax()]
    rung = str(one["rung"])
    words = (_MEMORIZED if verdict is Verdict.MEMORIZED else _POPULATION)[name].format(
        figure=inline(estimate_of(one)),
        where=f", knowing {knows(rung)}" if rung else "",
        what=IDENTIFIERS.get(str(one["figure"]).partition(":")[2], "an identifier"),
    )
    missed = f" {NOT_SEEN}" if verdict is Verdict.POPULATION and control == MISSED else ""
    return f"{words.rstrip('.')}{others}.{missed}"


def _rest(rows: pd.DataFrame, verdict: Verdict) -> str:
    """The other verdicts and how many comparisons have each."""
    counts = [(other, int((rows["verdict"] == other).sum())) for other in Verdict if other is not verdict]
    return "".join(f", {other.lower()} in {n}" for other, n in counts if n)


def _control(name: str, found: Finding) -> str:
    rows = found.figures
    planted = rows[(rows["group"] == "canaries") | rows["group"].str.fullmatch(rf"{CANARY}( x\d+)? - {NULL_CANARY}")]
    if name in _JUDGED:
        planted = planted[planted["figure"] == _JUDGED[name]]
    if name == "reconstruction":
        planted = planted[planted["figure"] == "timed_distance_gap"]
    planted = planted[planted["model"] != "reference"]
    if not len(planted):
        return NONE
    if (planted["verdict"] != "").any():
        return FOUND if (planted["verdict"] == Verdict.MEMORIZED).any() else MISSED
    return FOUND if (planted["low"] > 0).any() else MISSED


def _of_subgroups(audit: AuditResults) -> Headline:
    verdicts = {name: overall(rows) for name, rows in audit.subgroups.items()}
    if not verdicts:
        return Headline(Verdict.CANNOT_CONCLUDE, "No figure could be split by subgroup.")
    order = (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE, Verdict.POPULATION)
    worst = min((one.verdict for one in verdicts.values()), key=order.index)
    groups = dict.fromkeys(
        subgroup_name(row.name)
        for rows in audit.subgroups.values()
        for row in rows
        if row.judgement.verdict is Verdict.MEMORIZED
    )
    if groups:
        return Headline(worst, f"More is remembered of: {', '.join(groups)}.")
    sentence = next(one.sentence for one in verdicts.values() if one.verdict is worst)
    return Headline(worst, f"{sentence[:1].upper()}{sentence[1:]}")


def _of_ranking(audit: AuditResults) -> Headline:
    attacks = audit.attacks
    if attacks is None:
        return Headline(Verdict.CANNOT_CONCLUDE, "Without a reference model nothing can be called a leak.")
    found = audit.findings["ranking"]
    rows = judged("ranking", found)
    verdict, control = Verdict(rows.iloc[0]["verdict"]) if len(rows) else None, _control("ranking", found)
    same = (
        f" Of people never seen, the same search gives away {figure(attacks.never_seen, n=False)}." if len(rows) else ""
    )
    if not attacks.kinds:
        words = f"No set of facts tried gave a member away, of {attacks.asked_in_words} who hold a sensitive attribute."
    elif attacks.totals.total is None:
        words = (
            f"Some members are given away: fewer than {FEWEST}, or too many to be told from all of "
            f"{attacks.asked_in_words}."
        )
    else:
        share = figure(attacks.totals.share, n=False)
        words = f"Some attack gives away a share of {share} of {attacks.asked_in_words} who hold a sensitive attribute."
    return Headline(verdict, f"{words}{same}", control)


def _of_preflight(found: Finding) -> Headline:
    rows = found.about("figures", figure="model_free_auroc", group="all")
    if not len(rows) or not known(one := estimate_of(rows.iloc[0])):
        return Headline(
            Verdict.CANNOT_CONCLUDE,
            "Whether members and non-members are alike could not be checked: there are too few of them.",
        )
    if rows.iloc[0]["verdict"]:
        return Headline(
            Verdict.CANNOT_CONCLUDE,
            f"Members and non-members differ before any model is asked (AUROC {inline(one)}), so that a difference "
            "between them need not come from the model.",
        )
    if (found.about("figures", figure="near_duplicates_across")["verdict"] != "").any():
        return Headline(
            Verdict.CANNOT_CONCLUDE,
            "Too many people have a near-duplicate on the other side of the split, so that a difference between members and "
            "non-members says little.",
        )
    return Headline(
        None,
        f"No difference between members and non-members was shown without the model (AUROC {inline(one)}, 0.5: guessing).",
    )


def _why_nothing(audit: AuditResults) -> str:
    if not audit.results.get("reference"):
        return "There is no reference model that never saw these people, so nothing can be called memorized."
    return "There are too few people, or the model does not answer this kind of question."
