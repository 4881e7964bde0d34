"""The lesson as its file declares it, with the figures of ``chosen`` filled in."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.answer_bar import in_100
from ehrmem_widgets.workshop.asking import Asked, Figure
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.yaml_text import read_yaml_file

FILE = Path(__file__).with_name("lesson.yaml")
BUDGET = 10
"""Facts that a player may use."""
PRICE = 4
"""Points that each of them costs."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Option(_Strict):
    """An answer to choose. A wrong one says ``why``, and the misconception behind it."""

    words: str
    right: bool = False
    why: str = ""
    misconception: str = ""


class Item(_Strict):
    """A question with its options, one of which is right."""

    key: str
    words: str
    options: tuple[Option, ...]

    @property
    def right(self) -> int:
        """The place of the right option."""
        return next(place for place, one in enumerate(self.options) if one.right)

    @model_validator(mode="after")
    def _one_is_right(self) -> Self:
        if sum(one.right for one in self.options) != 1 or any(not (one.right or one.why) for one in self.options):
            raise ValueError(f"{self.key}: one option is right, and every other one says why it is wrong")
        return self


class Role(_Strict):
    """A seat in the committee."""

    key: str
    name: str
    words: str


class Step(_Strict):
    """One step: its ``idea`` in a sentence, what participants ``do``, what the teacher may ``say``, and the ``answer``."""

    key: str
    title: str
    minutes: int
    idea: str
    do: str
    say: str
    answer: str = ""
    question: str = ""
    quiz: bool = False
    ask: tuple[Item, ...] = ()
    roles: tuple[Role, ...] = ()
    votes: tuple[str, ...] = ()


class Form(_Strict):
    """A shorter or a longer lesson: minutes by step."""

    name: str
    steps: dict[str, int]
    words: str


class Lesson(_Strict):
    """The whole lesson."""

    version: int
    title: str
    minutes: int
    goals: tuple[str, ...]
    misconceptions: dict[str, str]
    steps: tuple[Step, ...]
    quiz: tuple[Item, ...]
    forms: tuple[Form, ...]

    def step(self, key: str) -> Step:
        """A step by its key."""
        return next(one for one in self.steps if one.key == key)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        keys = {one.key for one in self.steps}
        if sum(one.minutes for one in self.steps) != self.minutes:
            raise ValueError(f"the steps do not add up to {self.minutes} minutes")
        items = [*self.quiz, *(item for step in self.steps for item in step.ask)]
        named = {one.misconception for item in items for one in item.options if not one.right}
        if named - set(self.misconceptions) or any(set(form.steps) - keys for form in self.forms):
            raise ValueError("a misconception or a step is named that there is not")
        return self


@cache
def lesson() -> Lesson:
    """The lesson, as its file has it: figures are still names in braces (``filled``)."""
    return Lesson.model_validate(read_yaml_file(FILE, "The lesson's file"))


def filled(words: str) -> str:
    """A sentence with the figures of ``chosen`` in place of their names."""
    return words.format_map(figures())


@cache
def figures() -> dict[str, str]:
    """By name: every figure that the lesson's words may use, in words."""
    found = chosen()
    attack = {one.knowledge: one for one in found.attack}
    loud = loud_card()
    by_model = {one.model: one for one in found.training}
    named = {
        "attack_title": found.attack[0].title,
        **{f"attack_{name}": hundred(one.audited) for name, one in attack.items()},
        "attack_reference": hundred(found.attack[-1].reference),
        "cards_person": str(sum(is_memory(one) for one in found.cards)),
        "cards_population": str(sum(not is_memory(one) for one in found.cards)),
        "loud_title": loud.title,
        "loud_audited": hundred(loud.audited),
        "loud_reference": hundred(loud.reference),
        "odds_noise": str(found.odds.by_noise),
        "odds_promised": str(found.odds.promised),
        "odds_coin": str(found.odds.coin),
    }
    for name, one in by_model.items():
        named |= {f"{name}_leak": hundred(one.leak), f"{name}_loss": decimals(one.loss)}
    return named


def is_memory(card: Asked) -> bool:
    """Whether a card belongs to "person"."""
    return card.verdict == Verdict.MEMORIZED


def loud_card() -> Asked:
    """The card that fools most: somebody never seen of whom the model says it most often."""
    return max((one for one in chosen().cards if not one.seen), key=lambda one: one.audited.value)


def hundred(figure: Figure) -> str:
    """How many of 100 answers, with the interval.

    >>> hundred(Figure(value=0.953, low=0.93, high=0.97, n=200))
    '95 (93 to 97; n = 200)'
    """
    value, low, high = (in_100(Estimate(one, one, one, 1)) for one in (figure.value, figure.low, figure.high))
    return f"{_bare(value)} ({_bare(low)} to {_bare(high)}; n = {figure.n:,})"


def decimals(figure: Figure) -> str:
    """A figure that is no share, with its interval."""
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}; n = {figure.n:,})"


def points(leak: Figure, facts: int) -> int:
    """The score of an attack: how many of 100 answers name the attribute (the low end of the interval, so that luck does not count), less the price
    of the facts; 0 beyond the budget.

    >>> points(Figure(value=0.95, low=0.91, high=0.97, n=200), 3), points(Figure(value=0.95, low=0.91, high=0.97, n=200), 11)
    (79, 0)
    """
    return max(0, int(100 * leak.low) - PRICE * facts) if facts <= BUDGET else 0


def _bare(words: str) -> str:
    return words.removesuffix(" in 100")
