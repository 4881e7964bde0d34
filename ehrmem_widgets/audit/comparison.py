"""Two audits, and the figures that both have: each with the difference, its interval, and how that interval was made."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.findings.finding import estimate_of
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.statistics.disclosure import FEWEST, as_shown, is_small, rounded_n, share_step
from ehrmem_widgets.statistics.discrimination import NOTHING, patient_bootstrap
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate, difference

if TYPE_CHECKING:
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.audit.run import What
    from ehrmem_widgets.probes.base import Probe

PAIRED, INDEPENDENT = "paired, the same people", "independent"
_BOUNDS = (-2.0, 2.0)
_ENDLESS = (-math.inf, math.inf)
_Z = NormalDist().inv_cdf
_SAME = 0.9  # the share of people that both must have, to be compared person by person

Values = Callable[["AuditResults", Mapping[str, str]], pd.Series]
"""Each person's value of a figure, by pseudonym."""


@dataclass(frozen=True)
class Shared:
    """A figure that both audits have, of which more means that more is given away: ``a``, ``b`` and ``gap`` (b minus a), and how the
    interval was made (``PAIRED``, ``INDEPENDENT``, or why a side is ``NOTHING``: it compares with no other). ``heading`` says what it is, ``words``
    in which setting; ``unit``: what it is counted in, where it is no share and no AUROC; ``good``: whether more of it is better instead (of what a
    model is good for)."""

    heading: str
    words: str
    a: Estimate
    b: Estimate
    gap: Estimate
    how: str
    unit: str = ""
    good: bool = False

    @property
    def turned(self) -> Shared:
        """The same with ``a`` and ``b`` in each other's place."""
        value, low, high = (0.0 - one for one in (self.gap.value, self.gap.high, self.gap.low))
        return replace(self, a=self.b, b=self.a, gap=Estimate(value, low, high, self.gap.n))

    @property
    def worse(self) -> int:
        """1: b is worse (it gives away more, or is good for less), -1: better, 0: no difference is shown."""
        return self.worse_among(1)

    def worse_among(self, tests: int) -> int:
        """The same where so many figures are looked at, all of them together at 95 % (Bonferroni): the interval is widened as one of a normal
        distribution is."""
        if not known(self.gap):
            return 0
        wider = _Z(1 - (1 - CONFIDENCE) / 2 / tests) / _Z((1 + CONFIDENCE) / 2)
        value = self.gap.value
        low, high = value - wider * (value - self.gap.low), value + wider * (self.gap.high - value)
        return 0 if low <= 0 <= high else 1 if (value > 0) != self.good else -1


@dataclass(frozen=True)
class SharedAttribute:
    """A sensitive attribute in both audits: its declared severities (None: not declared), the mean excess of the members who hold it,
    the difference, and how its interval was made."""

    title: str
    severities: tuple[int | None, ...]
    a: Estimate | None
    b: Estimate | None
    gap: Estimate | None
    how: str


