"""What the model says comes next, beside what really followed."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.markup import escape, plural
from ehrmem_widgets.probes.findings import ReadableEvent

MOST_COLUMNS = 4
MOST_EVENTS = 200  # longer lists are cut, and say so


def continuations(
    generated: Sequence[Sequence[ReadableEvent]],
    truth: Sequence[ReadableEvent],
    *,
    most: int = MOST_EVENTS,
    columns: int = MOST_COLUMNS,
) -> str:
    """A box of fixed height with up to ``columns`` sampled continuations and the true one, as lists of events: of each ``most``, around
    the first sensitive one.

    A sensitive event has a diamond, a colour and its attribute's title; one that the true continuation also holds has a
    check mark.
    """
    shown = list(generated)[:columns]
    lists = [
        _column(f"The model says next ({place} of {len(shown)})", events, most, nothing="Ends here.")
        for place, events in enumerate(shown, 1)
    ] or [_column("The model says next", (), most, nothing="Nothing has been asked of the model yet.")]
    lists.append(
        _column("What really followed", truth, most, nothing="Nothing follows the last known event.", truth=True)
    )
    return (
        f'<div class="ehrmem-continuations" role="group" tabindex="0" aria-label="{escape(_sentence(shown, truth))}">'
        f"{''.join(lists)}</div>"
        '<div class="ehrmem-small" style="min-height:20px">◆ sensitive &nbsp; ✓ also in what really followed '
        "(same value) &nbsp; "
        "Each column is one of many possible continuations; the probabilities come from all of them.</div>"
    )


def _column(heading: str, events: Sequence[ReadableEvent], most: int, *, nothing: str, truth: bool = False) -> str:
    first = next((place for place, event in enumerate(events) if event.sensitive), 0)
    start = first - most // 2 if first >= most else 0
    items = "".join(_item(event, truth) for event in events[start : start + most])
    if start:
        items = f'<li class="ehrmem-time">after {start:,} others</li>{items}'
    if (left := len(events) - start - most) > 0:
        items += f'<li class="ehrmem-time">and {left:,} more</li>'
    body = f"<ol>{items}</ol>" if items else f'<p class="ehrmem-small">{escape(nothing)}</p>'
    kind = ' class="ehrmem-truth"' if truth else ""
    return f'<section{kind}><p class="ehrmem-heading">{escape(heading)}</p>{body}</section>'


def _item(event: ReadableEvent, in_truth: bool) -> str:
    checked = event.true and not in_truth
    classes = [
        name for name, on in (("ehrmem-sensitive", event.sensitive), ("ehrmem-time", event.kind == "time")) if on
    ]
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    mark = ("◆" if event.sensitive else "") + ("✓" if checked else "")
    tags = [escape(event.sensitive)] if event.sensitive else []
    if checked:
        tags.append("also in what really followed")
    title = f' title="{"; ".join([escape(event.kind), *tags])}"'
    tag = f' <span class="ehrmem-tag">({escape(event.sensitive)})</span>' if event.sensitive else ""
    return f'<li{attribute}{title}><span class="ehrmem-mark">{mark}</span>{escape(event.label)}{tag}</li>'


def _sentence(generated: Sequence[Sequence[ReadableEvent]], truth: Sequence[ReadableEvent]) -> str:
    events = [event for column in generated for event in column]
    return (
        f"{plural(len(generated), 'sampled continuation')} with {plural(len(events), 'event')}, "
        f"{sum(event.sensitive is not None for event in events)} of them sensitive and "
        f"{sum(event.true for event in events)} "
        f"also in what really followed, beside the {plural(len(truth), 'event')} that really followed."
    )
