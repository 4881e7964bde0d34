"""Probes, black boxes, token schemes, attribute files and canary sets: ours and those of installed packages, by entry points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.base import Probe

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.probes.base import AlternativesOf

PROBES, CANARIES = "ehrmem.probes", "ehrmem.canaries"


@cache
def probes() -> Mapping[str, Probe]:
    """All probes by name, in the order of reports. A package whose probe cannot be imported, or is none, is left out and said by
    ``problems``; the rest works."""
    found = _loaded(PROBES)
    return {probe.name: probe for probe in sorted(found.values(), key=lambda probe: (probe.order, probe.name))}


def probe_named(name: str) -> Probe:
    """One probe. Raises BadInput for a name that none has, with the one that is meant where it was renamed."""
    every = probes()
    if name in every:
        return every[name]
    renamed = next((probe.name for probe in every.values() if name in probe.before), None)
    if renamed is not None:
        raise BadInput(f"The probe {name!r} is called {renamed!r} now.")
    raise BadInput(f"There is no probe {name!r}. The probes are {', '.join(every)}.")


def alternatives_for(dataset: MedsDataset) -> AlternativesOf | None:
    """What other values the planted canaries of a data set could have held, where an installed canary set knows them."""
    found = (known(dataset) for known in _loaded(CANARIES).values())
    return next((one for one in found if one is not None), None)


def problems() -> tuple[str, ...]:
    """What is wrong with installed plug-ins, a sentence each that names the package."""
    probes()
    return tuple(_PROBLEMS)


_PROBLEMS: list[str] = []


def _loaded(group: str) -> dict[str, Any]:
    """The objects of a group by the name of their entry point; of two with one name, ours or else the first package's."""
    found: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (not _ours(point), _package(point), point.name)):
        if point.name in found:
            _PROBLEMS.append(
                f"The packages {origin[point.name]} and {_package(point)} both have a probe called {point.name!r}; that of "
                f"{_package(point)} is left out."
            )
            continue
        try:
            probe: Any = point.load()
        except Exception as error:  # a package of somebody else may fail in any way
            words = " ".join(str(error).split())[:200]
            _PROBLEMS.append(
                f"The probe {point.name!r} of the package {_package(point)} is left out: it cannot be imported "
                f"({type(error).__name__}: {words})."
            )
            continue
        if group == PROBES and (not isinstance(probe, Probe) or probe.name != point.name):
            _PROBLEMS.append(
                f"The probe {point.name!r} of the package {_package(point)} is left out: its entry point must name a Probe called "
                f"{point.name!r}."
            )
            continue
        found[point.name], origin[point.name] = probe, _package(point)
    return found


def _ours(point: EntryPoint) -> bool:
    return point.value.startswith("ehrmem_widgets.")


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]
