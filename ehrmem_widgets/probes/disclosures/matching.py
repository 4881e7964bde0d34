"""What of a record can stand in an output and point at one person, and in which outputs it stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from scipy import sparse

from ehrmem_widgets.cohort.codes import Kind
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.continuations_compared import RARE_SHARE
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary

PAIR, RUN, PANEL, VISIT = "rare_pair", "rare_run", "lab_pattern", "visit"
KINDS: Mapping[str, str] = {
    PAIR: "two rare codes",
    RUN: "three codes in a row, one of them rare",
    PANEL: "four lab values in a row",
    VISIT: "a whole visit",
}
"""The kinds of match by name, in words."""
_RUN, _PANEL, _LEAST_VISIT = 3, 4, 4  # codes
_MOST_COUNTED = 5_000  # patients of the training split

Feature = tuple[int, ...]
Features = dict[str, set[Feature]]


def known_without(dataset: MedsDataset, vocabulary: Vocabulary, split: str) -> tuple[Counter[int], frozenset[int]]:
    """How many people of the training split hold each code, and whose records were counted (of more than 5,000 a fixed random sample).

    A model's list of codes is made from its training data: a code that one person alone holds is in it for a person in training and not for
    another one, though nothing was memorized. Only what the list would hold without the person may count.
    """
    ids = dataset.some_ids(_MOST_COUNTED, split)
    held: Counter[int] = Counter()
    for record in dataset.each_record(ids):
        held.update(set(vocabulary.ids(encode(record, vocabulary).codes)))
    return held, frozenset(ids)


@dataclass(frozen=True)
class Reading:
    """How sequences of ids are taken apart: ``content`` are codes that say something of a patient, ``measured`` those with a lab value,
    ``days`` gaps of a day or more, ``rare`` codes that few people hold; ``panel`` codes are a lab pattern."""

    content: frozenset[int]
    measured: frozenset[int]
    days: frozenset[int]
    rare: frozenset[int]
    panel: int

    def features(self, ids: Sequence[int]) -> Features:
        """All that could match, by kind."""
        visits = list(self._visits(ids))
        rare = sorted(self.rare.intersection(ids))
        labs = ([code for code in visit if code in self.measured] for visit in visits)
        return {
            PAIR: set(combinations(rare, 2)),
            RUN: {run for visit in visits for run in _runs(visit, _RUN) if self.rare.intersection(run)},
            PANEL: {run for visit in labs for run in _runs(visit, self.panel)},
            VISIT: {tuple(visit) for visit in visits if len(visit) >= _LEAST_VISIT},
        }

    def _visits(self, ids: Sequence[int]) -> Iterator[list[int]]:
        """The codes between gaps of a day or more, shorter gaps left out."""
        ends = [-1, *(place for place, code in enumerate(ids) if code in self.days), len(ids)]
        for before, end in pairwise(ends):
            yield [code for code in ids[before + 1 : end] if code in self.content]


def reading(vocabulary: Vocabulary, sequences: Iterable[Sequence[int]]) -> Reading:
    """How to read sequences in a vocabulary; rare are the codes that at most 2 % of ``sequences`` hold, whoever was in training."""
    some = [set(ids) for ids in sequences]
    kinds = [vocabulary.kind(code) for code in vocabulary.codes]
    structure = (Kind.special, Kind.time)
    content = {
        n for n, code in enumerate(vocabulary.codes) if kinds[n] not in structure and code not in vocabulary.ages
    }
    values = set(vocabulary.next_codes)
    measured = {
        n
        for n, code in enumerate(vocabulary.codes)
        if code in values or (kinds[n] is Kind.laboratory and (values or vocabulary.base(code) != code))
    }
    held = Counter(code for ids in some for code in ids)
    return Reading(
        frozenset(content),
        frozenset(measured & content),
        frozenset(n for n, code in enumerate(vocabulary.codes) if vocabulary.gap_days(code) >= 1),
        frozenset(code for code in content if 0 < held[code] <= max(1, RARE_SHARE * len(some))),
        _PANEL * (2 if values else 1),
    )


class Matcher:
    """The records of some people, ready to be looked for in outputs.

    A feature counts if nobody else of them holds it, and if every code of it is held by somebody else in training (``held``, among those
    ``counted``): neither depends on who was in training.
    """

    def __init__(
        self, records: Sequence[Record], vocabulary: Vocabulary, held: Counter[int], counted: Collection[int]
    ) -> None:
        sequences = [vocabulary.ids(encode(record, vocabulary).codes) for record in records]
        self.people = len(records)
        self.reading = reading(vocabulary, sequences)
        owners: dict[str, dict[Feature, list[int]]] = {kind: defaultdict(list) for kind in KINDS}
        for place, (record, ids) in enumerate(zip(records, sequences, strict=True)):
            own = record.patient_id in counted
            alone = {code for code in set(ids) & self.reading.content if held[code] - own < 1}
            for kind, features in self.reading.features(ids).items():
                for feature in features:
                    if not alone.intersection(feature):
                        owners[kind][feature].append(place)
        self._owner = {
            kind: {feature: places[0] for feature, places in of.items() if len(places) == 1}
            for kind, of in owners.items()
        }

    def matched(self, outputs: Sequence[Sequence[int]]) -> dict[str, sparse.csr_array]:
        """By kind: (outputs, people) 0 or 1, whether the output holds a feature of the person."""
        found: dict[str, tuple[list[int], list[int]]] = {kind: ([], []) for kind in KINDS}
        for place, ids in enumerate(outputs):
            for kind, features in self.reading.features(ids).items():
                owner = self._owner[kind]
                people = {owner[feature] for feature in features if feature in owner}
                found[kind][0].extend([place] * len(people))
                found[kind][1].extend(people)
        shape = (len(outputs), self.people)
        return {
            kind: sparse.csr_array(([1] * len(rows), (rows, columns)), shape=shape)
            for kind, (rows, columns) in found.items()
        }


def _runs(codes: Sequence[int], length: int) -> Iterator[Feature]:
    return (tuple(codes[start : start + length]) for start in range(len(codes) - length + 1))
