"""An audit's plan: what is asked, of which model, about whom. Declared before the first answer, and sealed by its hash."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from textwrap import shorten
from typing import Any

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import check_rung, check_rungs
from ehrmem_widgets.cohort.attributes import SensitiveAttribute, attributes_with, load_attributes
from ehrmem_widgets.cohort.pseudonym import user_key
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.base import Probe
from ehrmem_widgets.probes.options import given as given_to
from ehrmem_widgets.registry import probes
from ehrmem_widgets.settings import shown
from ehrmem_widgets.sources import Sources, given_sources, is_address
from ehrmem_widgets.yaml_text import read_yaml_file

RUNGS = ("demographics", "one_lab", "lab_values", "first_10", "first_20")
HOLDERS = 25  # of each attribute, unless told otherwise
_SOURCES = tuple(one.name for one in fields(Sources))
_SEVERITY = 'hiv: {severity: 5, reason: "..."}'
_PATHS = ("data", "model", "reference", "vocabulary", "grammar", "sequences", "attribute_file", "canaries")


@dataclass(frozen=True)
class Severity:
    """How grave it is that an attribute becomes known, 1 (hardly) to 5 (most), and why: declared by people."""

    severity: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """A checked plan. ``patients``: how many ordinary people, half of them members, or their pseudonyms or ids; ``holders``: how many
    members and how many non-members who hold each attribute test T2 asks about, drawn on top where these are fewer; ``attributes``:
    names, empty for all that the model has codes of; ``rung_of``: the rung of the probes that ask at one rung only; ``priors``:
    shares of members among those an attacker would ask about; ``population``: how many people the data set's patients come from, None
    where that is not declared; ``identifying``: results name patients by pseudonym and every page
    of the report says so."""

    name: str
    sources: Sources
    patients: int | tuple[str, ...]
    holders: int
    probes: tuple[str, ...]
    rungs: tuple[str, ...]
    rung_of: Mapping[str, str]
    attributes: tuple[str, ...]
    severities: Mapping[str, Severity]
    priors: tuple[float, ...]
    seed: int
    identifying: bool
    population: int | None = None
    named: str = ""

    def task(self, probe: Probe) -> dict[str, Any]:
        """The rungs and options of one probe, for its ``Task``: of the plan's settings those that the probe has."""
        rungs = (self.rung_of[probe.name],) if probe.one_rung else self.rungs if probe.rungs else None
        settings = {
            "attributes": self.attributes or None, "holders": self.holders, "priors": self.priors, "population": self.population,
        }  # fmt: skip
        return given_to(probe, rungs, {name: value for name, value in settings.items() if name in probe.options})

    def as_json(self) -> dict[str, Any]:
        """The plan as plain data. Named patients are counted and hashed with this user's key: they may have been named by their ids."""
        content = {**asdict(self), "rung_of": dict(self.rung_of)}
        del content["named"]
        if not isinstance(self.patients, int):
            content["patients"] = {"named": len(self.patients), "hash": self.named}
        return content

    @property
    def hash(self) -> str:
        """Changes with anything that the results depend on, and with the declared severities; not with folders' names: the data and
        the models are sealed by their own fingerprints."""
        content = self.as_json()
        content.pop("sources")
        content.pop("name")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_plan(path: str | Path) -> Plan:
    """A plan from a YAML file; folders in it are relative to the file.

    Raises BadInput for a file that is none, a name that a plan does not have (with the one that may be meant), and any value
    that cannot be: all of them said before anything is asked.
    """
    path = Path(path)
    content = read_yaml_file(path, f"The plan {path.name}", hint=" 'ehrmem audit --example' prints one.")
    if not isinstance(content, dict):
        raise BadInput(f"The plan {path.name} must hold names and values. 'ehrmem audit --example' prints one.")
    known = {
        *_SOURCES,
        "name",
        "patients",
        "holders",
        "probes",
        "rungs",
        "rung_of",
        "attributes",
        "severity",
        "priors",
        "seed",
        "identifying",
        "population",
    }
    for key in content:
        if key not in known:
            raise BadInput(f"{path.name}: {shown(key)} is an unknown plan key.{_meant(key, sorted(known))}")
        if content[key] is None:
            raise BadInput(f"{path.name}: {key} is empty. Give it a value, or leave the line out.")
    patients = _patients(content.get("patients", 400), path)
    every = probes()
    chosen = _probes(content, path)
    guards = [
        name for name, probe in every.items() if probe.confounding and name not in chosen
    ]  # comparisons rest on these
    sources = _sources(content, path)
    attributes = attributes_with(sources.attribute_file)
    named = ""
    if not isinstance(patients, int):  # with this user's key: they may have been named by their ids
        named = hmac.new(user_key(), "\n".join(patients).encode(), "sha256").hexdigest()[:16]
    return Plan(
        named=named,
        name=_text(content.get("name", path.stem), "name", path),
        sources=sources,
        patients=patients,
        # who names whom to ask about wants nobody else asked about, unless they say so
        holders=_whole(
            content.get("holders", HOLDERS if isinstance(patients, int) else 0), "holders", settings.HOLDERS, path
        ),
        probes=tuple(name for name in every if name in (*chosen, *guards)),
        rungs=_rungs(content.get("rungs", list(RUNGS)), path),
        rung_of=_rung_of(content.get("rung_of", {}), path),
        attributes=_names(content, "attributes", (), path, tuple(attributes)),
        severities=_severities(content.get("severity"), path, attributes),
        priors=_priors(content.get("priors", [0.01, 0.1]), path),
        seed=_whole(content.get("seed", 0), "seed", settings.SEED, path),
        identifying=_yes_or_no(content.get("identifying", False), "identifying", path),
        population=None
        if (n := content.get("population")) is None
        else _whole(n, "population", settings.POPULATION, path),
    )


