"""Where one patient's own full record stands among all records as facts are added: by the audited model's embedding of the facts, by its own
continuations of them, by the reference model's continuations, and by a plain search for the known codes, which needs no model (methods, sections 4 and 8.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.probes.bag_of_codes import CodeSearch, own_ranks
from ehrmem_widgets.probes.embedding.ask import attribute_codes, stripped_prompt, with_embeddings
from ehrmem_widgets.probes.embedding_store import EmbeddingStore
from ehrmem_widgets.probes.findings import NeighbourFinding
from ehrmem_widgets.probes.neighbours.ask import codes_of, why_not
from ehrmem_widgets.probes.prompt_embeddings import embed_continued, embed_prompts

LADDER = ("demographics", "one_lab", "lab_dates", "lab_values", "first_10", "first_20")
AUDITED, CONTINUED, REFERENCE, CODES = "audited", "continued", "reference", "codes"
_AT_ONCE = 500


@dataclass(frozen=True)
class Step:
    """One knowledge level: the rank of the own record by each search (1: the nearest; None: not asked yet, or no such model).

    ``audited`` by the embedding of the facts alone, ``continued`` and ``reference`` by the two models' own continuations of them. ``why_not`` says why the
    knowledge level cannot be asked about this patient; empty when it can.
    """

    knowledge: str
    audited: int | None = None
    reference: int | None = None
    codes: int | None = None
    continued: int | None = None
    why_not: str = ""

    def ranked(self, by: str, rank: int | None) -> Step:
        """The same knowledge level with a rank by one search."""
        return replace(self, **{by: rank})  # type: ignore[arg-type]  # by is one of the searches


class RecordSearch:
    """The records of a data set, ready to be searched three ways. Raises BadInput for a model without embeddings."""

    def __init__(self, dataset: MedsDataset, model: BlackBox, reference: BlackBox | None = None) -> None:
        self._dataset, self._models = dataset, with_embeddings(model, reference)
        if AUDITED not in self._models:
            raise CannotAnswer(
                "This model gives no embeddings, so there is nothing to search by. Ask for leaks instead (notebook 01)."
            )
        self.stores = {
            name: EmbeddingStore(each, dataset, folder=getattr(each, "folder", None))
            for name, each in self._models.items()
        }
        self._attributes = attribute_codes(model, dataset)
        self._names = self._attributes.default_names()
        self._full: list[np.ndarray] = []
        self._search: CodeSearch | None = None

    @property
    def searches(self) -> list[str]:
        """The searches there are, in the order in which they are made."""
        continued = [name for name, model in self._models.items() if Query.SAMPLE in model.answers]
        return [
            AUDITED,
            *([CONTINUED] if AUDITED in continued else []),
            CODES,
            *([REFERENCE] if REFERENCE in continued else []),
        ]

    def prepare(self, by: str) -> Iterator[float]:
        """Read all records for one search; yields the share done. Resumes where an earlier call was interrupted."""
        if by != CODES:
            yield from self.stores[_model_of(by)].build()
            return
        ids = self.stores[AUDITED].ids
        while len(self._full) < len(ids):
            some = ids[len(self._full) : len(self._full) + _AT_ONCE].tolist()
            self._full += [self._codes_of(record) for record in self._dataset.each_record(some)]
            yield len(self._full) / len(ids)
        if self._search is None:
            self._search = CodeSearch(self._full, len(self._models[AUDITED].vocabulary))

    def ranks(self, by: str, record: Record, knowledge_levels: Sequence[str]) -> list[int]:
        """The rank of a patient's own record at each knowledge level; ties are no help to the attacker. Call ``prepare`` first."""
        if by == CODES:
            assert self._search is not None, "prepare the search first"
            row, search = self.stores[AUDITED].row(record.patient_id), self._search
            if row < 0:  # the data set is large, and this patient is not of the sample that is searched
                row, search = (
                    len(self._full),
                    CodeSearch([*self._full, self._codes_of(record)], len(self._models[AUDITED].vocabulary)),
                )
            found = search.similarities(self._prompts(AUDITED, record, knowledge_levels))
            return [int(rank) for rank in own_ranks(found, np.full(len(knowledge_levels), row))]
        model, store = self._models[_model_of(by)], self.stores[_model_of(by)]
        prompts = self._prompts(_model_of(by), record, knowledge_levels)
        queries = embed_prompts(model, prompts) if by == AUDITED else embed_continued(model, prompts)
        return [store.find(query, record.patient_id)[0].rank for query in queries]

    def nearest(self, record: Record, knowledge: str) -> tuple[NeighbourFinding, np.ndarray, np.ndarray]:
        """What is nearest to a knowledge level's facts by the audited model; the query (d,), and the distances (n,) to the store."""
        query = embed_prompts(self._models[AUDITED], self._prompts(AUDITED, record, [knowledge]))[0]
        finding, distances = self.stores[AUDITED].find(query, record.patient_id)
        return finding, query, distances

    def why_not(self, record: Record, knowledge: str) -> str:
        """Why a knowledge level says nothing about a patient; empty when it does."""
        why = why_not(record, knowledge, self._models[AUDITED].vocabulary)
        return why.words if why else ""

    def _prompts(self, by: str, record: Record, knowledge_levels: Sequence[str]) -> list[SlotIds]:
        return [
            stripped_prompt(record, knowledge, self._models[by], self._attributes, self._names)
            for knowledge in knowledge_levels
        ]

    def _codes_of(self, record: Record) -> np.ndarray:
        return codes_of(record, self._models[AUDITED].vocabulary)


def _model_of(by: str) -> str:
    return REFERENCE if by == REFERENCE else AUDITED
