"""The words of letters, in files that can be translated, and how numbers are said in them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TypedDict, cast

from ehrmem_widgets.charts.markup import GREY, svg
from ehrmem_widgets.charts.table import Markup
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import shown
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small, rounded_n
from ehrmem_widgets.yaml_text import read_yaml_file

LETTERS = Path(__file__).with_name("letters")


class AuditTexts(TypedDict):
    """What a letter about a whole audit says in one language."""

    title: str
    greeting: str
    answer: dict[str, str]
    what: str
    tests: str
    found: dict[str, str]
    decided: dict[str, str]
    no_figures: str
    limits: list[str]
    withheld: str
    next: dict[str, list[str]]
    knowledge: dict[str, str]
    made: str


class Texts(TypedDict):
    """A file of texts: what letters say in one language."""

    language: str
    thousands: str
    tens: str
    date: str
    frequency: dict[str, str]
    verdicts: dict[str, str]
    verdicts_alone: dict[str, str]
    patient: dict[str, str]
    board: dict[str, str]
    why: str
    what_title: str
    what: str
    facts: dict[int | str, str]
    found_title: str
    found_model: str
    found_reference: str
    found_no_reference: str
    unique: str
    fits: str
    few: str
    means_title: str
    limits_title: str
    limits: list[str]
    next_title: str
    next: dict[str, list[str]]
    icons: str
    made: str
    attributes: dict[str, str]
    audit: AuditTexts


def languages() -> tuple[str, ...]:
    """The languages that there are texts in."""
    return tuple(sorted(path.stem for path in LETTERS.glob("*.yaml")))


def texts_in(language: str) -> Texts:
    """The texts in a language. Raises BadInput for one that there is not."""
    if language not in languages():
        raise BadInput(f"There are letters in {', '.join(languages())}; got {shown(language)}.")
    return cast("Texts", read_yaml_file(LETTERS / f"{language}.yaml", "The texts of letters"))


def day(texts: Texts, given: date) -> str:
    """A day as the language writes it."""
    return texts["date"].format(day=given)


def count(texts: Texts, people: int) -> str:
    """A number of people, small ones withheld.

    >>> count(texts_in("de"), 3000), count(texts_in("en"), 7)
    ('3.000', 'fewer than 11')
    """
    return texts["few"].format(fewest=FEWEST) if is_small(people) else f"{people:,}".replace(",", texts["thousands"])


def about(texts: Texts, people: int) -> str:
    """A number of people as a report about several may tell it, in tens.

    >>> about(texts_in("de"), 3007), about(texts_in("en"), 7)
    ('3.000 bis 3.009', 'fewer than 11')
    """
    if people < FEWEST:
        return count(texts, people)
    return texts["tens"].format(low=count(texts, rounded_n(people)), high=count(texts, people // 10 * 10 + 9))


def of_100(texts: Texts, value: float, low: float, high: float) -> dict[str, str]:
    """A share as a natural frequency, as n, low and high.

    >>> of_100(texts_in("en"), 0.963, 0.93, 0.98), of_100(texts_in("de"), 0.002, 0.0, 0.01)["n"]
    ({'n': 'about 96', 'low': '93', 'high': '98'}, 'weniger als 1')
    """
    words = texts["frequency"]
    if value in (0, 1):
        n = f"{100 * value:.0f}"
    elif value < 0.005:
        n = words["under"]
    else:
        n = words["over"] if value > 0.995 else words["about"].format(n=round(100 * value))
    return {"n": n, "low": str(round(100 * low)), "high": str(round(100 * high))}


def icons(texts: Texts, share: float, colour: str) -> Markup:
    """A hundred people in ten rows, the share of them coloured; colour and shape tell them apart."""
    n = min(round(100 * share), 99) if share < 1 else 100
    people = ""
    for place in range(100):
        x, y = 12 + 20 * (place % 10), 10 + 24 * (place // 10)
        inside = f'fill="{colour}"' if place < n else f'fill="none" stroke="{GREY}" stroke-width="1.2"'
        people += (
            f'<circle cx="{x}" cy="{y}" r="4" {inside}/><path d="M{x - 5} {y + 14}v-5a5 5 0 0 1 10 0v5z" {inside}/>'
        )
    return Markup(svg(people, width=208, height=246, label=texts["icons"].format(n=n)))
