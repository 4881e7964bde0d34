"""How many patients hold each code, with its value bin: what is rare, and what is routine."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_MOST_COUNTED = 20_000  # patients


@dataclass(frozen=True)
class CodeHolders:
    """``by_code``: patients who hold a code as the model reads it (with its value bin); ``by_base``: with any value;
    ``patients``: how many there are."""

    by_code: dict[str, int]
    by_base: dict[str, int]
    patients: int

    def rare(self, share: float) -> set[str]:
        """The codes that at most this share of the patients holds."""
        return {code for code, held in self.by_code.items() if held <= share * self.patients}

    def routine(self, share: float, vocabulary: Vocabulary) -> set[str]:
        """The model's codes of which, whatever the value, at least this share of the patients holds one."""
        often = {base for base, held in self.by_base.items() if held >= share * self.patients}
        return {code for code in vocabulary.codes if vocabulary.base(code) in often}


def code_holders(dataset: MedsDataset, vocabulary: Vocabulary, split: str) -> CodeHolders:
    """Count the holders of each code among the patients of a split, of more than 20,000 among a fixed random sample of so many.
    Raises BadInput when the split has nobody."""
    ids = dataset.some_ids(_MOST_COUNTED, split)
    if not ids:
        raise BadInput(f"The split {split!r} has no patients, so no code can be called rare or routine.")
    occurring = dataset.codes["code"].tolist()
    names = [vocabulary.token_scheme.renamed(code) for code in occurring]
    bins = [() if vocabulary.next_codes else vocabulary.value_bins.get(name, ()) for name in names]
    bins = [() if found and math.isnan(found[0].low) else found for found in bins]
    rows = dataset.query(
        """
        WITH written AS (SELECT unnest(?::VARCHAR[]) AS code, unnest(?::VARCHAR[]) AS name, unnest(?::DOUBLE[][]) AS lows,
                                unnest(?::VARCHAR[][]) AS bins),
        read AS (
            SELECT patient_id, name,
                   CASE WHEN len(lows) = 0 OR value IS NULL THEN name
                        ELSE bins[len([x for x in lows if x <= value::DOUBLE])] END AS binned
            FROM events JOIN written USING (code)
            WHERE patient_id IN (SELECT unnest(?::BIGINT[])) AND code NOT LIKE 'MEDS_BIRTH%')
        SELECT binned, 'code', count(DISTINCT patient_id) FROM read WHERE binned IS NOT NULL GROUP BY binned
        UNION ALL SELECT name, 'base', count(DISTINCT patient_id) FROM read GROUP BY name
        """,
        [occurring, names, [[b.low for b in some] for some in bins], [[b.code for b in some] for some in bins], ids],
    ).fetchall()
    return CodeHolders(
        {code: held for code, kind, held in rows if kind == "code" and code in vocabulary},
        {code: held for code, kind, held in rows if kind == "base"},
        len(ids),
    )
