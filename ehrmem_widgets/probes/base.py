"""What a probe is: one question about a cohort. Who asks it and judges the answers is its ``ProbeRun``, how it is shown its ``ProbeView``.

A probe of your own is an entry point of the group ``ehrmem.probes`` that names a ``Probe``; docs/plugins.md shows one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.cohort.record import Record
    from ehrmem_widgets.findings.finding import Finding
    from ehrmem_widgets.probes.batching import OnProgress, Rows
    from ehrmem_widgets.probes.live_part import LivePart, QuickScan
    from ehrmem_widgets.probes.needs import Need
    from ehrmem_widgets.probes.people import People
    from ehrmem_widgets.probes.view import ProbeView
    from ehrmem_widgets.statistics.verdicts import Judgement


_Loaded = TypeVar("_Loaded")
AlternativesOf = Callable[["Record", int, int], "list[Record]"]
"""``alternatives_of(record, n, seed)``: n records that could have been planted in this one's place, with other values."""


@dataclass(frozen=True)
class Option:
    """A setting of one probe: what it is unless given, and what checks a given value (value, name) -> value, raising BadInput."""

    default: object
    check: Callable[[Any, str], object] | None = None


@dataclass(frozen=True)
class Probe:
    """A question about a cohort, and all that the command line, audits, reports and screens must know of it.

    Attributes
    ----------
    name
        As it is typed.
    title, question
        As they are shown: "Membership", "can an attacker tell who was in the training data?".
    test
        Its number among the six tests of arXiv 2510.12950, "T4"; empty: it is none of them.
    run, view
        Its ``ProbeRun`` and its ``ProbeView``, or where they stand ("module:name", imported when needed: listing probes must be quick).
    order
        Its place among the others in a report.
    knowledge_levels, one_level
        What the attacker is supposed to know unless told otherwise; empty for a probe about whole records. ``one_level``: it asks at one
        level only.
    options
        Its settings beyond those that all have (knowledge_levels, seed).
    builds_on
        Probes whose findings it takes; they are run before it.
    compares
        Whether its verdict is about members against people never seen: then it counts in the summary of an audit.
    guarded
        Whether its verdicts *memorized* about the cohort are taken back where members and others are not alike to begin with.
    confounding
        Only of a probe that says whether they are: Finding -> why not (None: they are), or where that stands. Every guarded probe is run
        after it.
    takes_outputs
        Whether it can be asked about outputs alone, such as a file of synthetic patients (``blackbox.outputs_file``), without a model.
    bears_on
        Which questions of data-protection guidance its findings bear on (the keys in ``reports/templates/guidance.html.j2``).
    screen
        The widget that explores it, or where that stands; empty: it has none.
    part
        Its ``LivePart``, a tab of the main screen, or where that stands; empty: it has none.
    scan
        Its ``QuickScan``, by which the patients of the main screen can be sorted, or where that stands; empty: it has none.
    before
        Names that it had earlier: who types one is told the new one.

    """

    name: str
    title: str
    question: str
    run: type[ProbeRun] | str
    view: type[ProbeView] | str
    order: int
    test: str = ""
    knowledge_levels: tuple[str, ...] = ()
    one_level: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)
    builds_on: tuple[str, ...] = ()
    compares: bool = True
    guarded: bool = True
    confounding: Callable[[Finding], Judgement | None] | str = ""
    takes_outputs: bool = False
    bears_on: tuple[str, ...] = ()
    screen: str = ""
    part: type[LivePart] | str = ""
    scan: type[QuickScan] | str = ""
    before: tuple[str, ...] = ()

    def start(self, task: Task) -> ProbeRun:
        """A run of it."""
        kind: type[ProbeRun] = loaded(self.run)
        return kind(self, task)

    @property
    def full_title(self) -> str:
        """The title with the number of the test."""
        return f"{self.test} {self.title}".strip()

    @property
    def full_question(self) -> str:
        """The question with the number of the test."""
        return f"{self.test}: {self.question}".removeprefix(": ")

    @property
    def view_type(self) -> type[ProbeView]:
        """How it is shown."""
        found: type[ProbeView] = loaded(self.view)
        return found


