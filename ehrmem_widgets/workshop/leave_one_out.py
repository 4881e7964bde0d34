"""What the model says about somebody with and without that person's record: the cleanest control there is (methods, section 9).

    python -m ehrmem_widgets.workshop.leave_one_out --work FOLDER

trains the memorizing sample model again for each of ten people, with the same seed and settings but without that person, and asks both models the same
question. A training takes as long as that of the memorizing model itself (``ehrmem build-samples``: about eight of its sixteen minutes on two cores), so
this runs for more than an hour. It can be stopped: what is trained and answered stays in FOLDER, and the same command goes on from there. Only the
answers are kept in the package, never the models.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ehrmem_widgets.blackbox.opening import open_with
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import whole_folder, write_whole
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.samples.build import MEMORIZING_EPOCHS, repetitions
from ehrmem_widgets.statistics.intervals import difference
from ehrmem_widgets.terminal import say
from ehrmem_widgets.training.models import train_model
from ehrmem_widgets.workshop.asking import Asked, Figure, Kept, ask
from ehrmem_widgets.workshop.choose import KNOWLEDGE, open_sample
from ehrmem_widgets.workshop.chosen import chosen

FILE = Path(__file__).with_name("left_out.json")
PEOPLE = 10

Train = Callable[[Path, int], object]
"""Trains a model into a folder without one patient."""


class LeftOut(BaseModel):
    """One person: what the model says ``with`` the record, ``without`` it, and the difference."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    patient: str
    title: str
    facts: int
    with_record: Figure
    without_record: Figure
    difference: Figure


class AllLeftOut(BaseModel):
    """What is kept: the command, and the people."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    command: str
    people: tuple[LeftOut, ...]


def left_out() -> AllLeftOut | None:
    """What was computed, None where nobody has run the command yet."""
    return AllLeftOut.model_validate_json(FILE.read_bytes()) if FILE.exists() else None


def main(argv: Sequence[str] | None = None) -> None:
    """Train, ask, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m ehrmem_widgets.workshop.leave_one_out", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and answers on the way")
    parser.add_argument("--out", type=Path, default=FILE, help="the file to write (the one of this package)")
    arguments = parser.parse_args(argv)
    exploration = open_sample("memorizing")
    dataset, vocabulary = exploration.dataset, exploration.model.vocabulary
    times = repetitions(dataset.root)

    def train(folder: Path, patient: int) -> object:
        return train_model(
            dataset, folder, seed=1, epochs=MEMORIZING_EPOCHS, vocabulary=vocabulary, repetitions=times,
            people={*dataset.ids(MEMBER_SPLIT)} - {patient}, report=lambda line: say(f"  {line}", errors=True),
        )  # fmt: skip

    found = leave_one_out(exploration, people_of(exploration), train, arguments.work)
    write_whole({arguments.out: found.model_dump_json(indent=1) + "\n"})
    say(f"Wrote {arguments.out}.")


def people_of(exploration: Exploration) -> list[tuple[int, str]]:
    """The members of the lesson's cards, and then those planted most often, ten in all, each with the attribute asked about."""
    found = {exploration.dataset.find(one.patient): one.attribute for one in chosen().cards if one.seen}
    for patient in exploration.canaries:
        if len(found) < PEOPLE and patient not in found and (held := exploration.held(patient)):
            found[patient] = held[0]
    return list(found.items())[:PEOPLE]


def leave_one_out(
    exploration: Exploration, people: Sequence[tuple[int, str]], train: Train, work: Path, *, knowledge: str = KNOWLEDGE
) -> AllLeftOut:
    """Train without each person in turn, and ask both models. What is in ``work`` already is not done again."""
    if work.exists() and not work.is_dir():
        raise BadInput(f"--work must name a folder; {str(work)!r} is a file.")
    work.mkdir(parents=True, exist_ok=True)
    kept = Kept(work / "answers.json")
    found = []
    for patient, attribute in people:
        name = exploration.record(patient).pseudonym
        own = kept.get(
            (exploration.model.name, name, attribute, knowledge),
            partial(ask, exploration, patient, attribute, knowledge),
        )
        other = kept.get(
            (f"without-{name}", name, attribute, knowledge),
            partial(_ask_without, exploration, patient, attribute, knowledge, train, work / f"without-{name}"),
        )
        apart = difference(own.audited.estimate, other.audited.estimate)
        found.append(
            LeftOut(
                patient=name,
                title=own.title,
                facts=own.facts,
                with_record=own.audited,
                without_record=other.audited,
                difference=Figure.of(apart),
            )
        )
    return AllLeftOut(command="python -m ehrmem_widgets.workshop.leave_one_out --work FOLDER", people=tuple(found))


def _ask_without(
    exploration: Exploration, patient: int, attribute: str, knowledge: str, train: Train, folder: Path
) -> Asked:
    """The answer of a model that was trained without this person, trained now if it is not there."""
    if not (folder / "training.json").is_file():
        say(f"Training {folder.name} ...", errors=True)
        with whole_folder(folder) as unfinished:
            train(unfinished, patient)
    dataset: MedsDataset = exploration.dataset
    return ask(Exploration(*open_with(dataset, folder, exploration.reference)), patient, attribute, knowledge)


if __name__ == "__main__":
    main()
