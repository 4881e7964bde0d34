"""T6: a planted subgroup effect is found and none where there is none; small cells are hidden, and not to be had by subtraction."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding, curve_row, finding, patient_row
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.probes.subgroups.ask import HIDDEN, _contrast, _hidden, subgroups, subgroups_of
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.discrimination import difference_of_means
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.cohort.meds import at, write

FLU, HIV, OLD = "DIAGNOSIS//ICD//10//J111", "DIAGNOSIS//ICD//10//B20", "age: 85 and over"


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


def made(dataset: MedsDataset, effect: float, *, n: int = 500, seed: int = 0, everywhere: float = 0.0) -> Finding:
    """Scores of members and non-members: old people score higher in both; ``effect`` is what is remembered of old members."""
    rng = np.random.default_rng(seed)
    rows = []
    for split, group in (("train", MEMBER), ("held_out", NON_MEMBER)):
        for patient in dataset.ids(split)[:n]:
            old = dataset.patients.loc[patient, "age"] >= 85
            value = rng.normal() + 0.5 * old + (effect * old + everywhere) * (group == MEMBER)
            rows.append(patient_row(dataset.pseudonym(patient), "score", value=value, n=1, group=group))
    return finding("made", rows, {}, ())


def test_a_planted_effect_is_found_and_nothing_else(dataset: MedsDataset) -> None:
    found = subgroups(made(dataset, 1.5), dataset)
    (row,) = found.about("figures", figure="difference:score", group=OLD).to_dict("records")
    assert row["verdict"] == Verdict.MEMORIZED and row["p_adjusted"] < 0.01
    assert row["low"] < 1.5 < row["high"] and row["low"] > 0.5
    verdicts = found.about("figures", figure="difference:score").set_index("group")["verdict"]
    assert verdicts[verdicts == Verdict.MEMORIZED].index.tolist() == [OLD]
    assert found.sentences[0].startswith("Memorized")
    why = Judgement(Verdict.CANNOT_CONCLUDE, "confounded", "the groups differ without the model")
    doubted = subgroups(made(dataset, 1.5), dataset, confounded=why)
    assert set(doubted.figures["verdict"]) <= {Verdict.CANNOT_CONCLUDE, ""}
    assert not any(sentence.startswith(("Memorized", "Population")) for sentence in doubted.sentences)
    old = doubted.about("figures", figure="difference:score", group=OLD).iloc[0]
    assert "stands out, but the groups differ without the model" in old["note"]
    assert OLD in found.sentences[0] and "1 subgroup of" in found.summary()


def test_a_difference_between_populations_is_not_memorization(dataset: MedsDataset) -> None:
    found = subgroups(
        made(dataset, 0.0, everywhere=2.0), dataset
    )  # all members are remembered, the old no more than others
    gap = found.estimate("gap:score", group=OLD)
    assert gap.low > 0  # they do score higher
    rows = found.about("figures", figure="difference:score")
    assert Verdict.MEMORIZED not in set(rows["verdict"]) and (rows["p_adjusted"].dropna() > 0.05).all()
    assert "no subgroups" in found.sentences[-1]


def test_under_the_null_the_family_alarms_at_most_as_often_as_it_says(dataset: MedsDataset) -> None:
    alarms = 0
    for seed in range(20):
        found = subgroups(made(dataset, 0.0, n=200, seed=seed), dataset, group_by=["age", "sex", "race"])
        alarms += (found.about("figures", figure="difference:score")["p_adjusted"] <= 0.05).any()
    assert alarms <= 4  # P(more | 5 %) = 0.3 %


def test_the_whole_family_is_corrected_at_once(dataset: MedsDataset) -> None:
    one, two = made(dataset, 1.5), made(dataset, 0.0, seed=9)
    two.patients["figure"] = "other"
    rows = [{"table": "patients", **row} for made_ in (one, two) for row in made_.patients.to_dict("records")]
    found = subgroups(finding("made", rows, {}, ()), dataset)
    tests = found.about("figures")
    tests = tests[tests["figure"].str.startswith("difference:")]
    assert tests["p_adjusted"].to_numpy() == pytest.approx(holm(tests["p"]), nan_ok=True)
    screening = found.about("figures")
    screening = screening[screening["figure"].str.startswith("screening:")]
    assert screening["p_adjusted"].to_numpy() == pytest.approx(benjamini_hochberg(tests["p"]), nan_ok=True)
    alone = subgroups(one, dataset).about("figures", figure="difference:score", group=OLD).iloc[0]
    assert tests[(tests["group"] == OLD)].iloc[0]["p_adjusted"] > alone["p_adjusted"]


def test_small_cells_are_hidden_and_so_is_what_would_give_them_away() -> None:
    def hidden(*sizes: int, kind: str = "age") -> list[int]:
        inside = np.repeat(np.eye(len(sizes), dtype=bool), sizes, axis=0)
        found = _hidden([f"{kind}: {place}" for place in range(len(sizes))], inside)
        return sorted(int(name.split()[-1]) for name in found)

    assert hidden(50, 40, 30) == []
    assert hidden(50, 40, 10) == [1, 2]  # the next smallest too
    assert hidden(50, 40, 6, 5) == [2, 3]  # together 11: neither follows from the total
    assert hidden(50, 40, 5, 4) == [1, 2, 3]  # together 9
    assert hidden(50, 0, 40) == []  # nobody is nobody
    assert hidden(195, 5) == [0, 1]
    assert hidden(10) == [0]
    overlapping = np.array([[True, i < 95, i < 8, i < 50] for i in range(100)])
    assert _hidden(["holds: a", "holds: b", "holds: c", "holds: d"], overlapping) == {"holds: b", "holds: c"}


def test_a_hidden_row_says_nothing_but_that(dataset: MedsDataset) -> None:
    found = subgroups(made(dataset, 0.0, n=60), dataset)
    belongs = subgroups_of(dataset, dataset.ids("train")[:60]).sum()
    small = belongs[(belongs > 0) & (belongs < 11)].index
    assert len(small)
    for name in small:
        rows = found.about("figures", group=name)
        assert set(rows["figure"]) == {"mean:score", "gap:score", "difference:score", "screening:score"}
        assert rows[["value", "low", "high", "p", "p_adjusted"]].isna().all(axis=None) and (rows["n"] == 0).all()
        assert (rows["reason"] == HIDDEN).sum() == 3
    shown = found.about("figures", figure="mean:score").query("n > 0").set_index("group")["n"]
    assert (shown >= 11).all() and (shown == belongs[shown.index]).all()


def test_of_few_people_no_subgroup_is_tested(dataset: MedsDataset) -> None:
    (said,) = subgroups(made(dataset, 0.0, n=12), dataset).sentences
    assert said.startswith("Cannot conclude: no subgroup has enough people to be tested; ")


def test_nobody_in_a_subgroup_is_said(dataset: MedsDataset) -> None:
    found = subgroups(made(dataset, 0.0), dataset)
    (row,) = found.about("figures", figure="difference:score", group="age: under 18").to_dict("records")
    assert row["n"] == 0 and math.isnan(row["value"]) and row["verdict"] == Verdict.CANNOT_CONCLUDE
    assert "none of the members" in row["note"]


def test_without_non_members_nothing_is_called_memorized(dataset: MedsDataset) -> None:
    whole = made(dataset, 1.5)
    members = replace(whole, patients=whole.about("patients", group=MEMBER))
    found = subgroups(members, dataset)
    (row,) = found.about("figures", figure="gap:score", group=OLD).to_dict("records")
    assert row["p_adjusted"] < 0.001 and row["verdict"] == Verdict.CANNOT_CONCLUDE and "populations" in row["note"]
    assert found.about("figures", figure="difference:score").empty
    assert subgroups(finding("made", [], {}, ()), dataset, figure=None).sentences[0].startswith("Cannot conclude")


def test_each_measure_is_split_by_itself_and_strangers_are_counted(dataset: MedsDataset) -> None:
    rows = []
    for place, patient in enumerate(dataset.ids("train")[:40]):
        for name, value in (("Loss", 1.0), ("Ratio", 5.0 + place)):
            about = {"n": 1, "group": MEMBER if place < 30 else "canary", "attribute": name}
            rows.append(patient_row(dataset.pseudonym(patient), "score", value=value, **about))
        point = {"step": 0, "code": "AGE//40", "label": "40", "group": MEMBER}
        rows.append(curve_row(dataset.pseudonym(patient), "age", Estimate(0.5, 0.4, 0.6, 1), **point))
        spike = {"value": 0.1, "n": 1, "group": MEMBER, "attribute": "hiv" if place % 2 else "mental_health"}
        rows.append(patient_row(dataset.pseudonym(patient), "spike:age", **spike))
    rows.append(patient_row("P-XXXX-XXXX", "score", value=1.0, n=1, group=MEMBER, attribute="Loss"))
    source = finding("made", rows, {}, ())
    found = subgroups(source, dataset, group_by=["sex"])
    means = found.about("figures", group="sex: F")
    means = means[means["figure"].str.startswith("mean:")].set_index(["figure", "attribute"])["n"]
    assert {key: means[key] > 0 for key in means.index} == {
        ("mean:score", "Loss"): True,
        ("mean:score", "Ratio"): True,
        ("mean:spike:age", ""): True,  # one value per patient, of whatever attribute: one measure
    }
    assert found.exclusions == {"a planted canary, no ordinary patient": 10, "the patient is not in this data set": 1}
    with pytest.raises(BadInput, match="no patient figure leak"):
        subgroups(source, dataset, figure="leak")
    with pytest.raises(BadInput, match="divided by age, sex"):
        subgroups(source, dataset, group_by=["income"])


def test_who_belongs_where(tmp_path: Path) -> None:
    def person(number: int, age: int | None, labs: list[tuple[str, str, float | None]], *more: str):  # type: ignore[no-untyped-def]
        if age is not None:
            yield number, at("2020-03-01").replace(year=2020 - age) - timedelta(days=1), "MEDS_BIRTH", None
        yield from ((number, None, code, None) for code in more if "//ICD" not in code)
        yield from ((number, at(day), code, value) for day, code, value in labs)
        yield from ((number, at("2020-03-01"), code, None) for code in (FLU, *more) if "//ICD" in code)

    rows = [
        *person(
            1, 84, [("2020-01-01", "LAB//1//g", 1.0), ("2020-01-01", "LAB//2//g", 2.0)], "GENDER//F", "RACE//WHITE"
        ),
        *person(2, 85, [("2020-01-01", "LAB//2//g", 3.0), ("2020-01-01", "LAB//1//g", 4.0)], "GENDER//M", HIV),
        *person(3, None, [("2019-01-01", "LAB//1//g", None), ("2020-01-01", "LAB//2//g", 3.0)], "ETHNICITY//X//Y", HIV),
        *person(4, 17, [], "RACE//WHITE", "ETHNICITY//X//Y", "DIAGNOSIS//ICD//10//Q999"),
    ]
    information = {"dataset_name": "made for tests", "synthetic": True}
    dataset = MedsDataset(write(tmp_path, {"0.parquet": rows}, information=information))
    belongs = subgroups_of(dataset)
    held = {name: belongs.index[belongs[name]].tolist() for name in belongs if belongs[name].any()}
    assert held == {
        "age: under 18": [4],
        "age: 65 to 84": [1],
        OLD: [2],
        "age: not recorded": [3],
        "sex: F": [1],
        "sex: M": [2],
        "sex: not recorded": [3, 4],
        "race: WHITE": [1, 4],
        "race: X//Y": [3, 4],
        "race: not recorded": [2],
        "code: one that no other record has": [1, 2, 4],  # GENDER//F, GENDER//M and Q999
        "labs: a first lab day like no other": [3],  # the first day with a value
        "holds: HIV": [2, 3],
        **({"holds: Genetic disease": [4]} if belongs["holds: Genetic disease"].any() else {}),
    }
    assert subgroups_of(dataset, [2, 1]).index.tolist() == [2, 1] and subgroups_of(dataset, []).empty


def test_the_contrast_of_two_cells_is_welchs() -> None:
    from scipy import stats

    rng = np.random.default_rng(2)
    a, b, c, d = (rng.normal(place, 1 + place, 12 + place) for place in range(4))
    estimate, p = _contrast([a, b], [1, -1])
    assert p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    welch = difference_of_means(a, b)
    assert (estimate.low, estimate.high) == pytest.approx((welch.low, welch.high))
    four, _ = _contrast([a, b, c, d], [1, -1, -1, 1])
    assert four.value == pytest.approx((a.mean() - b.mean()) - (c.mean() - d.mean())) and four.n == 54
    assert math.isnan(_contrast([a, b[:1]], [1, -1])[1])


@pytest.mark.slow
def test_membership_by_subgroup(dataset: MedsDataset) -> None:
    model, reference = FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference, most=80, canaries=False)
    found = run("subgroups", dataset, model, reference, people=people, group_by=["sex"])
    assert found.probe == "subgroups" and found.settings["of"] == "membership"
    assert set(found.about("figures")["attribute"]) == {"Ratio", "all attributes"}  # T4's score and T2's largest excess
    assert len(found.about("figures", figure="mean:largest_excess")) >= 2
    mean = found.estimate("mean:score", group="sex: F")
    assert mean.n >= 11 and mean.low < mean.value < mean.high
