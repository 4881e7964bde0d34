"""What a canary of the synthetic cohort could have been: the same patient with other lab values at the first visit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.exposure.ask import AlternativesOf
from ehrmem_widgets.samples.synthetic_cohort import lab_code, load_archetypes, value_anywhere


def canary_alternatives(record: Record, n: int, seed: int) -> list[Record]:
    """``n`` copies of a canary's record with the lab values of its first visit drawn anew, as they were when it was planted
    (uniform over the lab's range and independent of all else), so that record and copies are exchangeable.

    The same record and seed give the same copies. Values are what the data file holds: rounded as reported, 32 bit.
    """
    book = load_archetypes()
    labs = {lab_code(book, lab): row for lab, row in book["labs"].items()}
    rng = np.random.default_rng([seed, record.patient_id])
    visits = [place for place, event in enumerate(record.events) if event.code.startswith("ENCOUNTER//")]
    begin, end = [*visits, len(record.events), len(record.events)][:2]
    copies = []
    for _ in range(n):
        events = list(record.events)
        for place in range(begin, end):
            if events[place].code in labs:
                value = float(np.float32(value_anywhere(rng, labs[events[place].code])))
                events[place] = replace(events[place], value=value)
        copies.append(record.with_events(tuple(events)))
    return copies


def alternatives_for(dataset: MedsDataset) -> AlternativesOf | None:
    """What redraws the canaries of a data set: ``canary_alternatives`` for a cohort made here, else None."""
    made_here = dataset.information.get("etl_name") == "ehrmem_widgets.samples.synthetic_cohort"
    return canary_alternatives if made_here else None
