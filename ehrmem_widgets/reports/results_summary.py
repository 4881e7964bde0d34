"""An audit's results as its report may show them: figures about the cohort, small counts withheld, no row about a patient.

Findings may hold tens of millions of rows, so that patients' rows are aggregated by DuckDB where they lie and never loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.audit.run import FINDINGS, RESULTS, SEAL, SEVERITY
from ehrmem_widgets.cohort.attributes import SensitiveAttribute, load_attributes
from ehrmem_widgets.errors import BadInput, Damaged
from ehrmem_widgets.findings.finding import CURVES, EXCLUDED, FIGURES, PATIENTS, Finding
from ehrmem_widgets.probes.holders import DRAWN
from ehrmem_widgets.probes.membership_scores import LOSS, RATIO
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.questions import QUESTIONS
from ehrmem_widgets.probes.ranking import GIVEN_AWAY, SEARCH, THRESHOLD
from ehrmem_widgets.probes.subgroup_findings import SubgroupRow, subgroup_rows
from ehrmem_widgets.reports.disclosure_control import disclosed
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    coarse_share,
    hidden_cells,
    hidden_counts,
    is_small,
    rounded_n,
    with_totals,
)
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_ranking import FITS, AttackRow, AttackTable
from ehrmem_widgets.views.moved_identifiers import AUDITED, NEVER_SEEN
from ehrmem_widgets.views.rank_ladder import rung_words
from ehrmem_widgets.views.risk_matrix import Likelihood
from ehrmem_widgets.yaml_text import read_yaml_file

MEMORY = "700MB"  # for DuckDB
_SPLIT = {
    "membership": "score",
    "excess": "largest_excess",
}  # what is split by subgroup, by its name in ``views.subgroup_page``
NO_CODE = "the model has no code of it"
_MOST_STEPS = 3
_MOST_WITHHELD = 0.5  # of the kinds of attack's numbers


@dataclass(frozen=True)
class Severities:
    """One version of the declared severities: by whom, when, and for each attribute the severity (1 to 5) and its reason."""

    by: str
    at: str
    severity: Mapping[str, int]
    reason: Mapping[str, str]


class AuditResults:
    """An audit's folder, read for its report. ``findings``: by probe, what ``disclosed`` lets through; the rest is computed when
    it is asked for.

    Raises BadInput for a folder that holds no audit.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.results = _read_results(self.folder)
        self.people: Mapping[str, int] = self.results.get("people") or {}
        self.files = {name: path for name in QUESTIONS if (path := self.folder / FINDINGS / name).is_dir()}
        self.findings = {name: disclosed(name, _load_figures(path), self.people) for name, path in self.files.items()}
        self.severities = _read_severities(self.folder / SEVERITY)
        self.seal = _read_json(self.folder / SEAL)

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
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """What became of each probe of the plan, by name."""
        return {str(run["probe"]): run for run in self.results.get("runs") or ()}

    @property
    def people_shown(self) -> Mapping[str, str]:
        """How many of each group were asked about, as it may be shown."""
        return {group: f"fewer than {FEWEST}" if is_small(n) else f"{n:,}" for group, n in self.people.items()}

    @property
    def holders(self) -> int:
        """How many members and non-members who hold each attribute were asked about where there are so many; 0: as it came."""
        return int((self.results.get("plan") or {}).get("holders") or 0)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each finding: of its files in the order of their names."""
        found = {}
        for name, folder in self.files.items():
            whole = hashlib.sha256()
            for path in sorted(folder.iterdir()):
                with path.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            found[name] = whole.hexdigest()
        return found

    def titles(self) -> dict[str, str]:
        """Attributes' names in words."""
        return {name: one.title for name, one in _declared().items()}

    def title(self, attribute: str) -> str:
        """An attribute's name in words."""
        return self.titles().get(attribute, attribute.replace("_", " ").capitalize())

    # What was found --------------------------------------------------------------------------------------------------

    @cached_property
    def likelihoods(self) -> tuple[Likelihood, ...]:
        """Every attribute asked about at every rung: its mean excess over the members who hold it, and over people never seen."""
        found = self.findings.get("attribute")
        if found is None:
            return ()
        names = list(found.settings.get("attributes") or ())
        rungs = list(found.settings.get("rungs") or ())
        rows = self._query(
            "attribute",
            PATIENTS,
            """SELECT rung, attribute, "group", value, verdict = ? AS memorized
            FROM rows WHERE figure = 'excess' AND "group" IN (?, ?)""",
            [str(Verdict.MEMORIZED), MEMBER, NON_MEMBER],
        )
        by = dict(list(rows.groupby(["rung", "attribute", "group"])))
        return tuple(
            one
            for rung in rungs
            for one in (
                *(self._likelihood(by, name, rung) for name in names),
                *(Likelihood(name, self.title(name), rung, None, why=NO_CODE) for name in self.without_code),
            )
        )

    @property
    def without_code(self) -> tuple[str, ...]:
        """Attributes that T2 could not ask about: the model has no code of them."""
        found = self.findings.get("attribute")
        return () if found is None else tuple(found.settings.get("without_code") or ())

    def _likelihood(self, by: Mapping[Any, pd.DataFrame], name: str, rung: str) -> Likelihood:
        member, other = by.get((rung, name, MEMBER)), by.get((rung, name, NON_MEMBER))
        excess = _mean(member)
        why = ""
        if excess is None:
            why = "there is no reference model" if not by else "no member asked about holds it"
            why = why if member is None else f"fewer than {FEWEST} members hold it"
        shares = None if member is None else coarse_share(proportion(int(member["memorized"].sum()), len(member)))
        return Likelihood(name, self.title(name), rung, excess, _mean(other), shares, why)

    @cached_property
    def worst_rung(self) -> str:
        """The rung at which members' mean excess is largest; empty where it was not measured."""
        found = self.findings.get("attribute")
        if found is None:
            return ""
        rows = found.about("figures", figure="excess_risk", group=MEMBER)
        rows = rows[rows["value"].notna()]
        return (
            str(rows.loc[rows["value"].idxmax(), "rung"])
            if len(rows)
            else next(iter(found.settings.get("rungs", ())), "")
        )

    @cached_property
    def attacks(self) -> AttackTable | None:
        """What an attacker must know to have a member given away; None where the ranking was not run."""
        found = self.findings.get("ranking")
        if found is None or not self._can_rank:
            return None
        leaks = self._query(
            "ranking",
            PATIENTS,
            """SELECT patient, max(value) FILTER (figure = 'bits') AS bits, max(value) FILTER (figure = 'k') AS k,
            max(rung) FILTER (figure = 'bits') AS way, bool_or(verdict = ?) AS identified
            FROM rows WHERE figure IN ('bits', 'k') AND "group" = ? GROUP BY patient, attribute""",
            [ALREADY_IDENTIFIED, MEMBER],
        )
        cheapest = leaks.sort_values(["bits", "k"], kind="stable").drop_duplicates("patient")
        table = _attack_table(cheapest, self._holders_asked, float(found.settings.get("threshold", THRESHOLD)))
        null = found.about("figures", figure=GIVEN_AWAY, group=NON_MEMBER).to_dict("records")
        population = found.settings.get("population")
        return replace(
            table,
            never_seen=Estimate(*(null[0][name] for name in ("value", "low", "high", "n"))) if null else None,
            population=population,
            identified=_identified(cheapest) if population else None,
        )

    @cached_property
    def exclusions(self) -> dict[str, list[str]]:
        """By probe: who was left out and why, in words; reasons of fewer than 11 people are put together without a number."""
        found = {}
        for name in self.files:
            rows = self._query(
                name,
                EXCLUDED,
                "SELECT words, count(DISTINCT patient) AS n FROM rows GROUP BY words ORDER BY n DESC, words",
            )
            hidden: Sequence[bool] = hidden_counts(rows["n"].to_numpy(), []).tolist()
            found[name] = [
                f"{rounded_n(int(n)):,} or more: {words}"
                for words, n, hide in zip(rows["words"], rows["n"], hidden, strict=True)
                if not hide
            ]
            if any(hidden):
                found[name].append(
                    f"for {'other ' if found[name] else ''}reasons that concern fewer than {FEWEST} people each"
                )
        return {name: said for name, said in found.items() if said}

    @cached_property
    def moved(self) -> pd.DataFrame:
        """The mean curve of each identifier that was moved, as ``views.moved_identifiers`` draws it."""
        columns = ["identifier", "who", "step", "value", "low", "high", "n"]
        if "perturbation" not in self.findings:
            return pd.DataFrame(columns=columns)
        rows = self._query(
            "perturbation",
            CURVES,
            """WITH steps AS (
                SELECT figure, "group" AS who, value, step,
                    median(value) FILTER (step <> 0) OVER (PARTITION BY patient, figure) AS level
                FROM rows WHERE model = 'audited' AND "group" IN (?, ?))
            SELECT figure, who, step, count(*) AS n, avg(value - level) AS value, stddev_samp(value - level) AS spread
            FROM steps WHERE abs(step) <= ? GROUP BY figure, who, step ORDER BY figure, who, step""",
            [MEMBER, NON_MEMBER, _MOST_STEPS],
        )
        rows = rows[rows["n"] >= FEWEST]
        reach = _t(rows["n"].to_numpy()) * rows["spread"].to_numpy() / np.sqrt(rows["n"].to_numpy())
        return pd.DataFrame(
            {
                "identifier": rows["figure"],
                "who": np.where(rows["who"] == MEMBER, AUDITED, NEVER_SEEN),
                "step": rows["step"].astype(int),
                "value": rows["value"].round(2),
                "low": (rows["value"] - reach).round(2),
                "high": (rows["value"] + reach).round(2),
                "n": [rounded_n(int(n)) for n in rows["n"]],
            },
            columns=columns,
        )

    @cached_property
    def subgroups(self) -> dict[str, tuple[SubgroupRow, ...]]:
        """What was split by subgroup: "membership" (the score) and "excess" (the largest excess risk), the rows of each."""
        found = self.findings.get("subgroups")
        if found is None:
            return {}
        split = {}
        for name, figure in _SPLIT.items():
            table = found.figures[found.figures["figure"].str.endswith(f":{figure}")]
            if name == "membership":
                table = table[table["attribute"].isin([RATIO, LOSS])]
            if len(table):
                split[name] = subgroup_rows(replace(found, figures=table))
        return split

    def patients_shown(self) -> Finding | None:
        """The ranking with its rows about patients, for a report that the plan declares as identifying; else None."""
        if not self.identifying or "ranking" not in self.files:
            return None
        return Finding.load(self.files["ranking"])

    def patient_values(self, name: str, where: Mapping[str, str]) -> pd.DataFrame:
        """patient, group and value of a test's rows about patients with the given values: to compare two audits person by person, never
        to be shown."""
        conditions = "".join(f' AND "{column}" = ?' for column in where)
        query = f'SELECT patient, "group", value FROM rows WHERE isfinite(value){conditions}'
        return self._query(name, PATIENTS, query, list(where.values()))

    # Reading ---------------------------------------------------------------------------------------------------------

    @property
    def _can_rank(self) -> bool:
        return bool(self.results.get("reference"))

    @cached_property
    def _holders_asked(self) -> int:
        """Members asked about in the ranking who hold an attribute: all members but those who were left out."""
        left_out = self._query("ranking", EXCLUDED, "SELECT DISTINCT patient FROM rows")["patient"]
        group: dict[str, str] = {}
        for name in self.files:
            group |= dict(
                self._query(name, PATIENTS, 'SELECT DISTINCT patient, "group" FROM rows').itertuples(index=False)
            )
        out = sum(group.get(patient) == MEMBER for patient in left_out)
        return max(0, self.people.get(MEMBER, 0) - out)

    def _query(self, name: str, table: str, query: str, given: Sequence[Any] = ()) -> pd.DataFrame:
        """Ask one table of a probe's finding, as ``rows``: who was drawn as a holder stands with the group drawn from, having rows on
        the attributes drawn for and no others."""
        source = str(self.files[name] / f"{table}.parquet").replace("'", "''")
        self._database.execute(
            f"""CREATE OR REPLACE VIEW rows AS SELECT * REPLACE (replace("group", '{DRAWN}', '') AS "group")
            FROM read_parquet('{source}')"""
        )
        return self._database.execute(query, list(given)).df()

    @cached_property
    def _database(self) -> Any:
        import duckdb

        return duckdb.connect(config={"memory_limit": MEMORY, "threads": 2})


