"""The main screen: pick a patient, dial what an attacker knows, watch what the model would give away."""

from __future__ import annotations

import logging
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import ipywidgets as widgets
import numpy as np

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import (
    AGE,
    KNOWLEDGE_LEVELS,
    DatePrecision,
    KnownFact,
    KnownFacts,
    ValuePrecision,
    check_facts,
    facts_from_text,
    facts_of_level,
    facts_to_text,
    load_facts,
)
from ehrmem_widgets.attacker.identifiability import PopulationFit, checked_population
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import members_in_words, trained_on
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.probes.exploration import HORIZON, MOST_SAMPLES, Exploration, State, choose_focus
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.probes.opened import names_asked, taken
from ehrmem_widgets.probes.people import about_model
from ehrmem_widgets.probes.sealing import Asked, seal
from ehrmem_widgets.samples.folders import example_patient
from ehrmem_widgets.sources import Sources, given_population, sources_of
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.views.continuations import continuations
from ehrmem_widgets.views.horizon_curve import horizon_curve
from ehrmem_widgets.views.known_facts import known_facts_sentence
from ehrmem_widgets.views.leak_bars import leak_bars
from ehrmem_widgets.views.neighbours import neighbour_list
from ehrmem_widgets.views.patient_page import patient_page
from ehrmem_widgets.views.reconstruction import reconstruction_sentence
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.views.verdict import verdict_box
from ehrmem_widgets.widgets.embedding_map import EmbeddingMap
from ehrmem_widgets.widgets.known_facts_dial import DialRow, KnownFactsDial
from ehrmem_widgets.widgets.number_field import LastValid, NumberField
from ehrmem_widgets.widgets.patient_picker import PatientPicker, split_in_words
from ehrmem_widgets.widgets.runner import OLD, LatestWins, Runner, Synchronous, in_words

DEFAULT_KNOWLEDGE = "lab_values"
log = logging.getLogger(__name__)


class Changes(TypedDict, total=False):
    """What ``set`` changes: the names of ``State``."""

    patient_id: int
    facts: KnownFacts
    knowledge: str | None
    attributes: tuple[str, ...]
    focus: str
    horizon: int
    samples: int
    seed: int
    population: int | None


