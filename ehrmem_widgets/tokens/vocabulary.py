"""The vocabulary: every code a model knows, its number, its label and the value bins learned on the training split."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ehrmem_widgets.cohort.codes import Kind, code_label, parse_code
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, OLDEST, TIME_CODES, GapRule
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.files import read_json
from ehrmem_widgets.patterns import number_in, pattern, whole_in
from ehrmem_widgets.settings import shown
from ehrmem_widgets.tokens.token_scheme import (
    OWN,
    WITH_AGES,
    TokenScheme,
    fitted,
    guess_token_scheme,
    read_token_scheme,
    token_scheme_in,
)
from ehrmem_widgets.tokens.vocabulary_files import MOST_IDS, read_codes

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset

PAD, START, END, NO_EVENT = "[PAD]", "[BOS]", "[EOS]", "[NO EVENT]"
DEATH = "MEDS_DEATH"
FORMAT = "ehrmem-vocabulary/1"
_EDGES_FROM = 20_000  # patients
_NO_CODE = "[no code "  # an id of the model's that stands for nothing known


@dataclass(frozen=True)
class ValueBin:
    """One bin of a code's values: from ``low``, included, to ``high``, and the code that stands for it."""

    low: float
    high: float
    code: str


@dataclass(frozen=True)
class Vocabulary:
    """Codes and their ids (a code's id is its place in ``codes``), and how a record is written with them (``token_scheme``).

    ``bins`` gives, for each code that carries values, the inner edges of its bins where the bins' codes do not name them: n
    edges make n + 1 bins, by this kit's own token scheme the codes ``c//0`` to ``c//n``. ``labels`` are by base code, a code without
    its value. ``edges``: "learned" when they are not the model's own but the data's (``with_edges_of``), "numbers" when a
    value is known by its bin's number only (``with_bin_numbers``); ``token_scheme_guessed``: nobody declared the token scheme.
    """

    codes: tuple[str, ...]
    bins: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    start: str | None = START
    stops: frozenset[str] = frozenset({END})
    pad: str | None = PAD
    token_scheme: TokenScheme = OWN
    edges: Literal["own", "learned", "numbers"] = "own"
    token_scheme_guessed: bool = False

    def __len__(self) -> int:
        return len(self.codes)

    def __contains__(self, code: object) -> bool:
        return code in self._ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {code: place for place, code in enumerate(self.codes)}

    @cached_property
    def opening(self) -> tuple[str, ...]:
        """The codes that every sequence begins with."""
        return (*self.token_scheme.before_start, *((self.start,) if self.start else ()))

    @cached_property
    def end(self) -> str | None:
        """The code that a record's sequence ends with, None where the model has none; one that is told ages goes on until death."""
        if self.timed:
            return None
        return next((code for code in (*self.token_scheme.stops, *sorted(self.stops)) if code in self.stops), None)

    @cached_property
    def special(self) -> frozenset[str]:
        """The codes that say nothing about a patient: start, end, padding, and that nothing came."""
        return frozenset(c for c in (*self.opening, self.pad, self.token_scheme.no_event, *self.stops) if c is not None)

    @property
    def timed(self) -> bool:
        """Whether the model is told the age beside each code and says when the next one comes; sequences then hold moments
        (``tokens/moments.py``) and horizons are in days."""
        return self.token_scheme.time == "ages"

    @property
    def horizon_unit(self) -> str:
        """What a horizon is counted in."""
        return "day" if self.timed else "code"

    def id(self, code: str) -> int:
        """The id of a code. Raises CannotAnswer when the model does not know the code."""
        try:
            return self._ids[code]
        except KeyError:
            raise CannotAnswer(
                f"The model's vocabulary ({len(self):,} codes) has no code {code!r}. "
                "Leave that fact out, or use the model's own data set."
            ) from None

    def ids(self, codes: Iterable[str]) -> list[int]:
        """The ids of several codes."""
        return [self.id(code) for code in codes]

    @property
    def identity(self) -> str:
        """A hash of all that decides how a record is written and read (labels too: T1 compares codes by them)."""
        about = [self.codes, dict(self.bins), dict(self.labels), self.start, sorted(self.stops), self.pad, self.edges]
        return hashlib.sha256(json.dumps([*about, self.token_scheme.to_yaml()], sort_keys=True).encode()).hexdigest()

    # Values --------------------------------------------------------------------------------

    @cached_property
    def value_bins(self) -> dict[str, tuple[ValueBin, ...]]:
        """The bins of each base code that carries values, lowest first, whether or not the model knows each of their codes. Bins
        whose edges are not known have no width (low and high are nan)."""
        rule = self.token_scheme.values
        if rule is None:
            return {}
        if rule.kind == "next":
            every = self.next_codes
            return {base: _bins(every, edges) for base, edges in self.bins.items() if len(edges) == len(every) - 1}
        if rule.kind == "range":
            return _ranges(self.codes, str(rule.pattern))
        found = {base: _bins([f"{base}//{b}" for b in range(len(e) + 1)], e) for base, e in self.bins.items()}
        if rule.pattern:
            for base, codes in _numbered(self.codes, rule.pattern).items():
                found[base] = _bins(codes, self.bins.get(base))
        return found

    @cached_property
    def next_codes(self) -> tuple[str, ...]:
        """Where a value is a code of its own after the code it belongs to: those codes, lowest first."""
        rule = self.token_scheme.values
        if rule is None or rule.kind != "next":
            return ()
        values = pattern(str(rule.pattern), "values")
        found = [(whole_in(match, "bin"), c) for c in self.codes if (match := values.fullmatch(c))]
        return tuple(code for _, code in sorted(found))

    @cached_property
    def _base_and_bin(self) -> dict[str, tuple[str, int]]:
        if self.next_codes:
            return {}
        return {one.code: (base, b) for base, bins in self.value_bins.items() for b, one in enumerate(bins)}

    def base(self, code: str) -> str:
        """The code without its value bin: what labels and sensitive attributes are looked up by."""
        return self._base_and_bin.get(code, (code, -1))[0]

    def name(self, event: Event) -> str:
        """An event's code as the model writes it, without its value."""
        return self.token_scheme.renamed(event.code) if self.token_scheme.rename else event.code

    def code_of(self, event: Event) -> str:
        """An event as the model reads it: with its value bin where that is part of the code."""
        name = self.name(event)
        if event.value is None or self.next_codes:
            return name
        found = self.bin_of(name, event.value)
        return found.code if found else name

    def codes_of(self, event: Event) -> tuple[str, ...]:
        """The codes of an event, its value's own after it where the model writes it so; none where the model does not know
        it, or not with this value."""
        code = self.code_of(event)
        if code not in self:
            return ()
        found = self.bin_of(code, event.value) if self.next_codes and event.value is not None else None
        return (code, found.code) if found else (code,)

    def bin_of(self, code: str, value: float) -> ValueBin | None:
        """The bin of a base code that a value falls into; None where the code has no bins or no bin holds it."""
        bins = self.value_bins.get(code, ())
        place = bisect.bisect_right(self._lows.get(code, ()), value) - 1
        return bins[place] if place >= 0 and not value > bins[place].high else None

    @cached_property
    def _lows(self) -> dict[str, list[float]]:
        return {c: [one.low for one in bins] for c, bins in self.value_bins.items() if not math.isnan(bins[0].low)}

    def bins_of(self, code: str) -> list[str]:
        """Every bin of a base code that the model knows, lowest first; the code itself where it has no values."""
        if code not in self.value_bins:
            return [code] if code in self else []
        return [one.code for one in self.value_bins[code] if one.code in self]

    def range_of(self, code: str, bins: Collection[str]) -> tuple[float, float] | None:
        """The lowest and the highest value that some bins of a base code stand for; None where that is not known."""
        found = [one for one in self.value_bins.get(code, ()) if one.code in bins and not math.isnan(one.low)]
        return (found[0].low, found[-1].high) if found else None

    @property
    def lacks_edges(self) -> bool:
        """Whether values have bins and nothing says which values they hold."""
        if self.next_codes:
            return not self.bins
        return any(math.isnan(bins[0].low) for bins in self.value_bins.values())

    def with_edges_of(self, dataset: MedsDataset, split: str | None) -> Vocabulary:
        """Bins whose edges are not known get the equal shares of this split's values (of everyone's: None; of 20,000 patients at
        most), as published models' bins are; ``edges`` then says so."""
        wanted = {base: len(bins) for base, bins in self.value_bins.items() if math.isnan(bins[0].low)}
        shares = [b / 100 for b in range(101)]
        rows = dataset.query(
            f"SELECT code, quantile_cont(value, {shares}) FROM events "
            "WHERE patient_id IN (SELECT unnest(?)) AND value IS NOT NULL GROUP BY code",
            [dataset.some_ids(_EDGES_FROM, split)],
        ).fetchall()
        found = dict(self.bins)
        for code, quantiles in rows:
            name = self.token_scheme.renamed(code)
            n = len(self.next_codes) if self.next_codes and name in self else wanted.get(name, 0)
            if n > 1:
                at = np.linspace(0, 100, n + 1)[1:-1]
                found[name] = tuple(np.interp(at, range(101), quantiles).tolist())
        return replace(self, bins=found, edges="learned")

    def with_bin_numbers(self) -> Vocabulary:
        """Bins whose edges are not known hold their own number as value, 0 for the lowest: for records that come in the model's
        own codes."""
        if self.next_codes:
            n = len(self.next_codes)
            bases = [c for c in self.codes if c not in self.special and not self.is_gap(c) and c not in self.next_codes]
            found = {base: tuple(b + 0.5 for b in range(n - 1)) for base in bases}
        else:
            unknown = {base: bins for base, bins in self.value_bins.items() if math.isnan(bins[0].low)}
            found = {base: tuple(b + 0.5 for b in range(len(bins) - 1)) for base, bins in unknown.items()}
        return replace(self, bins={**self.bins, **found}, edges="numbers")

    # Time and age --------------------------------------------------------------------------

    @cached_property
    def gap_rule(self) -> GapRule | None:
        """How the model writes that time passes; None where time leaves no trace."""
        rule = self.token_scheme.gaps(self.codes)
        return rule if rule is not None and any(code in self for code in rule.codes) else None

    @cached_property
    def gap_codes(self) -> tuple[str, ...]:
        """The gap codes that the model knows, shortest first."""
        return tuple(code for code in (self.gap_rule.codes if self.gap_rule else ()) if code in self)

    def is_gap(self, code: str) -> bool:
        """Whether a code says that time passes."""
        return code in self._gap_set or (self.token_scheme.time == "calendar" and code.startswith("TIME//"))

    @cached_property
    def _gap_set(self) -> frozenset[str]:
        return frozenset(self.gap_codes)

    def gap_days(self, code: str) -> float:
        """The fewest days that a gap code stands for; 0 for any other code."""
        return self.gap_rule.days(code) if self.gap_rule else 0.0

    def gap_between(self, before: datetime | None, now: datetime) -> tuple[str, ...]:
        """The codes of the gap between two events; none where there was no event, or the model writes no such gap."""
        if before is None or self.gap_rule is None:
            return ()
        return tuple(code for code in self.gap_rule.between(before, now) if code in self)

    @cached_property
    def ages(self) -> dict[str, int]:
        """The codes of ages, and the years that each stands for, youngest first."""
        found = ((code, self.token_scheme.years(code)) for code in self.codes)
        return dict(sorted(((c, y) for c, y in found if y is not None), key=lambda pair: pair[1]))

    def age_codes_of(self, record: Record) -> tuple[str, ...]:
        """The codes that tell a record's age: its age code, or its birth and the gap to the first event that the model knows; none
        where the model writes none."""
        age = record.age_at_start()
        if age is None:
            return ()
        if self.token_scheme.birth and record.birth is not None:
            dated = (event for event in record.events if event.time is not None)
            first = next((event.time for event in dated if self.codes_of(event)), None)
            if first is None or first < record.birth:
                return ()
            return (self.token_scheme.birth, *self.gap_between(record.birth, first))
        age = min(age, OLDEST)
        return tuple(code for code, years in self.ages.items() if years == age)[:1]

    # Words ---------------------------------------------------------------------------------

    def kind(self, code: str) -> Kind:
        """What kind of code it is, coarsely."""
        if code in self.special or code.startswith(_NO_CODE):
            return Kind.special
        return Kind.time if self.is_gap(code) else parse_code(self.base(code)).kind

    def label(self, code: str) -> str:
        """A readable label, with the range of values that the bin stands for.

        >>> Vocabulary(("LAB//1//g",), bins={"LAB//1//g": (2.0, 5.5)}, labels={"LAB//1//g": "Iron"}).label("LAB//1//g//1")
        'Iron 2 to 5.5'
        """
        if code.startswith(_NO_CODE):
            return "(a number without a code)"
        if code in self._gap_set and self.gap_rule:
            return self.gap_rule.label(code)
        if code in self.next_codes:
            return f"value in part {self.next_codes.index(code) + 1} of {len(self.next_codes)}, from the lowest"
        base, b = self._base_and_bin.get(code, (code, -1))
        label = self.labels.get(base) or code_label(base)
        if b < 0 or len(self.value_bins[base]) == 1:
            return label
        one = self.value_bins[base][b]
        if math.isnan(one.low) or self.edges == "numbers":
            return f"{label}, value in part {b + 1} of {len(self.value_bins[base])}"
        if one.low == -math.inf:
            return f"{label} below {one.high:.4g}"
        if one.high == math.inf:
            return f"{label} {one.low:.4g} or more"
        return f"{label} {one.low:.4g} to {one.high:.4g}"

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
    def load(cls, path: str | Path, token_scheme: str | Path | TokenScheme | None = None) -> Vocabulary:
        """Read a vocabulary: what ``save`` wrote, or any form that ``read_codes`` reads.

        Ids without a code get a placeholder. ``token_scheme``: a token scheme, its file or a published model's name; None takes the file
        ``token_scheme.yaml`` (or .toml, .json) beside the vocabulary, else guesses by the codes. Raises BadInput when a file is
        missing or of another form.
        """
        path = Path(path)
        given = read_token_scheme(token_scheme) if isinstance(token_scheme, str | Path) else token_scheme
        own = _own_format(path)
        if own is not None:
            made = _from_own_format(own, path.name)
            return made if given is None else replace(made, token_scheme=fitted(given, made.codes))
        by_id = read_codes(path)
        codes = tuple(by_id.get(number, f"{_NO_CODE}{number}]") for number in range(max(by_id) + 1))
        if given is None:
            beside = token_scheme_in(path.parent)
            given = read_token_scheme(beside) if beside else None
        known = fitted(given, codes) if given else guess_token_scheme(codes)
        return cls(
            codes, {}, {}, known.start, frozenset(known.stops), known.pad, known, token_scheme_guessed=given is None
        )

    def widened(self, head: int) -> Vocabulary:
        """With placeholders for the ids that the model's head has beyond the vocabulary. Raises BadInput where these are far more than its codes."""
        if head > max(MOST_IDS, 2 * len(self)):
            raise BadInput(
                f"The vocabulary does not fit the model: it lists {len(self):,} codes and the model knows {head:,}. Give the vocabulary "
                "that the model was trained with."
            )
        more = tuple(f"{_NO_CODE}{number}]" for number in range(len(self), head))
        return replace(self, codes=self.codes + more) if more else self

    @property
    def without_a_code(self) -> int:
        """How many ids stand for nothing known."""
        return sum(code.startswith(_NO_CODE) for code in self.codes)