def declared_severities(
    path: str | Path | None = None, known: Mapping[str, SensitiveAttribute] | None = None
) -> dict[str, Severity]:
    """The severities that the attributes declare (``known``; else those of the kit), changed by a file of your own: {attribute: {severity,
    reason}}."""
    packaged = load_attributes()
    known = packaged if known is None else known
    found = {
        name: Severity(a.severity, "as declared in sensitive_attributes.yaml" if name in packaged else a.reason)
        for name, a in known.items()
    }
    if path is None:
        return found
    path = Path(path)
    content = read_yaml_file(path, f"The severities {path.name}")
    return found | check_severities(content, path.name, known)


def check_severities(content: Any, where: str, known: Collection[str] | None = None) -> dict[str, Severity]:
    """Severities from plain data, {attribute: {severity: 1 to 5, reason: words}}; BadInput for anything else."""
    known = load_attributes() if known is None else known
    if not isinstance(content, Mapping) or not content:
        raise BadInput(
            f"{where} must hold attributes, each with a severity (1 to 5) and a reason, such as {_SEVERITY}; got {shown(content)}."
        )
    found = {}
    for name, given in content.items():
        if name not in known:
            raise BadInput(f"{where}: there is no attribute {shown(name)}.{_meant(name, tuple(known))}")
        reason = given.get("reason") if isinstance(given, Mapping) and set(given) == {"severity", "reason"} else None
        if not isinstance(reason, str) or not reason.strip():
            raise BadInput(
                f"{where}: {name} needs a severity and a reason in words, such as {_SEVERITY}; got {shown(given)}."
            )
        severity = settings.SEVERITY.check(given["severity"], f"{where}: the severity of {name}")
        found[str(name)] = Severity(severity, reason.strip())
    return found


_EXAMPLE = """\
# A plan for 'ehrmem audit plan.yaml --out results'. It is sealed before the first question: to change it, name another folder.
name: sample cohort

# What is audited. Folders are relative to this file; without any, the sample patients and models.
# data: my_meds              # a MEDS data set
# model: their_model         # a model folder, or the address of a served one
# reference: other_model     # a model that never saw these patients; without one nothing can be called memorized; [one, two]: their mean
# training_split: train      # the split that the model was trained on, and reference_training_split: where no training.json says it
# vocabulary: codes.parquet  # and grammar, sequences, endpoint: as 'ehrmem check --help' says
# attribute_file: own.yaml   # further sensitive attributes
# canaries: planted.parquet  # the canaries that you planted, with the values that they could have held

patients: 400                # ordinary people, half of them members, or a file of pseudonyms; planted canaries come on top
holders: 25                  # T2 asks about so many members and non-members who hold each attribute, drawn on top (0: nobody is drawn)
{probes}
rungs: [demographics, one_lab, lab_values, first_10, first_20]      # what the attacker knows, step by step
{rung_of}   # where a test asks at one step only
attributes: []               # sensitive attributes asked about; empty: all that the model has codes of
# severity: severities.yaml  # {hiv: {severity: 5, reason: "..."}}: declared by people, never computed
priors: [0.01, 0.1]          # share of members among those an attacker would ask about
# population: 300000         # how many people the patients come from (a city, say): then the ranking says how many of them fit the facts
seed: 0                      # same seed, same numbers
identifying: false           # true: for internal use, every page says that it names patients
"""


def example() -> str:
    """A commented plan for the sample patients, with all probes that are installed."""
    every = probes()
    rung_of = ", ".join(f"{name}: {probe.rungs[0]}" for name, probe in every.items() if probe.one_rung)
    found = _EXAMPLE.replace("{probes}", f"probes: [{', '.join(every)}]")
    return found.replace("{rung_of}", f"rung_of: {{{rung_of}}}")