class ExplorePatient:
    """One patient, what an attacker knows, and what the model then gives away. Shows itself as a cell's last expression.

    Parameters
    ----------
    data, model, reference
        Folders or what ``open_cohort`` and ``open_model`` made of them: a MEDS data set, the audited model, and a model that never saw the patients, or a list of these (then their mean
        is the reference); a served model is named by its address, and any ``BlackBox`` (such as ``blackbox.callable.CallableModel``) can be given as it is. None: what the environment names (EHRMEM_DATA, EHRMEM_MODEL, EHRMEM_REFERENCE), else the samples; a data set
        or model of your own without a reference is explored without one.
    vocabulary, token_scheme, sequences, endpoint, training_split, reference_training_split, attribute_file, canaries
        For models of others: see ``sources.SOURCES``.
    patient
        A pseudonym or id; None: an example.
    knowledge, facts
        What the attacker knows: the name of a knowledge level, or a facts file or line (see ``attacker.facts``); not both.
    attributes, focus
        Names of the sensitive attributes asked about (a list or comma-separated), and the one to look at closely.
    horizon, samples, seed
        Codes generated, the most trajectories for the attribute in focus, and the seed. Same seed, same result.
    sealed, asked
        Whether the question counts as sealed: written down before its answer; or else how many questions were asked in the session
        that it comes from, this one included (methods, section 8.9).
    population
        How many people the data set's patients come from (a city, say); None: what the environment names (EHRMEM_POPULATION), else
        not declared, and then nothing is said of how many people fit the facts.
    live
        True shows widgets that answer as they are turned; False answers in full at once and shows a static page.

    Raises
    ------
    BadInput
        For anything that does not fit, in one sentence.

    """

    def __init__(
        self,
        data: str | Path | MedsDataset | None = None,
        *,
        model: str | Path | BlackBox | None = None,
        reference: str | Path | BlackBox | Sequence[str | Path | BlackBox] | None = None,
        vocabulary: str | Path | None = None,
        token_scheme: str | Path | None = None,
        sequences: str | Path | None = None,
        endpoint: str | None = None,
        training_split: str | None = None,
        reference_training_split: str | None = None,
        attribute_file: str | Path | None = None,
        canaries: str | Path | None = None,
        patient: str | int | None = None,
        knowledge: str | None = None,
        facts: str | None = None,
        attributes: str | Sequence[str] | None = None,
        focus: str | None = None,
        horizon: int = HORIZON,
        samples: int = MOST_SAMPLES,
        seed: int = 0,
        sealed: bool = False,
        asked: int = 1,
        population: int | None = None,
        live: bool = True,
    ) -> None:
        named = sources_of(
            data, model, reference, vocabulary=vocabulary, token_scheme=token_scheme, sequences=sequences, endpoint=endpoint,
            training_split=training_split, reference_training_split=reference_training_split,
            attribute_file=attribute_file, canaries=canaries,
        )  # fmt: skip
        self.sources = named or Sources(data=str(data.root if isinstance(data, MedsDataset) else data))
        if named:
            self.exploration = taken(self.sources)
        else:
            from ehrmem_widgets.blackbox.opening import open_with

            self.exploration = Exploration(*open_with(data, model, reference))
        self._live = live
        dataset = self.exploration.dataset
        self.members = trained_on(self.exploration.model)
        patient_id = example_patient(dataset, self.members) if patient in (None, "") else dataset.find(patient)
        self._chosen_focus = focus or None
        declared = checked_population(given_population(population), len(dataset))
        self.state = replace(
            self._first_state(patient_id, knowledge, facts, attributes, horizon, samples, seed), population=declared
        )
        self.answer: Answer | None = None
        self.error: str | None = None
        self._first_count = settings.ASKED.check(asked, "asked")
        if sealed and asked > 1:
            raise BadInput(f"A sealed question is the first of its session, so asked must be 1; got {asked}.")
        self._seen: dict[State, Asked] = {}
        if sealed:
            self._seal()
        self._runner: Runner[State]
        if live:
            self._screen = _Screen(self)
            self._runner = LatestWins(self.exploration.answers, self._show, self._fail)
        else:
            self._runner = Synchronous(self.exploration.answers, self._show)
        self._runner.submit(self.state)

    def set(self, *, ask: bool = True, **changes: Unpack[Changes]) -> None:
        """Change parts of the state (the names of ``State``); the view follows. ``ask`` False: it waits for ``ask_sealed``."""
        self.state = replace(self.state, **changes)
        if ask:
            self._runner.submit(self.state)

    def ask_sealed(self) -> None:
        """Write the question down as it stands, and then ask it."""
        self._seal()
        self._runner.submit(self.state)

    @property
    def asked(self) -> Asked:
        """How the state came to be asked about: sealed beforehand, or as one of so many questions."""
        return self._seen.get(self.state) or Asked(self._first_count + len(self._seen))

    def _seal(self) -> None:
        if self.state in self._seen:
            return  # its answer was seen: sealing it now would be too late
        again = any(seen.patient_id == self.state.patient_id for seen in self._seen)
        count = self._first_count + len(self._seen)
        self._seen[self.state] = seal(self.exploration, self.state, count=count, again=again)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the shown answer is settled; False when the time ran out."""
        return self._runner.wait(timeout)

    def close(self) -> None:
        """Stop the live answers."""
        self._runner.close()

    def results(self) -> dict[str, object]:
        """The last answer as plain data for JSON: every figure with its interval and n, the patient by pseudonym."""
        if self.answer is None:
            raise BadInput("There is no answer yet.")
        return {**results_of(self.answer, self.state, self.exploration), "question": question_of(self.asked)}

    def command(self) -> str:
        """The command that makes the report of this very state."""
        words = ["ehrmem", "report", "--patient", self.exploration.dataset.pseudonym(self.state.patient_id)]
        words += self.sources.options()
        state = self.state
        words += (
            ["--knowledge", state.knowledge] if state.knowledge else ["--facts", facts_to_text(state.facts) or "none"]
        )
        if state.attributes != self.exploration.attributes.default_names():
            words += ["--attributes", ",".join(state.attributes)]
        words += ["--focus", state.focus, "--horizon", str(state.horizon), "--samples", str(state.samples)]
        words += ["--seed", str(state.seed)]
        words += ["--sealed"] if self.asked.confirms else ["--asked", str(self.asked.count)]
        words += ["--population", str(state.population)] if state.population else []
        words += ["--out", "report.html"]
        return shlex.join(words)

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self._screen.box._repr_mimebundle_(**kwargs)
        return {"text/html": self.page(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        name = self.exploration.dataset.pseudonym(self.state.patient_id)
        return f"ExplorePatient({name}, {len(self.state.facts)} known facts, focus {self.state.focus})"

    def page(self) -> str:
        """The last answer as one static piece of HTML."""
        if self.answer is None:
            raise BadInput("There is no answer yet.")
        exploration, state = self.exploration, self.state
        chart, store = exploration.map, exploration.store
        shown: dict[str, Any] = {}
        if chart is not None and store is not None and chart.coordinates is not None and self.answer.neighbours:
            shown = {
                "coordinates": chart.coordinates,
                "kinds": self.kinds(),
                "nearest": self.nearest_rows(self.answer),
                "patient_row": self.own_row(state.patient_id),
            }
        return patient_page(
            self.answer,
            patient=exploration.dataset.pseudonym(state.patient_id),
            facts_html=facts_list(exploration.record(state.patient_id), self.answer, state, exploration),
            settings=self._settings(),
            asked=self.asked.in_words(),
            **shown,
        )

    def kinds(self) -> np.ndarray:
        """(n,) 0 seen in training, 1 not seen, 2 unknown, for each record of the neighbour store."""
        assert self.exploration.store is not None
        splits = self.exploration.dataset.splits_of(self.exploration.store.ids)
        return np.where(splits.isna(), 2, np.where(splits == self.members, 0, 1)).astype(np.uint8)

    def own_row(self, patient_id: int) -> int:
        """The patient's row in the neighbour store, -1 where it holds a sample without the patient."""
        assert self.exploration.store is not None
        return self.exploration.store.row(patient_id)

    def nearest_rows(self, answer: Answer) -> list[int]:
        """Rows of the neighbour store of the nearest records of an answer; the patient's own may be none of them."""
        assert self.exploration.store is not None
        if answer.neighbours is None:
            return []
        rows = {self.exploration.dataset.pseudonym(int(i)): row for row, i in enumerate(self.exploration.store.ids)}
        return [rows[n.pseudonym] for n in answer.neighbours.nearest if n.pseudonym in rows]

    def _settings(self) -> dict[str, str]:
        state, exploration = self.state, self.exploration
        reference = exploration.reference
        split = exploration.dataset.split_of(state.patient_id)
        return {
            "Data": f"{exploration.dataset.name} ({len(exploration.dataset):,} patients)",
            "Audited model": exploration.model.name,
            "Reference model": reference.name if reference else "none",
            "Members": members_in_words(exploration.model.training_split),
            "This patient": split_in_words(split, self.members),
            "Known facts": KNOWLEDGE_LEVELS.get(state.knowledge or "", state.knowledge or "set by hand"),
            "Horizon": _horizon(state, self.answer),
            "Most samples": f"{state.samples:,}",
            "Seed": str(state.seed),
            "Sampling": "temperature 1, no truncation (top-p 1)",
            "Population": f"{state.population:,} people (declared)" if state.population else "not declared",
        }

    def _first_state(
        self,
        patient_id: int,
        knowledge: str | None,
        facts: str | None,
        attributes: str | Sequence[str] | None,
        horizon: int,
        samples: int,
        seed: int,
    ) -> State:
        exploration = self.exploration
        if knowledge and facts:
            raise BadInput("Give what the attacker knows as a knowledge level or as facts, not both.")
        names = names_asked(exploration, attributes, self._chosen_focus)
        record = exploration.record(patient_id)
        if facts:
            knowledge, known = None, _facts(facts, record, exploration)
        else:
            knowledge = knowledge or DEFAULT_KNOWLEDGE
            known = facts_of_level(knowledge, record, exploration.model.vocabulary)
        focus = self._chosen_focus or self.natural_focus(patient_id, names)
        return State(patient_id, known, knowledge, names, focus, horizon, samples, seed)

    def natural_focus(self, patient_id: int, names: Sequence[str]) -> str:
        """The attribute to look at first: the most severe that the patient holds."""
        severity = {name: a.severity for name, a in self.exploration.attributes.attributes.items()}
        return choose_focus(self.exploration.held(patient_id), names, severity)

    def _show(self, state: State, answer: Answer) -> None:
        self._seen.setdefault(state, Asked(self._first_count + len(self._seen)))
        self.answer, self.error = answer, None
        if self._live:
            self._screen.paint(state, answer)

    def _fail(self, error: Exception) -> None:
        self.error = in_words(error, answered=self.answer is not None)
        self._screen.show_error(self.error, old=isinstance(error, Unavailable | Damaged))


