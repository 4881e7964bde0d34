"""What a plan will not be able to decide, and how long it takes: said before it is sealed. From the verdict rules, the people whom it draws, and a few questions
whose answers nobody sees."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ehrmem_widgets.audit.plan import Plan
from ehrmem_widgets.audit.releases import beside_earlier
from ehrmem_widgets.audit.results import Cell
from ehrmem_widgets.audit.run import Opened
from ehrmem_widgets.charts.markup import duration, plural
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.base import Compared, ProbeRun, loaded
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import AUROC_MARGIN, Judgement, ProbeKind, Verdict, judge_cohort

_SAMPLED = 8  # people of a test whose answers are timed
_MOST = 1_000_000


@dataclass(frozen=True)
class Foreseen:
    """``begin``: whom the plan asks about, within a sentence; ``cannot``: what it will not be able to decide, a sentence each; ``takes``: how long, and
    how that is known (empty: not known yet); ``seconds``: the same as a number."""

    begin: str
    cannot: tuple[str, ...]
    takes: str = ""
    seconds: float = 0.0

    def in_words(self) -> list[str]:
        """Everything, a sentence each."""
        if not self.cannot:
            return [
                f"{self.begin} there are enough people for every verdict of this plan.",
                *filter(None, [self.takes]),
            ]
        return [
            f"{self.begin} this plan will not be able to decide everything:",
            *self.cannot,
            *filter(None, [self.takes]),
        ]


def foresee(plan: Plan, about: Opened, *, workers: int = 1) -> Iterator[Foreseen]:
    """First what cannot be decided, then again after each test that was timed, and at last with how long everything takes. Nothing is written."""
    runs: dict[str, ProbeRun] = {}
    cannot: list[str] = []
    started: dict[str, float] = {}
    for name in plan.probes:
        kind: type[ProbeRun] = loaded(probes()[name].run)
        if not kind.asks:
            continue
        began = time.monotonic()
        try:
            runs[name] = probes()[name].start(about.task(plan, name))
        except (BadInput, CannotAnswer) as error:
            cannot.append(f"{probes()[name].full_title} will not be run: {error}")
        started[name] = time.monotonic() - began
    if about.reference is None:
        cannot.append(
            "There is no reference model: members are compared with people never seen alone, which decides less about a single patient."
        )
    cannot += undecidable({name: run.compared() for name, run in runs.items()}, holders=plan.holders)
    cannot += filter(None, [_report_refused(plan, about, runs)])
    found = Foreseen(_begin(plan, about), tuple(cannot))
    yield found
    asking = {name: run for name, run in runs.items() if len(run.records)}
    seconds, sampled = 0.0, 0
    for name, run in asking.items():
        some = [run.records[place * len(run.records) // _SAMPLED] for place in range(min(_SAMPLED, len(run.records)))]
        began = time.monotonic()
        try:
            run.ask(some)
        except (BadInput, CannotAnswer):  # said where it is run
            continue
        sampled += len(some)
        seconds += started[name] + (time.monotonic() - began) * len(run.records) / len(some)
        yield found
    if sampled:
        seconds /= workers
        yield replace(found, takes=_takes(seconds, len(asking), workers), seconds=seconds)


def _report_refused(plan: Plan, about: Opened, runs: Mapping[str, ProbeRun]) -> str:
    """Why its report will not be written beside earlier ones; empty: nothing says so."""
    if plan.identifying or about.dataset.declared_synthetic:
        return ""
    group_of = about.people.groups
    return beside_earlier(
        {
            Cell(name, group): frozenset(r.pseudonym for r in run.records if group_of.get(r.patient_id) == group)
            for name, run in runs.items()
            for group in (MEMBER, NON_MEMBER)
        }
    )


def undecidable(compared: Mapping[str, Sequence[Compared]], *, holders: int) -> list[str]:
    """What so many people cannot decide, by the rules that judge them: sentences. ``compared``: by probe, whom its verdicts compare; ``holders``: how many
    of each attribute the plan asks for."""
    few: dict[str, list[str]] = {}
    rare: list[str] = []
    not_ruled_out: list[str] = []
    for name, every in compared.items():
        title = probes()[name].full_title
        for one in every:
            if _decided(one.members, one.non_members):
                if one.no_difference is not None:
                    not_ruled_out += _not_ruled_out(title, one, one.no_difference)
            elif one.what:
                rare.append(one.what)
            else:
                who = f"{_shown(one.members)} members and {_shown(one.non_members)} people never seen {one.who or 'are compared'}"
                few.setdefault(who, []).append(title)
    needed = _least(lambda n: _decided(n, n))
    said = [f"{_and(titles)} cannot be decided: {who}; {needed} of each are needed." for who, titles in few.items()]
    if rare:
        more = f"Set holders to {needed} or more." if holders < needed else "The data do not have so many."
        said.append(
            f"{_and(rare)} cannot be decided: {needed} holders among the members and {needed} among people never seen are needed. {more}"
        )
    return said + not_ruled_out


def _decided(members: int, non_members: int) -> bool:
    """Whether the rule gives a verdict where the answers could not be clearer."""
    clear = Estimate(1.0, 1.0, 1.0, members + non_members)
    judged = judge_cohort(
        clear, 0.0, margin=AUROC_MARGIN, kind=ProbeKind.MEASURE, members=members, non_members=non_members, what=""
    )
    return judged.verdict is Verdict.MEMORIZED


def _not_ruled_out(title: str, one: Compared, no_difference: Callable[[int, int], Judgement]) -> list[str]:
    judged = no_difference(one.members, one.non_members)
    if judged.verdict is Verdict.POPULATION:
        return []
    can = f"{title} can show memory, but cannot rule it out"
    if judged.reason != "undecided":
        return [f"{can}: {_why(judged)}"]
    least = _least(lambda n: no_difference(n, n).verdict is Verdict.POPULATION)
    return [
        f"{can}: that takes about {least:,} members and as many people never seen; {one.members:,} and {one.non_members:,} are asked about."
    ]


def _why(judged: Judgement) -> str:
    """The rule's own sentence, without the figure that it begins with."""
    return judged.sentence.partition(": ")[2] or judged.sentence


def _least(enough: Callable[[int], bool]) -> int:
    """The smallest number that is enough, where more always is too."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST:
            return high
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _begin(plan: Plan, about: Opened) -> str:
    holders = f" and {plural(plan.holders, 'holder')} of each attribute" if plan.holders else ""
    people = plan.patients if isinstance(plan.patients, int) else sum(about.people.counts().values())
    return f"With {plural(people, 'person', 'people')}{holders}"


def _and(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _shown(count: int) -> str:
    return f"fewer than {FEWEST}" if is_small(count) else f"{count:,}" if count else "no"


def _takes(seconds: float, tests: int, workers: int) -> str:
    by = f" with {plural(workers, 'worker')}" if workers > 1 else ""
    return (
        f"It takes about {duration(seconds)}{by}: measured just now on {_SAMPLED} people in each of {plural(tests, 'test')} that ask the model "
        "(their answers were thrown away unseen), without the evaluation at the end."
    )
