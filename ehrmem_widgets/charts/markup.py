"""The one place where strings from data become markup, with the colours and small marks that all views share."""

from __future__ import annotations

import html
import math
import re

from ehrmem_widgets.statistics.intervals import Estimate, rounded
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict

# Okabe & Ito (2008), told apart with every common colour vision. Never the only sign: shape, pattern or words go along.
BLUE, ORANGE, VERMILION, GREEN, PURPLE, SKY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
GREY = "#8A8A8A"

INK = "var(--jp-ui-font-color1,#111)"
PAPER = "var(--jp-layout-color1,#fff)"
SHADE = "var(--jp-layout-color2,#f2f2f2)"
RULE = "var(--jp-border-color2,#ccc)"
FONT = "var(--jp-ui-font-family,system-ui,sans-serif)"

VERDICT_COLOURS = {Verdict.MEMORIZED: VERMILION, Verdict.POPULATION: BLUE, Verdict.CANNOT_CONCLUDE: GREY}

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# That, and what means something in markup.
_UNSAFE = re.compile("[^\t\n\r !#-%(-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(value: object) -> str:
    """Text from data, safe inside HTML, SVG and their attributes; a character that XML cannot hold becomes U+FFFD.

    >>> escape('<script>"x"</script>')
    '&lt;script&gt;&quot;x&quot;&lt;/script&gt;'
    """
    text = str(value)
    if not _UNSAFE.search(text):  # nearly always, and a live chart asks a hundred times
        return text
    return html.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)


def shorten(value: object, longest: int) -> str:
    """The text cut to ``longest`` characters, with an ellipsis; not yet escaped.

    >>> shorten("Abortion, pregnancy loss", 10)
    'Abortion,…'
    """
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def known(estimate: Estimate | None) -> bool:
    """Whether there is a figure to show: observations were made, and the value is a number."""
    return estimate is not None and estimate.n > 0 and math.isfinite(estimate.value)


def interval(estimate: Estimate | None, *, n: bool = True, signed: bool = False) -> str:
    """A figure with its interval and n in words; a dash where there is none.

    >>> interval(Estimate(0.712, 0.62, 0.79, 128))
    '0.71 (0.62 to 0.79), n = 128'
    >>> interval(Estimate(1.03, 1.03, math.inf, 400))
    'at least 1.03, n = 400'
    >>> interval(Estimate(0.5, -math.inf, math.inf, 400))
    'not known, n = 400'
    >>> interval(None)
    '—'
    """
    if estimate is None or not known(estimate):
        return "—"
    behind = f", n = {estimate.n:,}" if n else ""
    if math.isinf(estimate.low):
        return f"not known{behind}"
    if math.isinf(estimate.high):
        return f"at least {rounded(estimate.low, signed=signed)[0]}{behind}"
    value, low, high = rounded(estimate.value, estimate.low, estimate.high, signed=signed)
    return f"{value} ({low} to {high}){behind}"


def percent(share: float) -> str:
    """A share in per cent, with as many decimals as it needs.

    >>> percent(0.01), percent(0.0025), percent(1)
    ('1 %', '0.25 %', '100 %')
    """
    return f"{100 * share:.4g} %"


def plural(n: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "fact"), plural(2000, "fact")
    ('1 fact', '2,000 facts')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time in round words.

    >>> duration(40), duration(400), duration(40_000), duration(400_000)
    ('40 seconds', '7 minutes', '11 hours', '5 days')
    """
    if seconds < 90:
        return plural(max(1, round(seconds)), "second")
    if seconds < 5400:
        return plural(round(seconds / 60), "minute")
    return plural(round(seconds / 3600), "hour") if seconds < 172_800 else plural(round(seconds / 86_400), "day")


def svg(body: str, *, width: int, height: int, label: str, fit: str = "xMinYMin meet") -> str:
    """An SVG of fixed height that scales down to its column, has the theme's ink, and says itself in one sentence."""
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" width="100%" height="{height}" '
        f'preserveAspectRatio="{fit}" font-size="12" fill="currentColor" '
        f'style="display:block;color:{INK};font-family:{FONT};overflow:hidden">{body}</svg>'
    )


def text(x: float, y: float, content: object, *, more: str = "") -> str:
    """A line of SVG text; ``content`` is escaped here, ``more`` holds further attributes written by us."""
    return f'<text x="{x:g}" y="{y:g}"{" " + more if more else ""}>{escape(content)}</text>'


NOT_HELD = "Not in the record"


def verdict_name(judgement: Judgement | None, *, held: bool = True) -> str:
    """The verdict in its fixed words, or that there is none: not yet, or because the record does not hold the attribute."""
    if not held:
        return NOT_HELD
    return str(judgement.verdict) if judgement else "Not decided yet"


def term(key: str, words: str) -> str:
    """Words that the glossary explains under ``key``: pressed on a screen, they show what they mean.

    >>> term("similar", "similar people")
    '<button type="button" class="em-term" data-term="similar">similar people</button>'
    """
    return f'<button type="button" class="em-term" data-term="{escape(key)}">{escape(words)}</button>'


def verdict_icon(verdict: Verdict | None, x: float, y: float, size: float = 12) -> str:
    """A shape for each verdict, with its top left corner at (x, y): a triangle with a bar for memorized, a disc for
    population knowledge, a square with a question mark for cannot conclude, a dashed ring while undecided."""
    half = size / 2
    cx, cy = x + half, y + half
    if verdict is None:
        ring = f'<circle cx="{cx:g}" cy="{cy:g}" r="{half - 1:g}" fill="none" stroke="currentColor"'
        return ring + ' stroke-dasharray="2 2"/>'
    colour = VERDICT_COLOURS[verdict]
    if verdict is Verdict.MEMORIZED:
        stem = f"M{cx:g} {y + size * 0.36:g}v{size * 0.28:g}m0 {size * 0.1:g}v{size * 0.1:g}"
        mark = f'<path d="{stem}" stroke="#fff" stroke-width="1.6"/>'
        return f'<path d="M{cx:g} {y:g}L{x + size:g} {y + size:g}H{x:g}z" fill="{colour}"/>{mark}'
    if verdict is Verdict.POPULATION:
        return f'<circle cx="{cx:g}" cy="{cy:g}" r="{half:g}" fill="{colour}"/>'
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" rx="2" fill="none" stroke="{colour}" '
        f'stroke-width="1.5"/>'
        + text(cx, y + size * 0.82, "?", more=f'text-anchor="middle" font-size="{size * 0.85:g}" font-weight="700"')
    )


def icon(verdict: Verdict | None, size: int = 18) -> str:
    """The verdict's shape alone, to stand before its words in HTML; hidden from screen readers, as the words say it."""
    return (
        f'<svg aria-hidden="true" width="{size}" height="{size}" viewBox="0 0 {size} {size}" fill="currentColor" '
        f'style="vertical-align:-3px">{verdict_icon(verdict, 1, 1, size - 2)}</svg>'
    )