class _Screen:
    """The widgets of the main screen and what they do: each callback makes a new state and hands it on."""

    def __init__(self, view: ExplorePatient) -> None:
        self._view = view
        self._setting = threading.Lock()
        self._quiet = False
        self._shown_patient: int | None = None
        self._map_points: object = None
        self._said_about: State | None = (
            None  # the state in which a control failed: its own answers leave the error standing
        )
        exploration, state = view.exploration, view.state
        named = {"description_width": "100px"}
        self.picker = PatientPicker(exploration.dataset, state.patient_id, self._pick, members=view.members)
        self.knowledge = widgets.Dropdown(
            options=[(title, name) for name, title in KNOWLEDGE_LEVELS.items()] + [("Set by hand, below", "")],
            description="Attacker knows", layout=_full(), style=named,
        )  # fmt: skip
        self.first = widgets.IntSlider(min=1, max=1, description="First codes", layout=_full(), style=named)
        self.first_box = NumberField(
            "number of first codes", None, settings.FIRST_CODES, description="or type", unset="the facts chosen before",
            width="160px", description_width="60px",
        )  # fmt: skip
        self.dial = KnownFactsDial(focus_note="Tick what the attacker knows about this patient, and how precisely.")
        attributes = exploration.attributes
        self.focus = widgets.Dropdown(
            options=[(attributes.attributes[name].title, name) for name in state.attributes], description="Attribute",
            layout=_full(), style=named,
        )  # fmt: skip
        self.horizon = NumberField(
            "horizon", state.horizon, settings.HORIZON, description="Horizon (codes)", description_width="110px"
        )
        self.seed = NumberField(
            "seed", state.seed, settings.SEED, description="Seed", width="160px", description_width="50px"
        )
        self.pin = widgets.Button(description="Pin this state", tooltip="Keep these results beside the next ones")
        self.copy = widgets.Button(
            description="Copy as report", tooltip="Show the command that writes this as a report"
        )
        self.exact_map = widgets.Button(
            description="Place exactly (UMAP)", tooltip="Fit UMAP now: takes ten seconds to a minute, once",
            layout=widgets.Layout(width="190px"),
        )  # fmt: skip
        self.seal = widgets.Checkbox(
            description="Seal my question", indent=False, layout=widgets.Layout(width="170px"),
            tooltip="Nothing is answered until you press Ask: so that the answer confirms and does not just turn up",
        )  # fmt: skip
        self.ask = widgets.Button(
            description="Seal and ask", disabled=True, tooltip="Write the question down, then ask it"
        )
        self._pending = False
        self.error, self.status, self.known, self.verdict, self.bars, self.curve, self.text, self.neighbours = (
            widgets.HTML(layout=_full()) for _ in range(8)
        )
        self.error.layout.display = "none"
        self.last_valid = LastValid((self.verdict, self.bars, self.curve, self.text))
        self.last_valid.track(self.first_box, self.horizon, self.seed)
        self.pinned, self.command = widgets.HTML(layout=_full()), widgets.HTML(layout=_full())
        self.map = EmbeddingMap(height=330)
        self._arrange()
        self._load_patient(state)
        self._wire()

    def paint(self, state: State, answer: Answer) -> None:
        """Show an answer. Only the runner's worker calls this."""
        if self._pending:
            return
        finding = answer.attribute(answer.focus)
        if state is not self._said_about:
            self._say(None)
        self.answered.remove_class(OLD)
        self.status.value = _status(state, answer, self._view)
        self.known.value = known_facts_sentence(answer)
        self.bars.value = leak_bars(answer.attributes, answer.focus, settled=answer.settled)
        if finding is not None:
            asked = self._view._seen[state].in_words()
            self.verdict.value = verdict_box(finding, settled=answer.settled, asked=asked)
            self.curve.value = horizon_curve(
                answer.curve, answer.reference_curve, title=finding.title, horizon=answer.horizon
            )
        self.text.value = continuations(answer.generated, answer.truth) + reconstruction_sentence(answer.reconstruction)
        if answer.neighbours is not None:
            self.neighbours.value = neighbour_list(answer.neighbours)
            self._paint_map(state, answer)

    def show_error(self, sentence: str, *, old: bool) -> None:
        """Show what went wrong with an answer, in place, until there is an answer again. ``old``: nothing newer than what is shown can be had,
        so it is greyed."""
        self._say(sentence)
        if old:
            self.answered.add_class(OLD)
        self._said_about = None

    def _paint_map(self, state: State, answer: Answer) -> None:
        chart = self._view.exploration.map
        assert chart is not None and answer.neighbours is not None
        if chart.coordinates is None:
            self.map.description = "There is no map of these records yet. The button below draws it (up to a minute)."
            return
        if self._map_points is not chart.coordinates:
            self._map_points = chart.coordinates
            self.map.set_points(chart.coordinates, self._view.kinds())
        finding = answer.neighbours
        how = "roughly, by its neighbours" if finding.approximate else "by UMAP"
        with self.map.hold_sync():
            self.map.patient = self._view.own_row(state.patient_id)
            self.map.place(
                finding.position,
                self._view.nearest_rows(answer),
                approximate=finding.approximate,
                description=f"Each point is a record. The cross is what the attacker holds, placed {how}; the patient's own "
                f"record is number {finding.rank:,} of {finding.n:,} by distance.",
            )

    def _arrange(self) -> None:
        def heading(text: str) -> widgets.HTML:
            return widgets.HTML(f'<h3 class="ehrmem-head">{escape(text)}</h3>')

        gap = "8px"
        left = widgets.VBox(
            [
                heading("1. Pick a patient"), self.picker.box,
                heading("2. Say what the attacker knows"), self.knowledge, self.first, self.first_box.text,
                self.first_box.message, self.dial,
                self.known,
            ],
            layout=widgets.Layout(width="400px", min_width="340px", flex="0 1 400px", padding="0 12px 0 0"),
        )  # fmt: skip
        right = widgets.VBox(
            [
                heading("3. See what the model gives away"), self.focus, self.last_valid.note,
                self.verdict, self.bars,
                widgets.HBox([self.horizon.text, self.seed.text, self.pin, self.copy, self.seal, self.ask], layout=widgets.Layout(flex_flow="row wrap")),
                self.horizon.message, self.seed.message, self.command, self.curve,
                heading("What the model says next, and what really followed"), self.text,
                heading("Nearest records, by the model's own embedding"),
                widgets.HBox(
                    [
                        widgets.VBox([self.map, self.exact_map], layout=widgets.Layout(flex="1 1 380px", min_width="320px")),
                        widgets.VBox([self.neighbours], layout=widgets.Layout(flex="1 1 320px", min_width="300px")),
                    ],
                    layout=widgets.Layout(flex_flow="row wrap", width="100%"),
                ),
                self.pinned,
            ],
            layout=widgets.Layout(flex="1 1 620px", min_width="480px"),
        )  # fmt: skip
        self.answered = right
        body = widgets.HBox([left, right], layout=widgets.Layout(width="100%", flex_flow="row wrap", gap=gap))
        self.box = widgets.VBox([widgets.HTML(style_tag() + _SCREEN_STYLE), self.error, self.status, body])
        self.box.add_class("ehrmem-screen")

    def _wire(self) -> None:
        self.knowledge.observe(self._on_change(self._set_knowledge), "value")
        self.first.observe(self._on_change(self._set_first), "value")
        self.first_box.observe(self._on_change(self._set_first), "value")
        self.dial.observe(self._on_change(self._set_facts), "facts")
        self.focus.observe(self._on_change(lambda value: self._submit(focus=value)), "value")
        self.horizon.observe(self._on_change(lambda value: self._submit(horizon=value)), "value")
        self.seed.observe(self._on_change(lambda value: self._submit(seed=value)), "value")
        self.pin.on_click(lambda button: self._guard(self._pin))
        self.copy.on_click(lambda button: self._guard(self._copy))
        self.seal.observe(self._on_change(self._set_sealing), "value")
        self.ask.on_click(lambda button: self._guard(self._ask_sealed))
        self.exact_map.on_click(lambda button: self._guard(self._fit_map))

    def _on_change(self, act: Callable[[Any], None]) -> Callable[[Mapping[str, object]], None]:
        """A callback that passes on a change made by the user, and shows what goes wrong in place."""

        def callback(change: Mapping[str, object]) -> None:
            if not self._quiet:
                self._guard(lambda: act(change["new"]))

        return callback

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            with self._setting:
                act()
        except Exception as error:
            self._say(in_words(error, answered=self._view.answer is not None))

    def _say(self, sentence: str | None) -> None:
        self._said_about = self._view.state if sentence else None
        self.error.value = f'<div class="ehrmem-error" role="alert">{escape(sentence)}</div>' if sentence else ""
        self.error.layout.display = None if sentence else "none"

    def _submit(self, **changes: Unpack[Changes]) -> None:
        self.command.value = ""
        if self.seal.value:
            self._wait_for_seal()
        self._view.set(ask=not self.seal.value, **changes)

    def _set_sealing(self, on: bool) -> None:
        self.ask.disabled = not on
        if on:
            self._wait_for_seal()
        else:
            self._show_again()
            self._view.set()

    def _wait_for_seal(self) -> None:
        """Grey what is shown: it answers another question."""
        self._pending = True
        self.box.add_class("ehrmem-pending")
        self.status.value = (
            '<div class="ehrmem-status" role="status" data-state="waiting">Nothing is asked while you set the patient, the facts, the '
            "attribute and the horizon. Then press <b>Seal and ask</b>.</div>"
        )

    def _ask_sealed(self) -> None:
        self._show_again()
        self._view.ask_sealed()

    def _show_again(self) -> None:
        self._pending = False
        self.box.remove_class("ehrmem-pending")

    def _pick(self, patient_id: int) -> None:
        self._guard(lambda: self._change_patient(patient_id))

    def _change_patient(self, patient_id: int) -> None:
        view, state = self._view, self._view.state
        record = view.exploration.record(patient_id)
        knowledge = state.knowledge or DEFAULT_KNOWLEDGE
        facts = facts_of_level(knowledge, record, view.exploration.model.vocabulary)
        focus = view.natural_focus(patient_id, state.attributes)
        new = replace(state, patient_id=patient_id, facts=facts, knowledge=knowledge, focus=focus)
        self._load_patient(new)
        self._submit(patient_id=patient_id, facts=facts, knowledge=knowledge, focus=focus)

    def _set_knowledge(self, name: str) -> None:
        if name:
            self._take_knowledge(name)

    def _set_first(self, n: int) -> None:
        self._take_knowledge(f"first_{n}")

    def _take_knowledge(self, name: str) -> None:
        exploration = self._view.exploration
        facts = facts_of_level(name, exploration.record(self._view.state.patient_id), exploration.model.vocabulary)
        self._follow(replace(self._view.state, facts=facts, knowledge=name))
        self._submit(facts=facts, knowledge=name)

    def _set_facts(self, given: Sequence[tuple[int, str, str]]) -> None:
        record = self._view.exploration.record(self._view.state.patient_id)
        facts = check_facts([KnownFact(p, ValuePrecision(v), DatePrecision(d)) for p, v, d in given], record)
        if facts == self._view.state.facts:
            return
        self._follow(replace(self._view.state, facts=facts, knowledge=None), dial=False)
        self._submit(facts=facts, knowledge=None)

    def _follow(self, state: State, *, dial: bool = True) -> None:
        """Make the controls show a state without hearing themselves."""
        self._quiet = True
        try:
            self.knowledge.value = state.knowledge if state.knowledge in KNOWLEDGE_LEVELS else ""
            first = (
                int(state.knowledge.removeprefix("first_"))
                if state.knowledge and state.knowledge.startswith("first_")
                else None
            )
            self.first_box.show(first)
            if first is not None:
                self.first.value = min(first, self.first.max)
            self.focus.value, self.horizon.value, self.seed.value = state.focus, state.horizon, state.seed
            if dial:
                self.dial.facts = [[f.place, str(f.value), str(f.date)] for f in state.facts]
        finally:
            self._quiet = False

    def _load_patient(self, state: State) -> None:
        exploration = self._view.exploration
        record = exploration.record(state.patient_id)
        vocabulary = exploration.model.vocabulary
        codes = len(encode(record, vocabulary).codes) - len(vocabulary.opening) - bool(vocabulary.end)
        self._quiet = True
        try:
            with self.dial.hold_sync():
                self.dial.facts = []
                self.dial.rows = [dict(row) for row in dial_rows(record, exploration)]
            self.first.max = max(1, min(codes, exploration.model.context_length - 32))
        finally:
            self._quiet = False
        self._follow(state)

    def _pin(self) -> None:
        view = self._view
        if view.answer is None:
            return
        name = escape(view.exploration.dataset.pseudonym(view.state.patient_id))
        knows = escape(KNOWLEDGE_LEVELS.get(view.state.knowledge or "", view.state.knowledge or "facts set by hand"))
        self.pinned.value = (
            f'<div class="ehrmem-pinned"><h3 class="ehrmem-head">Pinned: {name}, {knows}</h3>'
            f"{self.verdict.value}{self.bars.value}{self.known.value}</div>"
        )

    def _copy(self) -> None:
        self.command.value = (
            '<div class="ehrmem-command">This command writes what you see as a report (select and copy):'
            f'<pre tabindex="0">{escape(self._view.command())}</pre></div>'
        )

    def _fit_map(self) -> None:
        chart = self._view.exploration.map
        if chart is None or self._view.exploration.store is None or self._view.exploration.store.embeddings is None:
            raise BadInput(
                "The records are still being read, or this model gives no embeddings. Try again in a moment."
            )
        if chart.fitted:
            return
        self.exact_map.disabled, self.exact_map.description = True, "Fitting UMAP ..."
        threading.Thread(target=self._fit_map_now, name="ehrmem map", daemon=True).start()

    def _fit_map_now(self) -> None:
        chart = self._view.exploration.map
        assert chart is not None
        try:
            chart.fit()
            self.exact_map.description = "Placed by UMAP"
            self._view.set()
        except Exception as error:
            log.exception("the map failed")
            self._say(f"The map could not be drawn ({type(error).__name__}). Ranks and distances are not affected.")
            self.exact_map.disabled, self.exact_map.description = False, "Place exactly (UMAP)"