def _sources(content: Mapping[str, Any], path: Path) -> Sources:
    given: dict[str, str | list[str] | None] = {}
    for name in _SOURCES:
        if name == "reference" and isinstance(content.get(name), list):
            texts = [_text(one, name, path) for one in content[name]]
            if not texts:
                raise BadInput(f"{path.name}: reference is an empty list. Name a model, or leave the line out.")
            given[name] = [_beside(one, path) for one in texts]
            continue
        value = _text(content[name], name, path) if name in content else None
        given[name] = _beside(value, path) if value and name in _PATHS else value
    return given_sources(**given)


def _beside(named: str, path: Path) -> str:
    """A file or folder beside the plan, where there is one; else as it is named."""
    beside = path.parent / named
    return str(beside) if not is_address(named) and beside.exists() else named


def _patients(given: Any, path: Path) -> int | tuple[str, ...]:
    if isinstance(given, str):
        try:
            lines = tuple(dict.fromkeys((path.parent / given).read_text(encoding="utf-8").split()))
        except (OSError, UnicodeDecodeError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise BadInput(f"{path.name}: the file of patients {shown(given)} cannot be read: {why}.") from None
        if not lines:
            raise BadInput(f"{path.name}: the file of patients {shown(given)} is empty.")
        return lines
    return _whole(given, "patients", settings.PATIENTS, path)


def _rungs(given: Any, path: Path) -> tuple[str, ...]:
    try:
        return check_rungs(given)
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None


def _rung_of(given: Any, path: Path) -> dict[str, str]:
    default = {name: probe.rungs[0] for name, probe in probes().items() if probe.one_rung}
    if not isinstance(given, Mapping) or set(given) - set(default):
        raise BadInput(f"{path.name}: rung_of gives a rung to {', '.join(default)}; got {shown(given)}.")
    try:
        return {**default, **{str(name): check_rung(rung) for name, rung in given.items()}}
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None


def _probes(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    given = content.get("probes")
    for name in given if isinstance(given, list) else ():
        renamed = next((probe.name for probe in probes().values() if name in probe.before), None)
        if renamed is not None:
            raise BadInput(f"{path.name}: the probe {name!r} is called {renamed!r} now.")
    return _names(content, "probes", tuple(probes()), path, tuple(probes()))


def _names(
    content: Mapping[str, Any], key: str, default: tuple[str, ...], path: Path, known: tuple[str, ...]
) -> tuple[str, ...]:
    given = content.get(key)
    if given is None:
        return default
    if not isinstance(given, list):
        raise BadInput(f"{path.name}: {key} must be a list, such as [{known[0]}]; got {shown(given)}.")
    for name in given:
        if name not in known:
            raise BadInput(f"{path.name}: there is nothing called {shown(name)} among {key}.{_meant(name, known)}")
    return _once(given, key, path)


def _once(given: Sequence[str], key: str, path: Path) -> tuple[str, ...]:
    twice = next((name for place, name in enumerate(given) if name in given[:place]), None)
    if twice is not None:
        raise BadInput(f"{path.name}: {key} names {twice} twice. Is another one meant?")
    return tuple(given)


def _meant(given: object, known: Sequence[str]) -> str:
    """A hint at the name that may be meant; the known ones where there is no such, as many as fit into a sentence."""
    near = difflib.get_close_matches(given, known, n=1) if isinstance(given, str) else []
    return f" Is {near[0]!r} meant?" if near else f" Known are {shorten(', '.join(known), 180, placeholder=' ...')}."


def _severities(given: Any, path: Path, known: Mapping[str, SensitiveAttribute]) -> dict[str, Severity]:
    if given is None:
        return declared_severities(known=known)
    if isinstance(given, str):
        return declared_severities(path.parent / given, known)
    return declared_severities(known=known) | check_severities(given, f"{path.name}, severity", known)


def _priors(given: Any, path: Path) -> tuple[float, ...]:
    try:
        return settings.check_shares(given, "priors")
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from None


def _whole(given: Any, key: str, bounds: settings.Whole, path: Path) -> int:
    return bounds.check(given, f"{path.name}: {key}")


def _yes_or_no(given: Any, key: str, path: Path) -> bool:
    if not isinstance(given, bool):
        raise BadInput(f"{path.name}: {key} must be true or false; got {shown(given)}.")
    return given


def _text(given: Any, key: str, path: Path) -> str:
    if not isinstance(given, str) or not given.strip():
        raise BadInput(f"{path.name}: {key} must be a text (put quotes around it); got {shown(given)}.")
    return given
