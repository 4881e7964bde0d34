"""What a person names (data, model, reference, vocabulary, token scheme, sequences, endpoint) opened, and refused where it cannot be
audited."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets.blackbox.checks import (
    check_codes_in_place,
    check_has_learned,
    check_looks_back_only,
    check_reference_differs,
    check_samples_honest,
    check_scores_alone,
    check_vocabulary_fits,
    sample_sequences,
)
from ehrmem_widgets.blackbox.mean_reference import MeanReference, models_of
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.blackbox.training_splits import NOBODY, trained_on
from ehrmem_widgets.cohort.attributes import attributes_with
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import black_boxes
from ehrmem_widgets.sources import Sources, is_address, named_references, option
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary

if TYPE_CHECKING:
    from ehrmem_widgets.tokens.sequences import SequenceDataset

_CODES_LOOKED_AT = 64  # of each record: a served model or a Python function answers code by code


def open_model(
    where: str | Path,
    *,
    vocabulary: str | Path | Vocabulary | None = None,
    token_scheme: str | Path | None = None,
    endpoint: str | None = None,
) -> BlackBox:
    """A model from a folder, an address, or by the black box of an installed package ("NAME:whatever it takes").

    With ``endpoint``, ``where`` is a folder that holds the codes (and perhaps a token scheme) of the model that the server answers for.
    EHRMEM_ENDPOINT_TOKEN holds the server's token, EHRMEM_EMBEDDINGS the address of its embeddings and EHRMEM_SERVED_NAME the
    model's name on a server of several, where they are needed.
    """
    from ehrmem_widgets.blackbox.folder import FolderModel, folder_vocabulary

    scheme, colon, rest = str(where).partition(":")
    if colon and scheme in black_boxes():
        return black_boxes()[scheme](rest)
    if not endpoint and not is_address(where):
        return FolderModel(where, vocabulary=vocabulary, token_scheme=token_scheme)
    from ehrmem_widgets.blackbox.endpoint import EndpointModel

    address = endpoint or str(where)
    if not isinstance(vocabulary, Vocabulary):
        if endpoint and not is_address(where) and Path(where).is_dir():
            vocabulary = folder_vocabulary(Path(where), vocabulary, token_scheme)
        elif vocabulary is None:
            raise BadInput(
                f"A served model ({address}) does not say what its numbers stand for: name the file of its codes with "
                "--vocabulary, or a folder that holds it with --model and the address with --endpoint."
            )
        else:
            vocabulary = Vocabulary.load(vocabulary, token_scheme)
    if vocabulary.timed:
        raise BadInput(
            "A model that is told the age beside each code (time: ages) cannot be asked over this protocol, which carries codes alone. Name its "
            "folder with --model and leave the endpoint out."
        )
    return EndpointModel(
        address,
        vocabulary,
        token=os.environ.get("EHRMEM_ENDPOINT_TOKEN") or None,
        embeddings=os.environ.get("EHRMEM_EMBEDDINGS") or None,
        served_name=os.environ.get("EHRMEM_SERVED_NAME") or None,
    )


def open_sources(sources: Sources) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Open data, model and reference, and refuse models that do not fit the data or have learned nothing of it."""
    return check_opened(*open_unchecked(sources))


def open_outputs(sources: Sources, file: str | Path) -> tuple[MedsDataset, BlackBox]:
    """Outputs in the place of a model, and the data that their maker was trained on.

    They are read in the codes of the file or the model folder that was named, else in those that a model of the training split would have
    (``ehrmem train``). No reference is asked: the people whom it was trained on are people never seen.
    """
    from ehrmem_widgets.blackbox.folder import folder_vocabulary
    from ehrmem_widgets.blackbox.outputs_file import OutputsFile

    named, folder = sources.vocabulary, sources.model_folder
    vocabulary = folder_vocabulary(folder or Path(), named, sources.token_scheme) if named or folder else None
    dataset = open_sequences(sources, vocabulary) if sources.sequences else MedsDataset(str(sources.data))
    dataset.declare(attribute_file=sources.attribute_file, canaries=sources.canaries)
    check_named_splits(sources, dataset)
    split = sources.training_split or MEMBER_SPLIT
    if split not in dataset.splits:
        raise BadInput(
            f"Nothing says who was in training: {dataset.name} has no split {split!r}. Name the split with {option('training_split')}, or say "
            "in metadata/subject_splits.parquet who was in training and who was not."
        )
    vocabulary = with_labels_and_edges(vocabulary or learn_vocabulary(dataset, split=split), dataset, split)
    check_vocabulary_fits(vocabulary, dataset)
    return dataset, OutputsFile(file, vocabulary, training_split=split)


