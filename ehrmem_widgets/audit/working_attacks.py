"""Which attacks of an audit work, by what the attacker must know, and the strongest of them: what a defence leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ehrmem_widgets.attacker.facts import knowledge_words, knows
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.findings.finding import estimate_of
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict

if TYPE_CHECKING:
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.probes.view import ProbeView

_WHOLE = "the whole record"


@dataclass(frozen=True)
class Attack:
    """A test whose verdict is *memorized*: its ``title``, what it ``compared`` and what the attacker ``knows`` (empty: of the facts tried, the
    fewest), ``place`` among what attackers know, the least first, the ``figure``, and its ``strength``: by how much of the way from chance to
    certainty the figure's lower end lies above chance."""

    title: str
    compared: str
    knows: str
    place: int
    figure: Estimate
    strength: float

    def __str__(self) -> str:
        what = f"{self.title} ({self.compared})" if self.compared else self.title
        return f"{what}{f', knowing {self.knows}' if self.knows else ''}: {self.figure}"


def working_attacks(audit: AuditResults) -> list[Attack]:
    """The attacks that work, of each test and knowledge the strongest figure; the least knowledge first, then the strongest."""
    every = sorted((one for view in audit.views.values() for one in _attacks(audit, view)), key=_rank)
    first = {(one.title, one.place): one for one in reversed(every)}
    return sorted(first.values(), key=_rank)


def strongest_attack(audit: AuditResults) -> Attack | None:
    """The one whose lower end lies furthest above chance; of equal ones, that which takes less knowledge. None: no attack is shown to work."""
    return max(working_attacks(audit), key=lambda one: (one.strength, -one.place), default=None)


def in_lines(audit: AuditResults) -> list[str]:
    """Both as text."""
    found, strongest = working_attacks(audit), strongest_attack(audit)
    if strongest is None:
        return ["No attack of this audit is shown to work."]
    return [
        "Attacks that work, by what the attacker must know, the least first:",
        *(f"  {one}" for one in found),
        f"The strongest (lower end, from chance to certainty): {strongest}",
    ]


def _rank(one: Attack) -> tuple[int, float]:
    return one.place, -one.strength


def _attacks(audit: AuditResults, view: ProbeView) -> Iterator[Attack]:
    if view.chance is None:
        return
    levels = list((audit.results.get("plan") or {}).get("knowledge_levels") or ())
    for row in view.judged().to_dict("records"):
        figure, knowledge = estimate_of(row), str(row["knowledge"])
        if row["verdict"] != Verdict.MEMORIZED or not known(figure):
            continue
        whole = not knowledge and not view.probe.knowledge_levels
        place = levels.index(knowledge) if knowledge in levels else len(levels) + whole
        compared = view.compared(row).removeprefix(knowledge_words(knowledge)).strip(", ")
        yield Attack(
            view.probe.full_title,
            compared[:1].lower() + compared[1:] if compared[1:2].islower() else compared,
            knows(knowledge) if knowledge else _WHOLE if whole else "",
            place,
            figure,
            (figure.low - view.chance) / (1 - view.chance),
        )
