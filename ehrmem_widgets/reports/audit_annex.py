"""What an audit's report says of its limits and of how it was made, as values for the templates."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import WHAT
from ehrmem_widgets.blackbox.training_splits import members_in_words
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.view import MISSED, NONE
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.discrimination import controls_needed
from ehrmem_widgets.statistics.verdicts import Verdict


@dataclass(frozen=True)
class Limits:
    """What weakens this audit. ``supposed_members``: who the members are taken to be where nothing says so; ``likeness_checked``:
    whether members and others were compared before, ``unlike``: in what they differ; ``missed``: tests that do not find the planted
    canaries; ``never_seen``: how many people never seen were asked about, where that are fewer than ``controls_needed``; ``sampled``:
    whether patients were left out."""

    supposed_members: str
    likeness_checked: bool
    unlike: Sequence[str]
    missed: Sequence[str]
    none_planted: bool
    never_seen: str
    controls_needed: int
    sampled: bool

    @classmethod
    def of(cls, audit: AuditResults) -> Limits:
        """Those of an audit."""
        model = audit.results.get("model") or {}
        every, lines = probes(), audit.headlines
        likeness = [line for name, line in lines.items() if every[name].confounding]
        compared = {every[name].full_title: line for name, line in lines.items() if every[name].compares}
        needed = controls_needed(0.01)
        few = audit.people.get(NON_MEMBER, 0) < needed
        return cls(
            supposed_members=members_in_words(None)
            if "training_split" in model and not model["training_split"]
            else "",
            likeness_checked=bool(likeness),
            unlike=[line.words for line in likeness if line.verdict is Verdict.CANNOT_CONCLUDE],
            missed=[title for title, line in compared.items() if line.control == MISSED],
            none_planted=bool(compared) and all(line.control in (NONE, "") for line in compared.values()),
            never_seen=audit.people_shown.get(NON_MEMBER, "No") if few else "",
            controls_needed=needed,
            sampled=audit.people.get(MEMBER, 0) < (audit.results.get("data") or {}).get("patients", 0),
        )


@dataclass(frozen=True)
class Reproducibility:
    """Versions, seeds, hashes and the exact command of an audit."""

    audit: AuditResults

    @property
    def command(self) -> str:
        """The command that makes the report again."""
        return shlex.join(["ehrmem", "audit-report", str(self.audit.folder), "--out", "report.html"])

    @property
    def seal_agrees(self) -> bool | None:
        """Whether plan, data and models are those of the seal; None: there is none."""
        results, seal = self.audit.results, self.audit.seal
        now: dict[str, str | None] = {name: (results.get(name) or {}).get("fingerprint") for name in WHAT}
        now["plan_hash"] = results.get("plan_hash")
        return all(seal.get(name) == given for name, given in now.items()) if seal else None

    @property
    def members(self) -> str:
        """Who counts as a member; empty where an earlier version did not say."""
        model = self.audit.results.get("model") or {}
        return members_in_words(model["training_split"]) if "training_split" in model else ""