def open_with(
    data: str | Path | MedsDataset | None,
    model: str | Path | BlackBox | None,
    reference: str | Path | BlackBox | Sequence[str | Path | BlackBox] | None = None,
) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """A data set and models, some of which are Python objects, checked in the same way."""
    if data is None or model is None:
        raise BadInput("Give the data set and the model together: a model is audited on the data it was trained on.")
    dataset = data if isinstance(data, MedsDataset) else MedsDataset(data)
    model = open_model(model) if isinstance(model, str | Path) else model
    others: list[BlackBox] = []
    for one in named_references(reference):
        others.append(open_model(one, vocabulary=model.vocabulary) if isinstance(one, str | Path) else one)
    check_training_split(model, dataset)
    return check_opened(dataset, model, _mean_of(others))


def _mean_of(references: Sequence[BlackBox]) -> BlackBox | None:
    return MeanReference(references) if len(references) > 1 else references[0] if references else None


def check_opened(
    dataset: MedsDataset, model: BlackBox, reference: BlackBox | None
) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Refuse models that do not fit the data or have learned nothing of it; else all three as they are."""
    from ehrmem_widgets.blackbox.shadow_models import check_reference_saw_nobody

    for one in models_of(reference):
        check_reference_saw_nobody(one)
    for one in (model, *models_of(reference)):
        check_vocabulary_fits(one.vocabulary, dataset)
        if Query.SCORES in one.answers:
            some = _some_sequences(one, dataset, trained_on(model))
            check_has_learned(one, some)
            check_codes_in_place(one, some)
            check_looks_back_only(one, some)
        check_asked_alike(one, _some_sequences(one, dataset, trained_on(model)))
    for one in models_of(reference):
        check_reference_differs(one, model, _some_sequences(model, dataset, trained_on(model)))
    return dataset, model, reference


def check_asked_alike(model: BlackBox, sequences: Sequence[Sequence[int]]) -> str:
    """Refuse a model whose answer depends on what is asked beside it, or whose samples are not those that it reports; else say what was looked
    at. A folder is sampled by ourselves and scored in batches; of a function, both are our own."""
    from ehrmem_widgets.blackbox.callable import CallableModel
    from ehrmem_widgets.blackbox.folder import FolderModel

    if isinstance(model, FolderModel):
        check_scores_alone(model, sequences)
        return "A record is scored the same beside longer ones; continuations are drawn by this kit."
    if isinstance(model, CallableModel):
        return "Each record is asked about by itself; continuations are drawn by this kit."
    check_samples_honest(model, sequences)
    if Query.SCORES in model.answers:
        return "Its samples follow the probabilities that it reports, and change with the seed."
    return (
        "Its samples change with the seed. It reports no probabilities, so a temperature or top-p would go unnoticed."
    )


def _some_sequences(model: BlackBox, dataset: MedsDataset, split: str) -> list[list[int]]:
    return [ids[:_CODES_LOOKED_AT] for ids in sample_sequences(model, dataset, split)]


def check_training_split(model: BlackBox, dataset: MedsDataset) -> None:
    """Raise BadInput, naming the splits that there are, when the model was trained on one that the data set does not have. One
    without any splits can be looked at all the same: it has no members."""
    if model.training_split and dataset.splits and model.training_split not in dataset.splits:
        raise BadInput(
            f"The model {model.name!r} is said to be trained on the split {model.training_split!r}, which {dataset.name} does not have: "
            f"it has {', '.join(dataset.splits)}. Name the right one ({option('training_split')}, or the model's training.json), or "
            "the data set that the model was trained on."
        )


def open_unchecked(sources: Sources) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Open data, model and reference without looking at what the models say."""
    model = open_audited(sources)
    if sources.sequences:
        given = open_sequences(sources, model.vocabulary)
        model.vocabulary = given.vocabulary
        dataset: MedsDataset = given
    else:
        dataset = MedsDataset(str(sources.data))
    dataset.declare(attribute_file=sources.attribute_file, canaries=sources.canaries)
    check_named_splits(sources, dataset)
    check_training_split(model, dataset)
    model.vocabulary = with_labels_and_edges(model.vocabulary, dataset, trained_on(model))
    reference = open_reference(sources, model)
    if reference is not None:
        reference.vocabulary = with_labels_and_edges(reference.vocabulary, dataset, trained_on(model))
    return dataset, model, reference


