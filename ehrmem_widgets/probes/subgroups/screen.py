"""Notebook 05: are some groups memorized more than others? (T6)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import ipywidgets as widgets

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS, check_knowledge
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.membership.screen import finite, plain
from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
from ehrmem_widgets.probes.people import ALL, choose_people
from ehrmem_widgets.probes.run import confounding, run
from ehrmem_widgets.probes.subgroups.ask import KINDS, one_score, subgroups
from ehrmem_widgets.probes.subgroups.gaps import KIND_TITLES, subgroup_name
from ehrmem_widgets.probes.subgroups.page import (
    CORRECTIONS,
    FIGURES,
    overall,
    subgroup_bar,
    subgroup_page,
    summary_sentences,
)
from ehrmem_widgets.probes.subgroups.rows import (
    SubgroupRow,
    holders,
    subgroup_rows,
)
from ehrmem_widgets.settings import check_screen, shown
from ehrmem_widgets.widgets.probe_screen import ProbeScreen

DEFAULT_KNOWLEDGE = "lab_values"
FINDING_WORDS = {
    "membership": "Membership score",
    "excess": "Excess risk (sensitive attributes)",
    "leak": "Leak probability (sensitive attributes)",
}
_OF_ATTRIBUTES = ("excess", "leak")
CORRECTION_WORDS = {"claims": "Claims (strict, Holm)", "screening": "Screening (hints, Benjamini-Hochberg)"}


@dataclass(frozen=True)
class SubgroupState:
    """What is chosen: a finding of ``FIGURES``, the kinds of subgroups listed (of ``KINDS``), a correction of ``CORRECTIONS``;
    what the attacker knows where the excess risk is asked for; whom it is about."""

    finding: str
    families: tuple[str, ...]
    correction: str
    knowledge: str
    patients: int
    seed: int

    def __post_init__(self) -> None:
        check_knowledge(self.knowledge)
        check_screen(patients=self.patients, seed=self.seed)


@dataclass(frozen=True)
class SubgroupsShown:
    """The finding split by subgroup, its rows, and what the confounding says of the people."""

    split: Finding
    rows: tuple[SubgroupRow, ...]
    confounding: Finding


class ExploreSubgroups(ProbeScreen[SubgroupState, SubgroupsShown]):
    """Subgroups of a cohort by membership score or excess risk; each finding is measured when it is first chosen.

    Options: ``finding`` (of ``FIGURES``), ``families`` (kinds of subgroups to list, comma-separated or a sequence; empty: all),
    ``correction`` (of ``CORRECTIONS``), ``knowledge`` (what the attacker knows, for the excess risk), ``patients`` (how many ordinary
    patients, half of them members), ``seed``.
    """

    title = "Subgroups: which are memorized more?"
    travels = ("knowledge",)

    def first_state(  # type: ignore[override]  # the options by name
        self,
        *,
        finding: str = "membership",
        families: str | Sequence[str] = "",
        correction: str = "claims",
        knowledge: str | None = None,
        patients: int = 400,
        seed: int = 0,
    ) -> SubgroupState:
        """The state to begin with; what does not fit is an BadInput with the values that do."""
        self._measured: dict[str, SubgroupsShown] = {}
        without = "excess" if self.reference is None else "leak"
        self.offered = tuple(name for name in FIGURES if name != without)
        if finding not in self.offered:
            more = "" if self.reference else " (the excess risk needs a reference model; without one it is the leak)"
            raise BadInput(f"The finding must be one of {', '.join(self.offered)}{more}; got {shown(finding)}.")
        if isinstance(families, str):
            families = [name.strip() for name in families.split(",") if name.strip()]
        if unknown := [name for name in families if name not in KINDS]:
            raise BadInput(f"The families of subgroups are {', '.join(KINDS)}; got {shown(unknown[0])}.")
        if correction not in CORRECTIONS:
            raise BadInput(f"The correction must be one of {', '.join(CORRECTIONS)}; got {shown(correction)}.")
        listed = tuple(kind for kind in KINDS if not families or kind in families)
        return SubgroupState(finding, listed, correction, knowledge or DEFAULT_KNOWLEDGE, patients, seed)

    def answers(self, state: SubgroupState) -> Iterator[SubgroupsShown | None]:
        """The one answer, measured when it is first asked for."""
        if state.finding not in self._measured:
            self._measured[state.finding] = self._measure(state)
        yield self._measured[state.finding]

    def bar(self, state: SubgroupState, answer: SubgroupsShown) -> str:
        """How many stand out, and which."""
        return subgroup_bar(answer.rows, state.finding, state.correction)

    def view(self, state: SubgroupState, answer: SubgroupsShown) -> str:
        """The forest plot, how to read it, and what speaks for or against it."""
        notes = answer.confounding.said("", ALL)
        if state.finding in _OF_ATTRIBUTES:
            notes.insert(
                0, f"The attacker knows: {KNOWLEDGE_LEVELS.get(state.knowledge, state.knowledge.replace('_', ' '))}."
            )
        return subgroup_page(
            answer.rows, state.families, finding=state.finding, correction=state.correction, notes=notes,
            exclusions=answer.split.exclusions,
        )  # fmt: skip

    def controls(self) -> Sequence[widgets.Widget]:
        """The finding, the families listed, and the correction."""
        full = {"width": "calc(100% - 6px)"}
        named = {"description_width": "80px"}
        self.finding = widgets.Dropdown(
            options=[(FINDING_WORDS[name], name) for name in self.offered], value=self.state.finding,
            description="Compare", layout=full, style=named,
        )  # fmt: skip
        self.correction = widgets.Dropdown(
            options=[(words, name) for name, words in CORRECTION_WORDS.items()], value=self.state.correction,
            description="Correction", layout=full, style=named,
        )  # fmt: skip
        self.families = {
            kind: widgets.Checkbox(
                value=kind in self.state.families, description=KIND_TITLES[kind], indent=False, layout=full
            )
            for kind in KINDS
        }
        self.finding.observe(lambda change: self._hand_on(lambda: {"finding": change["new"]}), "value")
        self.correction.observe(lambda change: self._hand_on(lambda: {"correction": change["new"]}), "value")
        for box in self.families.values():
            box.observe(lambda change: self._hand_on(self._chosen_families), "value")
        heading = widgets.HTML(
            '<div style="font-size:13px;font-weight:600;margin-top:8px">Kinds of people listed</div>'
        )
        words = f"The {FIGURES[self.offered[-1]][0]} is measured when it is first chosen; that takes about a minute for 400 people."
        note = widgets.HTML(f'<div style="font-size:12px;line-height:1.4">{words}</div>')
        asked = [self.finding, note] if len(self.offered) > 1 else [self.finding]
        return [*asked, self.correction, heading, *self.families.values()]

    def numbers(self, state: SubgroupState, answer: SubgroupsShown) -> dict[str, object]:
        """Every row as plain data, hidden ones without a figure."""
        verdict = overall(answer.rows)
        return {
            "settings": asdict(state),
            "people": answer.split.settings.get("people", {}),
            "verdict": str(verdict.verdict),
            "sentence": verdict.sentence,
            "summary": summary_sentences(answer.rows, state.correction),
            "subgroups": [_row(row) for row in answer.rows],
            "confounding": list(answer.confounding.sentences),
            "sentences": list(answer.split.sentences),
            "exclusions": answer.split.exclusions,
        }

    def _measure(self, state: SubgroupState) -> SubgroupsShown:
        dataset, model, reference = self.dataset, self.model, self.reference
        if state.finding in _OF_ATTRIBUTES:
            people = holders(model, dataset, reference, most=state.patients, seed=state.seed)
        else:
            people = choose_people(dataset, model, reference, most=state.patients, canaries=False, seed=state.seed)
        people = without_near_duplicates(people, dataset, model, reference, seed=state.seed)
        asked = len(people.records)
        self.progress(Progress("comparing members with people never seen, without the model", 0, asked))
        ask = partial(run, dataset=dataset, model=model, reference=reference, people=people, seed=state.seed)
        free = ask("confounding")
        earlier = {"confounding": free}
        why = confounding(earlier)
        if state.finding in _OF_ATTRIBUTES:
            found = ask("attribute", knowledge_levels=(state.knowledge,), earlier=earlier, progress=self.progress)
            rows = found.about("patients", figure=state.finding).sort_values("value", ascending=False, kind="stable")
            largest = replace(found, patients=rows.drop_duplicates("patient").sort_index())
            split = subgroups(largest, dataset, figure=state.finding, confounded=why)
        else:
            found = ask("membership", earlier=earlier, progress=self.progress)
            split = subgroups(one_score(found), dataset, figure="score", confounded=why)
        return SubgroupsShown(split, subgroup_rows(split), free)

    def _chosen_families(self) -> dict[str, object]:
        return {"families": tuple(kind for kind, box in self.families.items() if box.value)}

    def _hand_on(self, changes: Callable[[], dict[str, object]]) -> None:
        self.guarded(lambda: self.set(**changes()))


def _row(row: SubgroupRow) -> dict[str, object]:
    return {
        "subgroup": row.name,
        "title": subgroup_name(row.name),
        "hidden": row.hidden,
        "members": row.members,
        "gap": plain(row.gap),
        "difference": plain(row.difference) if row.difference is not None else None,
        "p_adjusted": finite(row.p_adjusted),
        "q": finite(row.q),
        "verdict": str(row.judgement.verdict),
        "note": row.judgement.sentence,
    }