class Comparison:
    """Two audits, and what both have; ``only``: at these knowledge levels of these figures, by heading and words, where others are not wanted."""

    def __init__(self, a: AuditResults, b: AuditResults, only: Collection[tuple[str, str]] | None = None) -> None:
        self.a, self.b, self._only = a, b, only

    @cached_property
    def figures(self) -> list[Shared]:
        """The figures compared, in the order of the tests; those that one of them withholds are left out."""
        both = [name for name in self.a.views if name in self.b.views]
        return [one for name in both for one in self.a.views[name].shared(self)]

    @cached_property
    def useful(self) -> list[Shared]:
        """What the two models are good for, where both audits measured it."""
        both = [name for name in self.a.views if name in self.b.views]
        return [one for name in both for one in self.a.views[name].useful(self)]

    def same(self, what: What) -> bool | None:
        """Whether both are of the same data, model or reference; None where neither has one."""
        one, other = ((audit.results.get(what) or {}).get("fingerprint") for audit in (self.a, self.b))
        return None if one is None and other is None else bool(one == other)

    def attributes(self, knowledge: str) -> list[SharedAttribute]:
        """The sensitive attributes that both asked about at one knowledge level."""
        sides = [
            {one.attribute: one for one in audit.likelihoods if one.knowledge == knowledge}
            for audit in (self.a, self.b)
        ]
        rows = []
        if bool(self.a.results.get("reference")) != bool(self.b.results.get("reference")):
            return []  # beyond a reference model, and without one, are two figures
        for name in [name for name in sides[0] if name in sides[1]]:
            one, other = (side[name].excess for side in sides)
            gap, how = None, ""
            if one is not None and other is not None:
                paired = next(
                    (
                        gap
                        for view in self.a.views.values()
                        if (gap := view.attribute_gap(self, name, knowledge)) is not None
                    ),
                    None,
                )
                gap, how = (paired, PAIRED) if paired is not None else (as_shown(difference(other, one)), INDEPENDENT)
            severities = tuple(audit.severities[-1].severity.get(name) for audit in (self.a, self.b))
            rows.append(SharedAttribute(sides[0][name].title, severities, one, other, gap, how))
        return rows

    @cached_property
    def changed_sides(self) -> int | None:
        """How many of the people whom both asked about are members in one and not in the other; None where they share nobody."""
        groups = [audit.group_of_people for audit in (self.a, self.b)]
        both = groups[0].keys() & groups[1].keys()
        return sum(groups[0][p] != groups[1][p] for p in both) if both else None

    # For a probe's view ------------------------------------------------------------------------------------------------

    def shared(
        self,
        name: str,
        heading: str,
        words: str,
        where: Mapping[str, str],
        paired: Estimate | None,
        *,
        unit: str = "",
        good: bool = False,
        lost: Sequence[str] = (),
    ) -> Iterator[Shared]:
        """A figure of a probe that both have, if both show it; ``paired``: its difference person by person, where there is one. ``lost``: of a and of
        b, why its figure compares with no other; empty where it does."""
        sides = zip((self.a, self.b), lost or ("", ""), strict=True)
        one, other = (NOTHING if why else self._estimate(audit, name, where) for audit, why in sides)
        if one is None or other is None:
            return
        why = next(filter(None, lost), "")
        gap, how = (paired, PAIRED) if paired is not None else (_gap(one, other, unit), why or INDEPENDENT)
        yield Shared(f"{self.a.views[name].probe.full_title}: {heading}", words, one, other, gap, how, unit, good)

    def independent(
        self, probe: Probe, heading: str, words: str, one: Estimate | None, other: Estimate | None, *, unit: str = ""
    ) -> Iterator[Shared]:
        """A figure that each audit has by itself, if both show it."""
        if one is not None and other is not None and known(one) and known(other):
            yield Shared(f"{probe.full_title}: {heading}", words, one, other, _gap(one, other, unit), INDEPENDENT, unit)

    def by_level(
        self,
        name: str,
        heading: str,
        where: Mapping[str, str],
        paired: Callable[[str], Estimate | None] = lambda knowledge: None,
    ) -> Iterator[Shared]:
        """A figure at every knowledge level that both have; ``paired``: its difference person by person at one knowledge level."""
        said = f"{self.a.views[name].probe.full_title}: {heading}"
        for knowledge in self.both(name, "knowledge", **where):
            if self._only is None or (said, knowledge_words(knowledge)) in self._only:
                yield from self.shared(
                    name, heading, knowledge_words(knowledge), {**where, "knowledge": knowledge}, paired(knowledge)
                )

    def both(self, name: str, column: str, **where: str) -> list[str]:
        """What both findings have in a column, knowledge levels in the order of the first plan."""
        if name not in self.a.findings or name not in self.b.findings:
            return []
        one, other = (audit.findings[name].about("figures", **where)[column] for audit in (self.a, self.b))
        knowledge_levels = list(self.a.findings[name].settings.get("knowledge_levels", ()))
        values = [str(value) for value in dict.fromkeys(one) if value in set(other)]
        return sorted(values, key=lambda value: knowledge_levels.index(value) if value in knowledge_levels else -1)

    def mean_gap(self, values: Values, where: Mapping[str, str], *, unit: str = "") -> Estimate | None:
        """The mean difference over the people whom both asked about; None where these are not the same people."""
        change = self._changes(values, where)
        if change is None:
            return None
        return as_shown(
            patient_bootstrap(
                lambda rows: float(change[rows].mean()), np.zeros(len(change)), bounds=_ENDLESS if unit else _BOUNDS
            )
        )

    def gap_of_gaps(self, values: Values, where: Mapping[str, str], *, shares: bool = False) -> Estimate | None:
        """The same for members minus people never seen, each group resampled by itself. ``shares``: of people, which are shown coarse."""
        members, others = (self._changes(values, {**where, "group": group}) for group in (MEMBER, NON_MEMBER))
        if members is None or others is None:
            return None
        change = np.concatenate([members, others])
        inside = np.arange(len(change)) < len(members)

        def gap(rows: np.ndarray) -> float:
            return float(change[rows[inside[rows]]].mean() - change[rows[~inside[rows]]].mean())

        found = as_shown(patient_bootstrap(gap, inside, bounds=_BOUNDS))
        if not shares:
            return found
        step = share_step(rounded_n(min(len(members), len(others))))
        steps = round(found.value / step), math.floor(found.low / step), math.ceil(found.high / step)
        value, low, high = (round(x * step, 2) for x in steps)
        return Estimate(value, low, high, found.n)

    def same_people(self, values: Values, where: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray] | None:
        """(people,) each one's value in a and in b; None where they did not ask about the same people, or about too few."""
        sides = [values(audit, where) for audit in (self.a, self.b)]
        both = _the_same(sides)
        return None if both is None else (sides[0].loc[both].to_numpy(float), sides[1].loc[both].to_numpy(float))

    def _changes(self, values: Values, where: Mapping[str, str]) -> np.ndarray | None:
        both = self.same_people(values, where)
        return None if both is None else both[1] - both[0]

    def _estimate(self, audit: AuditResults, name: str, where: Mapping[str, str]) -> Estimate | None:
        rows = audit.findings[name].about("figures", **where)
        rows = rows[rows["model"] != "reference"]
        if len(rows) != 1 or not known(one := estimate_of(rows.iloc[0])):
            return None
        return one


def _gap(one: Estimate, other: Estimate, unit: str) -> Estimate:
    """What the other has more, by the two intervals."""
    return as_shown(difference(other, one, most=math.inf if unit else 1.0))


def _the_same(sides: Sequence[pd.Series]) -> pd.Index | None:
    """The people whom both sides have, if they are nearly all of both, and enough, and nobody else or 11 others at least are in one alone:
    of fewer, this difference would tell beside the two figures."""
    both = sides[0].index.intersection(sides[1].index)
    if len(both) < FEWEST or len(both) < _SAME * max(map(len, sides)) or is_small(sum(map(len, sides)) - 2 * len(both)):
        return None
    return both
