"""A probe on the main screen: a tab in which it is asked about the patient and the facts that are dialled there, or a quick scan of all patients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from ehrmem_widgets.attacker.facts import KnownFacts
    from ehrmem_widgets.probes.exploration import Exploration, State


@dataclass(frozen=True)
class PartAnswer:
    """What a tab shows: HTML made by us; ``facts`` that can be put on the dial; ``done``, the share of the work that is done; ``asked``: how many questions
    about the patient it has asked, which the session counts."""

    html: str
    facts: KnownFacts | None = None
    done: float = 0.0
    settled: bool = False
    asked: int = 0


class LivePart(ABC):
    """``title`` of the tab; ``term``, its key in the glossary; ``start``: the words on the button that starts it (empty: it starts when the tab is opened);
    ``choose``: the label of its choices."""

    title: ClassVar[str]
    term: ClassVar[str]
    start: ClassVar[str] = ""
    choose: ClassVar[str] = ""

    def choices(self, exploration: Exploration, state: State) -> list[tuple[str, str]]:
        """What can be chosen, as (value, words); empty where there is nothing to choose."""
        return []

    @abstractmethod
    def answers(self, exploration: Exploration, state: State, choice: str) -> Iterator[PartAnswer | None]:
        """Ever better answers; None marks a point at which the work can be interrupted. BadInput where the state does not allow the question."""


class QuickScan(ABC):
    """One number for each patient, by which the table of patients can be sorted: where to look first, and no verdict.

    ``title`` of the column; ``term``, its key in the glossary; ``ids``: (n,) patients, a fixed sample of a larger data set; ``values``: (n,), nan for who
    has none, None until ``build`` is through.
    """

    title: ClassVar[str]
    term: ClassVar[str]
    ids: np.ndarray
    values: np.ndarray | None

    @abstractmethod
    def __init__(self, exploration: Exploration) -> None:
        """Of the audited model of ``exploration``. BadInput where its models cannot be asked this."""

    @abstractmethod
    def build(self) -> Iterator[float]:
        """Look at everybody; yields the share done. It goes on where an earlier call was interrupted, and keeps the result."""

    @staticmethod
    @abstractmethod
    def in_words(value: float) -> str:
        """A value as a cell of the table."""
