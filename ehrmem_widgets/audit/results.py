"""An audit's results as its report may show them: figures about the cohort, small counts withheld, no row about a patient.

Findings may hold tens of millions of rows, so that patients' rows are aggregated by DuckDB where they lie and never loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

import pandas as pd

from ehrmem_widgets import settings
from ehrmem_widgets.audit.run import FINDINGS, RESULTS, SEAL, SEVERITY, ProbeState, Results, Seal, What
from ehrmem_widgets.blackbox.checks import unknown_in_words
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.attributes import SensitiveAttribute, load_attributes
from ehrmem_widgets.cohort.dataset import NO_EXTENSIONS
from ehrmem_widgets.errors import BadInput, Damaged, said_by
from ehrmem_widgets.files import is_changed, opened, read_json
from ehrmem_widgets.findings.disclosure_control import disclosed
from ehrmem_widgets.findings.finding import EXCLUDED, FIGURES, PATIENTS, Finding, OtherVersion, check_table
from ehrmem_widgets.probes.people import CANARY, DRAWN, MEMBER, NON_MEMBER, NULL_CANARY, PAIRS
from ehrmem_widgets.probes.view import Headline, ProbeView
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.attack_cost import Pace
from ehrmem_widgets.statistics.disclosure import FEWEST, in_tens, is_small, rounded_n
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_cost import Means
from ehrmem_widgets.views.attack_ranking import AttackTable
from ehrmem_widgets.views.risk_matrix import Likelihood
from ehrmem_widgets.yaml_text import read_yaml_file

if TYPE_CHECKING:
    import duckdb

MEMORY = "700MB"  # for DuckDB


class _Version(TypedDict):
    """One version of the severities as it is kept."""

    by: str
    at: str
    severities: dict[str, dict[str, object]]


@dataclass(frozen=True)
class Severities:
    """One version of the declared severities: by whom, when, and for each attribute the severity (1 to 5) and its reason."""

    by: str
    at: str
    severity: Mapping[str, int]
    reason: Mapping[str, str]


class Cell(NamedTuple):
    """What a set of people is of: those of a group whom a probe asked about, or (``figure``, ``attribute``) those of them who have a figure of
    one attribute, and those who have not."""

    probe: str
    group: str
    figure: str = ""
    attribute: str = ""


@dataclass(frozen=True)
class Withheld:
    """What beside earlier reports may not be shown: whole ``probes``, ``attributes``, and of probes that keep no rows about people the ``parts``
    of the people asked about. ``because``: the earlier reports, in words."""

    probes: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    parts: bool = False
    because: tuple[str, ...] = ()

    @classmethod
    def of(cls, cells: Iterable[Cell], parts: bool, because: tuple[str, ...]) -> Withheld:
        """Where these sets of people are too near to those of earlier reports."""
        whole = frozenset(cell.probe for cell in cells if not cell.attribute)
        return cls(whole, frozenset(cell.attribute for cell in cells if cell.attribute), parts, because)

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.probes or self.attributes or self.parts)

    def holds(self, cell: Cell) -> bool:
        """Whether what is of these people is not shown."""
        return cell.probe in self.probes or cell.attribute in self.attributes


class AuditResults:
    """An audit's folder, read for its report. ``findings``: by probe, what ``disclosed`` lets through; the rest is computed when
    it is asked for. ``withheld``: what not to show, beside earlier reports (``releases.to_leave``).

    Raises BadInput for a folder that holds no audit.
    """

    def __init__(self, folder: str | Path, withheld: Withheld = Withheld()) -> None:
        self.folder, self.withheld = Path(folder), withheld
        self.results = _read_results(self.folder)
        self.people: Mapping[str, int] = self.results.get("people") or {}
        self.files = {name: path for name in probes() if (path := self.folder / FINDINGS / name).is_dir()}
        if old := sorted((self.folder / FINDINGS).glob("*.parquet")):
            raise BadInput(
                f"{str(self.folder)!r} holds findings of an earlier version ({old[0].name}). Run the audit again with this version, in "
                "another folder."
            )
        self._checked: set[tuple[str, str]] = set()
        self._values: dict[tuple[object, ...], pd.DataFrame] = {}
        shown = {name: self._disclosed(name) for name in self.files if name not in withheld.probes}
        self.findings = {name: found for name, found in shown.items() if not withheld.parts or len(found.figures)}
        self.files = {name: path for name, path in self.files.items() if name in self.findings}
        self.severities = _read_severities(self.folder / SEVERITY)
        self.seal = cast("Seal", _read_json(self.folder / SEAL))

    # What the audit was ----------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether all that was planned was done."""
        return bool(self.results.get("finished"))

    @property
    def identifying(self) -> bool:
        """Whether the plan declares an internal report that names patients by pseudonym."""
        return bool(self.results.get("identifying"))

    @property
    def made_up(self) -> bool:
        """Whether the data declare that no person stands behind any record."""
        return bool((self.results.get("data") or {}).get("synthetic"))

    def name_of(self, what: What) -> str:
        """The name of what was audited: of its ``data``, ``model`` or ``reference``; empty where there is none."""
        return str((self.results.get(what) or {}).get("name", ""))

    @property
    def runs(self) -> Mapping[str, ProbeState]:
        """What became of each probe of the plan, by name."""
        return {str(run["probe"]): run for run in self.results.get("runs") or ()}

    @property
    def people_shown(self) -> Mapping[str, str]:
        """How many of each group were asked about, as it may be shown."""
        return {group: in_tens(n) for group, n in self.people.items()}

    @property
    def holders(self) -> int:
        """How many members and non-members who hold each attribute were asked about where there are so many; 0: as it came."""
        return int((self.results.get("plan") or {}).get("holders") or 0)

    @cached_property
    def means(self) -> Means:
        """What an attacker's questions take: the model's pace as it was measured in the audit, and the price that the plan declares."""
        paces = {
            Query(kind): Pace(Estimate(**one["seconds"]), Estimate(**one["codes"]))
            for kind, one in (self.results.get("pace") or {}).items()
        }
        price = (self.results.get("plan") or {}).get("price")
        return Means(paces, settings.Price.read(price, "price") if price else None)

    @property
    def unknown_codes(self) -> str:
        """Which codes of the data the model does not know, in words: how many, and how often they occur; empty where it knows all."""
        found = (self.results.get("data") or {}).get("unknown_codes")
        return unknown_in_words(**found) if found and found["codes"] else ""

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each finding: of its files in the order of their names. Raises Damaged where a table is not as it was written, also one that
        the page does not need."""
        found = {}
        for name, folder in self.files.items():
            whole = hashlib.sha256()
            for path in sorted(folder.iterdir()):
                if path.suffix == ".parquet":
                    self._check(name, path.stem)
                with opened(path, str(path)) as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            found[name] = whole.hexdigest()
        return found

    def titles(self) -> dict[str, str]:
        """Attributes' names in words."""
        return {name: one.title for name, one in _declared().items()} | dict(self.results.get("attributes") or {})

    def title(self, attribute: str) -> str:
        """An attribute's name in words."""
        return self.titles().get(attribute, attribute.replace("_", " ").capitalize())

    # What was found --------------------------------------------------------------------------------------------------

    @cached_property
    def views(self) -> dict[str, ProbeView]:
        """How each probe that was run is shown."""
        return {name: probes()[name].view_type(probes()[name], self) for name in self.findings}

    @cached_property
    def headlines(self) -> dict[str, Headline]:
        """What each probe that was run says in one sentence."""
        return {name: view.headline() for name, view in self.views.items()}

    @cached_property
    def likelihoods(self) -> tuple[Likelihood, ...]:
        """Every attribute asked about at every knowledge level: its mean excess over the members who hold it, and over people never seen."""
        return tuple(one for view in self.views.values() for one in view.likelihoods())

    @property
    def attributes_asked(self) -> list[str]:
        """The sensitive attributes asked about, in order."""
        return list(dict.fromkeys(one.attribute for one in self.likelihoods))

    @cached_property
    def worst_level(self) -> str:
        """The knowledge level at which members' mean excess is largest; empty where it was not measured."""
        return next((view.worst_level for view in self.views.values() if view.likelihoods()), "")

    @cached_property
    def attacks(self) -> AttackTable | None:
        """What an attacker must know to have a member given away; None where that was not searched for."""
        return next((found for view in self.views.values() if (found := view.attacks()) is not None), None)

    @cached_property
    def exclusions(self) -> dict[str, list[str]]:
        """By probe: who was left out and why, in words; reasons of fewer than 11 people are put together without a number."""
        found = {}
        for name in self.files:
            rows = self.query(
                name,
                EXCLUDED,
                "SELECT words, count(DISTINCT patient) AS n FROM rows GROUP BY words ORDER BY n DESC, words",
            )
            found[name] = [
                f"{rounded_n(n):,} or more: {words}"
                for words, n in zip(rows["words"], rows["n"].tolist(), strict=True)
                if not is_small(n)
            ]
            if any(map(is_small, rows["n"].tolist())):
                found[name].append(
                    f"for {'other ' if found[name] else ''}reasons that concern fewer than {FEWEST} people each"
                )
        return {name: said for name, said in found.items() if said}

    def patient_values(self, name: str, where: Mapping[str, str]) -> pd.DataFrame:
        """patient, group and value of a test's rows about patients with the given values: to compare two audits person by person, never
        to be shown."""
        key = (name, *sorted(where.items()))
        if (found := self._values.get(key)) is None:
            conditions = "".join(f' AND "{column}" = ?' for column in where)
            query = f'SELECT patient, "group", value FROM rows WHERE isfinite(value){conditions}'
            found = self.query(name, PATIENTS, query, list(where.values()))
            if sum(map(len, self._values.values())) < _MOST_VALUES:  # asked again for each further audit
                self._values[key] = found
        return found

    @cached_property
    def group_of_people(self) -> dict[str, str]:
        """The group of everybody asked about, by pseudonym; never to be shown."""
        found: dict[str, str] = {}
        for name in self.files:
            rows = self.query(name, PATIENTS, 'SELECT DISTINCT patient, "group" FROM rows')
            found |= dict(rows.itertuples(index=False))
        trained = {
            patient: CANARY for patient, group in found.items() if group.startswith(CANARY) and group != NULL_CANARY
        }
        return found | trained

    def cells(self) -> dict[Cell, frozenset[str]]:
        """Of whom the figures are that the report shows, by pseudonym; never to be shown. Planted canaries are nobody."""
        groups = (MEMBER, NON_MEMBER)
        drawn_too = {name: self.query(name, PATIENTS, _ASKED, groups) for name in self.files}
        asked = {
            g: {p for rows in drawn_too.values() for p in rows[(rows["group"] == g) & ~rows["drawn"]]["patient"]}
            for g in groups
        }
        found: dict[Cell, frozenset[str]] = {}
        for name, shown in self.findings.items():
            left_out = set(self.query(name, EXCLUDED, "SELECT DISTINCT patient FROM rows")["patient"])
            found |= {Cell(name, group): frozenset(people - left_out) for group, people in asked.items()}
            of_figures = shown.figures["attribute"].unique().tolist()
            rows = self.query(name, PATIENTS, _OF_ATTRIBUTES, [*groups, of_figures])
            for (group, figure, attribute), people in rows.groupby(["group", "figure", "attribute"])["patient"]:
                cell = Cell(name, str(group), str(figure), str(attribute))
                found[cell] = frozenset(people)
                found[cell._replace(figure=f"others than {figure}")] = frozenset(asked[cell.group] - found[cell])
        return found

    @property
    def has_parts(self) -> bool:
        """Whether there are figures of parts of the people, of whom no rows are kept."""
        return any(not self._keeps_rows(name) and _of_parts(found).any() for name, found in self.findings.items())

    def _keeps_rows(self, name: str) -> bool:
        return len(self.query(name, PATIENTS, "SELECT 1 FROM rows LIMIT 1")) > 0

    # Reading ---------------------------------------------------------------------------------------------------------

    def query(self, name: str, table: str, query: str, given: Sequence[object] = ()) -> pd.DataFrame:
        """Ask one table of a probe's finding, as ``rows``: who was drawn as a holder stands with the group drawn from, having rows on
        the attributes drawn for and no others."""
        import duckdb

        self._check(name, table)
        source = _quoted(str(self.files[name] / f"{table}.parquet"))
        but = ", ".join(map(_quoted, ("no attribute", *sorted(self.withheld.attributes))))
        view = f"""CREATE OR REPLACE VIEW rows AS
            SELECT * REPLACE (replace("group", '{DRAWN}', '') AS "group"), ends_with("group", '{DRAWN}') AS drawn
            FROM read_parquet({source}) WHERE attribute NOT IN ({but})"""
        try:
            self._database.execute(view)
            return self._database.execute(query, list(given)).df()
        except duckdb.Error as error:
            raise _damaged(self.files[name], said_by(error)) from None

    def _check(self, name: str, table: str) -> None:
        if (name, table) not in self._checked:
            try:
                check_table(self.files[name], table)
            except BadInput as error:
                raise _damaged(self.files[name], str(error)) from None
            self._checked.add((name, table))

    def _disclosed(self, name: str) -> Finding:
        view = probes()[name].view_type
        found = _load_figures(self.files[name])
        shown = disclosed(found, view.rules, self.people, pairs=PAIRS, settings=view.settings)
        attributes = self.withheld.attributes
        if attributes:
            settings = {**shown.settings}
            if "attributes" in settings:
                settings["attributes"] = [one for one in settings["attributes"] if one not in attributes]
            shown = replace(
                shown, figures=shown.figures[~shown.figures["attribute"].isin(attributes)], settings=settings
            )
        if self.withheld.parts and not self._keeps_rows(name):
            shown = replace(shown, figures=shown.figures[~_of_parts(shown)])
        return shown

    @cached_property
    def _database(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        return duckdb.connect(
            config={**NO_EXTENSIONS, "memory_limit": MEMORY, "threads": 2, "lock_configuration": True}
        )


_MOST_VALUES = 1_000_000  # of people that are kept: some 100 MB
_ASKED = 'SELECT DISTINCT patient, "group", drawn FROM rows WHERE "group" IN (?, ?)'
_OF_ATTRIBUTES = """SELECT DISTINCT patient, "group", figure, attribute FROM rows
    WHERE "group" IN (?, ?) AND attribute <> '' AND attribute IN (SELECT unnest(?::VARCHAR[]))"""
_WHOLE = {MEMBER, NON_MEMBER, CANARY, NULL_CANARY, *PAIRS, ""}


def _of_parts(found: Finding) -> pd.Series:
    """(figures,) bool: about some of a group's people only, by an attribute or a subgroup."""
    whole = found.figures["group"].map(lambda group: set(re.split(" [-/] ", re.sub(r" x\d+", "", group))) <= _WHOLE)
    return (found.figures["attribute"] != "") | ~whole.astype(bool)


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _load_figures(folder: Path) -> Finding:
    """A finding with its figures about the cohort alone."""
    try:
        return Finding.load(folder, tables=(FIGURES,))
    except OtherVersion:
        raise BadInput(
            f"{str(folder.parent.parent)!r} holds the results of another version of this kit: run the audit again, into another folder."
        ) from None
    except BadInput as error:
        raise _damaged(folder, str(error)) from None


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(f"{path} is damaged ({why}). Remove it and give the same 'ehrmem audit' again: it is rebuilt.")


def _read_results(folder: Path) -> Results:
    results = _read_json(folder / RESULTS)
    if "plan" not in results or "runs" not in results:
        raise BadInput(
            f"{str(folder)!r} holds no audit ({RESULTS} is missing or is another file). Name the folder that 'ehrmem "
            "audit PLAN.yaml --out DIR' wrote."
        )
    if is_changed(results):
        raise _damaged(folder / RESULTS, "it was changed since it was written")
    return cast("Results", results)


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = read_json(path, path.name)
    except BadInput:
        return {}
    return content if isinstance(content, dict) else {}


def _read_severities(path: Path) -> tuple[Severities, ...]:
    """All versions, the oldest first; what the kit declares where there is no file."""
    if not path.exists():
        declared = _declared().values()
        return (
            Severities(
                "sensitive_attributes.yaml",
                "",
                {a.name: a.severity for a in declared},
                {a.name: a.reason for a in declared},
            ),
        )
    content = cast("list[_Version]", read_yaml_file(path, f"The severities {path.name}"))  # refused below if it is not
    try:
        versions = tuple(
            Severities(
                str(one["by"]),
                str(one["at"]),
                {
                    str(name): settings.SEVERITY.check(said["severity"], f"{path.name}: the severity of {name}")
                    for name, said in one["severities"].items()
                },
                {str(name): _reason(str(name), str(said["reason"])) for name, said in one["severities"].items()},
            )
            for one in content
        )
    except (KeyError, TypeError, AttributeError):
        versions = ()
    if not versions:
        raise BadInput(
            f"The severities {path.name} must be a list of at least one version, each with by, at and severities."
        )
    return versions


@cache
def _declared() -> Mapping[str, SensitiveAttribute]:
    """The attributes that the kit declares; reading them takes a tenth of a second."""
    return load_attributes()


def _reason(attribute: str, given: str) -> str:
    """The reason as given; where it points at the file of attributes, the one that stands there."""
    declared = _declared().get(attribute)
    return declared.reason if declared is not None and "sensitive_attributes.yaml" in given else given