def _full() -> widgets.Layout:
    """A layout of its own for each widget: one that is shared hides all when one is hidden."""
    return widgets.Layout(width="calc(100% - 6px)")


def dial_rows(record: Record, exploration: Exploration) -> list[DialRow]:
    """The record as the dial lists it: the age, then every event."""
    age = record.age_at_start()
    rows: list[DialRow] = []
    if age is not None:
        rows.append(_row(AGE, "", "Age at the first event", f"{age} years", "", has_value=True))
    for place, event in enumerate(record.events):
        rows.append(
            _row(
                place,
                event.time.strftime("%Y-%m-%d %H:%M") if event.time else "",
                exploration.dataset.label(event.code),
                "" if event.value is None else f"{event.value:g}",
                exploration.attributes.title_of(event.code) or "",
                has_value=event.value is not None,
            )
        )
    return rows


def facts_list(record: Record, answer: Answer, state: State, exploration: Exploration) -> str:
    """What the attacker holds, in words, as an HTML list."""
    rows = {row["place"]: row for row in dial_rows(record, exploration)}
    items = []
    strip = exploration.attributes.strip(state.attributes, record)
    for fact in state.facts:
        row = rows[fact.place]
        if fact.place >= 0 and record.events[fact.place].code in strip:
            continue
        value = {"exact": row["value"], "coarse": "roughly", "unknown": "value not known"}[str(fact.value)]
        when = {"exact": row["when"], "day": row["when"][:10], "week": f"in the week of {row['when'][:10]}",
                "month": row["when"][:7], "unknown": "date not known"}[str(fact.date)]  # fmt: skip
        words = [row["label"], value if row["has_value"] else "", when if row["has_date"] else ""]
        items.append(f"<li>{escape(', '.join(word for word in words if word))}</li>")
    return f'<ul class="ehrmem-facts">{"".join(items)}</ul>' if items else ""


