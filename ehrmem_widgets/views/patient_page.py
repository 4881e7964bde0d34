"""Everything about one patient on one static page: the report, and what a notebook shows when it runs headless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ehrmem_widgets.charts.markup import escape, icon, interval, plural, verdict_name
from ehrmem_widgets.probes.findings import Answer, AttributeFinding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.advice import limits, recommended, would_change
from ehrmem_widgets.views.answer_bar import in_100
from ehrmem_widgets.views.attack_cost import NOT_MEASURED, Means, even_chance
from ehrmem_widgets.views.continuations import continuations
from ehrmem_widgets.views.horizon_curve import horizon_curve
from ehrmem_widgets.views.known_facts import known_facts_sentence
from ehrmem_widgets.views.leak_bars import leak_bars, typical_control
from ehrmem_widgets.views.neighbours import neighbour_map, neighbour_sentence
from ehrmem_widgets.views.reconstruction import reconstruction_sentence
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.views.verdict import compared, why

HOW_TO_READ = (
    "An attacker who holds the facts listed on this page asks the model what comes next for this patient.",
    "The leak probability is the chance that the model names a sensitive attribute within the horizon; the range "
    "in brackets is "
    "its 95 % interval, and n is the number of samples behind it.",
    "The same question is put to a reference model that never saw the patient, where there is one, and about similar people whom no "
    "model saw (without a reference model: who have the attribute, too).",
    "Severity is declared by people and likelihood is measured; the two stand side by side and are never mixed "
    "into one score.",
)
READ_MEMBERSHIP = (
    "No sensitive attribute is asked about here. What is shown: whether the model was trained on this record can be told from it (membership, T4), "
    "how near the model's continuations come to what really followed (reconstruction, T1), and which records are nearest to what the attacker holds.",
    "Membership: the mean likelihood of a code of the record, ranked among similar people whom the model never saw (at least 19 are needed). At most "
    "one in twenty of them may show as much. It never shows that nothing is remembered.",
)
ANSWERS: Mapping[Verdict, str] = {
    Verdict.MEMORIZED: "the model gives away {what} about patient {patient}, to anybody who knows {facts}.",
    Verdict.POPULATION: "about patient {patient} the model says no more of {what} than about others like them, to somebody who knows {facts}.",
    Verdict.CANNOT_CONCLUDE: "whether the model gives away {what} about patient {patient}, to somebody who knows {facts}, remains open.",
}
"""The first line of the page, after the verdict's name."""
RECOGNISED: Mapping[bool, str] = {
    True: "somebody who holds the whole record of patient {patient} can tell by the model that it was trained on it.",
    False: "whether somebody who holds the whole record of patient {patient} can tell by the model that it was trained on it remains open.",
}
MOST_EVENTS, MOST_COLUMNS = 24, 2  # of the continuations: what fits on a printed page


def patient_page(
    answer: Answer,
    *,
    patient: str,
    facts_html: str,
    settings: Mapping[str, str],
    asked: str = "",
    exploratory: bool = False,
    means: Means = NOT_MEASURED,
    coordinates: np.ndarray | None = None,
    kinds: Sequence[int] | np.ndarray | None = None,
    nearest: Sequence[int] = (),
    patient_row: int = -1,
) -> str:
    """One self-contained ``<div class="ehrmem">`` with its style sheet, four printed pages at most: no script, no link. First the answer,
    three figures, what is recommended, what would change our mind and what cannot be said; then the evidence.

    ``patient`` is a pseudonym; ``asked`` says whether the question was sealed, ``exploratory`` that it was not; ``means``: what the attacker's questions take. ``facts_html`` is markup made by
    us, and the one argument that is not escaped here. ``coordinates`` (n, 2) and ``kinds`` (n,) are the stored map; ``nearest`` and
    ``patient_row`` are rows of it.
    """
    finding = answer.attribute(answer.focus)
    parts = (
        _first(answer, finding, patient),
        _section("What is recommended", _items(recommended(answer, exploratory=exploratory))),
        _section("What would change our mind", _items(would_change(answer))),
        _section("What this cannot say", _items(limits(answer, asked=asked))),
        _section("Why this verdict", _why(finding, means)) if finding is not None else "",
        _section("What the attacker knows", known_facts_sentence(answer) + facts_html),
        _section("All sensitive attributes", leak_bars(answer.attributes, answer.focus, settled=answer.settled))
        if answer.attributes
        else "",
        _section("How the leak grows with the length of the answer", _curve(answer)) if finding is not None else "",
        _section(
            "What the model says next, and what really followed",
            continuations(answer.generated, answer.truth, most=MOST_EVENTS, columns=MOST_COLUMNS)
            + reconstruction_sentence(answer.reconstruction),
        ),
        _section("Nearest records", _neighbours(answer, coordinates, kinds, nearest, patient_row)),
        _section(
            "How to read this",
            _items((*HOW_TO_READ, *why(finding)) if finding else READ_MEMBERSHIP, "ol", "ehrmem-read"),
        ),
        _section("Settings", _settings(answer, settings)),
    )
    return f'<div class="ehrmem ehrmem-report">{style_tag()}{"".join(parts)}</div>'


