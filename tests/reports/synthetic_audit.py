"""An audit's results made up without a model, of any size: findings of all tests whose cohort figures follow from their patients' rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.cohort.pseudonym import pseudonym
from ehrmem_widgets.findings.finding import SCHEMA, TABLES, Finding, as_json, finding, row
from ehrmem_widgets.probes.attribute.ask import ALL
from ehrmem_widgets.probes.one_run.ask import SHARES, judge_bound, judge_claim
from ehrmem_widgets.probes.people import CANARY, HOLDS_NONE, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation.ask import IDENTIFIERS
from ehrmem_widgets.probes.ranking.ask import GIVEN_AWAY, GIVEN_AWAY_GAP, SEARCH
from ehrmem_widgets.probes.subgroups.ask import HIDDEN
from ehrmem_widgets.probes.utility.figures import IMPOSSIBLE
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.discrimination import auroc, difference_of_means, mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, difference, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, ProbeKind, Verdict, judge_cohort

KNOWLEDGE_LEVELS = ("demographics", "one_lab", "lab_values", "first_10", "first_20")
HELD = {"hiv": 0.05, "substance_use": 0.4, "mental_health": 0.6, "genetic_disease": 0.02}
"""The share of people who hold each attribute."""
_CANARIES = {CANARY: 30, NULL_CANARY: 40}


class SyntheticAudit:
    """``people``: how many ordinary people were asked about, half of them members; ``effect``: how much is remembered of members
    (0: nothing). The same ``seed`` gives the same people whatever the effect, so that two audits can be paired."""

    def __init__(
        self,
        people: int = 200,
        *,
        effect: float = 0.3,
        seed: int = 0,
        knowledge_levels: Sequence[str] = KNOWLEDGE_LEVELS,
        canaries: bool = True,
        shares: Mapping[str, float] = HELD,
    ) -> None:
        self.shares = shares
        self.rng = np.random.default_rng(seed)
        self.effect, self.knowledge_levels = effect, tuple(knowledge_levels)
        sizes = {MEMBER: people // 2, NON_MEMBER: people - people // 2} | (_CANARIES if canaries else {})
        self.group = np.repeat(list(sizes), list(sizes.values())).astype(object)
        self.patient = np.array(
            [pseudonym(place, b"a key of the tests") for place in range(len(self.group))], dtype=object
        )
        self.people = sizes
        self.seen = np.isin(self.group, (MEMBER, CANARY)) * np.where(self.group == CANARY, 3.0, 1.0)
        held = self.rng.random((len(self.group), len(self.shares))) < list(self.shares.values())
        held[self.group == CANARY, 1] = held[self.group == NULL_CANARY, 1] = True
        self.held = held

    def write(self, folder: Path, *, names: Sequence[str] = tuple(probes()), **changes: Any) -> Path:
        """Write the folder as an audit does; ``changes`` go into results.json."""
        (folder / "findings").mkdir(parents=True, exist_ok=True)
        settings = {"knowledge_levels": list(self.knowledge_levels), "samples": 16, "horizon": 64, "seed": 0}
        runs = []
        for name in names:
            patients, cohort, more = getattr(self, f"_{name}")()
            self._save(folder / "findings" / name, name, patients, cohort, {**settings, **more})
            runs.append(
                {
                    "probe": name,
                    "knowledge_levels": list(self.knowledge_levels),
                    "state": "done",
                    "reason": "",
                    "sentences": [],
                    "exclusions": {},
                    "seconds": 1.0,
                }
            )
        severities = {
            name: {"severity": a.severity, "reason": "as declared in sensitive_attributes.yaml"}
            for name, a in load_attributes().items()
        }
        (folder / "severity.yaml").write_text(
            yaml.safe_dump([{"by": "plan", "at": "2026-01-01", "severities": severities}])
        )
        named = {
            "data": {"name": "made-up data", "fingerprint": "d0", "patients": 90_000},
            "model": {"name": "made-up model", "fingerprint": f"m{self.effect}"},
            "reference": {"name": "made-up reference", "fingerprint": "r0"},
        }
        results = {
            "finished": True, "name": "made up", "plan": {"probes": list(names), "knowledge_levels": list(self.knowledge_levels), "seed": 0, "priors": [0.01]},
            "plan_hash": "0123456789abcdef", "command": "ehrmem audit plan.yaml --out results", "started_at": "2026-01-01T00:00:00+00:00",
            "finished_at": "2026-01-01T01:00:00+00:00", "versions": {"ehrmem": "0.1.0"}, **named, "people": self.people, "seed": 0,
            "identifying": False, "runs": runs,
        }  # fmt: skip
        results |= changes
        (folder / "results.json").write_text(json.dumps(results))
        seal = {"plan_hash": results["plan_hash"], **{name: (results[name] or {}).get("fingerprint") for name in named}}
        (folder / "audit.json").write_text(json.dumps(seal))
        return folder

    # One test each: rows about patients, rows about the cohort, settings ------------------------------------------------

    def _attribute(self) -> Any:
        patients, cohort = [], []
        for step, knowledge in enumerate(self.knowledge_levels):
            excess = self._values(0.02, self.effect * (step + 1) / len(self.knowledge_levels), self.held.shape[1])
            shown = np.where(self.held, excess, -np.inf)
            holds = self.held.any(axis=1)
            for column, name in enumerate(self.shares):
                who = self.held[:, column]
                verdict = np.where(excess[:, column] > 0.2, str(Verdict.MEMORIZED), str(Verdict.POPULATION))
                for figure, model in (("leak", "audited"), ("leak", "reference"), ("excess", "")):
                    said = verdict[who] if figure == "excess" else ""
                    patients.append(
                        self._rows(
                            who,
                            figure,
                            excess[who, column],
                            attribute=name,
                            knowledge=knowledge,
                            model=model,
                            verdict=said,
                        )
                    )
                for group in self.people:
                    inside = self.group == group
                    cohort.append(
                        row(
                            "prevalence",
                            proportion(int(who[inside].sum()), int(inside.sum())),
                            attribute=name,
                            group=group,
                            knowledge=knowledge,
                        )
                    )
            largest = shown.max(axis=1)
            patients.append(self._rows(holds, "largest_excess", largest[holds], attribute=ALL, knowledge=knowledge))
            for group in self.people:
                inside = holds & (self.group == group)
                cohort.append(
                    row(
                        "excess_risk",
                        mean_with_interval(largest[inside], bounds=(-1, 1)),
                        group=group,
                        knowledge=knowledge,
                    )
                )
                cohort.append(
                    row("auroc", self._auroc(), group=group, knowledge=knowledge, attribute=ALL, model="audited")
                )
            for group, pair in self._pairs():
                sides = [largest[holds & (self.group == one)] for one in pair]
                gap = difference_of_means(*sides)
                judged = self._judge(gap, *map(len, sides), "excess risk") if group == "all" else None
                cohort.append(
                    row(
                        "excess_gap", gap, group=group, knowledge=knowledge, p=0.001, p_adjusted=0.001, judgement=judged
                    )
                )
        return patients, cohort, {"attributes": list(self.shares), "without_code": ["self_harm"]}

    def _membership(self) -> Any:
        patients, cohort = [], []
        for name in ("Ratio", "Loss", "Min-K%", "Min-K%++", "ReCaLL"):
            score = self._values(0.3, self.effect, 1)[:, 0]
            everybody = np.ones(len(score), dtype=bool)
            patients.append(self._rows(everybody, "score", score, attribute=name, n=50))
            for group, pair in self._pairs():
                sides = [score[self.group == one][:2000] for one in pair]
                estimate = auroc(*sides)
                judged = (
                    self._judge(estimate, *map(len, sides), f"AUROC of {name}", none=0.5) if name == "Ratio" else None
                )
                model = "" if name == "Ratio" else "audited"
                cohort.append(
                    row(
                        "auroc",
                        estimate,
                        attribute=name,
                        group=group,
                        model=model,
                        p=0.001,
                        p_adjusted=0.001,
                        judgement=judged,
                    )
                )
            for fpr in (0.01, 0.001):
                cohort.append(
                    row(f"tpr_at_fpr_{fpr:g}", Estimate(0.02, 0.0, 0.13, len(score)), attribute=name, group="all")
                )
            cohort.append(row("ppv_at_prior_0.01", Estimate(0.2, 0.1, 0.3, len(score)), attribute=name, group="all"))
        cohort += [
            row("auroc_by_kind", Estimate(0.7, 0.6, 0.8, 100), attribute=kind, group="all", p_adjusted=0.01)
            for kind in ("laboratory", "diagnosis")
        ]
        return patients, cohort, {"priors": [0.01], "prefix": {"patients": self.patient[:2].tolist()}}

    def _exposure(self) -> Any:
        cohort = [
            row("mean_exposure", Estimate(7.0, 6.5, 7.5, 30), group="canary x16", model="audited"),
            row("mean_exposure", Estimate(1.4, 1.0, 1.8, 40), group=NULL_CANARY, model="audited"),
        ]
        return [], cohort, {"alternatives": 255}

    def _one_run(self) -> Any:
        coins = np.repeat([True, False], [30, 40])
        told = judge_bound(coins * self.effect * 10 + self.rng.random(len(coins)), coins, delta=1e-5)
        claim = judge_claim(told, 1.0, 1e-5)
        return [], [*told.rows, *claim.rows], {"score": "Ratio", "shares": list(SHARES), "claimed_epsilon": 1.0}

    def _disclosures(self) -> Any:
        """The few of each group of whom something stands in an output: as many more among members as the effect says."""
        patients, cohort = [], []
        for knowledge in self.knowledge_levels:
            matched = self._values(0.1, self.effect, 1)[:, 0] > 0.1
            everybody = np.ones(len(matched), dtype=bool)
            where = {"knowledge": knowledge, "attribute": "rare_run", "model": "audited"}
            patients.append(self._rows(everybody, "matching_outputs", matched.astype(float), n=1600, **where))
            shares = {
                group: proportion(int(matched[self.group == group].sum()), int((self.group == group).sum()))
                for group in self.people
            }
            for kind in ("rare_run", "any"):
                of = {**where, "attribute": kind}
                cohort += [row("people_matched", one, group=group, **of) for group, one in shares.items()]
                cohort += [row("outputs_matched", proportion(300, 1600), group=group, **of) for group in self.people]
            for group, pair in self._pairs():
                gap = difference(*(shares[one] for one in pair))
                judged = self._judge(gap, *(shares[one].n for one in pair), "people recognizable in outputs")
                cohort.append(
                    row(
                        "people_matched_difference",
                        gap,
                        group=group,
                        p=0.001,
                        p_adjusted=0.001,
                        judgement=judged,
                        **where,
                    )
                )
        return patients, cohort, {}

    def _utility(self) -> Any:
        """People never seen alone; the more is remembered, the worse they are predicted."""
        never = self.group == NON_MEMBER
        values = {
            "loss": (3.0 + self.effect + self.rng.normal(0, 0.3, never.sum()), (0.0, np.inf)),
            "recall@10": (np.clip(0.6 - self.effect / 2 + self.rng.normal(0, 0.2, never.sum()), 0, 1), (0.0, 1.0)),
        }
        patients = [self._rows(never, figure, found, n=40, model="audited") for figure, (found, _) in values.items()]
        cohort = [
            row(figure, mean_with_interval(found, bounds=bounds), group=NON_MEMBER, model="audited")
            for figure, (found, bounds) in values.items()
        ]
        return patients, cohort, {"vocabulary": "v0", "diagnoses": 120}

    def _reconstruction(self) -> Any:
        patients, cohort = [], []
        for knowledge in self.knowledge_levels:
            everybody = np.ones(len(self.group), dtype=bool)
            values = {
                model: self._values(0.1, -self.effect if model == "audited" else 0.0, 1)[:, 0] + 0.8
                for model in ("audited", "reference")
            }
            for figure in (
                "demd",
                "timed_distance",
                "rare_overlap_1",
                "rare_overlap_2",
                "rare_overlap_3",
                "routine_share",
            ):
                for model, value in values.items():
                    patients.append(self._rows(everybody, figure, value, knowledge=knowledge, model=model, n=10))
                    for group in self.people:
                        cohort.append(
                            row(
                                figure,
                                mean_with_interval(value[self.group == group]),
                                knowledge=knowledge,
                                model=model,
                                group=group,
                            )
                        )
            excess = values["reference"] - values["audited"]
            for group in self.people:
                cohort.append(
                    row(
                        "timed_distance_excess",
                        mean_with_interval(excess[self.group == group]),
                        knowledge=knowledge,
                        group=group,
                    )
                )
            for group, pair in self._pairs():
                sides = [excess[self.group == one] for one in pair]
                judged = (
                    self._judge(difference_of_means(*sides), *map(len, sides), "the gap") if group == "all" else None
                )
                cohort.append(
                    row(
                        "timed_distance_gap",
                        difference_of_means(*sides),
                        knowledge=knowledge,
                        group=" - ".join(pair),
                        p=0.001,
                        p_adjusted=0.001,
                        judgement=judged,
                    )
                )
            cohort += self._recited(excess > 0.2, {"knowledge": knowledge, "model": "audited"})
        return patients, cohort, {}

    def _recited(self, hit: np.ndarray, where: Any) -> list[Any]:
        """Of whom the next codes come back within two edits."""
        shares = {group: proportion(int(hit[self.group == group].sum()), n) for group, n in self.people.items()}
        cohort = [row("people_within_2", one, group=group, **where) for group, one in shares.items()]
        for group, pair in self._pairs():
            gap, sizes = difference(*(shares[one] for one in pair)), [shares[one].n for one in pair]
            judged = self._judge(gap, *sizes, "people recited") if group == "all" else None
            cohort.append(
                row("people_within_2_difference", gap, group=" - ".join(pair), p=0.001, judgement=judged, **where)
            )
        return cohort

    def _embedding(self) -> Any:
        cohort = [
            row("holders", value=float(self.held[:, column].sum()), n=len(self.group), attribute=name)
            for column, name in enumerate(self.shares)
        ]
        for group, pair in self._pairs():
            n = int(np.isin(self.group, pair).sum())
            gain = Estimate(0.02, -0.05, 0.09, n)
            judged = self._judge(gain, n // 2, n // 2, "the AUROC gained")
            cohort.append(row("excess_gain_logistic", gain, group=group, model="audited", p=0.3, judgement=judged))
            cohort.append(row("excess_beyond_reference_logistic", gain, group=group))
        return [], cohort, {"folds": 5}

    def _neighbours(self) -> Any:
        patients, cohort = [], []
        everybody = np.ones(len(self.group), dtype=bool)
        for knowledge in self.knowledge_levels:
            ranks = {}
            for model, figure in (("audited", "rank"), ("reference", "rank"), ("", "code_rank")):
                rank = np.ceil(
                    np.exp(self.rng.normal(3.0, 1.5, len(self.group)) - self.seen * self.effect * (model == "audited"))
                ).clip(1, 3000)
                ranks[model] = rank
                patients.append(self._rows(everybody, figure, rank, knowledge=knowledge, model=model, n=3000))
                prefix = figure.removesuffix("rank")
                for group in self.people:
                    hits = rank[self.group == group] <= 10
                    cohort.append(
                        row(
                            f"{prefix}hit@10",
                            proportion(int(hits.sum()), len(hits)),
                            knowledge=knowledge,
                            group=group,
                            model=model,
                        )
                    )
            for group, pair in self._pairs():
                sides = [ranks["audited"][self.group == one] <= 10 for one in pair]
                gap = difference(*(proportion(int(side.sum()), len(side)) for side in sides))
                judged = self._judge(gap, *map(len, sides), "the share found")
                cohort.append(
                    row(
                        "hit@10_difference",
                        gap,
                        knowledge=knowledge,
                        group=group,
                        model="audited",
                        p=0.01,
                        p_adjusted=0.02,
                        judgement=judged,
                    )
                )
        return patients, cohort, {"searched": 3000}

    def _perturbation(self) -> Any:
        patients, cohort = [], []
        asked = self.held.any(axis=1)
        for identifier in IDENTIFIERS:
            steps = np.arange(-1, 1) if identifier == "sex" else np.arange(-3, 4)
            noise = self.rng.normal(0.1, 0.02, (int(asked.sum()), len(steps)))
            curve = noise + (steps == 0) * (self.seen[asked] * self.effect)[:, None]
            spike = curve[:, steps == 0][:, 0] - np.median(curve[:, steps != 0], axis=1)
            for model in ("audited", "reference"):
                patients.append(
                    self._rows(
                        asked,
                        f"spike:{identifier}",
                        spike if model == "audited" else spike * 0,
                        model=model,
                        knowledge="one_lab",
                    )
                )
                who, n = np.repeat(np.flatnonzero(asked), len(steps)), int(asked.sum())
                point = {
                    name: np.tile(np.array([f"{words}{step}" for step in steps], dtype=object), n)
                    for name, words in (("code", "CODE//"), ("label", "years "))
                }
                about = {"table": "curves", "model": model, "knowledge": "one_lab", "step": np.tile(steps, n), **point}
                patients.append(self._rows(who, identifier, curve.ravel(), **about))
            group = self.group[asked]
            for one in self.people:
                cohort.append(
                    row(
                        f"spike:{identifier}",
                        mean_with_interval(spike[group == one]),
                        group=one,
                        model="audited",
                        knowledge="one_lab",
                    )
                )
            sides = [spike[group == one] for one in (MEMBER, NON_MEMBER)]
            judged = self._judge(difference_of_means(*sides), *map(len, sides), "the difference of mean spikes")
            cohort.append(
                row(
                    f"gap:{identifier}",
                    difference_of_means(*sides),
                    group=f"{MEMBER} - {NON_MEMBER}",
                    model="audited",
                    knowledge="one_lab",
                    p=0.001,
                    p_adjusted=0.001,
                    judgement=judged,
                )
            )
        cohort += [
            row("stands_out", proportion(int(0.1 * n), n), group=one, model="audited", knowledge="one_lab")
            for one, n in self.people.items()
        ]
        return patients, cohort, {"identifiers": list(IDENTIFIERS)}

    def _subgroups(self) -> Any:
        cohort = []
        members = self.people[MEMBER]
        parts = {
            "age: 18 to 44": members // 2,
            "age: 45 to 64": members - members // 2,
            "sex: F": members // 2,
            "sex: M": members - members // 2,
            "holds: HIV": 0,
        }
        for figure, attribute in (("score", "Ratio"), ("largest_excess", ALL)):
            for name, n in parts.items():
                about: dict[str, Any] = {"group": name, "attribute": attribute}
                if not n:
                    judgement = Judgement(
                        Verdict.CANNOT_CONCLUDE, HIDDEN, "<11: fewer than 11 patients, or so few outside it: not shown."
                    )
                    estimates = [Estimate(np.nan, np.nan, np.nan, 0)] * 3
                else:
                    judgement = Judgement(
                        Verdict.MEMORIZED if name == "sex: F" else Verdict.POPULATION,
                        "stands_out" if name == "sex: F" else "within_margin",
                        "members stand out from non-members by that much.",
                    )
                    estimates = [
                        Estimate(0.2, 0.1, 0.3, n),
                        Estimate(0.1, 0.0, 0.2, members),
                        Estimate(0.2, 0.1, 0.3, 2 * members),
                    ]
                tested = (
                    {"p": 0.001 if name == "sex: F" else 0.4, "p_adjusted": 0.01 if name == "sex: F" else 0.9}
                    if n
                    else {}
                )
                cohort.append(row(f"mean:{figure}", estimates[0], **about))
                cohort.append(row(f"gap:{figure}", estimates[1], **about))
                cohort.append(row(f"difference:{figure}", estimates[2], judgement=judgement, **tested, **about))
                cohort.append(row(f"screening:{figure}", n=estimates[2].n, **tested, **about))
        return [], cohort, {}

    def _ranking(self) -> Any:
        patients = []
        holds, drawn = self.held.any(axis=1), self.rng.random(len(self.group))
        leaks = self.held[:, 1] & (drawn < np.where(np.isin(self.group, (MEMBER, CANARY)), self.effect, 0.02))
        k = self.rng.choice([1, 1, 5, 40, 300], len(self.group))
        ways = self.rng.choice(["demographics", SEARCH, "first_10"], len(self.group))
        patients.append(
            self._rows(
                leaks,
                "bits",
                np.log2(3000 / k[leaks]),
                attribute="substance_use",
                n=1,
                knowledge=ways[leaks].astype(object),
            )
        )
        for figure, value in (
            ("k", k.astype(float)),
            ("facts", k * 0 + 2.0),
            ("severity", k * 0 + 4.0),
            ("leak", k * 0 + 0.6),
            ("excess", k * 0 + 0.5),
        ):
            patients.append(
                self._rows(
                    leaks, figure, value[leaks], attribute="substance_use", model="audited" if figure == "leak" else ""
                )
            )
        patients.append(
            self._rows(
                ~holds,
                "",
                np.full(int((~holds).sum()), np.nan),
                table="excluded",
                reason=HOLDS_NONE.code,
                words=HOLDS_NONE.words,
                group="",
            )
        )
        shares = {
            group: proportion(int((leaks & (self.group == group)).sum()), int((holds & (self.group == group)).sum()))
            for group in self.people
        }
        cohort = [row(GIVEN_AWAY, share, group=group) for group, share in shares.items()]
        for _, (seen, never) in self._pairs():
            gap = difference(shares[seen], shares[never])
            judged = self._judge(gap, shares[seen].n, shares[never].n, "the difference in the share given away")
            cohort.append(row(GIVEN_AWAY_GAP, gap, group=f"{seen} - {never}", p=0.001, judgement=judged))
        cohort.append(row("leaks", value=float(leaks.sum()), n=int(leaks.sum())))
        return patients, cohort, {"threshold": 0.25, "ladder": list(self.knowledge_levels), "population": None}

    def _confounding(self) -> Any:
        n = self.people[MEMBER] + self.people[NON_MEMBER]
        cohort = [
            row("model_free_auroc", Estimate(0.52, 0.47, 0.57, n), group="all", p=0.4),
            *(
                row(f"difference_{name}", Estimate(0.05, -0.1, 0.2, n), group="all", p=0.5, p_adjusted=1.0)
                for name in ("length", "era", "age", "female")
            ),
            row("codes_that_differ", value=0.0, n=115, group="all"),
            row("duplicates", proportion(3, 700), group="member / non-member"),
        ]
        return [], cohort, {}

    # Helpers ------------------------------------------------------------------------------------------------------------

    def _values(self, spread: float, effect: float, columns: int) -> np.ndarray:
        """(people, columns): noise, and the effect for those whom the model saw."""
        return self.rng.normal(0.0, spread, (len(self.group), columns)) + (self.seen * effect)[
            :, None
        ] * self.rng.random((len(self.group), columns))

    def _pairs(self) -> list[tuple[str, tuple[str, str]]]:
        pairs = [("all", (MEMBER, NON_MEMBER))]
        return pairs + ([("canaries", (CANARY, NULL_CANARY))] if CANARY in self.people else [])

    def _auroc(self) -> Estimate:
        return Estimate(0.7, 0.6, 0.8, 100)

    def _judge(self, effect: Estimate, members: int, others: int, what: str, none: float = 0.0) -> Judgement:
        return judge_cohort(
            effect,
            0.001,
            margin=0.2,
            kind=ProbeKind.MEASURE,
            no_effect=none,
            members=members,
            non_members=others,
            what=what,
        )

    def _rows(self, who: np.ndarray, figure: str, value: np.ndarray, **more: Any) -> dict[str, Any]:
        """Columns of rows about some patients, as what varies and what is the same in all."""
        places = np.flatnonzero(who) if who.dtype == bool else who
        return {
            "table": "patients", "patient": self.patient[places], "group": self.group[places], "figure": figure, "value": value,
            "low": value - 0.05, "high": value + 0.05, "n": 16, **more,
        }  # fmt: skip

    @staticmethod
    def _save(
        folder: Path,
        probe: str,
        patients: Sequence[Mapping[str, Any]],
        cohort: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Any],
    ) -> None:
        """As ``Finding.save`` does, without ever holding all rows as Python objects."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        made = finding(probe, cohort, settings, ())
        folder.mkdir()
        about = {"schema": SCHEMA, "probe": probe, "settings": dict(settings), "sentences": []}
        (folder / "finding.json").write_text(json.dumps(as_json(about), sort_keys=True))
        kinds = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
        empty = {"str": "", "int64": 0, "float64": np.nan}
        for table, columns in TABLES.items():
            schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
            with pq.ParquetWriter(folder / f"{table}.parquet", schema, compression="zstd") as file:
                for one in (one for one in patients if one["table"] == table):
                    values = {name: one.get(name, empty[kind]) for name, kind in columns.items()}
                    whole = [
                        value if isinstance(value, np.ndarray) else np.full(len(one["value"]), value, dtype=object)
                        for value in values.values()
                    ]
                    arrays = [pa.array(value, field.type) for value, field in zip(whole, schema, strict=True)]
                    file.write_table(pa.Table.from_arrays(arrays, schema=schema))
                file.write_table(pa.Table.from_pandas(getattr(made, table), schema=schema, preserve_index=False))


def digest(path: Path) -> str:
    """A file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FilteredAudit(SyntheticAudit):
    """A model behind a filter that hides a code in every second record."""

    def _utility(self) -> Any:
        patients, cohort, settings = super()._utility()
        patients[0] = {name: one[::2] if isinstance(one, np.ndarray) else one for name, one in patients[0].items()}
        cohort[0] = row("loss", mean_with_interval(patients[0]["value"]), group=NON_MEMBER, model="audited")
        hidden = np.flatnonzero(self.group == NON_MEMBER)[1::2]
        why = {"table": "excluded", "reason": IMPOSSIBLE.code, "words": IMPOSSIBLE.words}
        return [*patients, self._rows(hidden, "", np.full(len(hidden), np.nan), **why)], cohort, settings


def loaded(folder: Path, probe: str, table: str = "patients") -> pd.DataFrame:
    """One table of a finding."""
    found: pd.DataFrame = getattr(Finding.load(folder / "findings" / probe), table)
    return found