def open_audited(sources: Sources) -> BlackBox:
    """The audited model. Raises BadInput where a training split is named and the model itself says another one."""
    model = open_model(
        sources.model or str(sources.endpoint),
        vocabulary=sources.vocabulary,
        token_scheme=sources.token_scheme,
        endpoint=sources.endpoint,
    )
    if sources.training_split and model.training_split not in (None, sources.training_split):
        raise BadInput(
            f"The training.json of {model.name!r} says that it was trained on the split {model.training_split!r}, and "
            f"{option('training_split')} names {sources.training_split!r}. Leave the option out, or correct the file."
        )
    model.training_split = model.training_split or sources.training_split
    return behind_filter(model, sources.output_filter, sources.attribute_file)


def behind_filter(model: BlackBox, output_filter: str | None, attribute_file: str | Path | None = None) -> BlackBox:
    """The model behind an output filter (``output_filter.read_filter``), where one is named."""
    if not output_filter:
        return model
    from ehrmem_widgets.blackbox.filtered import FilteredModel

    return FilteredModel(
        model, read_filter(output_filter, f"{option('output_filter')}: "), attributes_with(attribute_file)
    )


def check_named_splits(sources: Sources, dataset: MedsDataset) -> None:
    """Raise BadInput, naming the splits that there are, for a named training split that the data set does not have."""
    for name in ("training_split", "reference_training_split"):
        split = getattr(sources, name)
        if split and split not in dataset.splits and not (name == "reference_training_split" and split == NOBODY):
            there = f"it has {', '.join(dataset.splits)}" if dataset.splits else "it has no splits at all"
            raise BadInput(f"{option(name)} names {split!r}, which is not a split of {dataset.name}: {there}.")


def with_labels_and_edges(vocabulary: Vocabulary, dataset: MedsDataset, split: str) -> Vocabulary:
    """The vocabulary with what it lacks itself and the data set has: readable labels, and edges of value bins, from the patients of a
    split (everybody's, where there is no such split)."""
    if not vocabulary.labels:
        labels = {vocabulary.token_scheme.renamed(code): words for code, words in dataset.descriptions.items()}
        vocabulary = replace(vocabulary, labels=labels)
    if not vocabulary.lacks_edges:
        return vocabulary
    return vocabulary.with_edges_of(dataset, split if split in dataset.splits else None)


def open_sequences(sources: Sources, vocabulary: Vocabulary | None = None) -> SequenceDataset:
    """The patients in the model's own codes, by the model's vocabulary (read anew where it is not given)."""
    from ehrmem_widgets.blackbox.folder import folder_vocabulary
    from ehrmem_widgets.tokens.sequences import SequenceDataset

    assert sources.sequences is not None
    if vocabulary is None and sources.vocabulary is None and sources.model_folder is None:
        raise BadInput(
            "Sequences are read with the model's codes: name its folder with --model or its codes with --vocabulary."
        )
    vocabulary = vocabulary or folder_vocabulary(
        sources.model_folder or Path(), sources.vocabulary, sources.token_scheme
    )
    return SequenceDataset(sources.sequences, vocabulary, beside=sources.data)


def open_reference(sources: Sources, model: BlackBox) -> BlackBox | None:
    """The reference model or the mean of several, each with the audited model's vocabulary where it brings none of its own."""
    references = [_open_reference(where, sources, model) for where in sources.reference]
    for one in references:
        one.training_split = one.training_split or sources.reference_training_split
    return _mean_of(references)


def _open_reference(where: str, sources: Sources, model: BlackBox) -> BlackBox:
    from ehrmem_widgets.tokens.vocabulary_files import find_vocabulary

    if is_address(where):
        return open_model(where, vocabulary=model.vocabulary)
    try:
        find_vocabulary(Path(where))
    except BadInput:
        return open_model(where, vocabulary=model.vocabulary)
    return open_model(where, token_scheme=sources.token_scheme)