def _own_format(path: Path) -> dict[str, Any] | None:
    """The content of a file that ``Vocabulary.save`` wrote, None for any other form."""
    if not path.exists():
        raise BadInput(f"The model folder has no {path.name}: the list of codes that its numbers stand for is needed.")
    if path.suffix != ".json":
        return None
    try:
        content = read_json(path, path.name)
    except ValueError as error:
        raise BadInput(f"{path.name} is not a vocabulary: it is not JSON ({error}).") from None
    return content if isinstance(content, dict) and "format" in content else None


def _from_own_format(content: dict[str, Any], name: str) -> Vocabulary:
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format is {shown(content['format'])}, expected {FORMAT!r}")
        if not isinstance(content["codes"], list) or not all(isinstance(code, str) for code in content["codes"]):
            raise ValueError("codes is not a list of texts")
        codes, known = tuple(content["codes"]), frozenset(content["codes"])
        if len(known) != len(codes):
            raise ValueError("a code is listed twice")
        for code in (content["start"], content["pad"], *content["stops"]):
            if code is not None and code not in known:
                raise ValueError(f"{shown(code)} is not among its codes")
        for code, edges in content["bins"].items():
            if not all(type(edge) in (int, float) and math.isfinite(edge) for edge in edges):
                raise ValueError(f"the edges of {shown(code)} are not numbers")
            if not all(a < b for a, b in itertools.pairwise(map(float, edges))):
                raise ValueError(f"the edges of {shown(code)} do not rise")
        if not all(isinstance(words, str) for words in content["labels"].values()):
            raise ValueError("labels are not texts")
        return Vocabulary(
            codes=codes,
            bins={code: tuple(edges) for code, edges in content["bins"].items()},
            labels=content["labels"],
            start=content["start"],
            stops=frozenset(content["stops"]),
            pad=content["pad"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(f"{name} is not a vocabulary of this kit: {str(error)[:300]}.") from None


def _bins(codes: Sequence[str], edges: Sequence[float] | None) -> tuple[ValueBin, ...]:
    if edges is None or len(edges) != len(codes) - 1:
        return tuple(ValueBin(math.nan, math.nan, code) for code in codes)
    ends = (-math.inf, *edges, math.inf)
    return tuple(ValueBin(low, high, code) for low, high, code in zip(ends[:-1], ends[1:], codes, strict=True))


def _ranges(codes: Sequence[str], text: str) -> dict[str, tuple[ValueBin, ...]]:
    """The bins whose ends stand in their codes. Where a code has bins in several units, those of the first unit listed."""
    found: dict[str, list[ValueBin]] = {}
    unit: dict[str, str | None] = {}
    values = pattern(text, "values")
    for code in codes:
        if match := values.fullmatch(code):
            part = match.groupdict()
            if unit.setdefault(part["code"], part.get("unit")) == part.get("unit"):
                low, high = (
                    float(np.float32(number_in(match, end))) for end in ("low", "high")
                )  # as MEDS holds values
                found.setdefault(part["code"], []).append(ValueBin(low, high, code))
    return {base: tuple(sorted(bins, key=lambda one: one.low)) for base, bins in found.items()}


def _numbered(codes: Sequence[str], text: str) -> dict[str, list[str]]:
    """The codes of bins by base, where their numbers run without a gap from 0 or 1: else the number is no bin's (such as an ICD
    code's)."""
    found: dict[str, dict[int, str]] = {}
    values = pattern(text, "values")
    for code in codes:
        if match := values.fullmatch(code):
            found.setdefault(match["code"], {})[whole_in(match, "bin")] = code
    return {
        base: [bins[b] for b in sorted(bins)]
        for base, bins in found.items()
        if len(bins) > 1 and min(bins) <= 1 and max(bins) - min(bins) + 1 == len(bins)
    }


def learn_vocabulary(
    dataset: MedsDataset,
    *,
    split: str = "train",
    bins: int = 10,
    fewest_patients: int = 1,
    most_codes: int = 6000,
    with_ages: bool = False,
) -> Vocabulary:
    """The vocabulary of a data set, learned on one split only (so that no other patient's values shape the bins).

    Codes with values get up to ``bins`` quantile bins. Codes held by fewer than ``fewest_patients`` patients of the split
    are left out, and of more than ``most_codes`` (bins counted) the least held ones. ``with_ages``: for a model that is told the age beside
    each code, without codes of age and time.
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
        raise BadInput(f"The split {split!r} of {dataset.name} holds no events to learn a vocabulary from.")
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
    fixed = [PAD, START, NO_EVENT] if with_ages else [PAD, START, END, *AGE_CODES, *TIME_CODES]
    learned = sorted(set(codes) - set(fixed))
    bases = {row[0] for row in rows}
    found = Vocabulary(
        codes=(*fixed, *learned),
        bins=edges_of,
        labels={code: dataset.label(code) for code in sorted(bases)},
    )
    if not with_ages:
        return found
    stops = (DEATH,) if DEATH in found else ()
    return replace(found, stops=frozenset(stops), token_scheme=WITH_AGES.model_copy(update={"stops": stops}))
