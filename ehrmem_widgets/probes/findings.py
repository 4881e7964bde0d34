"""Findings: what a probe found, with intervals and n, ready to be shown or written. Plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ehrmem_widgets.attacker.identifiability import Identifiability
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement


@dataclass(frozen=True)
class AttributeFinding:
    """The leak of one sensitive attribute about one patient.

    ``method`` is "product form" (REACH), "sum form" (SCOPE) or "counting". ``controls`` holds the leak by the audited model, and by the
    reference model where there is one, of each person whom no model saw (without a reference model: who holds the attribute, too). ``judgement`` is None while the controls are still being asked. ``not_asked``:
    as ``Peers.not_asked``.
    """

    name: str
    title: str
    severity: int
    held: bool
    audited: Estimate
    reference: Estimate | None
    excess: Estimate | None
    method: str
    controls: tuple[tuple[float, ...], ...] = ()
    judgement: Judgement | None = None
    not_asked: int = 0


@dataclass(frozen=True)
class Curve:
    """P(leak within t): three arrays of shape (T,), the n behind them, and the T horizons ``at``, in codes (1..T unless given) or days."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int
    at: np.ndarray | None = None

    @property
    def horizons(self) -> np.ndarray:
        """(T,) the horizons."""
        return np.arange(1, len(self.value) + 1) if self.at is None else self.at


@dataclass(frozen=True)
class ReadableEvent:
    """One code in words. ``sensitive`` is the title of the sensitive attribute that it belongs to, or None; ``true`` says
    whether the patient's true continuation holds the same code (its value bin included)."""

    label: str
    kind: str
    sensitive: str | None = None
    true: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A record near the query; ``distance`` is Euclidean between embeddings of unit length (0 to 2)."""

    pseudonym: str
    distance: float
    is_patient: bool


@dataclass(frozen=True)
class NeighbourFinding:
    """Where the patient's own full record stands among all ``n``, by distance from what the attacker holds (rank 1: the
    nearest). ``position`` (2,) is the query on the map, ``approximate`` until UMAP itself has placed it; both
    are None where there is no map yet. ``continued_rank``: the same place by the nearest of the model's own continuations of what the
    attacker holds, None where there are none; ``led_to`` (k, 2): where these lie on the map."""

    rank: int
    n: int
    nearest: tuple[Neighbour, ...]
    position: np.ndarray | None = None
    approximate: bool = True
    continued_rank: int | None = None
    led_to: np.ndarray | None = None


@dataclass(frozen=True)
class ReconstructionFinding:
    """T1 for one patient: how near the generated continuations come to what really followed, by the order- and time-aware
    distance (0 the same, 1 nothing alike), the published dEMD, and the share of the rare codes that followed which came
    back (None where none is rare). ``reference`` figures are the reference model's, None without one."""

    distance: Estimate
    demd: Estimate
    rare: Estimate | None
    reference_distance: Estimate | None = None
    reference_demd: Estimate | None = None
    reference_rare: Estimate | None = None


@dataclass(frozen=True)
class MembershipFinding:
    """T4 for one patient: how much likelier the model finds a code of the record than one of a similar person whom it never saw (``times``:
    the median; with a reference model each beyond the reference's), and the verdict of the rank among ``n`` of these."""

    times: float
    n: int
    judgement: Judgement


@dataclass(frozen=True)
class Answer:
    """All that the main screen and the report show for one state; partial until ``settled``.

    ``focus`` names the attribute that the curves are about; empty: there is none to ask about, and ``membership`` is asked instead. ``unit`` is what
    the horizon is counted in. ``generated`` holds a few sampled continuations, ``truth`` what
    really follows the last known event. ``stripped`` counts known facts withheld because they are sensitive (or strong
    proxies), ``left_out`` those whose code the model does not know; ``effective_samples`` is that of the slots' weights.
    """

    known: Identifiability
    focus: str
    horizon: int
    unit: str = "code"
    prompt: tuple[str, ...] = ()
    stripped: int = 0
    left_out: int = 0
    attributes: tuple[AttributeFinding, ...] = ()
    curve: Curve | None = None
    reference_curve: Curve | None = None
    generated: tuple[tuple[ReadableEvent, ...], ...] = ()
    truth: tuple[ReadableEvent, ...] = ()
    reconstruction: ReconstructionFinding | None = None
    neighbours: NeighbourFinding | None = None
    membership: MembershipFinding | None = None
    effective_samples: float = float("inf")
    warnings: tuple[str, ...] = field(default=())
    settled: bool = False

    def attribute(self, name: str) -> AttributeFinding | None:
        """The finding for one attribute, by name."""
        return next((finding for finding in self.attributes if finding.name == name), None)
