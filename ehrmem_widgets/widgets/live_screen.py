"""What the main screen does: each thing that the user does makes a new state, which is handed on; each answer is painted where it belongs."""

from __future__ import annotations

import csv
import io
import json
import logging
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import (
    KNOWLEDGE_LEVELS,
    DatePrecision,
    KnownFact,
    ValuePrecision,
    check_facts,
    facts_of_level,
    facts_to_text,
    knows,
)
from ehrmem_widgets.blackbox.training_splits import split_in_words
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.probes.controls import same_facts_of
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.probes.live_part import PartAnswer
from ehrmem_widgets.settings import Whole, shown
from ehrmem_widgets.views.answer_bar import Said, answer_bar
from ehrmem_widgets.views.continuations import continuations
from ehrmem_widgets.views.known_facts import known_facts_sentence
from ehrmem_widgets.views.leak_bars import leak_bars
from ehrmem_widgets.views.neighbours import continued_words, neighbour_list
from ehrmem_widgets.views.reconstruction import reconstruction_sentence
from ehrmem_widgets.views.steps import ShownStep, steps_chart
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.views.verdict import verdict_box
from ehrmem_widgets.widgets.carried import BY_HAND, Carried, carry
from ehrmem_widgets.widgets.main_screen import MainScreen, Message
from ehrmem_widgets.widgets.patient_table import Exposed, PatientTable
from ehrmem_widgets.widgets.runner import in_words
from ehrmem_widgets.widgets.trail import (
    KIND,
    VERSION,
    Trail,
    from_link,
    state_as_json,
    state_from_json,
    to_link,
    what_changed,
)

if TYPE_CHECKING:
    from ehrmem_widgets.widgets.explore_patient import ExplorePatient

log = logging.getLogger(__name__)
LEVELS = (
    ("nothing", "none"),
    ("age_sex", "age + sex"),
    ("demographics", "static"),
    ("one_lab", "+ 1 lab"),
    ("lab_dates", "dates"),
    ("lab_values", "values"),
)
FIELDS: Mapping[str, Whole] = {"horizon": settings.HORIZON, "seed": settings.SEED, "first": settings.FIRST_CODES}
_CALLED = {"horizon": "horizon", "seed": "seed", "first": "number of first codes"}


