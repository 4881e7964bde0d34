"""The sections of an audit's report, one a test: what was asked, the verdicts, a figure, what it is held against, how to read it."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.attacker.facts import RUNGS, rung_words
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.charts.table import items
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.view import ProbeView


def section(view: ProbeView) -> str:
    """The section of a test that was run."""
    probe = view.probe
    parts = [
        _paragraph("", view.asked),
        view.verdicts(),
        *view.pictures(),
        _paragraph("Held against", view.held_against),
        _paragraph("How to read it", view.how_to_read),
        _settings(view.found, view.audit.exclusions.get(probe.name, ())),
    ]
    return wrapped(probe.name, f"{probe.full_title}: {probe.question}", "".join(parts))


def wrapped(name: str, title: str, body: str) -> str:
    """A section with its heading, as a landmark."""
    return (
        f'<section id="{escape(name)}" aria-labelledby="h-{escape(name)}"><h2 '
        f'id="h-{escape(name)}">{escape(title[:1].upper() + title[1:])}</h2>{body}</section>'
    )


def _paragraph(heading: str, words: str) -> str:
    if not words:
        return ""
    return (f"<h3>{escape(heading)}</h3>" if heading else "") + f"<p>{escape(words)}</p>"


def _settings(found: Finding, left_out: Sequence[str]) -> str:
    said = []
    settings = found.settings
    rungs = settings.get("rungs") or ([settings["rung"]] if settings.get("rung") else [])
    if rungs:
        said.append(f"The attacker knows: {'; '.join(RUNGS.get(rung, rung_words(rung)) for rung in rungs)}.")
    numbers = [
        f"{name} {settings[name]}" for name in ("samples", "horizon", "threshold", "folds", "seed") if name in settings
    ]
    if numbers:
        said.append(f"Settings: {', '.join(numbers)}.")
    if left_out:
        said.append(f"Left out: {'; '.join(left_out)}.")
    return f'<div class="small">{items(said)}</div>' if said else ""