@dataclass(frozen=True)
class Task:
    """What a run is given: the data, the models (``reference`` never saw the patients), about whom to ask, what the attacker knows, the
    options, the findings that the probe builds on, where the data set's planted canaries could have held other values, and, for a guarded
    probe, why no comparison of members with non-members is evidence (``judge_cohort`` takes it; None: nothing was found)."""

    dataset: MedsDataset
    model: BlackBox
    reference: BlackBox | None
    people: People
    knowledge_levels: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    earlier: Mapping[str, Finding] = field(default_factory=dict)
    alternatives_of: AlternativesOf | None = None
    progress: OnProgress | None = None
    confounded: Judgement | None = None

    @property
    def models(self) -> dict[str, BlackBox]:
        """The models asked, by the name that findings give them."""
        return {"audited": self.model} | ({"reference": self.reference} if self.reference is not None else {})


@dataclass(frozen=True)
class Compared:
    """Whom a verdict compares, known before anything is asked: so many ``members`` with so many ``non_members``.

    ``what``: what the verdict is about (an attribute); empty: the probe's own question. ``who``: what they have in common, such as "hold an
    attribute", where they are not all who are asked about. ``no_difference``: the verdict where so many of each do not differ at all; None where it depends on how the answers scatter.
    """

    members: int
    non_members: int
    what: str = ""
    who: str = ""
    no_difference: Callable[[int, int], Judgement] | None = None


class ProbeRun(ABC):
    """One run of a probe: whom it asks, what, and what the answers say.

    ``records`` are asked about in batches of ``batch``, in their order; what ``ask`` returns is kept as JSON, so that a run that was
    interrupted goes on. ``settings`` is all that the answers depend on; it stands in the finding. ``doing`` says what goes on, for progress.
    A run that asks nothing of a model says so (``asks``), leaves ``records`` empty and does its work in ``judge``. ``needs``: what must be there
    before it can be asked (``probes.needs``), besides members and people never seen where the probe compares them.
    """

    doing: ClassVar[str]
    batch: ClassVar[int] = 32
    asks: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self, probe: Probe, task: Task) -> None:
        from ehrmem_widgets.probes.people import about_people

        self.probe, self.task = probe, task
        self.records: Sequence[Record] = task.people.records
        level = (
            {"knowledge": task.knowledge_levels[0]}
            if probe.one_level
            else {"knowledge_levels": list(task.knowledge_levels)}
            if task.knowledge_levels
            else {}
        )
        about = about_people(task.people, task.model, task.reference, task.dataset)
        self.settings: dict[str, Any] = {**about, **level, **task.options, "seed": task.seed}

    @abstractmethod
    def ask(self, records: list[Record]) -> Rows:
        """What the models answer about one batch, as plain data."""

    @abstractmethod
    def judge(self, answers: Rows) -> Finding:
        """The finding, from the answers about everybody."""

    def compared(self) -> Sequence[Compared]:
        """Whom its verdicts compare; for a probe of its own that compares others than all who were chosen, to be overridden."""
        from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER

        of = self.task.people.of
        return [Compared(len(of(MEMBER)), len(of(NON_MEMBER)))] if self.probe.compares else []

    @classmethod
    def builds_on(cls, probe: Probe, task: Task) -> tuple[str, ...]:
        """Whose findings this run takes; all that the probe names, unless the task makes some of them pointless."""
        return probe.builds_on

    @classmethod
    def prepare(cls, task: Task) -> None:
        """What is done once before several workers ask, such as a store that all of them read."""
        return None


def loaded(named: _Loaded | str) -> _Loaded:
    """An object, or the one that "module:name" names."""
    if not isinstance(named, str):
        return named
    module, _, name = named.partition(":")
    found: _Loaded = getattr(import_module(module), name)
    return found
