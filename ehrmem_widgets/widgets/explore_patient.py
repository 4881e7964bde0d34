"""The main screen: pick a patient, dial what an attacker knows, watch what the model would give away."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import (
    AGE,
    KNOWLEDGE_LEVELS,
    KnownFacts,
    check_facts,
    facts_from_text,
    facts_of_level,
    facts_to_text,
    load_facts,
)
from ehrmem_widgets.attacker.identifiability import PopulationFit, checked_population
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import members_in_words, split_in_words, trained_on
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.base import loaded
from ehrmem_widgets.probes.exploration import HORIZON, MOST_SAMPLES, Exploration, State, choose_focus
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.probes.live_part import LivePart, PartAnswer, QuickScan
from ehrmem_widgets.probes.opened import names_asked, taken
from ehrmem_widgets.probes.people import about_model, model_in_words, name_of_model
from ehrmem_widgets.probes.sealing import Asked, seal
from ehrmem_widgets.registry import probes
from ehrmem_widgets.samples.folders import example_patient, sample_moderate, sample_private
from ehrmem_widgets.sources import SOURCES, Sources, given_population, given_price, option, sample_sources, sources_of
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_cost import Means
from ehrmem_widgets.views.patient_page import patient_page
from ehrmem_widgets.widgets.known_facts_dial import DialRow
from ehrmem_widgets.widgets.runner import LatestWins, Runner, Synchronous, in_words

DEFAULT_KNOWLEDGE = "lab_values"
MOST_FACTS = 20  # in a report, which fits four pages


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
    vocabulary, token_scheme, sequences, endpoint, training_split, reference_training_split, attribute_file, canaries, output_filter
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
    price
        What questions cost, such as "0.50 EUR per 1000 questions" (or "codes"); None: what the environment names (EHRMEM_PRICE), else not
        declared, and then no sum of money is shown.
    beside
        Further models that can be switched on beside the audited one (folders, or objects with the same vocabulary or their own); None: on the samples the
        other sample models.
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
        output_filter: str | None = None,
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
        price: str | None = None,
        beside: Sequence[str | Path | BlackBox] | None = None,
        live: bool = True,
    ) -> None:
        named = sources_of(
            data, model, reference, vocabulary=vocabulary, token_scheme=token_scheme, sequences=sequences, endpoint=endpoint,
            training_split=training_split, reference_training_split=reference_training_split,
            attribute_file=attribute_file, canaries=canaries, output_filter=output_filter,
        )  # fmt: skip
        self.sources = named or Sources(data=str(data.root if isinstance(data, MedsDataset) else data))
        if named:
            first = taken(self.sources)
        else:
            from ehrmem_widgets.blackbox.opening import open_with

            first = Exploration(*open_with(data, model, reference))
        self.parts: dict[str, LivePart] = {
            name: loaded(probe.part)() for name, probe in probes().items() if live and probe.part
        }
        """The probes that have a tab on the screen, by name."""
        self._scans: dict[str, QuickScan] = {}
        self._looks: dict[object, int] = {}  # questions asked by the tabs and by looks at everybody
        self._models = _models(first, self.sources, beside)
        self.on: tuple[str, ...] = (next(iter(self._models)),)
        self._live = live
        dataset = self.exploration.dataset
        self.members = trained_on(self.exploration.model)
        patient_id = example_patient(dataset, self.members) if patient in (None, "") else dataset.find(patient)
        self._chosen_focus = focus or None
        declared = checked_population(given_population(population), len(dataset))
        self.state = replace(
            self._first_state(patient_id, knowledge, facts, attributes, horizon, samples, seed), population=declared
        )
        self.price = given_price(price)
        self.answer: Answer | None = None
        self.error: str | None = None
        self._first_count = settings.ASKED.check(asked, "asked")
        if sealed and asked > 1:
            raise BadInput(f"A sealed question is the first of its session, so asked must be 1; got {asked}.")
        self._seen: dict[State, Asked] = {}
        if sealed:
            self._seal()
        self._runner: Runner[_Wanted]
        if live:
            from ehrmem_widgets.widgets.live_screen import LiveScreen

            self.screen = LiveScreen(self)
            self._runner = LatestWins(self._answers, self._show, self._fail)
        else:
            self._runner = Synchronous(self._answers, self._show)
        self.ask_again()

    @property
    def names(self) -> tuple[str, ...]:
        """The models that can be switched on."""
        return tuple(self._models)

    @property
    def audited(self) -> str:
        """The name of the audited model: the first that is switched on."""
        return self.on[0]

    @property
    def exploration(self) -> Exploration:
        """The audited model with its data, reference and controls."""
        return self._models[self.audited].exploration

    @property
    def means(self) -> Means:
        """What an attacker's questions to the audited model take."""
        return Means(self.exploration.paces, self.price)

    def about_model(self, name: str) -> str:
        """What a model is, for who points at its name."""
        return self._models[name].words

    def switch(self, name: str) -> None:
        """Switch a model on or off; one stays on."""
        if name not in self._models:
            raise BadInput(f"There is no model {name!r}. There are {', '.join(self._models)}.")
        on = [one for one in self._models if (one in self.on) != (one == name)]
        if on:
            self.on = tuple(on)
            self.ask_again()

    def set(self, *, ask: bool = True, **changes: Unpack[Changes]) -> None:
        """Change parts of the state (the names of ``State``); the view follows. ``ask`` False: it waits for ``ask_sealed``."""
        self.take(replace(self.state, **changes), ask=ask)

    def take(self, state: State, *, ask: bool = True) -> None:
        """Another state; the view follows."""
        self.state = state
        if ask:
            self.ask_again()

    def scan(self) -> QuickScan:
        """The look at all patients by the audited model; from then on no question of the session is the first about its patient."""
        if self.audited not in self._scans:
            kind: type[QuickScan] = loaded(next(probe.scan for probe in probes().values() if probe.scan))
            self._scans[self.audited] = kind(self.exploration)
            self._looks[self.audited] = len(self._scans[self.audited].ids)
        return self._scans[self.audited]

    def ask_again(self, part: str = "", choice: str = "", *, scan: bool = False) -> None:
        """Answer the state as it is, by all models that are switched on; what was answered in full is not asked again. ``part``: the probe whose tab
        is asked after it, about what was chosen there. ``scan``: all patients are looked at after it."""
        self._runner.submit(_Wanted(self.state, self.on, part, choice, scan))

    def _answers(self, wanted: _Wanted) -> Iterator[_Said | None]:
        """The audited model first, then the others, each to its end."""
        for name in wanted.models:
            known = self.screen.trail.step(wanted.state) if self._live else None
            if known is not None and name in known.answers:
                yield _Said(name, known.answers[name])
                continue
            for answer in self._models[name].exploration.answers(wanted.state):
                yield None if answer is None else _Said(name, answer)
        if wanted.scan:
            for share in self._scans[wanted.models[0]].build():
                yield _Said(wanted.models[0], share)
            yield _Said(wanted.models[0], 1.0)
        if wanted.part:
            exploration = self._models[wanted.models[0]].exploration
            for shown in self.parts[wanted.part].answers(exploration, wanted.state, wanted.choice):
                yield None if shown is None else _Said(wanted.part, shown)

    def ask_sealed(self) -> None:
        """Write the question down as it stands, and then ask it."""
        self._seal()
        self.ask_again()

    @property
    def asked(self) -> Asked:
        """How the state came to be asked about: sealed beforehand, or as one of so many questions."""
        return self.asked_of(self.state)

    def asked_of(self, state: State) -> Asked:
        """The same of any state of the session."""
        return self._seen.get(state) or Asked(self._count())

    def _count(self) -> int:
        """How many questions were asked when the next one is."""
        return self._first_count + len(self._seen) + sum(self._looks.values())

    def _seal(self) -> None:
        if self.state in self._seen:
            return  # its answer was seen: sealing it now would be too late
        again = bool(self._scans) or any(seen.patient_id == self.state.patient_id for seen in self._seen)
        self._seen[self.state] = seal(self.exploration, self.state, count=self._count(), again=again)

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
        shown = results_of(self.answer, self.state, self.exploration)
        return {**shown, "question": question_of(self.asked), "attack": attack_of(self.answer, self.means)}

    def report_parameters(self) -> dict[str, object]:
        """The parameters of the report of this very state, as ``make_report`` takes them."""
        state, exploration = self.state, self.exploration
        sources = self._models[self.audited].sources
        if sources.model is None:
            raise BadInput(
                "A report is made of a model in a folder or on a server, and not of one that is a Python object."
            )
        parameters: dict[str, object] = {name: value for name, value in asdict(sources).items() if value}
        parameters["reference"] = list(sources.reference)
        parameters["patient"] = exploration.dataset.pseudonym(state.patient_id)
        if state.knowledge:
            parameters["knowledge"] = state.knowledge
        else:
            parameters["facts"] = facts_to_text(state.facts) or "none"
        if state.attributes != exploration.attributes.default_names():
            parameters["attributes"] = list(state.attributes)
        parameters |= {"focus": state.focus} if state.focus else {}
        parameters |= {"horizon": state.horizon, "samples": state.samples, "seed": state.seed}
        parameters |= {"sealed": True} if self.asked.confirms else {"asked": self.asked.count}
        parameters |= {"population": state.population} if state.population else {}
        parameters |= {"price": str(self.price)} if self.price else {}
        return parameters

    def command(self) -> str:
        """The command that makes the same report."""
        given = self.report_parameters()
        words = ["ehrmem", "report", *self._models[self.audited].sources.options()]
        for name, value in given.items():
            if name in SOURCES:
                continue
            if value is True:
                words.append(option(name))
            else:
                words += [option(name), ",".join(value) if isinstance(value, list) else str(value)]
        return shlex.join([*words, "--out", "report.html"])

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self.screen.page._repr_mimebundle_()
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
            exploratory=not self.asked.confirms,
            means=self.means,
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
            "Audited model": model_in_words(exploration.model),
            "Reference model": model_in_words(reference) if reference else "none",
            "Members": members_in_words(exploration.model.training_split),
            "This patient": split_in_words(split, self.members),
            "Known facts": KNOWLEDGE_LEVELS.get(state.knowledge or "", state.knowledge or "set by hand"),
            "Horizon": _horizon(state, self.answer, exploration.model.vocabulary.horizon_unit),
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

    def _show(self, wanted: _Wanted, said: _Said) -> None:
        if isinstance(said.answer, float):
            self.screen.paint_scan(said.model, said.answer)
            return
        if isinstance(said.answer, PartAnswer):
            self._looks[wanted] = said.answer.asked
            self.screen.paint_part(wanted.state, said.model, said.answer)
            return
        self._seen.setdefault(wanted.state, Asked(self._count()))
        if said.model == wanted.models[0]:
            self.answer, self.error = said.answer, None
        if self._live:
            self.screen.paint(wanted.state, said.model, said.answer)

    def _fail(self, error: Exception) -> None:
        self.error = in_words(error, answered=self.answer is not None)
        self.screen.show_failure(error)


