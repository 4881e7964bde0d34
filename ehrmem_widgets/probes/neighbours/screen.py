"""Notebook 02: is the patient's own record among the nearest to what the attacker holds, and does that mean memory?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from ehrmem_widgets.attacker.facts import (
    KNOWLEDGE_LEVELS,
    check_knowledge,
    facts_of_level,
    facts_to_text,
    knowledge_words,
)
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import split_in_words
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.findings.finding import Finding, as_json
from ehrmem_widgets.probes.base import Task
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.embedding_store import NeighbourMap
from ehrmem_widgets.probes.findings import NeighbourFinding
from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
from ehrmem_widgets.probes.neighbours.cohort import neighbours_cohort
from ehrmem_widgets.probes.neighbours.ladder import AUDITED, CODES, CONTINUED, LADDER, REFERENCE, RecordSearch, Step
from ehrmem_widgets.probes.neighbours.ladder_chart import rank_ladder
from ehrmem_widgets.probes.neighbours.place_bar import place_bar
from ehrmem_widgets.probes.options import given
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.probes.run import asked
from ehrmem_widgets.registry import probe_named
from ehrmem_widgets.samples.folders import example_patient
from ehrmem_widgets.settings import SEED, check_screen
from ehrmem_widgets.views.neighbours import neighbour_list, neighbour_map
from ehrmem_widgets.widgets.carried import Carried
from ehrmem_widgets.widgets.embedding_map import EmbeddingMap
from ehrmem_widgets.widgets.number_field import NumberField
from ehrmem_widgets.widgets.patient_table import PatientChooser, PatientTable
from ehrmem_widgets.widgets.probe_screen import ProbeScreen

DEFAULT_KNOWLEDGE = "lab_values"
COHORT = 60
_NAMES = {
    AUDITED: "audited model",
    CONTINUED: "model's continuations",
    CODES: "code search",
    REFERENCE: "reference model",
}


@dataclass(frozen=True)
class NeighboursState:
    """All that an answer depends on. ``cohort``: how many people the table below is about; 0: not asked. ``umap``: whether
    UMAP itself places the query (and draws the map where there is none)."""

    patient_id: int
    knowledge: str
    cohort: int = 0
    seed: int = 0
    umap: bool = False

    def __post_init__(self) -> None:
        check_knowledge(self.knowledge)
        check_screen(cohort=self.cohort, seed=self.seed)


@dataclass(frozen=True)
class NeighboursAnswer:
    """What is shown; partial until ``settled``. ``missing`` says in words what is still to come."""

    nearest: NeighbourFinding
    nearest_rows: tuple[int, ...]
    steps: tuple[Step, ...]
    cohort: Finding | None = None
    missing: str = ""
    settled: bool = False


class ExploreNeighbours(ProbeScreen[NeighboursState, NeighboursAnswer]):
    """One patient's place among all records as facts are added, and how often people are found. Shows itself.

    Parameters
    ----------
    data, model, reference, live
        As for ``ProbeScreen``.
    patient, knowledge, seed
        The patient (a pseudonym or id; None: an example), what the attacker knows, and the seed of who else is asked.
    cohort
        How many people the table below the map is about, half of them members: asked at once without a screen (0: not
        at all), live when the button is pressed.

    """

    title = "The place of the patient's own record"
    travels = ("patient", "knowledge")

    def __init__(self, data: str | Path | None = None, **options: Any) -> None:
        super().__init__(data, **options)
        if self._live:
            left_half = widgets.VBox([self._map, self._fit], layout=widgets.Layout(flex="1 1 420px", min_width="320px"))
            right_half = widgets.VBox(
                [self._nearest], layout=widgets.Layout(flex="1 1 340px", min_width="320px", padding="0 0 0 14px")
            )
            halves = widgets.HBox([left_half, right_half], layout=widgets.Layout(flex_flow="row wrap", width="100%"))
            self.right.children = (self._ladder, halves, self._view)

    def first_state(  # type: ignore[override]  # the options by name
        self,
        *,
        patient: str | int | None = None,
        knowledge: str | None = None,
        cohort: int = COHORT,
        seed: int = 0,
    ) -> NeighboursState:
        """The state to begin with; live, nobody else is asked about before the button is pressed."""
        self._search = RecordSearch(self.dataset, self.model, self.reference)
        store = self._search.stores[AUDITED]
        self._chart = NeighbourMap(store, getattr(self.model, "folder", None))
        self._record = lru_cache(maxsize=32)(self.dataset.record)
        self._found: dict[tuple[int, int], Finding] = {}  # by cohort and seed
        self._button_asks = cohort or COHORT
        splits = self.dataset.splits_of(store.ids)
        self._kinds = np.where(splits.isna(), 2, np.where(splits == self.members, 0, 1)).astype(np.uint8)
        patient_id = (
            example_patient(self.dataset, self.members) if patient in (None, "") else self.dataset.find(patient)
        )
        knowledge = knowledge or DEFAULT_KNOWLEDGE
        state = NeighboursState(patient_id, knowledge, cohort, seed)
        facts_of_level(knowledge, self._record(patient_id), self.model.vocabulary)  # a date that is none is said now
        return replace(state, cohort=0) if self._live else state

    def answers(self, state: NeighboursState) -> Iterator[NeighboursAnswer | None]:
        """The place on the map first, then the ranks by each search, then the people below."""
        search, record = self._search, self._record(state.patient_id)
        yield from self._prepare(AUDITED, "audited model")
        finding, query, distances = search.nearest(record, state.knowledge)
        if state.umap and not self._chart.fitted:
            self._say_working("Drawing the map (UMAP): ten seconds to a minute, once")
            yield from _meanwhile(self._chart.fit)
        position, approximate = self._chart.place(query, distances)
        answer = NeighboursAnswer(
            replace(finding, position=position, approximate=approximate),
            tuple(int(row) for row in np.argsort(distances, kind="stable")[:10]),
            tuple(Step(knowledge, why_not=search.why_not(record, knowledge)) for knowledge in _knowledge_levels(state)),
            missing="the ranks",
        )
        yield answer
        searches = search.searches
        for place, by in enumerate(searches):
            yield from self._prepare(by, _NAMES[by])
            asked = [step.knowledge for step in answer.steps if not step.why_not]
            ranks = dict(zip(asked, search.ranks(by, record, asked), strict=True)) if asked else {}
            steps = tuple(step.ranked(by, ranks.get(step.knowledge)) for step in answer.steps)
            rest = searches[place + 1 :]
            missing = f"the ranks by the {' and the '.join(_NAMES[b] for b in rest)}"
            answer = replace(answer, steps=steps, missing=missing if rest else "")
            yield answer
        if state.cohort:
            yield replace(answer, missing=f"{state.cohort} people")
            if (state.cohort, state.seed) not in self._found:
                yield from self._ask_cohort(state)
            answer = replace(answer, cohort=self._found[state.cohort, state.seed])
        yield replace(answer, missing="", settled=True)

    def settled(self, answer: NeighboursAnswer) -> bool:
        """Whether all that was asked for is there."""
        return answer.settled

    def bar(self, state: NeighboursState, answer: NeighboursAnswer) -> str:
        """The place of the own record by each search."""
        step = next(step for step in answer.steps if step.knowledge == state.knowledge)
        return place_bar(step, answer.nearest.n, answer.cohort, ranking=answer.missing.startswith("the ranks"))

    def view(self, state: NeighboursState, answer: NeighboursAnswer) -> str:
        """The cohort; without a screen the map, the nearest and the ladder too, which stand above the view when live."""
        name = escape(self.dataset.pseudonym(state.patient_id))
        parts = [
            f'<div class="ehrmem-neighbours-screen" data-knowledge="{escape(state.knowledge)}" data-patient="{name}">',
            ""
            if self._live
            else self._static_map(state, answer)
            + self._who_and_nearest(state, answer)
            + self._ladder_of(state, answer),
            "<h3>Are people found more often whom the model was trained on?</h3>",
        ]
        if answer.cohort is not None or not state.cohort:
            words = neighbours_cohort(answer.cohort)
            hint = " The button on the left asks about others; that takes some seconds.</p>" if self._live else "</p>"
            parts.append(words if answer.cohort else words.removesuffix("</p>") + hint)
        else:
            parts.append(f'<p class="ehrmem-note">Asking about {state.cohort} people ...</p>')
        return "".join(parts) + "</div>"

    def carries(self, state: NeighboursState) -> Carried:
        """The patient and the knowledge level; the attribute as it came, where the patient is the same."""
        name, came = self.dataset.pseudonym(state.patient_id), self._travelled
        facts = facts_to_text(facts_of_level(state.knowledge, self._record(state.patient_id), self.model.vocabulary))
        return Carried(name, state.knowledge, facts, came.focus if came and came.patient == name else "")

    def _ladder_of(self, state: NeighboursState, answer: NeighboursAnswer) -> str:
        return "<h3>The place of the patient's own record as facts are added</h3>" + rank_ladder(
            answer.steps, state.knowledge, n=answer.nearest.n, searches=self._search.searches
        )

    def controls(self) -> Sequence[widgets.Widget]:
        """The patient, the knowledge level, the seed, the button for the cohort; and the map, which stands on the right."""
        wide = widgets.Layout(width="calc(100% - 6px)")
        named = {"description_width": "100px"}
        self._map, self._nearest, self._ladder = EmbeddingMap(height=300), widgets.HTML(), widgets.HTML()
        self._fit = widgets.Button(
            description="Place exactly (UMAP)" if self._chart.coordinates is not None else "Draw the map (UMAP)",
            tooltip="Fit UMAP now: ten seconds to a minute, once",
            layout=widgets.Layout(width="190px"),
        )
        self._chooser = PatientChooser(
            PatientTable(self.dataset, self.members),
            self.state.patient_id,
            lambda name: self.guarded(lambda: self._pick(name)),
        )
        options = [(title, name) for name, title in KNOWLEDGE_LEVELS.items() if name != "nothing"]
        if self.state.knowledge not in dict(map(reversed, options)):  # type: ignore[arg-type]
            options.append((knowledge_words(self.state.knowledge), self.state.knowledge))
        self._knowledge = widgets.Dropdown(
            options=options, value=self.state.knowledge, description="Attacker knows", layout=wide, style=named
        )
        self._seed = NumberField("seed", self.state.seed, SEED, description="Seed")
        self.mark_last_valid(self._seed)
        self._ask = widgets.Button(
            description=f"Ask about {self._button_asks} patients",
            tooltip="Half of them trained on, half never seen: how often is each one's own record found?",
            layout=wide,
        )
        self._knowledge.observe(lambda change: self.guarded(lambda: self.set(knowledge=change["new"])), "value")
        self._seed.observe(lambda change: self.guarded(lambda: self.set(seed=change["new"])), "value")
        self._ask.on_click(lambda button: self.guarded(lambda: self.set(cohort=self._button_asks)))
        self._fit.on_click(lambda button: self.guarded(lambda: self.set(umap=True)))

        def heading(words: str) -> widgets.HTML:
            return widgets.HTML(f'<h3 class="ehrmem-head">{words}</h3>')

        return (
            heading("1. Choose a patient"), self._chooser,
            heading("2. Say what the attacker knows"), self._knowledge,
            heading("3. Compare with other people"), self._ask, self._seed.text, self._seed.message,
            widgets.HTML('<p class="ehrmem-small">The seed draws which people are asked about.</p>'),
        )  # fmt: skip

    def _pick(self, pseudonym: str) -> None:
        patient_id = self.dataset.find(pseudonym)
        self._chooser.show(patient_id)
        self.set(patient_id=patient_id)

    def arrived(self, state: NeighboursState, answer: NeighboursAnswer) -> None:
        """Draw the ladder, list the nearest, and move the query on the map."""
        self._ladder.value = f'<div class="ehrmem-probe" style="min-height:0">{self._ladder_of(state, answer)}</div>'
        self._nearest.value = f'<div class="ehrmem-probe">{self._who_and_nearest(state, answer)}</div>'
        chart, finding = self._chart, answer.nearest
        self._fit.disabled = chart.fitted or state.umap
        if chart.fitted:
            self._fit.description = "Placed by UMAP"
        if chart.coordinates is None:
            self._map.description = "There is no map of these records yet. The button below draws it (up to a minute)."
            return
        if self._shown_points is not chart.coordinates:
            self._shown_points = chart.coordinates
            self._map.set_points(chart.coordinates, self._kinds)
        how = "roughly, by its neighbours" if finding.approximate else "by UMAP"
        with self._map.hold_sync():
            self._map.patient = self._search.stores[AUDITED].row(state.patient_id)
            self._map.place(
                finding.position,
                answer.nearest_rows,
                approximate=finding.approximate,
                description=f"Each point is a record; points close together look alike to the model. The cross is what the "
                f"attacker holds, placed {how}; the patient's own record is number {finding.rank:,} of {finding.n:,} by "
                "distance (measured by the model, not on this drawing).",
            )

    _shown_points: object = None

    def numbers(self, state: NeighboursState, answer: NeighboursAnswer) -> dict[str, object]:
        """Ranks with the number of records, the nearest with distances, and the cohort's table."""
        return {
            "patient": self.dataset.pseudonym(state.patient_id),
            "settings": {"knowledge": state.knowledge, "cohort": state.cohort, "seed": state.seed},
            "records": answer.nearest.n,
            "rank": answer.nearest.rank,
            "nearest": [asdict(neighbour) for neighbour in answer.nearest.nearest],
            "ladder": [asdict(step) for step in answer.steps],
            "cohort": answer.cohort and _cohort_numbers(answer.cohort),
            "settled": answer.settled,
        }

    def _prepare(self, by: str, words: str) -> Iterator[None]:
        total = len(self._search.stores[AUDITED].ids)
        for share in self._search.prepare(by):
            self.progress(Progress(f"reading all records ({words})", round(share * total), total))
            yield None

    def _ask_cohort(self, state: NeighboursState) -> Iterator[None]:
        people = choose_people(
            self.dataset, self.model, self.reference, most=state.cohort, canaries=False, seed=state.seed
        )
        people = without_near_duplicates(people, self.dataset, self.model, self.reference, seed=state.seed)
        stop = threading.Event()
        models = [_Stoppable(model, stop) if model else None for model in (self.model, self.reference)]

        probe = probe_named("neighbours")

        def ask() -> None:
            assert models[0] is not None
            task = Task(
                self.dataset,
                models[0],
                models[1],
                people,
                **given(probe, LADDER, {}),
                seed=state.seed,
                progress=self.progress,
            )
            self._found[state.cohort, state.seed] = asked(probe, task)

        yield from _meanwhile(ask, stop)

    def _say_working(self, words: str) -> None:
        if self._live:
            self._status.value = (
                f'<div class="ehrmem-status" role="status" data-state="working">{escape(words)} ...</div>'
            )

    def _who_and_nearest(self, state: NeighboursState, answer: NeighboursAnswer) -> str:
        name = escape(self.dataset.pseudonym(state.patient_id))
        split = escape(split_in_words(self.dataset.split_of(state.patient_id), self.members))
        return (
            f"<p>Patient <b>{name}</b> ({split}); the attacker knows: <b>{escape(knowledge_words(state.knowledge))}</b>.</p>"
            f"{neighbour_list(answer.nearest)}"
        )

    def _static_map(self, state: NeighboursState, answer: NeighboursAnswer) -> str:
        points = self._chart.coordinates
        if points is None:
            return ""
        return neighbour_map(
            points,
            self._kinds,
            answer.nearest,
            nearest=answer.nearest_rows,
            patient=self._search.stores[AUDITED].row(state.patient_id),
        )


