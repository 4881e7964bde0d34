"""The vocabulary: every code a model knows, its number, its label and the value bins learned on the training split."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets.cohort.codes import code_label
from ehrmem_widgets.cohort.record import Event
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES
from ehrmem_widgets.errors import InputError

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset

PAD, START, END = "[PAD]", "[BOS]", "[EOS]"
FORMAT = "ehrmem-vocabulary/1"


@dataclass(frozen=True)
class Vocabulary:
    """Codes and their ids (a code's id is its place in ``codes``).

    ``bins`` gives, for each code that carries values, the inner edges of its quantile bins: n edges make n + 1 bins,
    and bin b of code c is the code ``c//b``. ``labels`` and ``units`` are by base code.
    """

    codes: tuple[str, ...]
    bins: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    start: str | None = START
    stops: frozenset[str] = frozenset({END})
    pad: str | None = PAD

    def __len__(self) -> int:
        return len(self.codes)

    def __contains__(self, code: object) -> bool:
        return code in self._ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {code: place for place, code in enumerate(self.codes)}

    @cached_property
    def _base_and_bin(self) -> dict[str, tuple[str, int]]:
        return {f"{base}//{b}": (base, b) for base, edges in self.bins.items() for b in range(len(edges) + 1)}

    def id(self, code: str) -> int:
        """The id of a code. Raises InputError when the model does not know the code."""
        try:
            return self._ids[code]
        except KeyError:
            raise InputError(
                f"The model's vocabulary ({len(self):,} codes) has no code {code!r}. "
                "Leave that fact out, or use the model's own data set."
            ) from None

    def ids(self, codes: Iterable[str]) -> list[int]:
        """The ids of several codes."""
        return [self.id(code) for code in codes]

    def base(self, code: str) -> str:
        """The code without its value bin: what labels and sensitive attributes are looked up by."""
        return self._base_and_bin.get(code, (code, -1))[0]

    def code_of(self, event: Event) -> str:
        """An event as the model reads it: with its value bin where the code carries values."""
        edges = self.bins.get(event.code)
        if edges is None or event.value is None:
            return event.code
        return f"{event.code}//{bisect.bisect_right(edges, event.value)}"

    def bins_of(self, code: str) -> list[str]:
        """Every bin of a base code that the model knows, lowest first; the code itself where it has no values."""
        if code not in self.bins:
            return [code] if code in self else []
        return [c for b in range(len(self.bins[code]) + 1) if (c := f"{code}//{b}") in self]

    def label(self, code: str) -> str:
        """A readable label, with the range of values that the bin stands for.

        >>> Vocabulary(("LAB//1//g",), bins={"LAB//1//g": (2.0, 5.5)}, labels={"LAB//1//g": "Iron"}).label("LAB//1//g//1")
        'Iron 2 to 5.5'
        """
        base, b = self._base_and_bin.get(code, (code, -1))
        label = self.labels.get(base) or code_label(base)
        if b < 0:
            return label
        edges = self.bins[base]
        if not edges:
            return label
        if b == 0:
            return f"{label} below {edges[0]:.4g}"
        if b == len(edges):
            return f"{label} {edges[-1]:.4g} or more"
        return f"{label} {edges[b - 1]:.4g} to {edges[b]:.4g}"

    def save(self, path: Path) -> None:
        """Write as JSON."""
        content = {
            "format": FORMAT,
            "codes": self.codes,
            "bins": dict(self.bins),
            "labels": dict(self.labels),
            "start": self.start,
            "stops": sorted(self.stops),
            "pad": self.pad,
        }
        path.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what ``save`` wrote. Raises InputError when the file is missing or of another form."""
        if not path.exists():
            raise InputError(
                f"The model folder has no {path.name}: the list of codes that its numbers stand for is needed."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format is {content['format']!r}, expected {FORMAT!r}")
            if not isinstance(content["codes"], list) or not all(isinstance(code, str) for code in content["codes"]):
                raise ValueError("codes is no list of texts")
            codes = tuple(content["codes"])
            if len(set(codes)) != len(codes):
                raise ValueError("a code is listed twice")
            for code in (content["start"], content["pad"], *content["stops"]):
                if code is not None and code not in codes:
                    raise ValueError(f"{code!r} is not among its codes")
            for code, edges in content["bins"].items():
                if any(a >= b for a, b in itertools.pairwise(map(float, edges))):
                    raise ValueError(f"the edges of {code!r} do not rise")
            return cls(
                codes=codes,
                bins={code: tuple(edges) for code, edges in content["bins"].items()},
                labels=content["labels"],
                start=content["start"],
                stops=frozenset(content["stops"]),
                pad=content["pad"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path.name} is no vocabulary of this kit: {error}.") from None


def learn_vocabulary(
    dataset: MedsDataset, *, split: str = "train", bins: int = 10, fewest_patients: int = 1, most_codes: int = 6000
) -> Vocabulary:
    """The vocabulary of a data set, learned on one split only (so that no other patient's values shape the bins).

    Codes with values get up to ``bins`` quantile bins. Codes held by fewer than ``fewest_patients`` patients of the split
    are left out, and of more than ``most_codes`` (bins counted) the least held ones.
    """
    quantiles = ", ".join(str(b / bins) for b in range(1, bins))
    rows = dataset.query(
        f"""
        SELECT code, count(DISTINCT patient_id) AS patients, count(value) AS values, count(*) AS events,
               quantile_cont(value, [{quantiles}]) AS edges
        FROM events JOIN splits USING (patient_id)
        WHERE split = ? AND code NOT LIKE 'MEDS_BIRTH%' GROUP BY code HAVING patients >= ? ORDER BY patients DESC, code
        """,
        [split, fewest_patients],
    ).fetchall()
    if not rows:
        raise InputError(f"The split {split!r} of {dataset.name} holds no events to learn a vocabulary from.")
    edges_of: dict[str, tuple[float, ...]] = {}
    codes: list[str] = []
    for code, _, values, events, edges in rows:
        new = [code]
        if values:
            edges_of[code] = tuple(sorted({float(f"{edge:.6g}") for edge in edges}))
            new = [f"{code}//{b}" for b in range(len(edges_of[code]) + 1)] + ([code] if values < events else [])
        if len(codes) + len(new) > most_codes:
            edges_of.pop(code, None)
            break
        codes += new
    fixed = [PAD, START, END, *AGE_CODES, *TIME_CODES]
    learned = sorted(set(codes) - set(fixed))
    bases = {row[0] for row in rows}
    return Vocabulary(
        codes=(*fixed, *learned),
        bins=edges_of,
        labels={code: dataset.label(code) for code in sorted(bases)},
    )