def results_of(answer: Answer, state: State, exploration: Exploration) -> dict[str, object]:
    """An answer as plain data: what ``results.json`` holds."""
    neighbours = answer.neighbours
    return {
        "patient": exploration.dataset.pseudonym(state.patient_id),
        "data": exploration.dataset.name,
        "model": about_model(exploration.model),
        "reference": exploration.reference
        and {"name": exploration.reference.name, "fingerprint": exploration.reference.fingerprint},
        "settings": {
            "knowledge": state.knowledge,
            "facts": facts_to_text(state.facts),
            "attributes": list(state.attributes),
            "focus": state.focus,
            "horizon": answer.horizon,
            "samples": state.samples,
            "seed": state.seed,
            "population": state.population,
            "temperature": 1.0,
            "top_p": 1.0,
        },
        "known": {
            "facts": answer.known.facts,
            "k": answer.known.k,
            "patients": answer.known.n,
            "bits": round(answer.known.bits, 4),
            "population": _population(answer.known.population),
            "withheld_sensitive": answer.stripped,
            "unknown_to_model": answer.left_out,
            "effective_samples": answer.effective_samples if np.isfinite(answer.effective_samples) else None,
        },
        "attributes": [
            {
                "name": finding.name,
                "title": finding.title,
                "severity": finding.severity,
                "in_record": finding.held,
                "audited": _numbers(finding.audited),
                "reference": _numbers(finding.reference),
                "excess": _numbers(finding.excess),
                "method": finding.method,
                "controls": len(finding.controls),
                "control_mean": float(np.mean([a for a, _ in finding.controls])) if finding.controls else None,
                "verdict": str(finding.judgement.verdict) if finding.judgement else None,
                "sentence": finding.judgement.sentence if finding.judgement else None,
                "rank_p": finding.judgement.rank_p if finding.judgement else None,
            }
            for finding in answer.attributes
        ],
        "curve": None
        if answer.curve is None
        else {
            "n": answer.curve.n,
            **{k: [float(x) for x in getattr(answer.curve, k)] for k in ("value", "low", "high")},
        },
        "reconstruction": answer.reconstruction and asdict(answer.reconstruction),
        "neighbours": neighbours
        and {
            "rank": neighbours.rank,
            "of": neighbours.n,
            "nearest": [asdict(neighbour) for neighbour in neighbours.nearest],
        },
        "warnings": list(answer.warnings),
        "settled": answer.settled,
    }