def _knowledge_levels(state: NeighboursState) -> tuple[str, ...]:
    """The ladder, with the knowledge level in question on it."""
    return LADDER if state.knowledge in LADDER else (*LADDER, state.knowledge)


def _cohort_numbers(found: Finding) -> dict[str, object]:
    rows = found.figures.drop(columns="judgement").replace({np.nan: None}).to_dict("records")
    return {
        "settings": as_json(found.settings),
        "sentences": list(found.sentences),
        "left_out": found.exclusions,
        "figures": [{k: v for k, v in row.items() if v not in (None, "")} for row in rows],
    }


class _Stopped(Exception):
    """The question was given up for a newer one."""


class _Stoppable:
    """A model that refuses further questions once it is told to stop: a probe over many people ends within a second."""

    def __init__(self, model: BlackBox, stop: threading.Event) -> None:
        self._model, self._stop = model, stop

    def __getattr__(self, name: str) -> Any:
        if self._stop.is_set():
            raise _Stopped
        return getattr(self._model, name)


def _meanwhile(work: Callable[[], object], stop: threading.Event | None = None) -> Iterator[None]:
    """Do work in a thread and yield until it is done; when this is closed before, tell it to stop and wait for it."""
    with ThreadPoolExecutor(1, thread_name_prefix="ehrmem") as pool:
        future = pool.submit(work)
        try:
            while wait([future], timeout=0.05).not_done:
                yield None
        finally:
            if stop is not None:
                stop.set()
        future.result()
