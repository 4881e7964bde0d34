"""The patient picker: a search box and a list of pseudonyms with age band, events and attributes held."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import ipywidgets as widgets
import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import age_band

_SHOWN = 200
_LISTED = 20_000  # of more patients a fixed sample is searched by words, and all by pseudonym
_NOBODY = ""  # chosen when the picked patient is not among those found


class PatientPicker:
    """``box`` is the widget; ``on_pick`` is called with the id of a newly picked patient; ``members``: the training split."""

    def __init__(self, dataset: MedsDataset, patient_id: int, on_pick: Callable[[int], None], *, members: str) -> None:
        self._dataset, self._on_pick, self._chosen, self._members = dataset, on_pick, patient_id, members
        self._everybody = len(dataset)
        self._ids = np.union1d(dataset.some_ids(_LISTED), [patient_id])
        self._lines = describe_patients(dataset, self._ids, members)
        self.search = widgets.Text(
            description="Find patients", placeholder="pseudonym, attribute, F, 60-69 ...", layout=widgets.Layout(width="calc(100% - 6px)"),
            style={"description_width": "100px"},
        )  # fmt: skip
        self.list = widgets.Select(
            description="Patient: pseudonym, sex, age, attributes held, split, events",
            rows=7,
            layout=widgets.Layout(width="calc(100% - 6px)", flex_flow="column", height="auto"),
            style={"description_width": "100%"},
        )
        self.list.add_class("ehrmem-picker")
        self.note = widgets.HTML()
        self.box = widgets.VBox([self.search, self.list, self.note])
        self._fill()
        self.search.observe(lambda change: self._fill(), "value")
        self.list.observe(self._picked, "value")

    def _fill(self) -> None:
        keep = self._chosen
        words = self.search.value.lower().split()
        found = [place for place, line in enumerate(self._lines) if all(word in line.lower() for word in words)]
        if not found and self._everybody > len(self._ids):  # the whole pseudonym of a patient who is not listed
            ids = self._dataset.ids_of(self.search.value)
            found = list(range(len(self._ids), len(self._ids) + len(ids)))
            self._ids = np.append(self._ids, ids).astype(np.int64)
            self._lines += describe_patients(self._dataset, ids, self._members)
        shown = found[:_SHOWN]
        if not words:  # the picked patient stays in sight
            place = int((self._ids == keep).argmax())
            shown = [place, *[p for p in shown if p != place]]
        options: list[tuple[str, int | str]] = [(self._lines[place], int(self._ids[place])) for place in shown]
        if not any(value == keep for _, value in options):  # a list with nothing chosen does not answer the keyboard
            options.insert(0, (f"{len(found):,} found: choose one", _NOBODY))
        self._filling = True
        try:
            self.list.options = options
            self.list.value = keep if options[0][1] != _NOBODY else _NOBODY
        finally:
            self._filling = False
        more = f"; the first {_SHOWN} are listed, search to narrow them" if len(found) > _SHOWN else ""
        searched = f"{len(self._lines):,} patients"
        if self._everybody > len(self._ids):
            more += f". These are a sample of {self._everybody:,}; any other is found by the whole pseudonym"
        self.note.value = f'<div class="ehrmem-small">{len(found):,} of {searched}{more}.</div>'

    def _picked(self, change: dict[str, object]) -> None:
        if not self._filling and change["new"] not in (None, _NOBODY):
            self._chosen = int(change["new"])  # type: ignore[call-overload]
            self._on_pick(self._chosen)


def describe_patients(dataset: MedsDataset, patient_ids: Iterable[int], members: str) -> list[str]:
    """One line a patient, in the order given; ages in bands of ten years. ``members``: the training split."""
    return [_line(row, dataset, members) for row in dataset.patients_of(patient_ids).itertuples()]


def split_in_words(split: object, members: str) -> str:
    """What a split means for a model that was trained on the split ``members``."""
    if not isinstance(split, str):
        return "no split"
    return "in training" if split == members else split.replace("_", " ")


def _line(row: object, dataset: MedsDataset, members: str) -> str:
    titles = ", ".join(dataset.attributes[name].title for name in row.attributes)  # type: ignore[attr-defined]
    sex = row.sex if isinstance(row.sex, str) else "-"  # type: ignore[attr-defined]
    columns = (
        row.pseudonym,  # type: ignore[attr-defined]
        f"{sex[:1]} {age_band(row.age) or '-'}",  # type: ignore[attr-defined]
        titles or "nothing sensitive",
        split_in_words(row.split, members),  # type: ignore[attr-defined]
        f"{row.events} events",  # type: ignore[attr-defined]
    )
    return " · ".join(columns)
