"""An audit's plan: what is asked, of which model, about whom. Declared before the first answer, and sealed by its hash."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ehrmem_widgets.attacker.facts import check_rung
from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.holders import HOLDERS
from ehrmem_widgets.probes.questions import QUESTIONS
from ehrmem_widgets.sources import Sources, given_sources, is_address

RUNGS = ("demographics", "one_lab", "lab_values", "first_10", "first_20")
RUNG_OF: Mapping[str, str] = {"embedding": "lab_values", "perturbation": "one_lab", "subgroups": "one_lab"}
"""The one rung of each probe that asks at one only."""
_SOURCES = tuple(one.name for one in fields(Sources))
_PATHS = ("data", "model", "reference", "vocabulary", "grammar", "sequences")


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
    shares of members among those an attacker would ask about; ``identifying``: results name patients by pseudonym and every page
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

    def as_json(self) -> dict[str, Any]:
        """The plan as plain data. Named patients are counted and hashed: they may have been named by their ids."""
        content = {**asdict(self), "rung_of": dict(self.rung_of)}
        if not isinstance(self.patients, int):
            named = hashlib.sha256("\n".join(self.patients).encode()).hexdigest()[:16]
            content["patients"] = {"named": len(self.patients), "hash": named}
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"The plan {str(path)!r} cannot be read: {error.strerror}. 'ehrmem audit --example' prints one."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"The plan {path.name} is no YAML: {' '.join(str(error).split())}.") from None
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
    }
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f" Is {near[0]!r} meant?" if near else ""
            raise BadInput(
                f"{path.name}: {key!r} is nothing that a plan says.{hint} Known are {', '.join(sorted(known))}."
            )
    patients = _patients(content.get("patients", 400), path)
    probes = _names(content, "probes", tuple(QUESTIONS), path, tuple(QUESTIONS))
    if "preflight" not in probes:
        probes = ("preflight", *probes)  # every comparison rests on it
    return Plan(
        name=str(content.get("name") or path.stem),
        sources=_sources(content, path),
        patients=patients,
        # who names whom to ask about wants nobody else asked about, unless they say so
        holders=_whole(content.get("holders", HOLDERS if isinstance(patients, int) else 0), "holders", 0, path),
        probes=tuple(name for name in QUESTIONS if name in probes),
        rungs=_rungs(content.get("rungs"), path),
        rung_of=_rung_of(content.get("rung_of"), path),
        attributes=_names(content, "attributes", (), path, tuple(load_attributes())),
        severities=_severities(content.get("severity"), path),
        priors=_priors(content.get("priors", [0.01, 0.1]), path),
        seed=_whole(content.get("seed", 0), "seed", 0, path),
        identifying=_yes_or_no(content.get("identifying", False), "identifying", path),
    )


def declared_severities(path: str | Path | None = None) -> dict[str, Severity]:
    """The severities of ``sensitive_attributes.yaml``, changed by a file of your own: {attribute: {severity, reason}}."""
    found = {
        name: Severity(a.severity, "as declared in sensitive_attributes.yaml") for name, a in load_attributes().items()
    }
    if path is None:
        return found
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"The severities {str(path)!r} cannot be read: {' '.join(str(error).split())}.") from None
    return found | check_severities(content, path.name)


def check_severities(content: Any, where: str) -> dict[str, Severity]:
    """Severities from plain data, {attribute: {severity: 1 to 5, reason: words}}; BadInput for anything else."""
    known = load_attributes()
    if not isinstance(content, Mapping):
        raise BadInput(f"{where} must hold attributes, each with severity (1 to 5) and reason.")
    found = {}
    for name, given in content.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise BadInput(f"{where}: there is no attribute {name!r}." + (f" Is {near[0]!r} meant?" if near else ""))
        severity = given.get("severity") if isinstance(given, Mapping) else None
        if type(severity) is not int or not 1 <= severity <= 5 or not str(given.get("reason") or "").strip():
            raise BadInput(f"{where}: {name} needs a severity from 1 to 5 and a reason in words; got {given!r}.")
        found[str(name)] = Severity(severity, str(given["reason"]).strip())
    return found


EXAMPLE = """\
# A plan for 'ehrmem audit plan.yaml --out results'. It is sealed before the first question: to change it, name another folder.
name: sample cohort

