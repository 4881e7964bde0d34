"""Everything about subgroups at one setting: the answer in one glance; the forest plot with what stands out first, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ehrmem_widgets.charts.markup import BLUE, GREY, VERMILION, escape, interval, plural
from ehrmem_widgets.probes.subgroups.ask import FEWEST
from ehrmem_widgets.probes.subgroups.gaps import CLAIMS, KIND_TITLES, stands_out, subgroup_gaps, subgroup_name
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Judgement, Verdict
from ehrmem_widgets.views.answer_bar import BarRow, share_of, verdict_bar

FIGURES: Mapping[str, tuple[str, str]] = {
    "membership": (
        "membership score",
        "The membership score says how much likelier a record is to the audited model than to one that never saw it (without a "
        "reference model: how likely it is to the audited model), as a mean natural logarithm a code.",
    ),
    "excess": (
        "excess risk",
        "The excess risk says how much likelier the audited model names a person's sensitive attribute than a model that never "
        "saw this person, as a difference of two probabilities: the largest over the attributes that a record holds. Only people who "
        "hold one are asked about.",
    ),
    "leak": (
        "leak probability",
        "The leak probability says how likely the audited model names a person's sensitive attribute: the largest over the attributes that a "
        "record holds. There is no reference model, so a part of it is what anybody could know. Only people who hold one are asked about.",
    ),
}
HOW_TO_READ = (
    "Each row compares the members in a subgroup with all other members (grey). People of one kind may score higher merely "
    "because their records are easier to predict, so the same gap is measured among people whom the model never saw and taken "
    "away (diamond): what is left comes with having been trained on these very people. Ranges in brackets are 95 % intervals; n is the "
    f"number of people behind them. A subgroup of fewer than {FEWEST} people, or with so few outside it, is not shown, so that "
    "nobody can be recognised in it; neither is one that could be had from the others by subtraction. That no row stands out is not a "
    "clearance: with few people even a large gap may go unseen."
)
CORRECTIONS: Mapping[str, str] = {
    "claims": "claims are corrected by Holm's method: all of them hold together, but for a chance of 5 %",
    "screening": "screening is corrected by the method of Benjamini and Hochberg: of what stands out, some 5 % may be chance, "
    "so it is a hint where to look, not a claim",
}


def subgroup_page(
    rows: Sequence[SubgroupRow],
    shown: Sequence[str],
    *,
    finding: str,
    correction: str,
    notes: Sequence[str] = (),
    exclusions: Mapping[str, int] | None = None,
) -> str:
    """HTML. ``shown`` are the kinds of subgroups to list; the correction is always over all ``rows``."""
    name, meaning = FIGURES[finding]
    listed = [row for row in rows if row.kind in shown]
    parts = [subgroup_gaps(listed, name, correction=correction)]
    parts.append(f"<h3>How to read this</h3><p>{escape(meaning)}</p><p>{escape(HOW_TO_READ)}</p>")
    left_out = [f"Left out: {n:,} ({reason})." for reason, n in (exclusions or {}).items()]
    if notes or left_out:
        parts.append("<h3>Can these figures be trusted?</h3><ul>")
        parts += [f"<li>{escape(note)}</li>" for note in [*notes, *left_out]]
        parts.append("</ul>")
    return "".join(parts)


def overall(rows: Sequence[SubgroupRow]) -> Judgement:
    """The verdict on all subgroups together, by the claims."""
    if any(row.judgement.verdict is Verdict.MEMORIZED for row in rows):
        return Judgement(Verdict.MEMORIZED, "some_stand_out", "some subgroups are memorized more than others.")
    tested = [row for row in rows if math.isfinite(row.p_adjusted)]
    if not tested:
        return Judgement(Verdict.CANNOT_CONCLUDE, "too_few", "no subgroup has enough people to be tested.")
    if all(row.difference is None for row in rows):
        why = "there are no people whom the model never saw, so a gap may be one between populations."
        return Judgement(Verdict.CANNOT_CONCLUDE, "no_non_members", why)
    if any(row.p_adjusted <= ALARM_RATE and row.effect.low > 0 for row in tested):
        why = "some subgroups stand out, but something other than memory may explain it (see below)."
        return Judgement(Verdict.CANNOT_CONCLUDE, "confounded", why)
    undecided = [row for row in tested if row.judgement.verdict is not Verdict.POPULATION]
    if undecided:
        why = (
            f"none stands out, but of {len(undecided)} of {len(tested)} it is not shown that they are like the others."
        )
        return Judgement(Verdict.CANNOT_CONCLUDE, "undecided", why)
    return Judgement(
        Verdict.POPULATION, "within_margin", "no subgroup tested differs from the others by an amount that matters."
    )


def summary_sentences(rows: Sequence[SubgroupRow], correction: str) -> list[str]:
    """How many subgroups were tested, which stand out after the correction, and how many are not shown."""
    tested = [row for row in rows if math.isfinite(row.p_adjusted)]
    out = [row for row in tested if stands_out(row, correction)]
    hidden = sum(row.hidden for row in rows)
    sentences = [f"Of {plural(len(rows), 'subgroup')} {len(tested)} could be tested; {CORRECTIONS[correction]}."]
    if out:
        listed = "; ".join(
            f"{KIND_TITLES.get(row.kind, row.kind).lower()}: {subgroup_name(row.name)} {interval(row.effect, signed=True)}"
            for row in out
        )
        verb = "stands" if len(out) == 1 else "stand"
        sentences.append(f"{plural(len(out), 'subgroup')} {verb} out after this correction: {listed}.")
    elif tested:
        sentences.append("None stands out after this correction.")
    if hidden:
        sentences.append(
            f"Not shown: {plural(hidden, 'subgroup')} with fewer than {FEWEST} people in or outside, or that such a one could be told from."
        )
    return sentences


def subgroup_bar(rows: Sequence[SubgroupRow], finding: str, correction: str) -> str:
    """The answer in one glance: how many subgroups stand out, and which."""
    name, judgement = FIGURES[finding][0], overall(rows)
    tested = [row for row in rows if math.isfinite(row.p_adjusted)]
    out = [row for row in tested if stands_out(row, correction)]
    alike = [row for row in tested if row not in out and row.judgement.verdict is Verdict.POPULATION]
    counts = (
        ("stand out", len(out), VERMILION),
        ("shown to be like the others", len(alike), BLUE),
        ("not decided", len(tested) - len(out) - len(alike), GREY),
        ("not tested: too few people", len(rows) - len(tested), GREY),
    )
    shown = [
        BarRow(
            words,
            share_of(n, len(rows)),
            colour,
            shown=f"{n} of {len(rows)}",
            said=f"{words}: {n} of {plural(len(rows), 'subgroup')}",
        )
        for words, n, colour in counts
    ]
    foot = " ".join(escape(sentence) for sentence in summary_sentences(rows, correction))
    about = f"subgroups by {name}"
    if correction != CLAIMS:
        return verdict_bar("Screening", f"where to look closer, by {name}; no claim.", shown, foot, about=about)
    return verdict_bar(str(judgement.verdict), judgement.sentence, shown, foot, about=about, verdict=judgement.verdict)
