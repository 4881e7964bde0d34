"""T6 Subgroups: are some groups memorized more than others? Any probe's patient figures, split by subgroup.

A difference between subgroups is not memorization by itself: old people's records may be easier to predict. So where there
are non-members, what is tested is the difference in differences: members minus non-members inside the subgroup, less the
same outside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ehrmem_widgets.cohort.codes import Kind, parse_code
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import (
    Exclusion,
    Finding,
    FindingRow,
    RowOptions,
    Where,
    excluded_row,
    finding,
    row,
)
from ehrmem_widgets.probes.attribute.ask import LARGEST_EXCESS, LARGEST_LEAK
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.scores import headline
from ehrmem_widgets.probes.needs import Can, reference
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.statistics.discrimination import NOTHING, difference_of_means, mean_with_interval
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm
from ehrmem_widgets.statistics.verdicts import (
    ALARM_RATE,
    LEAK_MARGIN,
    Judgement,
    ProbeKind,
    Verdict,
    judge_cohort,
)
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes

FEWEST = 11
"""Cells of fewer patients are not shown (methods, section 4, T6)."""

KINDS = ("age", "sex", "race", "code", "labs", "holds")
"""What people are divided by: each subgroup is named ``KIND: VALUE``."""

_PARTITIONS = ("age", "sex", "race")  # everybody is in one of their subgroups
_AGES = (
    (0, 17, "under 18"),
    (18, 44, "18 to 44"),
    (45, 64, "45 to 64"),
    (65, 84, "65 to 84"),
    (85, 999, "85 and over"),
)
_NOT_RECORDED = "not recorded"
NAME = "subgroups"
HIDDEN = "small_cell"
_RARE, _UNIQUE_LABS = "code: one that no other record has", "labs: a first lab day like no other"
_LEAKS = ("excess", LARGEST_EXCESS, "leak", LARGEST_LEAK)
_BY = ["figure", "attribute", "model", "knowledge"]


def subgroups_of(dataset: MedsDataset, ids: Sequence[int] | None = None) -> pd.DataFrame:
    """Who belongs where: one row per patient (by id), one bool column per subgroup, named ``KIND: VALUE``. None: everybody.

    Age (years at the last event) in bands, sex, race and ethnicity as recorded among the static codes (``RACE//...``,
    ``ETHNICITY//...``), holders of a code that occurs in one record of the data set, those whose set of tests on their first
    lab day nobody else in the data set has, and holders of each sensitive attribute. A column may be empty.
    """
    patients = dataset.patients if ids is None else dataset.patients_of(ids)
    found: dict[str, np.ndarray] = {}
    age = pd.to_numeric(patients["age"]).to_numpy(float, na_value=math.nan)
    for first, last, name in _AGES:
        found[f"age: {name}"] = (age >= first) & (age <= last)
    found |= _by_value("sex", {i: {v} for i, v in patients["sex"].items() if isinstance(v, str) and v}, patients.index)
    found |= _by_value("race", _race(dataset, patients.index), patients.index)
    if np.isnan(age).any():
        found[f"age: {_NOT_RECORDED}"] = np.isnan(age)
    found[_RARE] = patients.index.isin(_holders_of_a_rare_code(dataset))
    found[_UNIQUE_LABS] = patients.index.isin(_unique_labs(dataset))
    for name, attribute in dataset.attributes.items():
        if attribute.own_value is None:
            found[f"holds: {attribute.title}"] = np.array([name in held for held in patients["attributes"]], dtype=bool)
    table = pd.DataFrame(found, index=patients.index, dtype=bool)
    return table[sorted(table, key=lambda name: KINDS.index(name.split(": ")[0]))]


def subgroups(
    found: Finding,
    dataset: MedsDataset,
    *,
    figure: str | Sequence[str] | None = None,
    group_by: Sequence[str] | None = None,
    confounded: Judgement | None = None,
) -> Finding:
    """Split the patient figures of any probe's finding by subgroup. ``confounded``: why members and non-members cannot be compared.

    ``figure`` names those to split (None: all), ``group_by`` some of ``KINDS`` (None: all). Where a patient has
    several values of a figure, by attribute, each attribute is split by itself. Planted canaries are left out, counted.

    Cohort rows, ``group`` the subgroup: ``mean:FIGURE`` over its members (t-interval), ``gap:FIGURE`` to all other members
    (Welch), ``difference:FIGURE``, how far the gap between members and non-members inside the subgroup exceeds that outside it
    (Welch-Satterthwaite over the four cells), and ``screening:FIGURE`` (``p_adjusted`` is Benjamini-Hochberg's, no value). One
    test a subgroup and figure: the difference where there are non-members at all, else the gap; ``p_adjusted`` is Holm's over
    all of them, whatever the figure. Two-sided.

    A cell of 1 to 10 patients is not shown, and neither is one whose complement is that small, nor, where a division into age
    bands, sexes or races would leave the hidden ones to be had by subtraction, its next smallest: such rows stay, without a
    figure and with n = 0. Raises BadInput for a figure or kind that is not there.
    """
    kinds = tuple(KINDS if group_by is None else group_by)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise BadInput(f"People are divided by {', '.join(KINDS)}; got {', '.join(unknown)}.")
    rows: list[FindingRow] = [{"table": "excluded", **one} for one in found.excluded.to_dict("records")]
    values, left_out = _values(found, figure, dataset)
    rows += left_out
    belongs = subgroups_of(dataset, sorted(set(values["id"])))
    belongs = belongs[[name for name in belongs if name.split(": ")[0] in kinds]]
    with_non_members = bool((values["group"] == NON_MEMBER).any())
    cells: list[_Cell] = []
    for key, its in values.groupby(_BY, sort=False):
        cells += _cells(dict(zip(_BY, key, strict=True)), its, belongs, with_non_members, confounded)
    tested = np.array([cell.p for cell in cells])
    for cell, adjusted, q in zip(cells, holm(tested), benjamini_hochberg(tested), strict=True):
        rows += cell.rows(float(adjusted), float(q), len(cells))
    settings = {**found.settings, "of": found.probe, "divided_by": list(kinds), "fewest": FEWEST}
    n = int(np.isfinite(tested).sum())
    return finding(NAME, rows, settings, _sentences(cells, n, with_non_members))


class Subgroups(ProbeRun):
    """Two findings by subgroup, as one family of tests: the membership score (T4; the ratio to the reference model, or without
    one the loss), and each patient's largest excess risk at the knowledge level (T2; without a reference model the largest leak; left out where the model
    has no code of any attribute). It asks nothing itself."""

    doing = "subgroups"
    asks = False
    needs = (reference(Can.IN_PART, "only membership scores are divided"),)

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self.records = ()

    @classmethod
    def builds_on(cls, probe: Probe, task: Task) -> tuple[str, ...]:
        """Where the model has no code of any attribute, the membership score alone."""
        asked = AttributeCodes(task.model.vocabulary, task.dataset.attributes, (), task.dataset.descriptions)
        return probe.builds_on if asked.default_names() else probe.builds_on[:1]

    def ask(self, records: list[Record]) -> Rows:
        """No model is asked."""
        return []

    def judge(self, answers: Rows) -> Finding:
        """The figures of both findings, split."""
        task = self.task
        scored, knowledge = one_score(task.earlier["membership"]), task.knowledge_levels[0]
        tables = [scored.patients]
        if (leaks := task.earlier.get("attribute")) is not None:
            largest = LARGEST_LEAK if task.reference is None else LARGEST_EXCESS
            tables.append(leaks.about("patients", figure=largest, knowledge=knowledge))
        both = replace(scored, patients=pd.concat(tables, ignore_index=True))
        return subgroups(both, task.dataset, group_by=task.options["group_by"], confounded=task.confounded)


def one_score(found: Finding) -> Finding:
    """T4's finding with one figure of patients: the score at which its verdict stands."""
    return replace(found, patients=found.about("patients", attribute=headline(found.patients["attribute"])))


class _Cell:
    """One figure in one subgroup."""

    def __init__(
        self,
        about: Mapping[str, str],
        name: str,
        four: dict[str, np.ndarray],
        shown: dict[str, bool],
        confounded: Judgement | None,
    ) -> None:
        self.about, self.name, self.confounded = about, name, confounded
        inside, outside = four["member in"], four["member out"]
        self.others = len(four.get("non-member in", ()))
        self.kind, self.margin = _margin(about["figure"], four)
        self.n, self.shown = len(inside), shown[MEMBER]
        self.mean = self.gap = self.difference = NOTHING
        self.p, self.with_non_members = math.nan, NON_MEMBER in shown
        if not self.shown or not self.n:
            return
        self.mean = mean_with_interval(inside)
        self.gap, p_gap = difference_of_means(inside, outside), _contrast([inside, outside], [1, -1])[1]
        if not self.with_non_members:
            self.p = p_gap
        elif shown[NON_MEMBER]:
            cells = [inside, four["non-member in"], outside, four["non-member out"]]
            self.difference, self.p = _contrast(cells, [1, -1, -1, 1])

    @property
    def what(self) -> str:
        """The figure in words."""
        return " ".join(word for word in (self.about["figure"], self.about["attribute"]) if word)

    @property
    def effect(self) -> Estimate:
        """What is tested."""
        return self.difference if self.with_non_members else self.gap

    def judge(self, adjusted: float, tests: int) -> Judgement:
        """The verdict on the subgroup, one of so many ``tests``."""
        if not self.shown:
            words = f"<{FEWEST}: fewer than {FEWEST} patients, or so few outside it, or others to be had by subtraction: not shown."
            return Judgement(Verdict.CANNOT_CONCLUDE, HIDDEN, words)
        if not self.n:
            return Judgement(Verdict.CANNOT_CONCLUDE, "nobody", "none of the members is in this subgroup.")
        if not math.isfinite(self.p):
            return Judgement(
                Verdict.CANNOT_CONCLUDE,
                "too_few",
                f"too few people (members or non-members, inside or outside; at least {FEWEST} each) to compare.",
            )
        if not self.with_non_members:
            compared = "members in it differ from other members by {effect}"
            reason = "without non-members this may be a difference between populations"
            words, facts = f"{compared}, but {reason}.", {"effect": self.effect}
            return Judgement(Verdict.CANNOT_CONCLUDE, "no_non_members", words, facts, self.p)
        if adjusted <= ALARM_RATE and self.effect.high < 0:
            words = (
                "members stand out from non-members by {effect} more than elsewhere: less is memorized of this subgroup, which is no "
                "evidence that nothing is."
            )
            return Judgement(Verdict.CANNOT_CONCLUDE, "less", words, {"effect": self.effect}, self.p)
        return judge_cohort(
            self.effect,
            adjusted,
            margin=self.margin,
            kind=self.kind,
            members=self.n,
            non_members=self.others,
            fewest=FEWEST,
            what="by how much members stand out from non-members, more than elsewhere:",
            confounded=self.confounded,
            tests=tests,
        )

    def rows(self, adjusted: float, q: float, tests: int) -> Iterator[FindingRow]:
        """The table's rows."""
        figure, of = self.about["figure"], self.about
        about: Where = {
            "model": of["model"], "attribute": of["attribute"], "knowledge": of["knowledge"], "group": self.name,
        }  # fmt: skip
        said: RowOptions = {**about, "p": self.p, "p_adjusted": adjusted, "judgement": self.judge(adjusted, tests)}
        tested = "difference" if self.with_non_members else "gap"
        for kind, estimate in (("mean", self.mean), ("gap", self.gap), ("difference", self.difference)):
            if kind != "difference" or self.with_non_members:
                more: RowOptions = said if kind == tested else {**about, "reason": "" if self.shown else HIDDEN}
                yield row(f"{kind}:{figure}", estimate, **more)
        yield row(f"screening:{figure}", n=self.effect.n, p=self.p, p_adjusted=q, **about)


def _margin(figure: str, four: dict[str, np.ndarray]) -> tuple[ProbeKind, float]:
    """What a figure is and the difference that matters: of a leak in its own unit; of anything else two tenths of a standard deviation
    among people never seen (a small effect; Cohen 1988), and then it is a detector, for which no subgroup was planted."""
    if figure in _LEAKS:
        return ProbeKind.MEASURE, LEAK_MARGIN
    never = np.concatenate([four["non-member in"], four["non-member out"]])
    return ProbeKind.DETECTOR, 0.2 * float(np.std(never, ddof=1)) if len(never) > 1 else 0.0


def _cells(
    about: dict[str, str],
    its: pd.DataFrame,
    belongs: pd.DataFrame,
    with_non_members: bool,
    confounded: Judgement | None,
) -> Iterator[_Cell]:
    inside = belongs.loc[its["id"]].to_numpy()
    value, group = its["value"].to_numpy(), its["group"].to_numpy()
    groups = [MEMBER, NON_MEMBER] if with_non_members else [MEMBER]
    hidden = {g: _hidden(list(belongs), inside[group == g]) for g in groups}
    for column, name in enumerate(belongs):
        four = {
            f"{g} {where}": value[(group == g) & (inside[:, column] == (where == "in"))]
            for g in (MEMBER, NON_MEMBER)
            for where in ("in", "out")
        }
        yield _Cell(about, name, four, {g: name not in hidden[g] for g in groups}, confounded)


def _hidden(names: list[str], inside: np.ndarray) -> set[str]:
    """The subgroups not to be shown of some people; ``inside`` is (people, subgroups)."""
    sizes = dict(zip(names, inside.sum(axis=0).tolist(), strict=True))
    total = len(inside)
    hidden = {name for name, n in sizes.items() if 0 < n < FEWEST or 0 < total - n < FEWEST}
    for kind in _PARTITIONS:
        parts = sorted((n, name) for name, n in sizes.items() if name.startswith(f"{kind}: ") and n)
        while True:
            small = [n for n, name in parts if name in hidden]
            rest = [name for _, name in parts if name not in hidden]
            if not small or not rest or (len(small) > 1 and sum(small) >= FEWEST):
                break
            hidden.add(rest[0])
    return hidden


def _contrast(cells: Sequence[np.ndarray], signs: Sequence[int]) -> tuple[Estimate, float]:
    """A signed sum of means: its interval and two-sided p, each cell with its own variance (Welch 1947, Satterthwaite 1946).
    ``NOTHING`` where a cell has fewer than two."""
    from scipy import stats

    if min(map(len, cells)) < 2:
        return NOTHING, math.nan
    n = sum(map(len, cells))
    value = float(sum(sign * cell.mean() for sign, cell in zip(signs, cells, strict=True)))
    parts = np.array([cell.var(ddof=1) / len(cell) for cell in cells])
    error = math.sqrt(parts.sum())
    if error == 0:
        return Estimate(value, value, value, n), 1.0 if math.isclose(value, 0, abs_tol=1e-12) else 0.0
    freedom = parts.sum() ** 2 / sum(part**2 / (len(cell) - 1) for part, cell in zip(parts, cells, strict=True))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Estimate(value, value - reach, value + reach, n), float(2 * stats.t.sf(abs(value) / error, freedom))


def _values(
    found: Finding, figure: str | Sequence[str] | None, dataset: MedsDataset
) -> tuple[pd.DataFrame, list[FindingRow]]:
    """One row a patient and figure: ``id``, ``group``, ``value`` and what it is of; and who was left out."""
    rows = found.about("patients")
    there = list(rows["figure"].unique())
    chosen = there if figure is None else [figure] if isinstance(figure, str) else list(figure)
    if missing := [name for name in chosen if name not in set(rows["figure"])]:
        raise BadInput(
            f"The finding of {found.probe} has no patient figure {', '.join(missing)}. "
            f"It has {', '.join(there) or 'none at all'}."
        )
    rows = rows[rows["figure"].isin(chosen) & rows["value"].notna()]
    ids = {name: its[0] for name in rows["patient"].unique() if len(its := dataset.ids_of(name)) == 1}
    left_out = []
    for patient, group in rows[["patient", "group"]].drop_duplicates().itertuples(index=False):
        if patient not in ids:
            left_out.append(
                excluded_row(patient, Exclusion("unknown", "the patient is not in this data set"), group=group)
            )
        elif group not in (MEMBER, NON_MEMBER):
            left_out.append(
                excluded_row(patient, Exclusion("canary", "a planted canary, no ordinary patient"), group=group)
            )
    rows = rows[rows["patient"].isin(ids) & rows["group"].isin([MEMBER, NON_MEMBER])]
    rows = rows.assign(id=rows["patient"].map(ids))
    # An attribute names the measure, unless each patient has but one, of varying name (the most severe that the record holds).
    own = [rows[name] for name in ("figure", "model", "knowledge")]
    several = rows.groupby(["figure", "model", "knowledge", "id"])["attribute"].transform("nunique") > 1
    one = rows["attribute"].groupby(own).transform("nunique") == 1
    if len(rows):
        rows["attribute"] = rows["attribute"].where(one | several.groupby(own).transform("any"), "")
    return rows.groupby([*_BY, "id", "group"], sort=False, as_index=False)["value"].mean(), left_out


def _sentences(cells: list[_Cell], n: int, with_non_members: bool) -> tuple[str, ...]:
    if not cells:
        return (f"{Verdict.CANNOT_CONCLUDE}: there is no figure of an ordinary member or non-member to split.",)
    adjusted = holm([cell.p for cell in cells])
    judged = [(cell, cell.judge(float(p), len(cells))) for cell, p in zip(cells, adjusted, strict=True)]
    out = [(c, j) for c, j in judged if j.verdict is Verdict.MEMORIZED]
    sentences = [f"{j.verdict}: {c.name} ({c.what}): {j.sentence}" for c, j in out]
    against = "the gap to non-members" if with_non_members else "other members only (there are no non-members)"
    alike = [j.verdict is Verdict.POPULATION for c, j in judged if math.isfinite(c.p)]
    verdict = Verdict.MEMORIZED if out else Verdict.POPULATION if alike and all(alike) else Verdict.CANNOT_CONCLUDE
    few = f"{len({c.name for c, _ in judged if not c.shown})} not shown (fewer than {FEWEST} patients somewhere)."
    if not n:
        return (f"{verdict}: no subgroup has enough people to be tested; {few}",)
    sentences.append(
        f"{verdict}: {len(out) or 'no'} subgroup{'s' * (len(out) != 1)} of {n} tested (by {against}, Holm over all) "
        f"stand{'s' * (len(out) == 1)} out with more memorized, {sum(alike)} are shown to be like the others; {few}"
    )
    return tuple(sentences)


def _by_value(kind: str, values: dict[int, set[str]], index: pd.Index) -> dict[str, np.ndarray]:
    mine = [values.get(int(patient), set()) for patient in index]
    found = {
        f"{kind}: {value}": np.array([value in held for held in mine], dtype=bool)
        for value in sorted(set().union(*mine))
    }
    nothing = np.array([not held for held in mine], dtype=bool)
    return {**found, f"{kind}: {_NOT_RECORDED}": nothing} if nothing.any() else found


def _race(dataset: MedsDataset, ids: Iterable[int]) -> dict[int, set[str]]:
    rows = dataset.query(
        "SELECT DISTINCT patient_id, substr(code, strpos(code, '//') + 2) FROM events "
        "WHERE patient_id IN (SELECT unnest(?::BIGINT[])) AND time IS NULL "
        "AND (code LIKE 'RACE//%' OR code LIKE 'ETHNICITY//%')",
        [[int(patient) for patient in ids]],
    ).fetchall()
    found: dict[int, set[str]] = {}
    for patient, value in rows:
        found.setdefault(patient, set()).add(value)
    return found


def _holders_of_a_rare_code(dataset: MedsDataset) -> list[int]:
    rows = dataset.query(
        "SELECT DISTINCT patient_id FROM events WHERE code IN "
        "(SELECT code FROM codes WHERE patients = 1 AND code NOT LIKE 'MEDS_BIRTH%')"
    )
    return [row[0] for row in rows.fetchall()]


def _unique_labs(dataset: MedsDataset) -> list[int]:
    """Those whose set of tests on the first day with a lab value (else with a lab) is theirs alone."""
    labs = [code for code in dataset.codes["code"] if parse_code(code).kind is Kind.laboratory]
    rows = dataset.query(
        """
        WITH labs AS (SELECT patient_id, CAST(time AS DATE) AS day, code, value IS NOT NULL AS valued
                      FROM events WHERE time IS NOT NULL AND code IN (SELECT unnest(?::VARCHAR[]))),
             first AS (SELECT patient_id, coalesce(min(day) FILTER (valued), min(day)) AS day, bool_or(valued) AS valued
                       FROM labs GROUP BY patient_id),
             sets AS (SELECT patient_id, list_sort(list(DISTINCT code)) AS tests
                      FROM labs JOIN first USING (patient_id, day) WHERE labs.valued = first.valued GROUP BY patient_id)
        SELECT min(patient_id) FROM sets GROUP BY tests HAVING count(*) = 1
        """,
        [labs],
    )
    return [row[0] for row in rows.fetchall()]
