"""Tables of static pages: every cell escaped, headers that a screen reader can follow, withheld figures in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ehrmem_widgets.charts.markup import escape, interval, known
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.intervals import Estimate, rounded

NOT_SHOWN = f"withheld: fewer than {FEWEST} people"


class Markup(str):
    """Markup of our own, which tables and templates take as it is."""

    def __html__(self) -> str:
        """What Jinja asks for."""
        return str(self)


def figure(estimate: Estimate | None, *, n: bool = True, signed: bool = False) -> str:
    """A figure with its interval and n; where the value is withheld, the range that all withheld counts have in common.

    >>> figure(Estimate(float("nan"), 0.001, 0.09, 200))
    'withheld, within 0.00 to 0.09, n = 200'
    >>> figure(None)
    'withheld: fewer than 11 people'
    """
    if estimate is not None and known(estimate):
        return interval(estimate, n=n, signed=signed)
    if estimate is not None and estimate.n and math.isfinite(estimate.low) and math.isfinite(estimate.high):
        low, high = rounded(estimate.low, estimate.high, signed=signed)
        return f"withheld, within {low} to {high}" + (f", n = {estimate.n:,}" if n else "")
    return NOT_SHOWN


def inline(estimate: Estimate | None, *, signed: bool = False) -> str:
    """A figure within a sentence.

    >>> inline(Estimate(0.71, 0.62, 0.79, 120)), inline(None)
    ('0.71 (0.62 to 0.79, n = 120)', 'withheld (fewer than 11 people)')
    """
    if estimate is not None and known(estimate):
        return f"{interval(estimate, n=False, signed=signed).removesuffix(')')}, n = {estimate.n:,})"
    return f"withheld (fewer than {FEWEST} people)"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str, name: str = "") -> str:
    """An HTML table with a caption; the first cell of each row is its header. ``name``: a class for the style sheet."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    body = "".join(
        f'<tr><th scope="row">{_cell(row[0])}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    style = f' class="{name}"' if name else ""
    return (
        f"<table{style}><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def items(sentences: Iterable[object]) -> str:
    """An unordered list."""
    return f"<ul>{''.join(f'<li>{_cell(sentence)}</li>' for sentence in sentences)}</ul>"


def _cell(content: object) -> str:
    return str(content) if isinstance(content, Markup) else escape(content)
