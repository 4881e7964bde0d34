"""Everything about membership at one setting: the answer in one glance; the curve, all scores, the parts, and what was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehrmem_widgets.charts.markup import BLUE, SKY, escape, interval, known, percent
from ehrmem_widgets.probes.membership.parts import membership_parts
from ehrmem_widgets.probes.membership.roc import roc_curve
from ehrmem_widgets.probes.membership.slices import MembershipSlice, ScoreFigures
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.answer_bar import BarRow, verdict_bar

SCORE_WORDS: Mapping[str, str] = {
    "LiRA": "whether the record's likelihood is rather that of shadow models that saw it or of those that did not",
    "SaMIA": "how much of the record's second half the model writes itself when it is given the first",
    "Ratio": "how much likelier the record is to the audited model than to the reference model",
    "Loss": "how likely the record is to the audited model",
    "Min-K%": "the same, over the fifth of its codes that the model finds least likely",
    "Min-K%++": "as Min-K%, each code held against what the model expected in its place",
    "ReCaLL": "how much a few strangers' codes put before the record disturb the model",
}
_PERCENT, _N = "\N{NO-BREAK SPACE}%", "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"  # figures keep together
HOW_TO_READ = (
    "An attacker who holds whole records asks the model how likely each one is, and calls those members that score high. "
    "AUROC is how often a member scores above somebody never seen: 0.5 is chance, 1 is always. Ranges in brackets are 95 % "
    "intervals; n is the number of people behind them. A result speaks of this attack only and is not a clearance."
)


def membership_page(
    found: MembershipSlice,
    *,
    log_scale: bool,
    confounding: Sequence[str] = (),
    exposure: Sequence[str] = (),
    controls: Sequence[str] = (),
    exclusions: Mapping[str, int] | None = None,
) -> str:
    """HTML. ``confounding``, ``exposure`` and ``controls`` (what the finding says of its own controls) are sentences."""
    parts = [roc_curve(found.roc, found.chosen, found.fpr, log_scale=log_scale)]
    parts += [_heading("All scores, at the same settings"), _table(found)]
    parts += [_heading("Which part of the record gives membership away"), _about_parts(found)]
    if exposure:
        parts += [_heading("Do the planted canaries stand out?"), _items(exposure)]
    left_out = [f"Left out: {n:,} ({reason})." for reason, n in (exclusions or {}).items()]
    parts += [_heading("Can these figures be trusted?"), _items([*_enough(found), *confounding, *controls, *left_out])]
    parts += [_heading("How to read this"), f"<p>{escape(HOW_TO_READ)}</p>"]
    return "".join(parts)


def membership_bar(found: MembershipSlice) -> str:
    """The answer in one glance."""
    judgement, one = found.judgement, found.chosen
    who = "Planted canaries" if found.group == "canaries" else "Ordinary patients"
    rows = []
    if one is not None and known(one.auroc):
        n = f"n = {one.auroc.n:,}"
        for words, figure, colour in (
            ("pairs told apart (guess: 50)", one.auroc, BLUE),
            ("members found", one.tpr, BLUE),
            ("called a member and is one", one.ppv, SKY),
        ):
            rows.append(BarRow(words, figure, colour, said=f"{words}: {interval(figure, n=False)}, {n}"))
    words = " ".join(f"{escape(sentence)}" for sentence in _in_words(found))
    foot = f"<b>{who}, score {escape(found.score)}.</b> {words}"
    name = str(judgement.verdict)
    return verdict_bar(name, judgement.sentence, rows, foot, about="membership", verdict=judgement.verdict)


def _in_words(found: MembershipSlice) -> list[str]:
    one = found.chosen
    if one is None or not known(one.auroc):
        return []
    trained, never = _sides(found)
    sentences = [
        f"Of two people, {trained} and {never}, this score puts the right one first in {_percent(one.auroc)} of all pairs "
        "(50 % would be guessing)."
    ]
    if known(one.tpr):
        sentences.append(
            f"If {percent(found.fpr)} false alarms are tolerated, it finds {_percent(one.tpr)} of those trained on."
        )
    elif found.roc is not None:
        sentences.append(
            f"How many of those trained on it finds at {percent(found.fpr)} false alarms cannot be told from "
            f"{found.roc.others:,} people never seen: {found.needed:,} are needed. Tolerate more false alarms, or ask about more people."
        )
    if known(one.ppv):
        sentences.append(
            f"If {percent(found.prior)} of the people asked about are in the training data, who is called a member is one "
            f"with a probability of {_percent(one.ppv)}."
        )
    return sentences


def _sides(found: MembershipSlice) -> tuple[str, str]:
    if found.group == "canaries":
        return "one planted canary that was trained on", "one that never was"
    return "one from the training data", "one whom the model never saw"


def _table(found: MembershipSlice) -> str:
    if not found.scores:
        return "<p>No score could be computed.</p>"
    heads = (
        "Score", "What it looks at", "AUROC", f"Members found at {percent(found.fpr)} false alarms",
        f"Called a member and is one, if {percent(found.prior)} are", "n",
    )  # fmt: skip
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    rows = "".join(_row(one, one.name == found.score) for one in found.scores)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(one: ScoreFigures, chosen: bool) -> str:
    figures = [interval(estimate, n=False) for estimate in (one.auroc, one.tpr, one.ppv)]
    cells = (SCORE_WORDS.get(one.name, ""), *figures, f"{one.auroc.n:,}")
    mark = ' style="font-weight:700"' if chosen else ""
    name = f"{one.name} (chosen)" if chosen else one.name
    return f'<tr{mark}><th scope="row">{escape(name)}</th>{"".join(_cell(cell, number=place > 0) for place, cell in enumerate(cells))}</tr>'


def _cell(words: str, *, number: bool) -> str:
    keep = ' style="white-space:nowrap"' if number else ""
    return f"<td{keep}>{escape(words)}</td>"


def _about_parts(found: MembershipSlice) -> str:
    measured = "Ratio" if any(one.name == "Ratio" for one in found.scores) else "Loss"
    words = (
        f"{measured} over these codes alone (each given all that stands before it), whichever score is chosen, for ordinary "
        "patients."
    )
    return membership_parts(found.parts, measured) + f'<p class="ehrmem-small">{escape(words)}</p>'


def _enough(found: MembershipSlice) -> list[str]:
    """Whether there are enough people never seen to know the tolerated share of false alarms."""
    if found.roc is None:
        return []
    asked, needed = found.roc.others, found.needed
    start = f"To be sure of no more than {percent(found.fpr)} false alarms, {needed:,} people never seen are needed"
    if asked >= needed:
        return [f"{start}; {asked:,} were asked about: enough."]
    return [f"{start}; only {asked:,} were asked about, so what is found at this share is not shown."]


def _percent(estimate: Estimate) -> str:
    value, low, high = (
        f"{100 * share:.1f}".removesuffix(".0") for share in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} % ({low} to {high} %, n = {estimate.n:,})".replace(" %", _PERCENT).replace("n = ", _N)


def _heading(words: str) -> str:
    return f"<h3>{escape(words)}</h3>"


def _items(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"