def _first(answer: Answer, finding: AttributeFinding | None, patient: str) -> str:
    """The answer, and its three figures."""
    if finding is None:
        return _recognised(answer, patient) + _unfinished(answer)
    facts = plural(answer.known.facts, "fact") if answer.known.facts else "nothing"
    judgement = finding.judgement
    if judgement is not None:
        said = ANSWERS[judgement.verdict]
    elif not finding.held:
        said = "the record of patient {patient} does not hold {what}, so that nothing of it can be given away."
    else:
        said = "nothing is said about {what} and patient {patient}: there is nothing to judge by."
    said = said.format(what=finding.title, patient=patient, facts=facts)
    name = verdict_name(judgement, held=finding.held or not answer.settled)
    return (
        f'<h2 class="ehrmem-answer">{icon(judgement.verdict if judgement else None, 20)} {escape(name)}: {escape(said)}</h2>'
        f"{_unfinished(answer)}{_three(finding)}"
    )


def _recognised(answer: Answer, patient: str) -> str:
    """The answer where there is no attribute to ask about: whether the model was trained on the record can be told from it (T4)."""
    found = answer.membership
    if found is None:
        return "<h2>No sensitive attribute is asked about.</h2>"
    name = verdict_name(found.judgement, held=True)
    said = RECOGNISED[found.judgement.verdict is Verdict.MEMORIZED].format(patient=patient)
    return (
        f'<h2 class="ehrmem-answer">{icon(found.judgement.verdict, 20)} {escape(name)}: {escape(said)}</h2>'
        f"<p>Membership (T4): {escape(found.judgement.sentence)}</p>"
    )


def _unfinished(answer: Answer) -> str:
    return "" if answer.settled else "<p><b>Not finished:</b> these are partial results.</p>"


def _three(finding: AttributeFinding) -> str:
    """What the model, the reference and similar people come to, as natural frequencies."""
    typical = typical_control(finding)
    others = [audited for audited, *_ in finding.controls]
    low, high = (in_100(Estimate(one, one, one, 1)) for one in (min(others), max(others))) if others else ("", "")
    figures = (
        (in_100(finding.audited), "answers of this model name it", interval(finding.audited)),
        (in_100(finding.reference), "of a model that never saw the patient", interval(finding.reference)),
        (
            in_100(None if typical is None else Estimate(typical, typical, typical, len(others))),
            "of this model about similar people whom it never saw",
            f"mean of {len(others)}; from {low} to {high}" if others else "not asked",
        ),
    )
    shown = "".join(
        f"<div><b>{escape(number)}</b><span>{escape(words)}</span><small>{escape(detail)}</small></div>"
        for number, words, detail in figures
    )
    return f'<div class="ehrmem-three">{shown}</div>'


def _why(finding: AttributeFinding, means: Means) -> str:
    said = f"{finding.judgement.sentence[:1].upper()}{finding.judgement.sentence[1:]}" if finding.judgement else ""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in compared(finding))
    return f"<p>{escape(said)}</p><dl>{rows}</dl><p>{escape(even_chance(finding, means))}</p>"


def _section(heading: str, body: str) -> str:
    return f"<section><h3>{escape(heading)}</h3>{body}</section>"


def _curve(answer: Answer) -> str:
    finding = answer.attribute(answer.focus)
    title = finding.title if finding else answer.focus
    return horizon_curve(answer.curve, answer.reference_curve, title=title, horizon=answer.horizon, unit=answer.unit)


def _neighbours(
    answer: Answer,
    coordinates: np.ndarray | None,
    kinds: Sequence[int] | np.ndarray | None,
    nearest: Sequence[int],
    patient_row: int,
) -> str:
    said = neighbour_sentence(answer.neighbours)
    if coordinates is None:
        return said
    every_kind = np.full(len(coordinates), 2) if kinds is None else kinds
    drawn = neighbour_map(coordinates, every_kind, answer.neighbours, nearest=nearest, patient=patient_row)
    return f'{said}<div class="ehrmem-map">{drawn}</div>'


def _settings(answer: Answer, settings: Mapping[str, str]) -> str:
    rows = (
        {**settings}
        if any(name.lower() == "horizon" for name in settings)
        else {**settings, "horizon": plural(answer.horizon, answer.unit)}
    )
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in rows.items())}</dl>"


def _items(sentences: Sequence[str], tag: str = "ul", name: str = "ehrmem-limits") -> str:
    return f'<{tag} class="{name}">{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</{tag}>'