def question_of(asked: Asked) -> dict[str, object]:
    """How the question came to be asked, as plain data."""
    return {"kind": asked.kind, "asked": asked.count, "sealed_at": asked.sealed_at or None, "hash": asked.question or None,
            "in_words": asked.in_words()}  # fmt: skip


def _numbers(estimate: Estimate | None) -> dict[str, float] | None:
    return asdict(estimate) if estimate else None


def _population(fit: PopulationFit | None) -> dict[str, object] | None:
    if fit is None:
        return None
    return {
        "people": fit.people,
        "others": asdict(fit.others),
        "uniqueness": asdict(fit.uniqueness),
        "bits": round(fit.bits, 4),
        "already_identified": fit.already_identified,
    }


def _row(place: int, when: str, label: str, value: str, sensitive: str, *, has_value: bool) -> DialRow:
    return {
        "place": place, "when": when, "label": label, "value": value, "sensitive": sensitive, "has_value": has_value,
        "has_date": bool(when),
    }  # fmt: skip


def _horizon(state: State, answer: Answer | None) -> str:
    """How many codes were generated, and why fewer than were asked for."""
    if answer is None or answer.horizon == state.horizon:
        return f"{state.horizon} codes"
    return f"{answer.horizon} codes ({state.horizon} were asked for; the facts leave the model no room for more)"


