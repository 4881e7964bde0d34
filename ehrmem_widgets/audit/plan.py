"""An audit's plan: what is asked, of which model, about whom. Declared before the first answer, and sealed by its hash."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, create_model

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import check_knowledge, check_knowledge_levels
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.checked import Declared, Texts, checked, expecting, meant, within
from ehrmem_widgets.cohort.attributes import SensitiveAttribute, attributes_with, load_attributes
from ehrmem_widgets.cohort.pseudonym import user_key
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_text
from ehrmem_widgets.probes.base import Probe
from ehrmem_widgets.probes.options import given as given_to
from ehrmem_widgets.registry import probes
from ehrmem_widgets.settings import Price, check_claim, shown
from ehrmem_widgets.sources import Sources, given_sources, is_address, refuse_all_but_samples
from ehrmem_widgets.yaml_text import read_yaml_file

OWN_FOLDER = "ehrmem-audit-"
"""How the name of a folder begins that a screen made for its own plan and results."""
DEFAULT_LEVELS = ("demographics", "one_lab", "lab_values", "first_10", "first_20")
HOLDERS = 25  # of each attribute, unless told otherwise
_SOURCES = tuple(one.name for one in fields(Sources))
_SEVERITY = 'hiv: {severity: 5, reason: "..."}'
_PATHS = (
    "data",
    "model",
    "reference",
    "vocabulary",
    "token_scheme",
    "sequences",
    "attribute_file",
    "canaries",
    "shadow",
)


@dataclass(frozen=True)
class Severity:
    """How grave it is that an attribute becomes known, 1 (hardly) to 5 (most), and why: declared by people."""

    severity: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """A checked plan. ``patients``: how many ordinary people, half of them members, or their pseudonyms or ids; ``holders``: how many
    members and how many non-members who hold each attribute test T2 asks about, drawn on top where these are fewer; ``attributes``:
    names, empty for all that the model has codes of; ``knowledge_of``: the knowledge level of the probes that ask at one only; ``priors``:
    shares of members among those an attacker would ask about; ``population``: how many people the data set's patients come from, None
    where that is not declared; ``price``: what questions cost, as declared; ``claimed_epsilon`` and ``claimed_delta``: the differential privacy that somebody claims of the model's training;
    ``shadow``: the folder of shadow models; ``identifying``: results name patients by pseudonym and every page
    of the report says so."""

    name: str
    sources: Sources
    patients: int | tuple[str, ...]
    holders: int
    probes: tuple[str, ...]
    knowledge_levels: tuple[str, ...]
    knowledge_of: Mapping[str, str]
    attributes: tuple[str, ...]
    severities: Mapping[str, Severity]
    priors: tuple[float, ...]
    seed: int
    identifying: bool
    population: int | None = None
    claimed_epsilon: float | None = None
    claimed_delta: float | None = None
    price: Price | None = None
    shadow: str | None = None
    named: str = ""

    def task(self, probe: Probe) -> dict[str, Any]:
        """The knowledge levels and options of one probe, for its ``Task``: of the plan's settings those that the probe has."""
        knowledge_levels = (
            (self.knowledge_of[probe.name],)
            if probe.one_level
            else self.knowledge_levels
            if probe.knowledge_levels
            else None
        )
        settings = {
            "attributes": self.attributes or None, "holders": self.holders, "priors": self.priors, "population": self.population,
            "claimed_epsilon": self.claimed_epsilon, "claimed_delta": self.claimed_delta, "shadow": self.shadow,
        }  # fmt: skip
        return given_to(
            probe, knowledge_levels, {name: value for name, value in settings.items() if name in probe.options}
        )

    def as_json(self) -> dict[str, object]:
        """The plan as plain data. Named patients are counted and hashed with this user's key: they may have been named by their ids."""
        content = {**asdict(self), "knowledge_of": dict(self.knowledge_of)}
        del content["named"]
        content["price"] = str(self.price) if self.price else None
        if self.claimed_epsilon is None:  # plans sealed before there were claims stay the same
            del content["claimed_epsilon"], content["claimed_delta"]
        if self.shadow is None:  # likewise
            del content["shadow"]
        if not isinstance(self.patients, int):
            content["patients"] = {"named": len(self.patients), "hash": self.named}
        return content

    @property
    def hash(self) -> str:
        """Changes with anything that the results depend on, and with the declared severities; not with folders' names: the data and
        the models are sealed by their own fingerprints."""
        content = self.as_json()
        if "shadow" in content:  # who was in training is in the answers' own seal
            content["shadow"] = True
        for name in ("sources", "name", "price"):  # a price changes no answer
            content.pop(name)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _probes(given: tuple[str, ...]) -> tuple[str, ...]:
    for name in given:
        renamed = next((probe.name for probe in probes().values() if name in probe.before), None)
        if renamed is not None:
            raise BadInput(f"the probe {name!r} is called {renamed!r} now.")
    return _once(given, "probes", probes())


