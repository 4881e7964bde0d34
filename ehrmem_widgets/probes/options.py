"""The knowledge levels and options that a probe is given, checked. Light to import: plans are read with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehrmem_widgets.attacker.facts import check_knowledge, check_knowledge_levels
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.base import Probe
from ehrmem_widgets.settings import NAMES_BEFORE


def given(probe: Probe, knowledge_levels: Sequence[str] | str | None, options: Mapping[str, object]) -> dict[str, Any]:
    """The checked knowledge levels and options of a probe, for its ``Task``. Raises BadInput for those that it does not have."""
    if knowledge_levels is not None and not probe.knowledge_levels:
        raise BadInput(f"The probe {probe.name!r} asks about whole records and takes no knowledge level.")
    chosen = (
        probe.knowledge_levels
        if knowledge_levels is None
        else (check_knowledge(knowledge_levels),)
        if isinstance(knowledge_levels, str)
        else check_knowledge_levels(knowledge_levels)
    )
    if probe.one_level and len(chosen) != 1:
        raise BadInput(f"The probe {probe.name!r} asks at one knowledge level; got {', '.join(chosen)}.")
    for name in options:
        if name not in probe.options:
            if NAMES_BEFORE.get(name) in ("knowledge", "knowledge_levels"):
                raise BadInput(f"{name!r} is called 'knowledge_levels' now.")
            has = f"Its options are {', '.join(probe.options)}." if probe.options else "It has none."
            raise BadInput(f"The probe {probe.name!r} has no option {name!r}. {has}")
    whole = {name: options.get(name, option.default) for name, option in probe.options.items()}
    checked = {
        name: whole[name]
        if option.check is None or (whole[name] is None and option.default is None)
        else option.check(whole[name], name)
        for name, option in probe.options.items()
    }
    return {"knowledge_levels": tuple(chosen), "options": checked}