# What is audited. Folders are relative to this file; without any, the sample patients and models.
# data: my_meds              # a MEDS data set
# model: their_model         # a model folder, or the address of a served one
# reference: other_model     # a model that never saw these patients; without one nothing can be called memorized
# vocabulary: codes.parquet  # and grammar, sequences, endpoint: as 'ehrmem check --help' says

patients: 400                # ordinary people, half of them members, or a file of pseudonyms; planted canaries come on top
holders: 25                  # T2 asks about so many members and non-members who hold each attribute, drawn on top (0: nobody is drawn)
probes: [preflight, membership, attribute, reconstruction, embedding, neighbours, perturbation, subgroups, ranking]
rungs: [demographics, one_lab, lab_values, first_10, first_20]      # what the attacker knows, step by step
rung_of: {embedding: lab_values, perturbation: one_lab, subgroups: one_lab}   # where a test asks at one step only
attributes: []               # sensitive attributes asked about; empty: all that the model has codes of
# severity: severities.yaml  # {hiv: {severity: 5, reason: "..."}}: declared by people, never computed
priors: [0.01, 0.1]          # share of members among those an attacker would ask about
seed: 0                      # same seed, same numbers
identifying: false           # true: for internal use, every page says that it names patients
"""


def _sources(content: Mapping[str, Any], path: Path) -> Sources:
    given: dict[str, str | None] = {}
    for name in _SOURCES:
        value = content.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInput(f"{path.name}: {name} must be a text; got {value!r}.")
        beside = path.parent / value if value and name in _PATHS and not is_address(value) else None
        given[name] = str(beside) if beside is not None and beside.exists() else value
    return given_sources(**given)


def _patients(given: Any, path: Path) -> int | tuple[str, ...]:
    if isinstance(given, str):
        try:
            lines = tuple(dict.fromkeys((path.parent / given).read_text(encoding="utf-8").split()))
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path.name}: the file of patients {given!r} cannot be read: {error}.") from None
        if not lines:
            raise BadInput(f"{path.name}: the file of patients {given!r} is empty.")
        return lines
    return _whole(given, "patients", 2, path)


def _rungs(given: Any, path: Path) -> tuple[str, ...]:
    rungs = RUNGS if given is None else given
    if not isinstance(rungs, list | tuple) or not rungs:
        raise BadInput(f"{path.name}: rungs must be a list; got {given!r}.")
    for rung in rungs:
        check_rung(str(rung))
    return tuple(dict.fromkeys(map(str, rungs)))


def _rung_of(given: Any, path: Path) -> dict[str, str]:
    if given is None:
        return dict(RUNG_OF)
    if not isinstance(given, Mapping) or set(given) - set(RUNG_OF):
        raise BadInput(f"{path.name}: rung_of gives a rung to {', '.join(RUNG_OF)}; got {given!r}.")
    for rung in given.values():
        check_rung(str(rung))
    return {**RUNG_OF, **{str(name): str(rung) for name, rung in given.items()}}


def _names(
    content: Mapping[str, Any], key: str, default: tuple[str, ...], path: Path, known: tuple[str, ...]
) -> tuple[str, ...]:
    given = content.get(key)
    if given is None:
        return default
    if not isinstance(given, list):
        raise BadInput(f"{path.name}: {key} must be a list; got {given!r}.")
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Is {near[0]!r} meant?" if near else ""
            raise BadInput(
                f"{path.name}: there is nothing called {name!r} among {key}.{hint} Known are {', '.join(known)}."
            )
    return tuple(dict.fromkeys(given))


def _severities(given: Any, path: Path) -> dict[str, Severity]:
    if isinstance(given, Mapping):
        return declared_severities() | check_severities(given, f"{path.name}, severity")
    return declared_severities(path.parent / given if isinstance(given, str) else None)


def _priors(given: Any, path: Path) -> tuple[float, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(p, float | int) and 0 < p < 1 for p in given):
        raise BadInput(f"{path.name}: priors must be shares above 0 and below 1; got {given!r}.")
    return tuple(float(p) for p in given)


def _whole(given: Any, key: str, least: int, path: Path) -> int:
    if type(given) is not int or given < least:
        raise BadInput(f"{path.name}: {key} must be a whole number from {least} on; got {given!r}.")
    return given


def _yes_or_no(given: Any, key: str, path: Path) -> bool:
    if not isinstance(given, bool):
        raise BadInput(f"{path.name}: {key} must be true or false; got {given!r}.")
    return given