def knows(rung: str) -> str:
    """What the attacker knows at a rung, within a sentence.

    >>> knows("demographics"), knows("first_10")
    ('demographics', 'the first 10 codes')
    """
    words = rung_words(rung)
    return words if words[:2].isupper() else words[:1].lower() + words[1:]


def way_words(way: str) -> str:
    """A kind of attack, as the ranking names it, in words."""
    return "A few facts chosen to take the least knowledge" if way == SEARCH else rung_words(way)


def _attack_table(cheapest: pd.DataFrame, asked: int, threshold: float) -> AttackTable:
    """``cheapest``: one row a patient, columns bits, k, way."""
    bits = cheapest.groupby("way")["bits"].median().sort_values(kind="stable")
    places = [bits.index.get_loc(way) for way in cheapest["way"]]
    classes = [next(i for i, (least, _) in enumerate(FITS) if k >= least) for k in cheapest["k"]]
    counts = np.zeros((len(bits), len(FITS)), dtype=int)
    np.add.at(counts, (places, classes), 1)
    if hidden_cells(counts)[:-1, :-1][counts > 0].mean() > _MOST_WITHHELD if len(counts) else True:
        counts = counts.sum(axis=0, keepdims=True)  # the totals alone, or hardly a number would be left
    whole = with_totals(counts)[:-1] if len(counts) == 1 else with_totals(counts)
    hidden = hidden_cells(counts)[: len(whole)]

    def row(place: int, words: str, median: float) -> AttackRow:
        cells = [None if hide else int(n) for n, hide in zip(whole[place], hidden[place], strict=True)]
        total = cells.pop()
        share = None if total is None or asked < FEWEST else coarse_share(proportion(total, asked))
        return AttackRow(words, tuple(cells), total, share, median if total is not None and total >= FEWEST else None)

    kinds = tuple(way_words(str(way)) for way in bits.index)
    rows = tuple(row(place, kinds[place], float(bits.iloc[place])) for place in range(len(whole) - 1))
    every = float(cheapest["bits"].median()) if len(cheapest) else math.nan
    return AttackTable(
        kinds, rows, row(len(whole) - 1, "Any of these" if rows else "Any attack", every), asked, threshold
    )


