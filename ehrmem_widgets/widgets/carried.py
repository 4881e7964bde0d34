"""What travels from screen to screen: the patient, what the attacker knows, and the attribute. Kept in one small file for this user alone, by pseudonym;
it holds which facts are known and no value of them. Only screens that a person looks at read and write it: a report depends on its parameters alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ehrmem_widgets.attacker.facts import check_knowledge
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.files import read_json, write_whole
from ehrmem_widgets.widgets.trail import to_link

BY_HAND = ""
"""The knowledge level of facts that were set by hand."""


@dataclass(frozen=True)
class Carried:
    """``patient``: a pseudonym; ``knowledge``: the name of a knowledge level, or ``BY_HAND``; ``facts``: as text; ``focus``: the attribute (empty:
    none was chosen)."""

    patient: str
    knowledge: str
    facts: str
    focus: str = ""

    @property
    def link(self) -> str:
        """For the address of the main screen."""
        content: dict[str, object] = {"patient": self.patient, "knowledge": self.knowledge or None, "facts": self.facts}
        return to_link(content | ({"focus": self.focus} if self.focus else {}))


def carry(dataset: MedsDataset, what: Carried) -> None:
    """Keep what the next screen of these data begins with. Where it cannot be kept, nothing travels."""
    path = _path()
    content = {"data": dataset.fingerprint, **what.__dict__}
    with suppress(OSError, Unavailable):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole({path: json.dumps(content, indent=1) + "\n"})


def carried(dataset: MedsDataset) -> Carried | None:
    """What was kept last; None where there is nothing about these data that can be used."""
    try:
        content = read_json(_path(), "What was kept")
        return _checked(content, dataset)
    except (ValueError, BadInput):
        return None


def _checked(content: object, dataset: MedsDataset) -> Carried | None:
    if not isinstance(content, Mapping) or content.get("data") != dataset.fingerprint:
        return None
    found = {name: content.get(name) for name in ("patient", "knowledge", "facts", "focus")}
    if not all(isinstance(value, str) for value in found.values()):
        return None
    what = Carried(**found)  # type: ignore[arg-type]  # each is a text: just checked
    dataset.find(what.patient)
    if what.knowledge:
        check_knowledge(what.knowledge)
    return (
        what
        if not what.focus or what.focus in dataset.attributes
        else Carried(what.patient, what.knowledge, what.facts)
    )


def _path() -> Path:
    return platformdirs.user_state_path("ehrmem") / "last_screen.json"
