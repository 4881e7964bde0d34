"""Ten trainings can be stopped and taken up; each leaves exactly one person out. On tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.training.models import train_model
from ehrmem_widgets.workshop.choose import open_sample
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.leave_one_out import PEOPLE, leave_one_out, people_of

pytestmark = pytest.mark.slow


class Stopped(Exception):
    pass


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    exploration = open_sample("memorizing")
    people = people_of(exploration)
    assert len(people) == len({patient for patient, _ in people}) == PEOPLE
    first = exploration.dataset.find(chosen().attack[0].patient)
    two = [(first, dict(people)[first]), next(one for one in people if one[0] != first)]
    left: list[int] = []
    stop = True

    def train(folder: Path, patient: int) -> object:
        if stop and left:
            raise Stopped
        left.append(patient)
        return train_model(
            exploration.dataset, folder, epochs=2, width=48, layers=1, vocabulary=exploration.model.vocabulary,
            people={*exploration.dataset.ids("train")} - {patient}, report=lambda _: None,
        )  # fmt: skip

    with pytest.raises(Stopped):
        leave_one_out(exploration, two, train, tmp_path / "work")
    stop = False
    found = leave_one_out(exploration, two, train, tmp_path / "work")
    assert left == [patient for patient, _ in two]  # nobody was trained without twice
    facts = json.loads((tmp_path / "work" / f"without-{found.people[0].patient}" / "training.json").read_text())
    assert facts["patients"] == len(exploration.dataset.ids("train")) - 1
    assert leave_one_out(exploration, two, train, tmp_path / "work") == found and len(left) == 2
    one = found.people[0]
    assert one.with_record.value > one.without_record.high and one.difference.low > 0
    assert one.difference.value == pytest.approx(one.with_record.value - one.without_record.value, abs=1e-4)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(BadInput, match="must name a folder"):
        leave_one_out(open_sample("memorizing"), [], lambda folder, patient: None, tmp_path / "work")