def _identified(cheapest: pd.DataFrame) -> Estimate | None:
    """The share of those given away who were identified already; None where the rest of those unique in the data set, or anybody else,
    would be a count of 1 to 10 people."""
    identified, unique = int(cheapest["identified"].sum()), int((cheapest["k"] <= 1).sum())
    if is_small(unique - identified) or len(cheapest) < FEWEST:
        return None
    return coarse_share(proportion(identified, len(cheapest)))


def _mean(rows: pd.DataFrame | None) -> Estimate | None:
    if rows is None or len(rows) < FEWEST:
        return None
    found = mean_with_interval(rows["value"].to_numpy(float), bounds=(-1.0, 1.0))
    return Estimate(found.value, found.low, found.high, rounded_n(found.n))


def _t(n: np.ndarray) -> np.ndarray:
    from scipy import stats

    return np.asarray(stats.t.ppf(0.975, n - 1))


def _load_figures(folder: Path) -> Finding:
    """A finding with its figures about the cohort alone."""
    try:
        return Finding.load(folder, tables=(FIGURES,))
    except BadInput as error:
        raise _damaged(folder, str(error)) from None


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(f"{path} is damaged ({why}). Remove it and give the same 'ehrmem audit' again: it is made anew.")


def _read_results(folder: Path) -> dict[str, Any]:
    results = _read_json(folder / RESULTS)
    if "plan" not in results or "runs" not in results:
        raise BadInput(
            f"{str(folder)!r} holds no audit ({RESULTS} is missing or is another file). Name the folder that 'ehrmem "
            "audit PLAN.yaml --out DIR' wrote."
        )
    return results


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
    content = read_yaml_file(path, f"The severities {path.name}")
    try:
        return tuple(
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
        raise BadInput(
            f"The severities {path.name} must be a list of versions, each with by, at and severities."
        ) from None


@cache
def _declared() -> Mapping[str, SensitiveAttribute]:
    """The attributes that the kit declares; reading them takes a tenth of a second."""
    return load_attributes()


def _reason(attribute: str, given: str) -> str:
    """The reason as given; where it points at the file of attributes, the one that stands there."""
    declared = _declared().get(attribute)
    return declared.reason if declared is not None and "sensitive_attributes.yaml" in given else given
