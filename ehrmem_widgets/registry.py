"""Probes, black boxes, token schemes, attribute files and canary sets: ours and those of installed packages, by entry points.

A package of somebody else may be broken in any way: what cannot be used is left out, ``problems`` says it in a sentence that names the
package, and the rest works.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrmem_widgets.errors import BadInput

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.probes.base import AlternativesOf, Probe

PROBES, BLACK_BOXES, TOKEN_SCHEMES = "ehrmem.probes", "ehrmem.blackboxes", "ehrmem.token_schemes"
ATTRIBUTES, CANARIES = "ehrmem.attributes", "ehrmem.canaries"


@cache
def probes() -> Mapping[str, Probe]:
    """All probes by name, in the order of reports. Raises BadInput where not even ours are registered."""
    from ehrmem_widgets.probes.base import Probe

    def wrong(found: object, name: str) -> str:
        fits = isinstance(found, Probe) and found.name == name
        return "" if fits else f"its entry point must name a Probe called {name!r}"

    found: dict[str, Probe] = plugins(PROBES, "probe", wrong)
    if not found:  # an old egg-info in a clone hides what is installed
        raise BadInput(
            "ehrmem does not find its own probes: it is not installed, or from an older version. Remove a folder ehrmem_widgets.egg-info "
            "where there is one, and install it again: 'pip install -e .' in its folder."
        )
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


@cache
def black_boxes() -> Mapping[str, Callable[[str], BlackBox]]:
    """What opens a model that is named "NAME:anything", by NAME: a function of what stands behind the colon."""
    return plugins(BLACK_BOXES, "black box", _callable)


@cache
def token_schemes() -> Mapping[str, Path]:
    """YAML files of token schemes by name."""
    return plugins(TOKEN_SCHEMES, "token scheme", _file)


@cache
def attribute_files() -> Mapping[str, Path]:
    """YAML files of sensitive attributes beside the packaged one, by name."""
    return plugins(ATTRIBUTES, "attribute file", _file)


def alternatives_for(dataset: MedsDataset) -> AlternativesOf | None:
    """What other values the planted canaries of a data set could have held, where a file of canaries or an installed
    canary set knows them."""
    if dataset.canaries is not None:
        from ehrmem_widgets.cohort.ground_truth import CanaryFile

        return CanaryFile.read(dataset.canaries, dataset).alternatives_of
    for name, known in plugins(CANARIES, "canary set", _callable).items():
        try:
            found: AlternativesOf | None = known(dataset)
        except Exception as error:  # a package of somebody else may fail in any way
            left_out(
                "canary set",
                name,
                known.__module__.partition(".")[0],
                f"it fails on this data set ({type(error).__name__})",
            )
            continue
        if found is not None:
            return found
    return None


def problems() -> tuple[str, ...]:
    """What is wrong with installed plug-ins, a sentence each that names the package."""
    from ehrmem_widgets.cohort.attributes import load_attributes

    probes(), black_boxes(), token_schemes(), load_attributes()
    return tuple(dict.fromkeys(_PROBLEMS))


def left_out(kind: str, name: str, package: str, why: str) -> None:
    """Note that something of a package is left out, and why."""
    _PROBLEMS.append(f"The {kind} {name!r} of the package {package} is left out: {why}.")


_PROBLEMS: list[str] = []


@cache
def plugins(group: str, kind: str, wrong: Callable[[object, str], str]) -> dict[str, Any]:
    """The objects of a group by the name of their entry point; of two with one name, ours or else the first package's. ``wrong``: what
    is wrong with an object, empty where nothing is."""
    found: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (not _ours(point), package_of(point), point.name)):
        package = package_of(point)
        if point.name in found:
            left_out(kind, point.name, package, f"the package {origin[point.name]} has one of that name")
            continue
        try:
            loaded = point.load()
        except Exception as error:  # a package of somebody else may fail in any way
            words = " ".join(str(error).split())[:200]
            left_out(kind, point.name, package, f"it cannot be imported ({type(error).__name__}: {words})")
            continue
        if why := wrong(loaded, point.name):
            left_out(kind, point.name, package, why)
            continue
        found[point.name], origin[point.name] = loaded, package
    return found


def package_of(point: EntryPoint) -> str:
    """The name of the package that an entry point belongs to."""
    return point.dist.name if point.dist is not None else point.value.partition(":")[0]


def _ours(point: EntryPoint) -> bool:
    return point.value.startswith("ehrmem_widgets.")


def _callable(found: object, name: str) -> str:
    return "" if callable(found) else "its entry point must name a function"


def _file(found: object, name: str) -> str:
    return "" if isinstance(found, Path) and found.is_file() else "its entry point must name the Path of a YAML file"