@dataclass(frozen=True)
class _Wanted:
    """What is to be answered: a state, by these models, and then by a probe's tab (its name, and what was chosen there), or a look at everybody."""

    state: State
    models: tuple[str, ...]
    part: str = ""
    choice: str = ""
    scan: bool = False


@dataclass(frozen=True)
class _Said:
    """An answer of one model, or of a probe's tab, or how much of a look at everybody is done."""

    model: str
    answer: Answer | PartAnswer | float


class _Model:
    """A model that can be switched on; opened when it first is."""

    def __init__(self, words: str, sources: Sources, open_: Callable[[], Exploration]) -> None:
        self.words, self.sources, self._open = words, sources, open_

    @cached_property
    def exploration(self) -> Exploration:
        """The model with the data set, reference and controls of the first."""
        return self._open()


def _models(first: Exploration, sources: Sources, beside: Sequence[str | Path | BlackBox] | None) -> dict[str, _Model]:
    """By name: the audited model, and those that can be switched on beside it."""
    reference = first.reference.name if first.reference else "none"
    found = {first.model.name: _Model(f"Audited first; reference: {reference}", sources, lambda: first)}
    if beside is None:
        beside = [sample_moderate(), sample_private()] if sources == sample_sources() else []
    for one in beside:
        path = str(one) if isinstance(one, str | Path) else None
        name = Path(path).name if path else str(getattr(one, "name", "model"))
        while name in found:
            name += " (another)"
        found[name] = _Model(
            f"Press to see what {name} says of the same question",
            replace(sources, model=path),
            partial(_open_beside, first, one),
        )
    return found


