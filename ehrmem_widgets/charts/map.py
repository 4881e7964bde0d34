"""A map: every point of a kind as one path, and over it a query, its nearest points and the one that is looked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.charts.marks import Key, legend, mark
from ehrmem_widgets.charts.markup import INK, PAPER, PURPLE, RULE, VERMILION, escape, svg, text

MOST_POINTS = 3000
WIDTH, HEIGHT, LEGEND, MARGIN = 640, 440, 48, 16
# Beyond its start, each point of a kind: a line of no length with round ends is a disc.
_DRAWN = {"disc": "h0", "ring": "m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0", "cross": "m-2-2l4 4m0-4l-4 4"}
_QUERY = Key("what the attacker holds (dashed: placed roughly)", "currentColor", "plus")
_LED_TO = Key("where the model's own continuations lead", PURPLE, "square")
_OWN = Key("this patient's record", VERMILION, "diamond")
_NEAREST = Key("nearest records", "currentColor", "ring")


def drawn_points(n: int) -> np.ndarray:
    """The rows that a map of n points draws: all, or an even sample of 3,000."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(int))


def point_map(
    points: np.ndarray,
    kinds: np.ndarray,
    keys: Sequence[Key],
    *,
    label: str,
    query: np.ndarray | None = None,
    roughly: bool = False,
    led_to: np.ndarray | None = None,
    nearest: Sequence[int] = (),
    own: int = -1,
) -> str:
    """An SVG of ``points`` (n, 2), the same scale both ways; ``kinds`` (n,) says which of ``keys`` (disc, ring or cross) each is.

    ``nearest`` and ``own`` are rows of ``points``; ``query`` (2,) is a cross, dashed where it is placed ``roughly``;
    ``led_to`` (k, 2) are small squares, joined with the query.
    """
    led = np.empty((0, 2)) if led_to is None else led_to
    every = np.vstack([points, led, *([] if query is None else [query])])
    low, high = every.min(axis=0), every.max(axis=0)
    scale = ((WIDTH, HEIGHT) - np.full(2, 2 * MARGIN)) / np.maximum(high - low, 1e-9)
    at = ((every - (low + high) / 2) * (scale.min(), -scale.min()) + (WIDTH / 2, HEIGHT / 2)).round(1)
    shown = drawn_points(len(points))
    body = f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" fill="none" style="stroke:{RULE}"/>'
    body += "".join(_points(at[shown][kinds[shown] == kind], key) for kind, key in enumerate(keys))
    listed = list(keys)
    if len(led):
        listed.append(_LED_TO)
        places = at[len(points) : len(points) + len(led)].tolist()
        if query is not None:
            ways = "".join(f"M{at[-1][0]:g} {at[-1][1]:g}L{x:g} {y:g}" for x, y in places)
            body += f'<path d="{ways}" style="stroke:{PURPLE}" stroke-width="1.2"/>'
        body += "".join(mark("square", x, y, PURPLE, 4, edged=True) for x, y in places)
    around = at[[row for row in nearest if 0 <= row < len(points)]].tolist()
    body += "".join(mark("ring", x, y, "currentColor", 6.5, hollow=True) for x, y in around)
    if query is not None:
        listed.append(_QUERY)
    if 0 <= own < len(points):
        x, y = at[own].tolist()
        body += mark("diamond", x, y, VERMILION, 4.3, edged=True) + mark("ring", x, y, VERMILION, 10, hollow=True)
        listed.append(_OWN)
    if query is not None:
        x, y = at[-1].tolist()
        d, dash = f"M{x - 12:g} {y:g}h24M{x:g} {y - 12:g}v24", ' stroke-dasharray="4 3"' if roughly else ""
        body += f'<path d="{d}" style="stroke:{PAPER}" stroke-width="6" opacity=".9"/>'
        body += f'<path d="{d}" style="stroke:{INK}" stroke-width="2.6"{dash}/>'
    if len(nearest):
        listed.append(_NEAREST)
    body += legend(listed, 4, HEIGHT + 14, WIDTH)[0]
    return svg(body, width=WIDTH, height=HEIGHT + LEGEND, label=label)


def no_map(words: str) -> str:
    """A map of nothing, as high as any other."""
    return svg(text(12, 24, words, more='opacity=".75"'), width=WIDTH, height=HEIGHT + LEGEND, label=words)


def _points(at: np.ndarray, key: Key) -> str:
    if not len(at):
        return ""
    look = 'stroke-width="4" stroke-linecap="round"' if key.shape == "disc" else 'fill="none"'
    d = "".join([f"M{x:g} {y:g}{_DRAWN[key.shape]}" for x, y in at.tolist()])
    return f'<path d="{d}" stroke="{key.colour}" {look} opacity=".8"><title>{escape(key.words)}</title></path>'