def _status(state: State, answer: Answer, view: ExplorePatient) -> str:
    finding = answer.attribute(answer.focus)
    n = finding.audited.n if finding else 0
    name = escape(view.exploration.dataset.pseudonym(state.patient_id))
    knows = escape(
        KNOWLEDGE_LEVELS.get(state.knowledge or "", (state.knowledge or "facts set by hand").replace("_", " "))
    )
    doing = "settled" if answer.settled else "working"
    words = "Settled." if answer.settled else "Asking the model ..."
    cut = "" if answer.horizon == state.horizon else f"Horizon: {escape(_horizon(state, answer))}. "
    split = escape(split_in_words(view.exploration.dataset.split_of(state.patient_id), view.members))
    return (
        f'<div class="ehrmem-status" role="status" data-state="{doing}" data-knowledge="{escape(state.knowledge or "")}" '
        f'data-patient="{name}">Patient <b>{name}</b> ({split}); the attacker knows: <b>{knows}</b>; '
        f"{n:,} samples. {cut}{words}</div>"
    )


def _facts(given: str, record: Record, exploration: Exploration) -> KnownFacts:
    if given == "none":
        return ()
    if Path(given).suffix in {".json", ".yaml", ".yml"} or Path(given).is_file():
        return load_facts(given, record, exploration.model.vocabulary)
    return check_facts(facts_from_text(given), record)