def _open_beside(first: Exploration, model: str | Path | BlackBox) -> Exploration:
    from ehrmem_widgets.blackbox.opening import open_with

    folder = Path(model) if isinstance(model, str | Path) and Path(model).is_dir() else None
    return Exploration(*open_with(first.dataset, model, first.reference), folder=folder)


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
    more = f"<li>and {len(items) - MOST_FACTS:,} more</li>" if len(items) > MOST_FACTS else ""
    return f'<ul class="ehrmem-facts">{"".join(items[:MOST_FACTS])}{more}</ul>' if items else ""


def results_of(answer: Answer, state: State, exploration: Exploration) -> dict[str, object]:
    """An answer as plain data: what ``results.json`` holds."""
    neighbours = answer.neighbours
    return {
        "patient": exploration.dataset.pseudonym(state.patient_id),
        "data": exploration.dataset.name,
        "model": about_model(exploration.model),
        "reference": exploration.reference and name_of_model(exploration.reference),
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
                "controls_not_asked": finding.not_asked,
                "control_mean": float(np.mean([a for a, *_ in finding.controls])) if finding.controls else None,
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
        "membership": answer.membership
        and {
            "times": answer.membership.times,
            "n": answer.membership.n,
            "verdict": str(answer.membership.judgement.verdict),
            "sentence": answer.membership.judgement.sentence,
            "rank_p": answer.membership.judgement.rank_p,
        },
        "neighbours": neighbours
        and {
            "rank": neighbours.rank,
            "continued_rank": neighbours.continued_rank,
            "of": neighbours.n,
            "nearest": [asdict(neighbour) for neighbour in neighbours.nearest],
        },
        "warnings": list(answer.warnings),
        "settled": answer.settled,
    }


def attack_of(answer: Answer, means: Means) -> dict[str, object]:
    """What the attack takes, as plain data: the pace measured here, the declared price, and by attribute the questions for an even chance (None: without
    an end)."""
    needed = {one.name: for_even_chance(one.audited) for one in answer.attributes}
    return {
        "pace": {str(kind): asdict(pace) for kind, pace in means.paces.items()},
        "price": str(means.price) if means.price else None,
        "questions": {
            name: {end: n if np.isfinite(n) else None for end, n in asdict(one).items()} for name, one in needed.items()
        },
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


def _horizon(state: State, answer: Answer | None, unit: str) -> str:
    """How many codes (or days of them) were generated, and why fewer than were asked for."""
    if answer is None or answer.horizon == state.horizon:
        return f"{state.horizon} {unit}s"
    return f"{answer.horizon} {unit}s ({state.horizon} were asked for; the facts leave the model no room for more)"


def _facts(given: str, record: Record, exploration: Exploration) -> KnownFacts:
    if given == "none":
        return ()
    if Path(given).suffix in {".json", ".yaml", ".yml"} or Path(given).is_file():
        return load_facts(given, record, exploration.model.vocabulary)
    return check_facts(facts_from_text(given), record)
