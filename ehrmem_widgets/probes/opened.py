"""Data and models opened once for several explorations, and the attributes that these ask about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.sources import Sources, given_sources
from ehrmem_widgets.tokens.attribute_codes import DECLARE


def names_asked(
    exploration: Exploration, attributes: str | Sequence[str] | None, focus: str | None = None
) -> tuple[str, ...]:
    """The names of the attributes asked about: those given, or the default ones (none, where the model has no code of any). BadInput for one
    that there is not, and for a focus that is not among them."""
    if isinstance(attributes, str):
        attributes = [name.strip() for name in attributes.split(",") if name.strip()]
    default = exploration.attributes.default_names()
    names = exploration.attributes.check_names(attributes or default) if attributes or default else ()
    if focus and focus not in names:
        raise BadInput(f"The focus {focus!r} is not among the attributes asked about: {', '.join(names) or DECLARE}.")
    return names


_opened_ahead: dict[Sources, Exploration] = {}
_kept_open: dict[Sources, Exploration] = {}


def open_ahead() -> None:
    """Open what the environment names, or the samples, so that the next ``ExplorePatient`` is there at once."""
    sources = given_sources()
    _opened_ahead[sources] = _open(sources)


def keep_open(**named: str | Path | Iterable[str | Path] | None) -> Exploration:
    """Open what is named (as in ``ExplorePatient``) for every ``ExplorePatient`` of the same that follows in this process: headless
    ones, which answer one after another. What was asked before does not change an answer."""
    sources = given_sources(**named)
    if sources not in _kept_open:
        _kept_open[sources] = _open(sources)
    return _kept_open[sources]


def taken(sources: Sources) -> Exploration:
    """What was kept open, or opened ahead (for one screen, which changes it), or is opened now."""
    return _kept_open.get(sources) or _opened_ahead.pop(sources, None) or _open(sources)


def _open(sources: Sources) -> Exploration:
    from ehrmem_widgets.blackbox.opening import open_sources

    return Exploration(*open_sources(sources), folder=sources.model_folder)