_SCREEN_STYLE = """<style>
.ehrmem-screen { max-width: 1500px; }
.ehrmem-head { font-size: 14px; font-weight: 600; margin: 10px 0 4px; color: var(--jp-ui-font-color1, #111); }
.ehrmem-status { padding: 4px 10px; border-left: 4px solid #0072B2; background: var(--jp-layout-color2, #eee);
  color: var(--jp-ui-font-color1, #111); font-size: 13px; }
.ehrmem-status[data-state="settled"] { border-left-color: #009E73; }
.ehrmem-pending .ehrmem-verdict, .ehrmem-pending svg { opacity: .3; }
.ehrmem-old { opacity: .6; }
.ehrmem-error { padding: 8px 12px; border: 2px solid #D55E00; color: var(--jp-ui-font-color1, #111);
  background: var(--jp-layout-color1, #fff); font-size: 14px; }
.ehrmem-command pre { white-space: pre-wrap; user-select: all; padding: 8px; background: var(--jp-layout-color2, #eee);
  color: var(--jp-ui-font-color1, #111); }
.ehrmem-pinned { border: 1px dashed var(--jp-border-color1, #999); padding: 4px 10px; margin-top: 10px; }
.ehrmem-picker select { font-size: 12px; width: 100%; }
.ehrmem-picker .widget-label { text-align: left; height: 20px; line-height: 20px; font-size: 12px; opacity: .82; }
.ehrmem-screen .ehrmem-small, .ehrmem-screen .ehrmem-note { line-height: 1.4; }
.ehrmem-screen .ehrmem-known { padding-top: 8px; }
</style>"""
