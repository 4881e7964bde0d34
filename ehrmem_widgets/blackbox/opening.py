"""What a person names (data, model, reference, vocabulary, grammar, sequences, endpoint) opened, and refused where it cannot be
audited."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets.blackbox.checks import (
    check_codes_in_place,
    check_has_learned,
    check_vocabulary_fits,
    sample_sequences,
)
from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.vocabulary import Vocabulary
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.sources import Sources, is_address

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.sequences import SequenceDataset


def open_model(
    where: str | Path,
    *,
    vocabulary: str | Path | Vocabulary | None = None,
    grammar: str | Path | None = None,
    endpoint: str | None = None,
) -> BlackBox:
    """A model from a folder or an address.

    With ``endpoint``, ``where`` is a folder that holds the codes (and perhaps a grammar) of the model that the server answers for.
    EHRMEM_ENDPOINT_TOKEN holds the server's token, EHRMEM_EMBEDDINGS the address of its embeddings and EHRMEM_SERVED_NAME the
    model's name on a server of several, where they are needed.
    """
    from ehrmem_widgets.blackbox.folder import FolderModel, folder_vocabulary

    if not endpoint and not is_address(where):
        return FolderModel(where, vocabulary=vocabulary, grammar=grammar)
    from ehrmem_widgets.blackbox.endpoint import EndpointModel

    address = endpoint or str(where)
    if not isinstance(vocabulary, Vocabulary):
        if endpoint and not is_address(where) and Path(where).is_dir():
            vocabulary = folder_vocabulary(Path(where), vocabulary, grammar)
        elif vocabulary is None:
            raise BadInput(
                f"A served model ({address}) does not say what its numbers stand for: name the file of its codes with "
                "--vocabulary, or a folder that holds it with --model and the address with --endpoint."
            )
        else:
            vocabulary = Vocabulary.load(vocabulary, grammar)
    return EndpointModel(
        address,
        vocabulary,
        token=os.environ.get("EHRMEM_ENDPOINT_TOKEN") or None,
        embeddings=os.environ.get("EHRMEM_EMBEDDINGS") or None,
        served_name=os.environ.get("EHRMEM_SERVED_NAME") or None,
    )


def open_sources(sources: Sources) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Open data, model and reference, and refuse models that do not fit the data or have learned nothing of it."""
    return _checked(*open_unchecked(sources))


def open_with(
    data: str | Path | None, model: str | Path | BlackBox | None, reference: str | Path | BlackBox | None = None
) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """A data set with a model that is a Python object, checked in the same way."""
    if data is None or model is None:
        raise BadInput("Give the data set and the model together: a model is audited on the data it was trained on.")
    dataset = MedsDataset(data)
    model = open_model(model) if isinstance(model, str | Path) else model
    other = open_model(reference, vocabulary=model.vocabulary) if isinstance(reference, str | Path) else reference
    return _checked(dataset, model, other)


def _checked(
    dataset: MedsDataset, model: BlackBox, reference: BlackBox | None
) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    for one in (model, reference):
        if one is not None:
            check_vocabulary_fits(one.vocabulary, dataset)
            if Query.SCORES in one.answers:
                some = sample_sequences(one, dataset)
                check_has_learned(one, some)
                check_codes_in_place(one, some)
    return dataset, model, reference


def open_unchecked(sources: Sources) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Open data, model and reference without looking at what the models say."""
    model = open_audited(sources)
    if sources.sequences:
        given = open_sequences(sources, model.vocabulary)
        model.vocabulary = given.vocabulary
        dataset: MedsDataset = given
    else:
        dataset = MedsDataset(str(sources.data))
    model.vocabulary = with_labels_and_edges(model.vocabulary, dataset)
    reference = open_reference(sources, model) if sources.reference else None
    if reference is not None:
        reference.vocabulary = with_labels_and_edges(reference.vocabulary, dataset)
    return dataset, model, reference


def open_audited(sources: Sources) -> BlackBox:
    """The audited model."""
    return open_model(
        sources.model or str(sources.endpoint),
        vocabulary=sources.vocabulary,
        grammar=sources.grammar,
        endpoint=sources.endpoint,
    )


def with_labels_and_edges(vocabulary: Vocabulary, dataset: MedsDataset) -> Vocabulary:
    """The vocabulary with what it lacks itself and the data set has: readable labels, and edges of value bins."""
    if not vocabulary.labels:
        labels = {vocabulary.grammar.renamed(code): words for code, words in dataset.descriptions.items()}
        vocabulary = replace(vocabulary, labels=labels)
    if not vocabulary.lacks_edges:
        return vocabulary
    return vocabulary.with_edges_of(dataset, MEMBER_SPLIT if MEMBER_SPLIT in dataset.splits else None)


def open_sequences(sources: Sources, vocabulary: Vocabulary | None = None) -> SequenceDataset:
    """The patients in the model's own codes, by the model's vocabulary (read anew where it is not given)."""
    from ehrmem_widgets.blackbox.folder import folder_vocabulary
    from ehrmem_widgets.cohort.sequences import SequenceDataset

    assert sources.sequences is not None
    if vocabulary is None and sources.vocabulary is None and sources.model_folder is None:
        raise BadInput(
            "Sequences are read with the model's codes: name its folder with --model or its codes with --vocabulary."
        )
    vocabulary = vocabulary or folder_vocabulary(sources.model_folder or Path(), sources.vocabulary, sources.grammar)
    return SequenceDataset(sources.sequences, vocabulary, beside=sources.data)


def open_reference(sources: Sources, model: BlackBox) -> BlackBox:
    """The reference model, with the audited model's vocabulary where it brings none of its own."""
    assert sources.reference is not None
    if is_address(sources.reference):
        return open_model(sources.reference, vocabulary=model.vocabulary)
    from ehrmem_widgets.cohort.vocabulary_files import find_vocabulary

    try:
        find_vocabulary(Path(sources.reference))
    except BadInput:
        return open_model(sources.reference, vocabulary=model.vocabulary)
    return open_model(sources.reference, grammar=sources.grammar)
