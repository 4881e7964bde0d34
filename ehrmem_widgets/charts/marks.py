"""What every chart is drawn with: shapes, whiskers, the legend, and the words that stand where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ehrmem_widgets.charts.markup import PAPER, svg, text

Shape = Literal[
    "", "disc", "ring", "square", "box", "diamond", "gem", "triangle", "cross", "plus", "pin", "bar", "stripes"
]
"""``ring``, ``box`` and ``gem`` are the open ones of disc, square and diamond; ``pin`` is a small diamond on a line. Bars reach from an
origin to their value, and only rows have them."""

HALO = f'style="paint-order:stroke;stroke:{PAPER};stroke-width:5px"'  # for words that stand on lines
_OPEN = ("ring", "box", "gem")


@dataclass(frozen=True)
class Key:
    """How a series looks, in the chart and in the legend. ``dashes``: of its line ("": whole; None: it has none); ``band``: its
    interval is an area, not whiskers."""

    words: str
    colour: str
    shape: Shape = ""
    dashes: str | None = None
    band: bool = False


def mark(
    shape: Shape, x: float, y: float, colour: str, size: float = 4.8, *, edged: bool = False, hollow: bool = False
) -> str:
    """A shape about (x, y). ``edged``: with a thin rim of the ground's colour, where marks overlap; ``hollow``: what lies below is seen."""
    if hollow:
        paint = f'fill="none" stroke="{colour}" stroke-width="1.6"'
    elif shape in _OPEN:
        paint = f'style="fill:{PAPER}" stroke="{colour}" stroke-width="2"'
    else:
        paint = f'fill="{colour}"' + (f' style="stroke:{PAPER}"' if edged else "")
    match shape:
        case "disc" | "ring":
            return f'<circle cx="{x:g}" cy="{y:g}" r="{size:g}" {paint}/>'
        case "square" | "box":
            side = 2 * size - 0.6
            return f'<rect x="{x - side / 2:g}" y="{y - side / 2:g}" width="{side:g}" height="{side:g}" {paint}/>'
        case "diamond" | "gem":
            h = size + 1.7
            return f'<path d="M{x:g} {y - h:g}l{h:g} {h:g}-{h:g} {h:g}-{h:g}-{h:g}z" {paint}/>'
        case "triangle":
            return (
                f'<path d="M{x:g} {y - size - 1.2:g}l{size + 1.2:g} {2 * size + 0.9:g}h{-2 * size - 2.4:g}z" {paint}/>'
            )
        case "cross":
            d = f"M{x - size:g} {y - size:g}l{2 * size:g} {2 * size:g}m0-{2 * size:g}l-{2 * size:g} {2 * size:g}"
            return f'<path d="{d}" stroke="{colour}" stroke-width="2.4" fill="none"/>'
        case "plus":
            d = f"M{x - size - 2:g} {y:g}h{2 * size + 4:g}M{x:g} {y - size - 2:g}v{2 * size + 4:g}"
            return f'<path d="{d}" stroke="{colour}" stroke-width="2.4"/>'
        case "pin":
            head = mark("diamond", x, y - size - 2, colour, 1.8, edged=True)
            return f'<path d="M{x:g} {y - size:g}v{2 * size:g}" stroke="{colour}" stroke-width="1.6"/>{head}'
        case "bar" | "stripes":
            return bar(x - 9, x + 9, y, colour, striped=shape == "stripes", thick=9)
    return ""


def bar(start: float, end: float, y: float, colour: str, *, striped: bool, thick: int = 12) -> str:
    """A bar between two places, in either direction; a striped one is told apart without its colour."""
    x, width, top = min(start, end), abs(end - start), y - thick / 2
    if not striped:
        return f'<rect x="{x:g}" y="{top:g}" width="{width:g}" height="{thick}" fill="{colour}"/>'
    # A thick dashed line, as a pattern's id would clash between two charts on a page.
    return (
        f'<path d="M{x:g} {y:g}h{width:g}" stroke="{colour}" stroke-width="{thick - 1}" stroke-dasharray="2.5 2"/>'
        f'<rect x="{x:g}" y="{top + 0.5:g}" width="{width:g}" height="{thick - 1}" fill="none" stroke="{colour}"/>'
    )


def level_whisker(low: float, high: float, y: float, cap: float) -> str:
    """The path of an interval from left to right."""
    return f"M{low:g} {y:g}H{high:g}M{low:g} {y - cap:g}v{2 * cap:g}M{high:g} {y - cap:g}v{2 * cap:g}"


def upright_whisker(x: float, low: float, high: float, cap: float = 3.5) -> str:
    """The path of an interval upwards."""
    return f"M{x:g} {low:g}V{high:g}M{x - cap:g} {low:g}h{2 * cap:g}M{x - cap:g} {high:g}h{2 * cap:g}"


def legend(keys: Sequence[Key], x: float, y: float, width: float) -> tuple[str, float]:
    """The keys beside one another from (x, y), the middle of the first line, in as many lines as they need; and where the next line would be."""
    body, at = "", x
    for key in keys:
        sample = 28 if key.dashes is not None or key.band else 18
        needs = sample + 6 + 5.8 * len(key.words) + 16  # as wide as common fonts make it
        if at > x and at + needs > x + width:
            at, y = x, y + 17
        middle = at + sample / 2
        if key.band:
            body += (
                f'<rect x="{at:g}" y="{y - 6:g}" width="{sample}" height="12" fill="{key.colour}" fill-opacity=".25"/>'
            )
        if key.dashes is not None:
            body += f'<path d="M{at:g} {y:g}h{sample}" stroke="{key.colour}" stroke-width="1.8"{dashed(key.dashes)}/>'
        body += mark(key.shape, middle, y, key.colour) + text(at + sample + 6, y + 4, key.words)
        at += needs
    return f'<g font-size="11">{body}</g>', y + 17


def dashed(dashes: str | None) -> str:
    """The attribute of a line's dashes."""
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def nothing(*lines: str, width: int, height: int = 60, label: str = "") -> str:
    """A chart of nothing, which says so."""
    body = "".join(text(12, 30 + 20 * place, line, more='opacity=".75"') for place, line in enumerate(lines))
    return svg(body, width=width, height=height, label=label or " ".join(lines))
