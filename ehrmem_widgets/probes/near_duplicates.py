"""Near-duplicates across the split: a person whose record, all but a few codes, stands on the other side too is neither seen nor never seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import seen_by_reference, trained_on
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.findings.finding import Exclusion
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People

REFERENCE = "reference"
NEAR = 0.9  # Jaccard similarity of two sets of codes from which on records are near-duplicates
FEWEST_CODES = 5  # records with fewer are not compared
MOST_COMPARED = 5_000  # patients of a side looked through ...
MOST_EVENTS = 5_000_000  # ... or as many as have about so many events
LEFT_OUT = Exclusion("near_duplicate", "has a near-duplicate on the other side of the split")
_SIDES = (MEMBER, NON_MEMBER, REFERENCE)
_BLOCK = 500


@dataclass(frozen=True)
class AcrossTheSplit:
    """Which records are alike across the sides: members (the audited model was trained on them), the reference model's patients,
    and non-members (all others).

    ``ids``: by side, (n,) patients compared. ``same`` and ``near``: by (side, other side), (n,) bool, which of the side's have a
    record of the other side with the very sequence of codes, or with a set of codes of Jaccard similarity NEAR or more; values
    count in tenths. ``short``: how many have too few codes to compare.
    """

    ids: Mapping[str, np.ndarray]
    same: Mapping[tuple[str, str], np.ndarray]
    near: Mapping[tuple[str, str], np.ndarray]
    short: int

    def anywhere(self, side: str) -> np.ndarray:
        """(n,) bool: which of a side's have a near-duplicate on any other side."""
        found = [near for (own, _), near in self.near.items() if own == side]
        return np.any(found, axis=0) if found else np.zeros(len(self.ids[side]), dtype=bool)


def across_the_split(
    dataset: MedsDataset,
    model: BlackBox | None,
    reference: BlackBox | None,
    *,
    asked: Iterable[int] = (),
    seed: int = 0,
) -> AcrossTheSplit:
    """Compare the sides of a split: everybody, or of a larger side ``asked`` (patient ids) and a random sample of 5,000 patients (fewer
    where these have more than about 5 million events)."""
    wanted = set(asked)
    members = trained_on(model)
    others = seen_by_reference(reference) - {members}
    splits = {
        MEMBER: [members],
        NON_MEMBER: [split for split in dataset.splits if split not in {members, *others}],
        REFERENCE: sorted(others),
    }
    rng = np.random.default_rng([seed, 6])
    sides = {side: _compared(dataset, splits[side], wanted, rng) for side in _SIDES}
    everybody = np.sort(np.concatenate(list(sides.values())))
    sets, sequences = _codes(dataset, everybody)
    enough = np.asarray(sets.sum(axis=1)).ravel() >= FEWEST_CODES
    at = {side: np.searchsorted(everybody, ids) for side, ids in sides.items()}
    at = {side: places[enough[places]] for side, places in at.items()}
    pairs = [(a, b) for a in _SIDES for b in _SIDES if a != b and len(at[a]) and len(at[b])]
    return AcrossTheSplit(
        {side: everybody[places] for side, places in at.items()},
        {(a, b): np.isin(sequences[at[a]], sequences[at[b]]) for a, b in pairs},
        {(a, b): _near(sets[at[a]], sets[at[b]]) > 0 for a, b in pairs},
        int((~enough).sum()),
    )


def alike_within(dataset: MedsDataset, split: str, asked: Iterable[int], *, seed: int = 0) -> pd.DataFrame:
    """How often the records of patients of a split (``asked``) are repeated within it: by patient id, ``same``, how many others have the very
    sequence of codes, and ``near``, how many a near-duplicate; who has too few codes to compare is missing. Compared are as many patients of the split as by
    ``across_the_split``: ``attrs["compared"]``."""
    wanted = set(asked)
    everybody = _compared(dataset, [split], wanted, np.random.default_rng([seed, 6]))
    sets, sequences = _codes(dataset, everybody)
    whole = np.asarray(sets.sum(axis=1)).ravel() >= FEWEST_CODES
    own = np.flatnonzero(np.isin(everybody, list(wanted)) & whole)
    same = [int((sequences[whole] == sequences[place]).sum()) - 1 for place in own]
    found = pd.DataFrame({"same": same, "near": _near(sets[own], sets[whole]) - 1}, index=everybody[own])
    found.attrs["compared"] = int(whole.sum())
    return found