def _knowledge_of(given: Mapping[str, object]) -> dict[str, str]:
    default = {name: probe.knowledge_levels[0] for name, probe in probes().items() if probe.one_level}
    if not isinstance(given, Mapping) or set(given) - set(default):
        raise BadInput(f"knowledge_of gives a knowledge level to {', '.join(default)}; got {shown(given)}.")
    return {**default, **{name: check_knowledge(knowledge) for name, knowledge in given.items()}}


def _scientific(given: object) -> object:
    """1e-5, which YAML takes for a text, as a number."""
    return (
        float(given)
        if isinstance(given, str) and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,9})?e-[0-9]{1,2}", given)
        else given
    )


def _filter(given: object) -> object:
    """A filter as the text that sources hold."""
    return read_filter(given, "output_filter: ").text if isinstance(given, Mapping | str) else given


_Text = Annotated[str, Field(pattern=r"\S"), expecting("a text (put quotes around it)")]
_Names = Annotated[Texts, expecting("a list of names, as in 'ehrmem audit --example'")]


class _Settings(Declared):
    """What a plan's file may say, beside single sources; what depends on several of them is checked in ``read_plan``."""

    what = "plan"
    name: _Text | None = None
    reference: (
        Annotated[
            list[_Text],
            Field(min_length=1),
            BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
            expecting("a model, or a list of at least one"),
        ]
        | None
    ) = None
    patients: Annotated[int, within(settings.PATIENTS)] | _Text = 400
    holders: Annotated[int, within(settings.HOLDERS)] | None = None
    probes: Annotated[_Names, AfterValidator(_probes)] | None = None
    knowledge_levels: Annotated[tuple[str, ...], PlainValidator(check_knowledge_levels)] = DEFAULT_LEVELS
    knowledge_of: Annotated[dict[str, str], PlainValidator(_knowledge_of), Field(validate_default=True)] = {}
    attributes: _Names = ()
    severity: object = None
    priors: Annotated[tuple[float, ...], PlainValidator(partial(settings.check_shares, name="priors"))] = (0.01, 0.1)
    output_filter: Annotated[_Text, BeforeValidator(_filter)] | None = None
    seed: Annotated[int, within(settings.SEED)] = 0
    identifying: bool = False
    population: Annotated[int, within(settings.POPULATION)] | None = None
    claimed_epsilon: Annotated[float, within(settings.EPSILON)] | None = None
    claimed_delta: Annotated[float, within(settings.DELTA), BeforeValidator(_scientific)] | None = None
    price: _Text | None = None
    shadow: _Text | None = None


_SOURCE: dict[str, Any] = {name: (_Text | None, None) for name in _SOURCES if name not in _Settings.model_fields}
_File = create_model("_File", __base__=_Settings, **_SOURCE)


