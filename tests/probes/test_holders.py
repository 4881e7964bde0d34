"""Holders drawn on top: enough of each attribute, drawn from nobody else, and counted in the figures by attribute alone."""

from __future__ import annotations

import pandas as pd
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.probes.attribute.holders import DRAWN_MEMBER, DRAWN_NON_MEMBER, Holders, draw_holders
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.probes.alone import ask_alone

NAMES = ("hiv", "self_harm", "mental_health")
Opened = tuple[MedsDataset, FolderModel, FolderModel]


@pytest.fixture(scope="module")
def opened() -> Opened:
    return MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())


@pytest.fixture(scope="module")
def people(opened: Opened) -> People:
    return choose_people(*opened, most=40, seed=3)


def drawn(opened: Opened, people: People, least: int) -> Holders:
    return draw_holders(*opened, people, NAMES, least=least, seed=3)


def test_each_attribute_is_held_by_enough_of_both_sides_where_there_are_so_many(opened: Opened, people: People) -> None:
    dataset = opened[0]
    found = drawn(opened, people, 20)
    sides = {DRAWN_MEMBER: (MEMBER, "train"), DRAWN_NON_MEMBER: (NON_MEMBER, "held_out")}
    for name in NAMES:
        holders = set(dataset.holders([name])) - set(canary_repetitions(dataset))
        for group, (asked_group, split) in sides.items():
            asked = {r.patient_id for r in people.of(asked_group)} & holders
            more = {
                r.patient_id
                for r in found.records
                if found.groups[r.pseudonym] == group and name in found.drawn_for[r.pseudonym]
            }
            assert more <= holders & set(dataset.ids(split)) - asked
            assert len(asked | more) == max(len(asked), min(20, len(holders & set(dataset.ids(split)))))
    assert found.counts() == drawn(opened, people, 20).counts() and drawn(opened, people, 0).records == ()


def test_they_have_rows_on_what_they_were_drawn_for_and_change_no_other_figure(opened: Opened, people: People) -> None:
    dataset, model, reference = opened
    asked = {
        least: ask_alone("attribute", 
            model, dataset, reference=reference, people=people, knowledge_levels=("demographics",), attributes=NAMES, samples=2,
            horizon=8, holders=least, seed=3,
        )
        for least in (0, 3)
    }  # fmt: skip
    holders = drawn(opened, people, 3)
    rows = asked[3].about("patients")
    on_top = rows[rows["patient"].isin(holders.groups)]
    assert len(on_top) and set(on_top["figure"]) == {"leak", "excess"}
    assert all(
        name in holders.drawn_for[patient] for patient, name in zip(on_top["patient"], on_top["attribute"], strict=True)
    )
    assert set(on_top["group"]) == {DRAWN_MEMBER, DRAWN_NON_MEMBER}
    # p_adjusted of a patient's row is corrected for all patients asked about, and so for these too
    for table in ("figures", "patients"):
        tables = [getattr(found, table) for found in asked.values()]
        if table == "patients":
            tables = [one[~one["patient"].isin(holders.groups)].drop(columns="p_adjusted") for one in tables]
        pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in tables))
    assert asked[3].settings["holders"] == {"least": 3, **holders.counts()}