def without_near_duplicates(
    people: People, dataset: MedsDataset, model: BlackBox | None, reference: BlackBox | None = None, *, seed: int = 0
) -> People:
    """Those asked about less the members who have a near-duplicate among non-members or the reference model's patients, and the
    other way round; they are left out with the reason. Planted canaries stay: a canary and its control are often alike but for
    the secret."""
    ordinary = {record.patient_id for record in people.of(MEMBER, NON_MEMBER)}
    found = across_the_split(dataset, model, reference, asked=ordinary, seed=seed)
    twins = {int(i) for side in (MEMBER, NON_MEMBER) for i in found.ids[side][found.anywhere(side)]} & ordinary
    if not twins:
        return people
    return replace(
        people,
        records=tuple(record for record in people.records if record.patient_id not in twins),
        groups={patient: group for patient, group in people.groups.items() if patient not in twins},
        left_out=(*people.left_out, *((r.pseudonym, LEFT_OUT) for r in people.records if r.patient_id in twins)),
    )


def _compared(dataset: MedsDataset, splits: Iterable[str], asked: set[int], rng: np.random.Generator) -> np.ndarray:
    """Ids, ascending, of all patients of some splits, or of those ``asked`` and as many others as there is room for."""
    events = int(dataset.codes["events"].sum())
    room = min(MOST_COMPARED, max(1, MOST_EVENTS * len(dataset) // max(events, 1)))
    ids = np.array(sorted(i for s in splits if s in dataset.splits for i in dataset.ids(s)), dtype=np.int64)
    drawn = rng.choice(ids, room, replace=False) if len(ids) > room else ids
    return np.union1d(drawn, ids[np.isin(ids, list(asked))])


def _codes(dataset: MedsDataset, patients: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """(patients, tokens) 0 or 1, a token being a code with the tenth of its value among these patients; and (patients,) a hash of each sequence of
    tokens. Numbers instead of texts: a hospital's records fit the memory."""
    events = dataset.query(
        "SELECT patient_id AS patient, number, value FROM events "
        "JOIN (SELECT code, row_number() OVER (ORDER BY code) AS number FROM codes) USING (code) "
        "WHERE patient_id IN (SELECT unnest(?::BIGINT[])) AND NOT (code = 'MEDS_BIRTH' OR starts_with(code, 'MEDS_BIRTH//')) "
        "ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
        [patients.tolist()],
    ).df()
    tenth = np.ceil(events["value"].astype(float).groupby(events["number"]).rank(pct=True) * 10).fillna(0).astype(int)
    tokens = pd.factorize(events["number"].to_numpy() * 11 + tenth.to_numpy())[0]
    person = np.searchsorted(patients, events["patient"].to_numpy())
    shape = (len(patients), int(tokens.max(initial=-1)) + 1)
    sets = sparse.coo_matrix((np.ones(len(tokens), dtype=np.int32), (person, tokens)), shape=shape).tocsr()
    sets.data[:] = 1
    ends = np.searchsorted(person, np.arange(1, len(patients)))
    sequences = np.array([hash(part.tobytes()) for part in np.split(tokens, ends)])
    return sets, sequences


def _near(sets: sparse.csr_matrix, others: sparse.csr_matrix) -> np.ndarray:
    """(n,) to how many of the others each of the sets (n, tokens) has a Jaccard similarity of NEAR or more."""
    sizes, other_sizes = (np.asarray(s.sum(axis=1)).ravel() for s in (sets, others))
    found = np.zeros(len(sizes), dtype=int)
    for start in range(0, len(sizes), _BLOCK):
        block = slice(start, start + _BLOCK)
        shared = (sets[block] @ others.T).tocoo()
        together = sizes[block][shared.row] + other_sizes[shared.col] - shared.data
        near = shared.row[shared.data >= NEAR * together - 1e-9]
        found[block] = np.bincount(near, minlength=len(sizes[block]))
    return found