class LiveScreen:
    """The page of an ``ExplorePatient`` and what it does. ``page`` is the widget."""

    def __init__(self, view: ExplorePatient) -> None:
        self._view = view
        self.trail = Trail()
        self.page = MainScreen(self._heard, self._say)
        self._patients = PatientTable(view.exploration.dataset, view.members)
        self._scanned: dict[str, Exposed] = {}
        self._refused: dict[str, str] = {}
        self._answers: dict[str, Answer] = {}
        self._shown: State | None = None
        self._sealing = False
        self._scanning = False
        self._pending = False
        self._map_points: object = None
        self._said_about: State | None = (
            None  # the state in which something went wrong: its own answers leave the error standing
        )
        self._dialled: State | None = None
        self._acts: dict[str, Callable[[Message], None]] = {
            "set": lambda m: self._change(focus=_text(m, "focus")),
            "field": self._set_field,
            "level": lambda m: self._take_level(_text(m, "name")),
            "patient": lambda m: self._pick(self._view.exploration.dataset.find(_text(m, "pseudonym"))),
            "patients": self._list_patients,
            "scan": lambda m: self._scan(),
            "model": self._switch,
            "undo": lambda m: self._go(self.trail.undo(self._view.state)),
            "redo": lambda m: self._go(self.trail.redo()),
            "step": lambda m: self._go(self.trail.steps[_number(m, "number", len(self.trail.steps))].state),
            "sealing": self._set_sealing,
            "ask_sealed": lambda m: self._ask_sealed(),
            "report": lambda m: self._report(),
            "save": lambda m: self._save(),
            "open": lambda m: self._open(_text(m, "text")),
            "open_link": lambda m: self._go(self._read_state(from_link(_text(m, "link")))),
            "csv": lambda m: self.page.give_file("ehrmem.csv", self.table().encode(), "text/csv"),
            "place": lambda m: self._fit_map(),
            "part": lambda m: self._ask_part(_text(m, "name"), _text(m, "choice")),
            "cancel": lambda m: self._cancel(),
            "take": lambda m: self._take_facts(_text(m, "name")),
        }  # fmt: skip
        self._quiet = False
        self.page.observe(lambda change: self._dial_turned(change["new"]), "facts")
        self.page.sheet = style_tag()
        self.page.parts = [
            {"name": name, "title": one.title, "term": one.term, "start": one.start, "choose": one.choose}
            for name, one in view.parts.items()
        ]
        self._parts: dict[str, tuple[State, PartAnswer]] = {}
        self._follow(view.state)
        self.page.status = {"state": "working", "words": "Asking the model ..."}

    # ---- what the page shows ----

    def paint(self, state: State, model: str, answer: Answer) -> None:
        """Show an answer of one of the models. Only the runner's worker calls this."""
        if self._pending:
            return
        new = state != self._shown
        if new:
            self._answers, self._shown = {}, state
        self._answers[model] = answer
        if state is not self._said_about:
            self._show_error(None)
        settled = self._settled(state)
        if answer.settled:
            before = self.trail.state
            words = what_changed(before, state, self._titles(), self._names(state.patient_id))
            self.trail.add(state, model, answer, words)
        if model == self._view.audited:
            self._paint_answer(state, answer)
            if answer.settled:
                self._hand_to_next(state)
        else:
            self._paint_bar(state)
        self._paint_status(state, settled)
        if new or answer.settled:
            self._paint_steps(state)
            self._paint_head()

    def paint_part(self, state: State, name: str, answer: PartAnswer) -> None:
        """Show an answer of a probe's tab. Only the runner's worker calls this."""
        self._parts[name] = (state, answer)
        self.page.parts_html = {**self.page.parts_html, name: {"html": answer.html, "facts": answer.facts is not None}}
        title = self._view.parts[name].title
        running = f"{title}: {100 * answer.done:.0f} %"
        self.page.job = {} if answer.settled else {"words": running, "running": True}

    def paint_scan(self, model: str, done: float) -> None:
        """Show how far the look at everybody is. Only the runner's worker calls this."""
        scan = self._view.scan()
        if scan.values is None:
            self.page.send({"kind": "scan", "words": f"Looking at all patients: {100 * done:.0f} %"})
            return
        self._scanning = False
        self._scanned[model] = Exposed(scan.ids, scan.values, scan.in_words)
        self._patients.expose(self._scanned.get(self._view.audited))
        self.page.send({"kind": "scan", "done": True})

    def _forget_parts(self, state: State) -> None:
        """What a tab shows about another state is greyed."""
        old = {
            name: {**shown, "old": self._parts[name][0] != state}
            for name, shown in self.page.parts_html.items()
            if name in self._parts
        }
        if old != self.page.parts_html:
            self.page.parts_html = old

    def _ask_part(self, name: str, choice: str) -> None:
        if name not in self._view.parts:
            raise BadInput(f"There is no tab {shown(name)}.")
        if self._pending:
            raise BadInput("Seal and ask first: nothing is asked before.")
        choices = self._view.parts[name].choices(self._view.exploration, self._view.state)
        if choices and choice not in dict(choices):
            choice = choices[0][0]
        self.page.job = {"words": f"{self._view.parts[name].title} ...", "running": True}
        self._view.ask_again(name, choice)

    def _cancel(self) -> None:
        self.page.job = {}
        self._stop_scan()
        self._view.ask_again()

    def _take_facts(self, name: str) -> None:
        state, answer = self._parts[name]
        if answer.facts is None or state.patient_id != self._view.state.patient_id:
            raise BadInput("These facts are about another patient.")
        self._change(facts=answer.facts, knowledge=None)

    def _paint_answer(self, state: State, answer: Answer) -> None:
        page = self.page
        self._paint_bar(state)
        page.text = continuations(answer.generated, answer.truth) + reconstruction_sentence(answer.reconstruction)
        page.others = known_facts_sentence(answer) + leak_bars(answer.attributes, answer.focus, settled=answer.settled)
        finding = answer.attribute(answer.focus)
        if finding is not None and answer.settled:
            asked = self._view.asked_of(state).in_words()
            page.why = verdict_box(finding, settled=True, asked=asked, open_=True, means=self._view.means)
        if answer.neighbours is not None:
            page.nearest_list = neighbour_list(answer.neighbours)
            self._paint_map(state, answer)

    def _paint_bar(self, state: State) -> None:
        said = [Said(name, self._answers[name]) for name in self._view.on if name in self._answers]
        if not said or said[0].name != self._view.audited:
            return
        earlier = self.trail.before if self.trail.state == state else self.trail.state
        before = None
        if earlier is not None and earlier.patient_id == state.patient_id and earlier.focus == state.focus:
            step = self.trail.step(earlier)
            finding = (
                step.answers[said[0].name].attribute(state.focus) if step and said[0].name in step.answers else None
            )
            before = finding.audited if finding else None
        words = knows(state.knowledge) if state.knowledge else "set by hand"
        self.page.answer = answer_bar(said, knows=words, before=before)

    def _paint_steps(self, state: State) -> None:
        steps, names = [], [name for name in self._view.names if any(name in one.answers for one in self.trail.steps)]
        titles, last = self._titles(), None
        for number, step in enumerate(self.trail.steps):
            findings = {
                model: found for model, answer in step.answers.items() if (found := answer.attribute(step.state.focus))
            }
            apart = last is None or (last.patient_id, last.focus) != (step.state.patient_id, step.state.focus)
            pseudonym = self._view.exploration.dataset.pseudonym(step.state.patient_id)
            steps.append(
                ShownStep(
                    number,
                    step.words,
                    f"{pseudonym} · {titles.get(step.state.focus, step.state.focus)}",
                    findings,
                    apart,
                )
            )
            last = step.state
        chosen = next((number for number, one in enumerate(self.trail.steps) if one.state == state), -1)
        self.page.steps = steps_chart(steps, names, chosen=chosen)

    def _paint_status(self, state: State, settled: bool) -> None:
        dataset = self._view.exploration.dataset
        finding = (
            self._answers[self._view.audited].attribute(state.focus) if self._view.audited in self._answers else None
        )
        waiting = [name for name in self._view.on if not (name in self._answers and self._answers[name].settled)]
        words = "Live · settled" if settled else f"Asking {', '.join(waiting)} ..."
        if finding is not None and finding.audited.n:
            words += f" · {finding.audited.n:,} samples"
        self.page.status = {
            "state": "settled" if settled else "working", "words": words, "patient": dataset.pseudonym(state.patient_id),
            "knowledge": state.knowledge or "", "link": self.link(state) if settled else "",
        }  # fmt: skip

    def _paint_head(self) -> None:
        view = self._view
        exploration, state = view.exploration, view.state
        record, dataset = exploration.record(state.patient_id), exploration.dataset
        row = dataset.patients_of([state.patient_id]).iloc[0]
        sex = str(row["sex"])[:1] if isinstance(row["sex"], str) else ""
        age = "" if row["age"] != row["age"] else f"{int(row['age'])}"
        held = ", ".join(exploration.attributes.attributes[name].title for name in exploration.held(state.patient_id))
        who = " ".join(word for word in (sex, age) if word)
        about = [
            who,
            held or "nothing sensitive",
            split_in_words(dataset.split_of(state.patient_id), view.members),
            f"{len(record.events):,} events",
        ]
        self.page.head = {
            "patient": dataset.pseudonym(state.patient_id), "who": " · ".join(one for one in about if one),
            "undo": self.trail.can_undo or (self.trail.state is not None and state != self.trail.state), "redo": self.trail.can_redo,
            "models": [{"name": name, "on": name in view.on, "words": view.about_model(name)} for name in view.names],
        }  # fmt: skip

    def _paint_map(self, state: State, answer: Answer) -> None:
        chart, view = self._view.exploration.map, self._view
        assert chart is not None and answer.neighbours is not None
        if chart.coordinates is None:
            self.page.description = "There is no map of these records yet. The button below draws it (up to a minute)."
            return
        if self._map_points is not chart.coordinates:
            self._map_points = chart.coordinates
            self.page.set_points(chart.coordinates, view.kinds())
        finding = answer.neighbours
        how = "roughly, by its neighbours" if finding.approximate else "by UMAP"
        with self.page.hold_sync():
            self.page.patient = view.own_row(state.patient_id)
            self.page.place(
                finding.position,
                view.nearest_rows(answer),
                led_to=finding.led_to,
                approximate=finding.approximate,
                description=f"Each point is a record. The cross is what the attacker holds, placed {how}; the patient's own record is number "
                f"{finding.rank:,} of {finding.n:,} by distance{continued_words(finding)}.",
            )

    def _follow(self, state: State) -> None:
        """Make the controls show a state."""
        exploration = self._view.exploration
        titles = self._titles()
        first = (
            int(state.knowledge.removeprefix("first_"))
            if state.knowledge and state.knowledge.startswith("first_")
            else None
        )
        if self._dialled is None or self._dialled.patient_id != state.patient_id:
            from ehrmem_widgets.widgets.explore_patient import dial_rows

            rows = dial_rows(exploration.record(state.patient_id), exploration)
        else:
            rows = None
        self._dialled = state
        self._stop_scan()
        with self.page.one, self.page.hold_sync():
            self._quiet = True
            if rows is not None:
                self.page.facts = []
                self.page.rows = [dict(row) for row in rows]
            self.page.facts = [[f.place, str(f.value), str(f.date)] for f in state.facts]
            self._quiet = False
            held = exploration.held(state.patient_id)
            self.page.question = {
                "level": state.knowledge or "",
                "levels": [[name, words, KNOWLEDGE_LEVELS[name]] for name, words in LEVELS],
                "first": "" if first is None else str(first),
                "attributes": [[name, titles[name] + (" ◆" if name in held else "")] for name in state.attributes],
                "focus": state.focus, "horizon": str(state.horizon), "unit": f"{exploration.model.vocabulary.horizon_unit}s",
                "seed": str(state.seed), "refused": dict(self._refused),
                "sealing": self._sealing, "pending": self._pending,
                "choices": {name: [list(one) for one in part.choices(exploration, state)] for name, part in self._view.parts.items()},
            }  # fmt: skip
        self._forget_parts(state)
        self._paint_head()

    def _show_error(self, sentence: str | None) -> None:
        self._said_about = self._view.state if sentence else None
        self.page.error = sentence or ""

    def _say(self, error: Exception) -> None:
        self._show_error(in_words(error, answered=self._view.answer is not None))

    def show_failure(self, error: Exception) -> None:
        """Say what went wrong with an answer, in place, until there is an answer again; what is shown is greyed where nothing newer can be had."""
        self._say(error)
        self._stop_scan()
        self._said_about = None
        if isinstance(error, Unavailable | Damaged):
            self.page.status = {**self.page.status, "state": "old"}

    # ---- what the user does ----

    def _heard(self, message: Message) -> None:
        act = self._acts.get(str(message["do"]))
        if act is None:
            raise BadInput(
                f"The page asked for {shown(message['do'])}, which this version does not know: reload the page."
            )
        act(message)

    def _guard(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._say(error)

    def _change(self, **changes: object) -> None:
        self._hand_on(replace(self._view.state, **changes))  # type: ignore[arg-type]  # checked by State itself

    def _hand_on(self, state: State) -> None:
        if self._sealing:
            self._wait_for_seal()
        self._view.take(state, ask=not self._sealing)
        self._follow(state)

    def _go(self, state: State | None) -> None:
        if state is not None:
            self._refused = {}
            self._hand_on(state)

    def _set_field(self, message: Message) -> None:
        name, text = _text(message, "name"), _text(message, "text").strip()
        if name not in FIELDS:
            raise BadInput(f"There is no field {shown(name)}.")
        self._refused.pop(name, None)
        if name == "first" and not text:
            self._follow(self._view.state)
            return
        try:
            number = FIELDS[name].read(text, _CALLED[name])
        except BadInput as error:
            kept = self._view.state
            what = {
                "horizon": f"horizon {kept.horizon}",
                "seed": f"seed {kept.seed}",
                "first": "the facts chosen before",
            }[name]
            said = str(error)
            self._refused[name] = f"{said[:1].upper()}{said[1:]} What is shown is for {what}."
            self._follow(kept)
            return
        if name == "first":
            self._take_level(f"first_{number}")
        else:
            self._change(**{name: number})

    def _take_level(self, name: str) -> None:
        exploration = self._view.exploration
        facts = facts_of_level(name, exploration.record(self._view.state.patient_id), exploration.model.vocabulary)
        self._change(facts=facts, knowledge=name)

    def _dial_turned(self, given: list[list[object]]) -> None:
        with self.page.one:
            if not self._quiet:
                self._guard(lambda: self._set_facts(given))

    def _set_facts(self, given: list[list[object]]) -> None:
        record = self._view.exploration.record(self._view.state.patient_id)
        facts = check_facts(
            [KnownFact(int(str(p)), ValuePrecision(str(v)), DatePrecision(str(d))) for p, v, d in given], record
        )
        if facts != self._view.state.facts:
            self._change(facts=facts, knowledge=None)

    def _pick(self, patient_id: int) -> None:
        view, state = self._view, self._view.state
        record, before = view.exploration.record(patient_id), view.exploration.record(state.patient_id)
        vocabulary = view.exploration.model.vocabulary
        facts = same_facts_of(record, before, state.facts, state.knowledge, vocabulary)
        focus = view.natural_focus(patient_id, state.attributes)
        self._hand_on(replace(state, patient_id=patient_id, facts=facts, focus=focus))
        if state.knowledge is None and len(facts) < len(state.facts):
            lost = len(state.facts) - len(facts)
            self._show_error(
                f"{lost} of the {len(state.facts)} facts set by hand have no counterpart in this record and were left out."
            )

    def _list_patients(self, message: Message) -> None:
        _text(message, "text")
        self.page.send(self._patients.window(message))

    def _switch(self, message: Message) -> None:
        self._view.switch(_text(message, "name"))
        self._patients.expose(self._scanned.get(self._view.audited))
        self._paint_head()

    def _scan(self) -> None:
        """Look at everybody, so that the table can be sorted by who is most exposed."""
        if self._pending:
            raise BadInput("Seal and ask first: nothing is asked before.")
        self._view.scan()
        self._scanning = True
        self.page.send({"kind": "scan", "words": "Looking at all patients ..."})
        self._view.ask_again(scan=True)

    def _stop_scan(self) -> None:
        """The table no longer says that everybody is being looked at: another question came first, or it went wrong."""
        if self._scanning:
            self._scanning = False
            self.page.send({"kind": "scan", "stopped": True})

    # ---- sealing ----

    def _set_sealing(self, message: Message) -> None:
        self._sealing = message.get("on") is True
        if self._sealing:
            self._wait_for_seal()
        else:
            self._pending = False
            self._view.take(self._view.state)
        self._follow(self._view.state)

    def _wait_for_seal(self) -> None:
        """Grey what is shown: it answers another question."""
        self._pending = True
        self.page.status = {
            **self.page.status, "state": "waiting",
            "words": "Nothing is asked while you set the patient, the facts, the attribute and the horizon. Then press Seal and ask.",
        }  # fmt: skip

    def _ask_sealed(self) -> None:
        self._pending = False
        self._view.ask_sealed()
        self._follow(self._view.state)

    # ---- files ----

    def link(self, state: State) -> str:
        """A state as text for the address."""
        return to_link(state_as_json(state, self._view.exploration))

    def session(self) -> dict[str, object]:
        """Every step, and where the user stands, as plain data."""
        exploration = self._view.exploration
        return {
            "kind": KIND, "version": VERSION, "data": exploration.dataset.fingerprint, "models": list(self._view.on),
            "state": state_as_json(self._view.state, exploration),
            "steps": [state_as_json(step.state, exploration) for step in self.trail.steps],
        }  # fmt: skip

    def table(self) -> str:
        """Every step and figure as CSV, the patient by pseudonym."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(
            [
                "step",
                "change",
                "patient",
                "knowledge",
                "facts",
                "horizon",
                "seed",
                "model",
                "attribute",
                "in_record",
                "figure",
                "value",
                "low",
                "high",
                "n",
                "verdict",
            ]
        )
        for number, step in enumerate(self.trail.steps, 1):
            said = state_as_json(step.state, self._view.exploration)
            for model, answer in step.answers.items():
                for finding in answer.attributes:
                    for name, figure in (
                        ("leak", finding.audited),
                        ("reference", finding.reference),
                        ("excess", finding.excess),
                    ):
                        if figure is not None:
                            verdict = str(finding.judgement.verdict) if finding.judgement else ""
                            cells = [
                                number,
                                step.words,
                                said["patient"],
                                said["knowledge"],
                                said["facts"],
                                answer.horizon,
                                said["seed"],
                                model,
                                finding.name,
                                finding.held,
                                name,
                                figure.value,
                                figure.low,
                                figure.high,
                                figure.n,
                                verdict,
                            ]
                            writer.writerow([_cell(cell) for cell in cells])
        return out.getvalue()

    def _save(self) -> None:
        self.page.give_file("ehrmem-session.json", json.dumps(self.session(), indent=1).encode(), "application/json")

    def _open(self, text: str) -> None:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise BadInput("This file is no session of ehrmem: it is no JSON.") from None
        if not isinstance(content, dict) or content.get("kind") != KIND or content.get("version") != VERSION:
            raise BadInput("This file is no session of ehrmem that this version can open. 'Save' writes one.")
        if content.get("data") != self._view.exploration.dataset.fingerprint:
            raise BadInput(
                "This session is about other data: open it on the screen of the data set that it was saved from."
            )
        self._go(self._read_state(content.get("state")))

    def _read_state(self, content: object) -> State:
        state = state_from_json(content, self._view.exploration, self._view.state)
        if isinstance(content, Mapping) and "focus" not in content:  # from a screen that asks about no attribute
            state = replace(state, focus=self._view.natural_focus(state.patient_id, state.attributes))
        return state

    def _hand_to_next(self, state: State) -> None:
        dataset = self._view.exploration.dataset
        facts = facts_to_text(state.facts)
        carry(dataset, Carried(dataset.pseudonym(state.patient_id), state.knowledge or BY_HAND, facts, state.focus))

    def _report(self) -> None:
        if self.page.job.get("running"):
            raise BadInput("A report is being written. It takes about half a minute.")
        self.page.job = {"words": "Writing the report (about half a minute) ...", "running": False}
        parameters = self._view.report_parameters()
        threading.Thread(target=self._write_report, args=(parameters,), name="ehrmem report", daemon=True).start()

    def _write_report(self, parameters: dict[str, object]) -> None:
        from ehrmem_widgets.reports.patient_report import make_report

        try:
            with tempfile.TemporaryDirectory(prefix="ehrmem") as folder:
                out = Path(folder) / "report.html"
                make_report(out, **parameters)
                self.page.job = {}
                self.page.give_report(out.read_bytes(), " (it is about one patient: treat it like a patient record)")
        except Exception as error:
            self.page.job = {"words": f"The report could not be written: {in_words(error, answered=False)}"}

    # ---- the map ----

    def _fit_map(self) -> None:
        chart = self._view.exploration.map
        if chart is None or self._view.exploration.store is None or self._view.exploration.store.embeddings is None:
            raise BadInput(
                "The records are still being read, or this model gives no embeddings. Try again in a moment."
            )
        if not chart.fitted:
            self.page.job = {"words": "Fitting UMAP (ten seconds to a minute, once) ..."}
            threading.Thread(target=self._fit_map_now, name="ehrmem map", daemon=True).start()

    def _fit_map_now(self) -> None:
        chart = self._view.exploration.map
        assert chart is not None
        try:
            chart.fit()
            self.page.job = {}
            self._view.ask_again()
        except Exception as error:
            log.exception("the map failed")
            self.page.job = {
                "words": f"The map could not be drawn ({type(error).__name__}). Ranks and distances are not affected."
            }

    # ---- small things ----

    def _settled(self, state: State) -> bool:
        return all(name in self._answers and self._answers[name].settled for name in self._view.on)

    def _titles(self) -> dict[str, str]:
        return {name: one.title for name, one in self._view.exploration.attributes.attributes.items()}

    def _names(self, patient_id: int) -> dict[int, str]:
        record, exploration = self._view.exploration.record(patient_id), self._view.exploration
        return fact_names(record, exploration)


def fact_names(record: Record, exploration: Exploration) -> dict[int, str]:
    """What each event of a record is called, by its place; the age at -1."""
    return {-1: "age", **{place: exploration.dataset.label(event.code) for place, event in enumerate(record.events)}}


def _cell(value: object) -> object:
    """A cell of a table that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _text(message: Message, name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise BadInput(f"The page sent {shown(value)} as {name}: reload the page.")
    return value


def _number(message: Message, name: str, below: int) -> int:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < below:
        raise BadInput(f"The page sent {shown(value)} as {name}: reload the page.")
    return value
