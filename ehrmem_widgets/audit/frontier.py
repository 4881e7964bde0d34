"""What a defence costs and what it buys: several audits of the same people, what each model is good for against what it gives away."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ehrmem_widgets.audit.comparison import Comparison, Shared
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.statistics.intervals import Estimate

if TYPE_CHECKING:
    from ehrmem_widgets.audit.results import AuditResults

Key = tuple[str, str]
"""A figure's heading and words."""


@dataclass(frozen=True)
class Measured:
    """A figure that all audits have, by the model's name."""

    heading: str
    words: str
    of: dict[str, Estimate]


@dataclass(frozen=True)
class Dominated:
    """That one model is shown to be worse than another in both ways: it is good for less (``useful``), and gives away more (``risks``; in no
    risk less). The differences are its own figure minus the other model's; ``too``: further models of which that is shown."""

    name: str
    by: str
    useful: tuple[Shared, ...]
    risks: tuple[Shared, ...]
    too: tuple[str, ...] = ()


class Frontier:
    """Audits of the same data by the names of their models; those that did not measure what the model is good for are ``left_out``;
    ``why_not``: why what was measured compares with no other model's.

    Each risk is one figure of ``Comparison.figures``: of those under one heading the last, where the attacker knows most. ``with_first``: what
    has been compared: the first audit with others, by name.
    """

    def __init__(self, audits: dict[str, AuditResults], with_first: Mapping[str, Comparison] | None = None) -> None:
        own = {name: Comparison(audit, audit).useful for name, audit in audits.items()}
        self._audits = {name: audits[name] for name, found in own.items() if found}
        self.why_not = {name: one.how for name, found in own.items() for one in found if not known(one.a)}
        self.left_out = [name for name in audits if name not in self._audits]
        first, *others = self._audits or [""]
        compared = (with_first or {}) if first in list(audits)[:1] else {}
        self._of_first = [compared.get(name) or Comparison(self._audits[first], self._audits[name]) for name in others]

    @property
    def missing(self) -> str:
        """Why nothing can be drawn; empty where it can."""
        if len(self._audits) < 2:
            return "Fewer than two of the audits measured what the model is good for (the probe utility)"
        if not all(pair.same("data") for pair in self._of_first):
            return "The audits are of different data, so that neither what the models are good for nor what they give away compares"
        if not self.drawn:
            return "The models read different codes, so that their losses do not compare, or filters hide codes, or fewer than 11 people were never seen"
        return "" if self.risks else "The audits have no risk in common that may be shown"

    @cached_property
    def useful(self) -> list[Measured]:
        """What the models are good for."""
        return self._in_all([pair.useful for pair in self._of_first])

    @property
    def drawn(self) -> dict[str, dict[str, Estimate]]:
        """By its words each measure that two models at least have, of these."""
        found = {one.heading.partition(": ")[2]: {k: v for k, v in one.of.items() if known(v)} for one in self.useful}
        return {words: of for words, of in found.items() if len(of) > 1}

    @cached_property
    def risks(self) -> list[Measured]:
        """What they give away."""
        found = self._in_all([pair.figures for pair in self._of_first])
        return list({one.heading: one for one in found}.values())

    @cached_property
    def dominated(self) -> list[Dominated]:
        """The models that are shown to be dominated: all these claims together at 95 %."""
        found: dict[str, Dominated] = {}
        first, *others = self._audits
        wanted = {(one.heading, one.words) for one in self.risks}
        pairs = [(first, name, comparison) for name, comparison in zip(others, self._of_first, strict=True)]
        pairs += [
            (a, b, Comparison(self._audits[a], self._audits[b], wanted)) for a, b in itertools.combinations(others, 2)
        ]
        for pair in pairs:
            for one in self._shown(*pair):
                before = found.get(one.name)
                found[one.name] = _both(before, one) if before else one
        return list(found.values())

    @property
    def looked_at(self) -> int:
        """How many differences are looked at for that."""
        return math.comb(len(self._audits), 2) * (len(self.useful) + len(self.risks))

    def _shown(self, a: str, b: str, comparison: Comparison) -> Iterator[Dominated]:
        """Whether one of the two is dominated by the other."""
        useful = _of(self.useful, comparison.useful)
        worse = {one.worse_among(self.looked_at) for one in useful} - {0}
        if len(worse) != 1 or {one.worse for one in useful} - worse - {0}:
            return
        (side,) = worse  # 1: b is good for less
        risks = _of(self.risks, comparison.figures)
        if any(one.worse == -side for one in risks):
            return
        lost, leaks = (
            tuple(one if side == 1 else one.turned for one in some if one.worse_among(self.looked_at) == side)
            for some in (useful, risks)
        )
        if leaks:
            name, by = (b, a) if side == 1 else (a, b)
            yield Dominated(name, by, lost, leaks)

    def _in_all(self, found: Sequence[Sequence[Shared]]) -> list[Measured]:
        """The figures that the first has in common with each of the others."""
        first, *others = self._audits
        by_key = [{_key(one): one for one in some} for some in found]
        return [
            Measured(*key, {first: one.a, **{name: some[key].b for name, some in zip(others, by_key, strict=True)}})
            for key, one in by_key[0].items()
            if all(key in some for some in by_key)
        ]


def _key(one: Shared) -> Key:
    return one.heading, one.words


def _of(measured: Sequence[Measured], found: Sequence[Shared]) -> list[Shared]:
    keys = {(one.heading, one.words) for one in measured}
    return [one for one in found if _key(one) in keys]


def _both(before: Dominated, one: Dominated) -> Dominated:
    """The one in which more risks tell, and the name of the other."""
    first, second = sorted((before, one), key=lambda each: -len(each.risks))
    return Dominated(first.name, first.by, first.useful, first.risks, (*before.too, second.by))