def read_plan(path: str | Path, output_filter: str | None = None) -> Plan:
    """A plan from a YAML file; folders in it are relative to the file. ``output_filter``: in place of the file's own.

    Raises BadInput for a file that is none, a name that a plan does not have (with the one that may be meant), and any value
    that cannot be: all of them said before anything is asked.
    """
    path = Path(path)
    if not path.parent.name.startswith(OWN_FOLDER):
        refuse_all_but_samples(path)
    content = read_yaml_file(path, f"The plan {path.name}", hint=" 'ehrmem audit --example' prints one.")
    if not isinstance(content, dict):
        raise BadInput(f"The plan {path.name} must hold names and values. 'ehrmem audit --example' prints one.")
    for key in _File.model_fields:
        if content.get(key, "") is None:
            raise BadInput(f"{path.name}: {key} is empty. Give it a value, or leave the line out.")
    file = checked(_File, content, f"{path.name}: ")
    every = probes()
    chosen = every if file.probes is None else file.probes
    guards = [
        name for name, probe in every.items() if probe.confounding and name not in chosen
    ]  # comparisons rest on these
    given = {name: _beside(getattr(file, name), name, path) for name in _SOURCES}
    sources = given_sources(**given | ({"output_filter": output_filter} if output_filter else {}))
    attributes = attributes_with(sources.attribute_file)
    check_claim(file.claimed_epsilon, file.claimed_delta, f"{path.name}: ")
    patients = _read_patients(file.patients, path) if isinstance(file.patients, str) else file.patients
    named = ""
    if not isinstance(patients, int):  # with this user's key: they may have been named by their ids
        named = hmac.new(user_key(), "\n".join(patients).encode(), "sha256").hexdigest()[:16]
    holders = file.holders
    if holders is None:  # who names whom to ask about wants nobody else asked about, unless they say so
        holders = HOLDERS if isinstance(patients, int) else 0
    return Plan(
        named=named,
        name=path.stem if file.name is None else file.name,
        sources=sources,
        patients=patients,
        holders=holders,
        probes=tuple(name for name in every if name in (*chosen, *guards)),
        knowledge_levels=file.knowledge_levels,
        knowledge_of=file.knowledge_of,
        attributes=_once(file.attributes, "attributes", tuple(attributes), f"{path.name}: "),
        severities=_severities(file.severity, path, attributes),
        priors=file.priors,
        seed=file.seed,
        identifying=file.identifying,
        population=file.population,
        claimed_epsilon=file.claimed_epsilon,
        claimed_delta=file.claimed_delta,
        price=None if file.price is None else Price.read(file.price, f"{path.name}: price"),
        shadow=str(_beside(file.shadow, "shadow", path)) if file.shadow else None,
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
    refuse_all_but_samples(path)
    content = read_yaml_file(path, f"The severities {path.name}")
    return found | check_severities(content, path.name, known)


def check_severities(content: object, where: str, known: Collection[str] | None = None) -> dict[str, Severity]:
    """Severities from plain data, {attribute: {severity: 1 to 5, reason: words}}; BadInput for anything else."""
    known = load_attributes() if known is None else known
    if not isinstance(content, Mapping) or not content:
        raise BadInput(
            f"{where} must hold attributes, each with a severity (1 to 5) and a reason, such as {_SEVERITY}; got {shown(content)}."
        )
    found = {}
    for name, given in content.items():
        if name not in known:
            raise BadInput(f"{where}: there is no attribute {shown(name)}.{meant(name, known)}")
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
# reference: other_model     # a model that never saw these patients; without one no leak can be called memorized; [one, two]: their mean
# training_split: train      # the split that the model was trained on, and reference_training_split: where no training.json says it
# vocabulary: codes.parquet  # and token_scheme, sequences, endpoint: as 'ehrmem check --help' says
# attribute_file: own.yaml   # further sensitive attributes
# shadow: shadows             # the folder that 'ehrmem train --shadow' wrote: the membership attack LiRA
# output_filter: {top_k: 10, round_to: 0.01, suppress_below: 0.05}   # what a filter before the model would hide (docs: Output filters)
# canaries: planted.parquet  # the canaries that you planted, with the values that they could have held

patients: 400                # ordinary people, half of them members, or a file of pseudonyms; planted canaries come on top
holders: 25                  # T2 asks about so many members and non-members who hold each attribute, drawn on top (0: nobody is drawn)
{probes}
knowledge_levels: [demographics, one_lab, lab_values, first_10, first_20]      # what the attacker knows, step by step
{knowledge_of}   # where a test asks at one step only
attributes: []               # sensitive attributes asked about; empty: all that the model has codes of
# severity: severities.yaml  # {hiv: {severity: 5, reason: "..."}}: declared by people, never computed
priors: [0.01, 0.1]          # share of members among those an attacker would ask about
# population: 300000         # how many people the patients come from (a city, say): then the ranking says how many of them fit the facts
# claimed_epsilon: 3         # the differential privacy that is claimed of the training, and claimed_delta: 1e-5: held against coin-flipped canaries
# price: 0.50 EUR per 1000 questions   # or per 1000 codes: adds what an attack costs
seed: 0                      # same seed, same numbers
identifying: false           # true: for internal use, every page says that it names patients
"""


def example() -> str:
    """A commented plan for the sample patients, with all probes that are installed."""
    every = probes()
    knowledge_of = ", ".join(f"{name}: {probe.knowledge_levels[0]}" for name, probe in every.items() if probe.one_level)
    found = _EXAMPLE.replace("{probes}", f"probes: [{', '.join(every)}]")
    return found.replace("{knowledge_of}", f"knowledge_of: {{{knowledge_of}}}")


def _beside(given: str | list[str] | None, name: str, path: Path) -> str | list[str] | None:
    """A file or folder beside the plan, where there is one; else as it is named."""
    if isinstance(given, list):
        return [str(_beside(one, name, path)) for one in given]
    if given is None or name not in _PATHS or is_address(given):
        return given
    beside = path.parent / given
    return str(beside) if beside.exists() else given


def _read_patients(given: str, path: Path) -> tuple[str, ...]:
    refuse_all_but_samples(path.parent / given)
    lines = tuple(
        dict.fromkeys(read_text(path.parent / given, f"{path.name}: the file of patients {shown(given)}").split())
    )
    if not lines:
        raise BadInput(f"{path.name}: the file of patients {shown(given)} is empty.")
    return lines


def _once(given: tuple[str, ...], key: str, known: Collection[str], where: str = "") -> tuple[str, ...]:
    for place, name in enumerate(given):
        if name not in known:
            raise BadInput(f"{where}there is nothing called {shown(name)} among {key}.{meant(name, known)}")
        if name in given[:place]:
            raise BadInput(f"{where}{key} names {name} twice. Is another one meant?")
    return given


def _severities(given: object, path: Path, known: Mapping[str, SensitiveAttribute]) -> dict[str, Severity]:
    if given is None:
        return declared_severities(known=known)
    if isinstance(given, str):
        return declared_severities(path.parent / given, known)
    return declared_severities(known=known) | check_severities(given, f"{path.name}, severity", known)
