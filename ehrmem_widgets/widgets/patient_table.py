"""The table of patients: found by words that people use, sorted by any column, a window of rows at a time; and the button that opens it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets

from ehrmem_widgets.blackbox.training_splits import split_in_words
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.cohort.record import age_band

SYNONYMS = {
    "male": "sex:m", "man": "sex:m", "men": "sex:m", "m": "sex:m", "female": "sex:f", "woman": "sex:f", "women": "sex:f", "f": "sex:f",
    "trained": "training", "member": "training", "members": "training", "unseen": "held", "addiction": "substance", "drugs": "drug",
    "psychiatric": "mental", "depression": "mental", "suicide": "self-harm", "assault": "violence", "miscarriage": "pregnancy", "std": "sexually",
    "homeless": "homelessness", "canary": "seen", "canaries": "seen",
}  # fmt: skip
"""Words that people type, and what they mean here."""
_AGES = re.compile(r"(over|above|under|below|>|<)\s*(\d{1,3})|(\d{1,3})\s*(?:-|to)\s*(\d{1,3})")
_TIMES = re.compile(r"seen\s+(\d+)(?:\s+times)?|(\d+)\s+times")


@dataclass(frozen=True)
class Found:
    """A window of the rows that were found: the cells as text, from the row numbered ``start`` of ``total``; and how many, in words."""

    total: int
    start: int
    rows: list[list[str]]
    words: str


@dataclass(frozen=True)
class Exposed:
    """How exposed patients look: ``ids`` (n,), ``values`` (n,), and a value in words."""

    ids: np.ndarray
    values: np.ndarray
    in_words: Callable[[float], str]


class PatientTable:
    """The patients of a data set; ages in bands of ten years. ``members``: the training split."""

    def __init__(self, dataset: MedsDataset, members: str) -> None:
        self._dataset, self._members = dataset, members
        self._exposed: Exposed | None = None
        self._orders: dict[tuple[str, bool], np.ndarray] = {}

    def expose(self, exposed: Exposed | None) -> None:
        """Another column, or none: how exposed the patients look to a model."""
        self._exposed = exposed
        table = self._table.drop(columns="exposed", errors="ignore")
        if exposed is not None:
            table = table.assign(exposed=pd.Series(exposed.values, index=exposed.ids))
        self._table = table
        self._orders = {by: places for by, places in self._orders.items() if by[0] != "exposed"}

    @cached_property
    def facets(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """Words by which the table can be narrowed, and how many patients each finds, under the name of their column."""
        shown = self._table
        held = [self._dataset.attributes[name].title for name in self._dataset.attributes]
        seen = [f"seen {times} times" for times in sorted(set(shown["times"])) if times >= 0]
        words = {
            "Sex": ["female", "male"],
            "Age": ["under 40", "40-59", "60-79", "over 79"],
            "Attribute": [title.lower() for title in held],
            "Split": sorted(set(shown["split"])),
            "Seen": seen,
        }
        found = {name: [(one, int(self._kept(one).sum())) for one in some] for name, some in words.items()}
        return [(name, [one for one in some if one[1]]) for name, some in found.items() if any(n for _, n in some)]

    @cached_property
    def _table(self) -> pd.DataFrame:
        return self._as_shown(self._dataset.patients)

    def _as_shown(self, table: pd.DataFrame) -> pd.DataFrame:
        times = canary_repetitions(self._dataset)
        titles = {name: attribute.title for name, attribute in self._dataset.attributes.items()}
        held = {names: ", ".join(titles[name] for name in names) for names in set(table["attributes"])}
        splits = {split: split_in_words(split, self._members) for split in table["split"].unique()}
        sex = table["sex"].fillna("").str[:1].str.upper()
        shown = pd.DataFrame(
            {
                "pseudonym": table["pseudonym"],
                "sex": sex,
                "age": table["age"],
                "events": table["events"],
                "attributes": table["attributes"].map(held),
                "_names": table["attributes"].map(lambda names: " ".join(names).replace("_", " ")),
                "split": table["split"].map(splits),
                "times": pd.Series(table.index, index=table.index).map(times).fillna(-1).astype(int),
            }
        )
        seen = np.where(shown["times"] >= 0, " seen", "")
        shown["_text"] = (
            shown["pseudonym"]
            + " sex:"
            + sex
            + " "
            + shown["attributes"]
            + " "
            + shown["_names"]
            + " "
            + shown["split"]
            + seen
        ).str.lower()
        return shown

    def find(
        self, text: str, *, sort: str = "pseudonym", descending: bool = False, start: int = 0, count: int = 60
    ) -> Found:
        """The patients whom every word fits: a part of the pseudonym, "male", "substance", "over 60", "40-49", "seen 16 times", a split."""
        table = self._table
        kept = self._kept(text.lower())
        order = self._order(sort, descending)
        found = order[kept[order]]
        window = table.iloc[found[start : start + max(0, min(count, 200))]]
        words = f"{len(found):,} of {len(table):,} patients"
        return Found(len(found), start, [self._cells(row) for row in window.itertuples(index=False)], words)

    def window(self, message: Mapping[str, object]) -> dict[str, object]:
        """What a page asks of the table (text, sort, descending, start, count), answered for it; ``number`` is that of its question."""
        start, count = (int(given) if isinstance(given := message.get(name), int) else 0 for name in ("start", "count"))
        found = self.find(
            str(message.get("text") or "")[:200], sort=str(message.get("sort")), descending=message.get("descending") is True,
            start=max(0, start), count=count,
        )  # fmt: skip
        return {
            "kind": "patients",
            "total": found.total,
            "start": found.start,
            "rows": found.rows,
            "words": found.words,
            "number": message.get("number"),
            "facets": self.facets,
            "exposed": self._exposed is not None,
        }

    def describe(self, patient_id: int) -> str:
        """A patient in one line: the pseudonym, sex, age in a band of ten years, attributes held, split and number of events."""
        (row,) = self._as_shown(self._dataset.patients_of([patient_id])).itertuples(index=False)
        pseudonym, sex, age, events, attributes, split, _ = self._cells(row)
        return f"{pseudonym} · {sex} {age} · {attributes} · {split} · {events} events"

    def _order(self, sort: str, descending: bool) -> np.ndarray:
        """The places of all rows in the order of a column, sorted once: sorting texts is what takes time among 100,000."""
        if sort not in self._table.columns:
            return np.arange(len(self._table))
        if (sort, descending) not in self._orders:
            column = self._table[sort].reset_index(drop=True)
            in_order = column.sort_values(ascending=not descending, kind="stable", na_position="last")
            self._orders[sort, descending] = in_order.index.to_numpy()
        return self._orders[sort, descending]

    def _kept(self, text: str) -> np.ndarray:
        table = self._table
        kept = np.ones(len(table), bool)
        for match in _TIMES.finditer(text):
            kept &= (table["times"] == int(match[1] or match[2])).to_numpy()
        text = _TIMES.sub(" ", text)
        for match in _AGES.finditer(text):
            kept &= _between(table["age"].to_numpy(), match)
        text = _AGES.sub(" ", text)
        for word in re.findall(r"[^\s,;]+", text):
            if word in ("and", "or", "with", "aged", "age", "years", "in", "not", "times", "patients"):
                continue
            kept &= table["_text"].str.contains(SYNONYMS.get(word, word), regex=False).to_numpy()
        return kept

    def _cells(self, row: object) -> list[str]:
        age = row.age  # type: ignore[attr-defined]
        times = row.times  # type: ignore[attr-defined]
        return [
            row.pseudonym,  # type: ignore[attr-defined]
            row.sex or "–",  # type: ignore[attr-defined]
            "–" if age != age else age_band(int(age)) or "–",
            f"{row.events:,}",  # type: ignore[attr-defined]
            row.attributes or "none",  # type: ignore[attr-defined]
            row.split,  # type: ignore[attr-defined]
            f"{times} ×" if times >= 0 else "",
        ] + ([self._exposed.in_words(row.exposed)] if hasattr(row, "exposed") and self._exposed else [])


_HERE = Path(__file__)


class PatientChooser(anywidget.AnyWidget):
    """A button that says who is chosen and opens the table. ``pick`` is called with the pseudonym of another patient."""

    _esm = "".join(
        _HERE.with_name(name).read_text(encoding="utf-8") for name in ("patient_table.js", "patient_chooser.js")
    )
    _css = _HERE.with_suffix(".css").read_text(encoding="utf-8")
    who = traitlets.Unicode("").tag(sync=True)

    def __init__(self, table: PatientTable, patient_id: int, pick: Callable[[str], None]) -> None:
        super().__init__(who=table.describe(patient_id))
        self._patients, self._pick = table, pick
        self.on_msg(self._take)

    def show(self, patient_id: int) -> None:
        """Say who is chosen now."""
        self.who = self._patients.describe(patient_id)

    def _take(self, _: object, message: object, buffers: object) -> None:
        if isinstance(message, Mapping) and message.get("do") == "patients":
            self.send(self._patients.window(message))
        elif isinstance(message, Mapping) and message.get("do") == "patient":
            self._pick(str(message.get("pseudonym")))


def _between(ages: np.ndarray, match: re.Match[str]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        if match[3]:
            return (ages >= int(match[3])) & (ages <= int(match[4]))
        number = int(match[2])
        return ages > number if match[1] in ("over", "above", ">") else ages < number
