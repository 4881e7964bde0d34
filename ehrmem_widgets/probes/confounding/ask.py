"""The confounding check: can members be told from non-members without asking the model at all (methods, section 5)?

If they can, by their era, their length or their codes, a membership score may read just that, and no verdict can rest on it
(as with data sets whose non-members were collected after the model: Das et al., arXiv 2406.16201; Meeus et al., 2406.17975).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.findings.finding import (
    Finding,
    FindingRow,
    Sentence,
    estimate_of,
    excluded_row,
    finding,
    judgement_of,
    row,
    told,
)
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import OnProgress, Progress, Rows
from ehrmem_widgets.probes.near_duplicates import FEWEST_CODES, NEAR, REFERENCE, across_the_split
from ehrmem_widgets.probes.needs import PEOPLE
from ehrmem_widgets.probes.people import ALL, CANARIES, MEMBER, NON_MEMBER, PAIRS
from ehrmem_widgets.statistics.discrimination import controls_needed, patient_bootstrap
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate, difference, proportion
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm
from ehrmem_widgets.statistics.two_sample import ToldApart, centred, told_apart
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, FEWEST_CONTROLS, Judgement, Verdict, too_few_people

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FIGURE = "model_free_auroc"
ACROSS = "near_duplicates_across"
TOLD_APART, NEAR_DUPLICATES = "told_apart", "near_duplicates"  # reasons
MOST_NEAR = 0.05  # share of a side with near-duplicates on the other beyond which the sides are no separate groups
_FEWEST_CANARIES = 20
_FEWEST_WITH_CODE = 10
_SHOWN = 5
_WHO = {ALL: "members and non-members", CANARIES: "planted canaries trained on and never trained on"}
_SITE = re.compile(r"((CARE_)?SITE|HOSPITAL|FACILITY|INSTITUTION)(_?ID)?//", re.IGNORECASE)


class Confounding(ProbeRun):
    """Are members and non-members alike, and can they be told apart without a model?

    Figures for group "all" (members against non-members) and, with 20 of each, "canaries" (planted and trained on, against never
    trained on):

    - ``model_free_auroc``: how well ``statistics.two_sample.told_apart`` tells them apart, with its permutation p, which decides: *cannot
      conclude* where p <= 0.05 and the AUROC is above 0.5. It is given the bag of codes (values in tenths), and length, year of the first
      event, age and sex with their squares and products.
    - ``difference_length`` (number of events), ``_era`` (year of the first event), ``_age`` (at that event), ``_female``:
      standardised mean differences (interval: Hedges and Olkin 1985, chapter 5) with Kolmogorov-Smirnov p (sex: Fisher), and
      ``association_site`` (Cramer's V, chi-square p) where codes name a site; p-values by Holm.
    - ``codes_that_differ``: how many of the codes held by at least 10 differ in use (chi-square, Benjamini-Hochberg 5 %); and
      ``code_use_difference`` of the few that differ most (share of members less that of non-members), the code in ``attribute``.
    - ``duplicates`` and ``near_duplicates`` (group "member / non-member", "member / reference"): the share of the non-members
      (of the reference model's patients) whose record a member has too, by ``across_the_split``; ``near_duplicates_across`` (group
      "member", "non-member"): the share of a side with a near-duplicate on any other side, *cannot conclude* above 5 %.

    ``explains`` and ``confounding`` hand the result to other probes.
    """

    doing = "confounding"
    asks = False
    needs = (PEOPLE,)

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self.records = ()
        del self.settings["reference"]

    def ask(self, records: list[Record]) -> Rows:
        """No model is asked."""
        return []

    def judge(self, answers: Rows) -> Finding:
        """How the groups differ, how well they are told apart, and how many records stand on several sides."""
        task, progress = self.task, self.task.progress
        rows: list[FindingRow] = []
        said: list[str] = []
        for step, (group, pair) in enumerate(PAIRS.items()):
            _tell(progress, "Telling members from non-members without the model", step, len(PAIRS) + 1)
            records = [task.people.of(one) for one in pair]
            counts = [len(some) for some in records]
            if group == CANARIES and min(counts) < _FEWEST_CANARIES:
                continue
            if min(counts) < FEWEST_CONTROLS:
                few = too_few_people(*counts)
                rows.append(row(FIGURE, group=group, judgement=few))
                said.append(Sentence(f"{Verdict.CANNOT_CONCLUDE}: {few.sentence}", group))
                continue
            made, sentences = _compare(records[0], records[1], group, task.dataset, task.seed)
            rows += made
            said += [Sentence(one, group) for one in sentences]
        _tell(progress, "Looking for duplicates", len(PAIRS), len(PAIRS) + 1)
        made, sentences = _duplicates(task.dataset, task.model, task.reference, task.seed)
        rows += made
        said += sentences
        said.append(_controls_sentence(task.people.counts().get(NON_MEMBER, 0)))
        _tell(progress, "Looking for duplicates", len(PAIRS) + 1, len(PAIRS) + 1)
        out = [excluded_row(p, why) for p, why in task.people.left_out]
        return finding(self.probe.name, [*rows, *out], self.settings, said)


def confounding(check: Finding, *, group: str = ALL) -> Judgement | None:
    """Why no comparison of the two groups is evidence; None where nothing was found: they can be told apart without a model, or too
    many of a side have a near-duplicate on the other."""
    rows = check.about("figures", verdict=str(Verdict.CANNOT_CONCLUDE))
    apart = rows[(rows["reason"] == TOLD_APART) & (rows["group"] == group)]
    alike = rows[rows["reason"] == NEAR_DUPLICATES] if group == ALL else rows.iloc[:0]
    reasons = [judgement_of(one) for one in [*apart.to_dict("records"), *alike.to_dict("records")]]
    if not reasons:
        return None
    if len(reasons) == 1:
        return reasons[0]
    facts = {f"because_{place}": reason for place, reason in enumerate(reasons) if reason is not None}
    return Judgement(Verdict.CANNOT_CONCLUDE, "confounded", "; ".join(f"{{{name}}}" for name in facts), facts)


def explains(check: Finding | None, auroc: Estimate, *, group: str = ALL) -> Judgement | None:
    """Why a membership AUROC may be no memorization, for ``judge_cohort``; None when the data do not explain it.

    They do where ``confounding`` says so; where members can merely be told apart without the model, only as long as the score's interval
    reaches down to what that achieves.
    """
    why = None if check is None else confounding(check, group=group)
    if check is None or why is None or why.reason != TOLD_APART:
        return why
    free = check.estimate(FIGURE, group=group)
    return None if auroc.low > free.high else why


def _tell(progress: OnProgress | None, what: str, done: int, total: int) -> None:
    if progress:
        progress(Progress(what, done, total))


def _compare(
    members: list[Record], others: list[Record], group: str, dataset: MedsDataset, seed: int
) -> tuple[list[FindingRow], list[str]]:
    """How two groups differ, and how well they are told apart."""
    records = [*members, *others]
    truth = np.arange(len(records)) < len(members)
    events = _events_of(records)
    traits = _traits(records)
    rows = [_told_apart(events, traits, truth, group, seed)]
    family = _trait_rows(traits, truth, group)
    if (site := _site_row(records, truth, group, seed)) is not None:
        family.append(site)
    for made, adjusted in zip(family, holm([made["p"] for made in family]), strict=True):
        made["p_adjusted"] = float(adjusted)
    codes = _code_rows(events, truth, group, dataset)
    differ = [_trait(made) for made in family if made["p_adjusted"] <= ALARM_RATE]
    who = "Members and non-members" if group == ALL else "Canaries trained on and never trained on"
    verb = (
        f"differ in {', '.join(differ)}" if differ else f"do not differ detectably in {', '.join(map(_trait, family))}"
    )
    said = [
        _told_apart_sentence(rows[0], group),
        f"{who} {verb}; {codes[0]['value']:.0f} of {codes[0]['n']} codes are used differently (Benjamini-Hochberg at 5 %).",
    ]
    return [*rows, *family, *codes], said


def _trait(made: FindingRow) -> str:
    name = str(made["figure"]).split("_", 1)[1]
    return {"female": "sex", "era": "year of the first event"}.get(name, name)


def _told_apart(events: pd.DataFrame, traits: pd.DataFrame, truth: np.ndarray, group: str, seed: int) -> FindingRow:
    found = model_free_test(events, traits, truth, seed=seed)
    made = row(FIGURE, found.auroc, group=group, p=found.p)
    if found.p <= ALARM_RATE and found.auroc.value > 0.5:
        words = f"{_WHO[group]} can be told apart without asking the model"
        made |= told(Judgement(Verdict.CANNOT_CONCLUDE, TOLD_APART, words))
    return made


def _told_apart_sentence(made: FindingRow, group: str) -> str:
    if made.get("verdict"):
        return f"{Verdict.CANNOT_CONCLUDE}: {made['note']} (AUROC {estimate_of(made)}, p = {made['p']:.3f})."
    shown = estimate_of(made)
    return (
        f"{_WHO[group].capitalize()} cannot be told apart without asking the model (AUROC {shown}, p = {made['p']:.3f}): "
        "the data do not explain a membership score."
    )


def model_free_test(events: pd.DataFrame, traits: pd.DataFrame, truth: np.ndarray, *, seed: int = 0) -> ToldApart:
    """How well two groups are told apart without a model. ``events``: columns person (0 to n - 1) and token; ``traits``: (n, ...) as of
    ``_traits``; ``truth``: (n,) bool, the members.

    What the classifiers see was chosen by power at 150 people a side of the sample cohort (40 divisions; an era moved by 1.6 years, one code
    planted in 12 %, values 2 % higher, women moved 2.5 years up and men down): .55, .38, .42, .75; bag and traits without products and without
    shrunken centroids .60, .07, .20, .10; the mean of a logistic regression and gradient boosting (20 divisions, no permutations:
    it would take minutes) .30, .10, not tried, .20.
    """
    from scipy import sparse

    few = traits.dropna(axis="columns", how="all").to_numpy(float)
    few = _standardised(np.where(np.isfinite(few), few, np.nanmean(few, axis=0)))
    pairs = itertools.combinations_with_replacement(range(few.shape[1]), 2)
    products = _standardised(np.column_stack([np.empty((len(few), 0)), *(few[:, [a]] * few[:, [b]] for a, b in pairs)]))
    bag = _bag(events, "token", len(truth))
    scaled = bag @ sparse.diags(1 / np.maximum(1, bag.max(axis=0).toarray().ravel()))
    kernels = [(scaled @ scaled.T).toarray(), few @ few.T, few @ few.T, products @ products.T]  # traits count twice
    held = bag.getnnz(axis=0)
    columns = _standardised(np.log1p(bag[:, held >= _FEWEST_WITH_CODE].toarray()))
    return told_apart(centred(np.sum([centred(kernel) for kernel in kernels], axis=0)), columns, truth, seed=seed)


def _standardised(x: np.ndarray) -> np.ndarray:
    """(n, f) columns of mean 0 and standard deviation 1; constant ones are dropped."""
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9])


def _events_of(records: Sequence[Record]) -> pd.DataFrame:
    """person, code and token (the code with the tenth of its values, over all these records) of each event."""
    events = pd.DataFrame(
        [(person, event.code, event.value) for person, record in enumerate(records) for event in record.events],
        columns=["person", "code", "value"],
    )
    return _with_tokens(events)


def _with_tokens(events: pd.DataFrame) -> pd.DataFrame:
    tenth = np.ceil(events["value"].astype(float).groupby(events["code"]).rank(pct=True) * 10)
    with_value = tenth.notna()
    events["token"] = events["code"].astype(object)
    events.loc[with_value, "token"] = (
        events.loc[with_value, "code"].astype(str) + "//" + tenth[with_value].astype(int).astype(str)
    )
    return events


def _traits(records: Sequence[Record]) -> pd.DataFrame:
    """length, era, age and female of each record; nan where not recorded."""
    rows = []
    for record in records:
        first = next((event.time for event in record.events if event.time is not None), None)
        age = record.age_at_start()
        sex = next((e.code.split("//")[1] for e in record.events if e.code.startswith(("GENDER//", "SEX//"))), None)
        rows.append(
            {
                "length": float(len(record.events)),
                "era": math.nan if first is None else first.year + (first.timetuple().tm_yday - 1) / 366,
                "age": math.nan if age is None else float(age),
                "female": math.nan if sex is None else float(sex.upper().startswith("F")),
            }
        )
    return pd.DataFrame(rows)


def _trait_rows(traits: pd.DataFrame, truth: np.ndarray, group: str) -> list[FindingRow]:
    from scipy import stats

    rows = []
    for name in traits:
        values = traits[name].to_numpy(float)
        a, b = (values[side & np.isfinite(values)] for side in (truth, ~truth))
        if min(len(a), len(b)) < 2:
            continue
        if name == "female":
            p = stats.fisher_exact([[a.sum(), len(a) - a.sum()], [b.sum(), len(b) - b.sum()]]).pvalue
        else:
            p = stats.ks_2samp(a, b).pvalue
        rows.append(row(f"difference_{name}", standardised_difference(a, b), group=group, p=float(p)))
    return rows


def standardised_difference(a: np.ndarray, b: np.ndarray) -> Estimate:
    """(mean a - mean b) / pooled standard deviation, with the large-sample interval of Hedges and Olkin (1985, chapter 5).

    >>> standardised_difference(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0])).value
    1.0
    """
    from scipy import stats

    spread = math.sqrt((np.var(a, ddof=1) * (len(a) - 1) + np.var(b, ddof=1) * (len(b) - 1)) / (len(a) + len(b) - 2))
    gap = float(np.mean(a) - np.mean(b))
    d = gap / spread if spread > 0 else (0.0 if gap == 0 else math.copysign(math.inf, gap))
    n = len(a) + len(b)
    if not math.isfinite(d):
        return Estimate(d, d, d, n)
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt(n / (len(a) * len(b)) + d * d / (2 * n))
    return Estimate(d, d - reach, d + reach, n)


def _site_row(records: Sequence[Record], truth: np.ndarray, group: str, seed: int) -> FindingRow | None:
    """How strongly membership goes with the site; None where the codes name none, or one alone."""
    from scipy import stats
    from scipy.stats.contingency import association

    site = np.array([next((e.code for e in r.events if _SITE.match(e.code)), "") for r in records])
    if len(set(site)) < 2:
        return None

    def cramers_v(at: np.ndarray) -> float:
        table = pd.crosstab(truth[at], site[at]).to_numpy()
        return float(association(table, method="cramer")) if min(table.shape) > 1 else math.nan

    found = patient_bootstrap(cramers_v, truth.astype(int), seed=seed, resamples=200)
    p = stats.chi2_contingency(pd.crosstab(truth, site).to_numpy(), correction=False).pvalue
    return row("association_site", found, group=group, p=float(p))


def _code_rows(events: pd.DataFrame, truth: np.ndarray, group: str, dataset: MedsDataset) -> list[FindingRow]:
    """How many codes differ in use, and those that differ most."""
    from scipy import stats

    held = events[["person", "code"]].drop_duplicates()
    table = pd.crosstab(held["code"], truth[held["person"].to_numpy()]).reindex(columns=[True, False], fill_value=0)
    total = table.sum(axis=1)
    table = table[(total >= _FEWEST_WITH_CODE) & (total <= len(truth) - _FEWEST_WITH_CODE)]
    a, b = table[True].to_numpy(float), table[False].to_numpy(float)
    c, d = truth.sum() - a, (~truth).sum() - b
    square = len(truth) * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d))
    p = stats.chi2.sf(square, 1)
    adjusted = benjamini_hochberg(p)
    rows = [row("codes_that_differ", value=float((adjusted <= ALARM_RATE).sum()), n=len(table), group=group)]
    for place in np.argsort(p, kind="stable")[:_SHOWN]:
        share = difference(proportion(int(a[place]), int(truth.sum())), proportion(int(b[place]), int((~truth).sum())))
        code = str(table.index[place])
        made = row("code_use_difference", share, group=group, attribute=code, note=dataset.label(code))
        rows.append({**made, "n": len(truth), "p": float(p[place]), "p_adjusted": float(adjusted[place])})
    return rows


def _duplicates(
    dataset: MedsDataset, model: BlackBox | None, reference: BlackBox | None, seed: int
) -> tuple[list[FindingRow], list[str]]:
    """How many records stand on several sides of the split."""
    found = across_the_split(dataset, model, reference, seed=seed)
    if not len(found.ids[MEMBER]):
        return [], ["No duplicates were looked for: the data set names no members."]
    rows: list[FindingRow] = []
    said: list[str] = []
    members = len(found.ids[MEMBER])
    for side, whom in ((NON_MEMBER, "non-members"), (REFERENCE, "patients of the reference model")):
        if (side, MEMBER) not in found.near:
            continue
        n, counts = len(found.ids[side]), {}
        for figure, alike in (("duplicates", found.same), ("near_duplicates", found.near)):
            counts[figure] = int(alike[side, MEMBER].sum())
            rows.append(row(figure, proportion(counts[figure], n), group=f"{MEMBER} / {side}"))
        said.append(
            f"Of {n:,} {whom} {counts['duplicates']} have the very sequence of codes of one of {members:,} members, and "
            f"{counts['near_duplicates']} at least {NEAR:.0%} of the codes in common with one."
        )
    for side, whom in ((MEMBER, "members"), (NON_MEMBER, "non-members")):
        n, twins = len(found.ids[side]), int(found.anywhere(side).sum())
        if not n:
            continue
        made = row(ACROSS, proportion(twins, n), group=side)
        if twins > MOST_NEAR * n:
            words = f"more than {MOST_NEAR:.0%} of the {whom} have a near-duplicate on the other side of the split"
            made |= told(Judgement(Verdict.CANNOT_CONCLUDE, NEAR_DUPLICATES, words))
            said.append(f"{Verdict.CANNOT_CONCLUDE}: {words} ({twins} of {n:,}).")
        elif twins:
            said.append(
                f"{twins} of {n:,} {whom} have a near-duplicate on the other side of the split; such people are left out."
            )
        rows.append(made)
    if found.short:
        said.append(f"{found.short} records with fewer than {FEWEST_CODES} codes were not compared.")
    return rows, said


def _bag(events: pd.DataFrame, column: str, n: int) -> csr_matrix:
    """(n, kinds of token) how often each person has each, sparse."""
    from scipy import sparse

    numbers, tokens = pd.factorize(events[column])
    ones = np.ones(len(events))
    return sparse.coo_matrix((ones, (events["person"].to_numpy(), numbers)), shape=(n, len(tokens))).tocsr()


def _controls_sentence(non_members: int) -> str:
    """What the number of non-members allows."""
    needed = [(rate, controls_needed(rate)) for rate in (0.01, 0.001)]
    allowed = [f"{rate:.1%}" for rate, n in needed if non_members >= n]
    missing = [f"{n:,} for {rate:.1%}" for rate, n in needed if non_members < n]
    start = f"{non_members:,} non-members are asked"
    if not missing:
        return f"{start}: enough to bound a false positive rate of {' and '.join(allowed)}."
    able = (
        f"enough for a false positive rate of {allowed[0]} but not for less"
        if allowed
        else "too few to bound small false positive rates"
    )
    return f"{start}: {able} ({', '.join(missing)} needed)."
