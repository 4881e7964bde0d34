"""Everything about one patient on one static page: the report, and what a notebook shows when it runs headless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ehrmem_widgets.charts.markup import escape, interval, plural
from ehrmem_widgets.probes.findings import Answer, AttributeFinding
from ehrmem_widgets.views.continuations import continuations
from ehrmem_widgets.views.horizon_curve import horizon_curve
from ehrmem_widgets.views.known_facts import known_facts_sentence
from ehrmem_widgets.views.leak_bars import leak_bars, verdict_words
from ehrmem_widgets.views.neighbours import neighbour_list, neighbour_map
from ehrmem_widgets.views.reconstruction import reconstruction_sentence
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.views.verdict import verdict_box

HOW_TO_READ = (
    "An attacker who holds the facts listed on this page asks the model what comes next for this patient.",
    "The leak probability is the chance that the model names a sensitive attribute within the horizon; the range "
    "in brackets is "
    "its 95 % interval, and n is the number of samples behind it.",
    "The same question is put to a reference model that never saw the patient, and about similar people whom no "
    "model saw.",
    "Memorized means that the model gives this away about this patient, and not about people like this patient.",
    "Population knowledge means that the answer comes from what is common in people like this patient; cannot "
    "conclude means "
    "that the evidence does not settle it.",
    "Severity is declared by people and likelihood is measured; the two stand side by side and are never mixed "
    "into one score.",
)
WHAT_IT_DOES_NOT_SAY = (
    "This page is evidence only for the attack that was run, with these facts, this model and these settings.",
    "It is not a clearance: no result here means that the model is safe for this or any other patient.",
    "An attacker who knows other facts, or asks in another way, may learn more.",
    "Other attacks were not run here: reconstruction of the record, membership inference, perturbation of "
    "identifiers, and "
    "comparison of subgroups.",
)


def patient_page(
    answer: Answer,
    *,
    patient: str,
    facts_html: str,
    settings: Mapping[str, str],
    asked: str = "",
    coordinates: np.ndarray | None = None,
    kinds: Sequence[int] | np.ndarray | None = None,
    nearest: Sequence[int] = (),
    patient_row: int = -1,
) -> str:
    """One self-contained ``<div class="ehrmem">`` with its style sheet: no script, no link.

    ``patient`` is a pseudonym; ``asked`` says whether the question was sealed. ``facts_html`` is markup made by us, and the one argument that is not escaped here.
    ``coordinates`` (n, 2) and ``kinds`` (n,) are the stored map; ``nearest`` and ``patient_row`` are rows of it.
    """
    parts = (
        _who(answer, patient, asked),
        _section("What the attacker holds", known_facts_sentence(answer) + facts_html),
        _section("Verdict on the attribute in focus", _focus(answer)),
        _section(
            "All sensitive attributes",
            leak_bars(answer.attributes, answer.focus, settled=answer.settled) + _table(answer),
        ),
        _section("How the leak grows with the length of the answer", _curve(answer)),
        _section(
            "What the model says next, and what really followed",
            continuations(answer.generated, answer.truth) + reconstruction_sentence(answer.reconstruction),
        ),
        _section("Nearest records", _neighbours(answer, coordinates, kinds, nearest, patient_row)),
        _section("Settings", _settings(answer, settings)),
        _section("How to read this", _items("ol", "ehrmem-read", HOW_TO_READ)),
        _section("What this does not say", _items("ul", "ehrmem-limits", WHAT_IT_DOES_NOT_SAY)),
    )
    return f'<div class="ehrmem">{style_tag()}{"".join(parts)}</div>'


def _who(answer: Answer, patient: str, asked: str) -> str:
    focus = answer.attribute(answer.focus)
    about = f", with the focus on {escape(focus.title)}" if focus else ""
    state = "" if answer.settled else "<p><b>Not finished:</b> these are partial results.</p>"
    return (
        f"<h2>Would the model give away patient {escape(patient)}?</h2>"
        f"<p>What an attacker who holds {plural(answer.known.facts, 'fact')} about patient "
        f"<b>{escape(patient)}</b> would learn from the "
        f"model within {plural(answer.horizon, 'generated code')}{about}.</p>"
        f"{f'<p><b>{escape(asked)}</b></p>' if asked else ''}{state}"
    )


def _section(heading: str, body: str) -> str:
    return f"<h3>{escape(heading)}</h3>{body}"


def _focus(answer: Answer) -> str:
    finding = answer.attribute(answer.focus)
    return verdict_box(finding, settled=answer.settled, open_=True) if finding else "<p>No attribute is in focus.</p>"


def _table(answer: Answer) -> str:
    if not answer.attributes:
        return ""
    heads = ("Attribute", "Severity", "In the record", "Audited model", "Reference model", "Excess", "Verdict")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    rows = "".join(_table_row(finding, finding.name == answer.focus, answer.settled) for finding in answer.attributes)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _table_row(finding: AttributeFinding, focused: bool, settled: bool) -> str:
    cells = (
        finding.severity,
        "yes" if finding.held else "no",
        interval(finding.audited),
        interval(finding.reference),
        interval(finding.excess, signed=True),
        verdict_words(finding, settled=settled),
    )
    chosen = ' class="ehrmem-chosen"' if focused else ""
    name = finding.title + (" (in focus)" if focused else "")
    return (
        f'<tr{chosen}><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    )


def _curve(answer: Answer) -> str:
    finding = answer.attribute(answer.focus)
    title = finding.title if finding else answer.focus
    return horizon_curve(answer.curve, answer.reference_curve, title=title, horizon=answer.horizon)


def _neighbours(
    answer: Answer,
    coordinates: np.ndarray | None,
    kinds: Sequence[int] | np.ndarray | None,
    nearest: Sequence[int],
    patient_row: int,
) -> str:
    listed = neighbour_list(answer.neighbours)
    if coordinates is None:
        return listed
    every_kind = np.full(len(coordinates), 2) if kinds is None else kinds
    return listed + neighbour_map(coordinates, every_kind, answer.neighbours, nearest=nearest, patient=patient_row)


def _settings(answer: Answer, settings: Mapping[str, str]) -> str:
    rows = (
        {**settings}
        if any(name.lower() == "horizon" for name in settings)
        else {**settings, "horizon": f"{answer.horizon} codes"}
    )
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in rows.items())}</dl>"


def _items(tag: str, name: str, sentences: Sequence[str]) -> str:
    return f'<{tag} class="{name}">{"".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)}</{tag}>'
