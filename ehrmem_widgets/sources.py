"""What a person names to begin with: the data, the model, and what it takes to read both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import black_boxes
from ehrmem_widgets.settings import NAMES_BEFORE, POPULATION, Price

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.dataset import MedsDataset

SOURCES: Mapping[str, str] = {
    "data": "folder of a MEDS data set (the sample cohort, if neither data nor model is given)",
    "model": "the model to audit: a folder (config.json, *.safetensors, its list of codes), or the address of a served model",
    "reference": "a model that never saw these patients, folder or address; without one no leak can be called memorized; of several, or "
    "of a folder of shadow models trained on other patients, the mean is used",
    "vocabulary": "file of the model's codes and ids, if it is not in the model's folder",
    "token_scheme": "how the model writes time, ages and values: a file, or ehrmamba2, meicar, context_clues or ethos (guessed)",
    "sequences": "the patients in the model's own codes or ids: .parquet or .jsonl with subject_id, codes or input_ids (or both), and split",
    "endpoint": "address of the server that answers for the model (http://...), if model is a folder with only its codes",
    "training_split": "the split of the data that the model was trained on (default: as its training.json says, else train)",
    "reference_training_split": "the same for a reference without a training.json; none: nobody in these data (default: reference, if there is such "
    "a split)",
    "attribute_file": "YAML file of further sensitive attributes, in the form of the kit's own sensitive_attributes.yaml",
    "canaries": "the key that 'ehrmem canaries make' wrote, or a Parquet file of canaries that you planted yourself (docs: Your own attributes and canaries)",
    "output_filter": "what a filter would hide of the audited model's answers, such as 'top_k=10, round_to=0.01, suppress_below=0.05' (docs: Output filters)",
}
"""What can be named, and what it is, in words for people."""

POPULATION_NAMED, PRICE_NAMED = "EHRMEM_POPULATION", "EHRMEM_PRICE"
IN_TRAINING_FILE = "in_training.json"
"""Beside the weights of a shadow model: the keyed pseudonyms of those whom it was trained on, and how (``made_of``)."""
SAMPLES_ONLY = "EHRMEM_SAMPLES_ONLY"
"""In the environment: others in the network use this process, and nothing but the samples may be opened for them."""


@dataclass(frozen=True)
class Sources:
    """What was named; None: nothing. ``model`` and each ``reference`` are folders or addresses."""

    data: str | None = None
    model: str | None = None
    reference: tuple[str, ...] = ()
    vocabulary: str | None = None
    token_scheme: str | None = None
    sequences: str | None = None
    endpoint: str | None = None
    training_split: str | None = None
    reference_training_split: str | None = None
    attribute_file: str | None = None
    canaries: str | None = None
    output_filter: str | None = None

    @property
    def model_folder(self) -> Path | None:
        """The audited model's folder, None for a served model without one."""
        return Path(self.model) if self.model and not is_address(self.model) else None

    def options(self) -> list[str]:
        """The command-line options that name the same, without those of the samples."""
        samples = asdict(sample_sources()) if self.data or self.model else {}
        given = ((name, value) for name, value in asdict(self).items() if value and samples.get(name) != value)
        return [
            word
            for name, value in given
            for one in (value if isinstance(value, tuple) else (value,))
            for word in (option(name), one)
        ]


def option(name: str) -> str:
    """The command-line option of a source.

    >>> option("training_split")
    '--training-split'
    """
    return f"--{name.replace('_', '-')}"


def comma_separated(given: str | Path | Iterable[str | Path] | None) -> tuple[str, ...]:
    """Folders and addresses that were named as a list, or in one text with commas between them; for a folder of shadow models, each of them.

    >>> comma_separated("one, http://127.0.0.1:8000"), comma_separated(["one", "two"]), comma_separated(None)
    (('one', 'http://127.0.0.1:8000'), ('one', 'two'), ())
    """
    if isinstance(given, str | Path):
        text = str(given)
        parts = [text] if os.path.exists(text) else text.split(",")  # a folder may have a comma in its name
        named = (part.strip() for part in parts if part.strip())
        return tuple(str(one) for name in named for one in shadow_folders(name) or (name,))
    return tuple(name for one in given or () for name in comma_separated(one))


def shadow_folders(folder: str | Path) -> list[Path]:
    """The folders of the shadow models in a folder, in their order; empty where it holds none."""
    return sorted(path.parent for path in Path(folder).glob(f"shadow_*/{IN_TRAINING_FILE}"))


def named_references(
    reference: str | Path | BlackBox | Sequence[str | Path | BlackBox] | None,
) -> list[str | Path | BlackBox]:
    """The references that were named: one or several, folders, addresses or Python objects."""
    if reference is None:
        return []
    if isinstance(reference, str | Path):
        return list(comma_separated(reference))
    return list(reference) if isinstance(reference, Sequence) else [reference]


def sources_of(
    data: str | Path | MedsDataset | None,
    model: str | Path | BlackBox | None,
    reference: str | Path | BlackBox | Sequence[str | Path | BlackBox] | None,
    **more: str | Path | None,
) -> Sources | None:
    """As ``given_sources``; None where the data set or a model is a Python object. Such a model brings its codes and its training split along, so
    that BadInput is raised for ``more`` (vocabulary, token_scheme, training_split, ...), which says how others are read."""
    references = named_references(reference)
    paths = [one for one in references if isinstance(one, str | Path)]
    if isinstance(data, str | Path | None) and isinstance(model, str | Path | None) and len(paths) == len(references):
        return given_sources(data=data, model=model, reference=paths, **more)
    if unused := [name for name, value in more.items() if value]:
        raise BadInput(
            f"With a data set or a model that is a Python object leave out {', '.join(unused)}: a model that is an object has its own vocabulary and training_split."
        )
    return None


def is_address(text: str | Path) -> bool:
    """Whether a model is named by an address, or for an installed black box, rather than by a folder."""
    return str(text).startswith(("http://", "https://")) or _scheme(text) in black_boxes()


def _scheme(text: str | Path) -> str:
    scheme, colon, _ = str(text).partition(":")
    return scheme if colon else ""


def sample_sources() -> Sources:
    """What is shown when nothing is named."""
    from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference

    return Sources(str(sample_data()), str(sample_model()), (str(sample_reference()),))


def given_sources(**given: str | Path | Iterable[str | Path] | None) -> Sources:
    """What was given, else what the environment names (EHRMEM_DATA, EHRMEM_MODEL, ...; several references with commas between
    them); the samples only when neither names data nor model, or the model alone and it is one of them. Raises BadInput for data without a model or the other way round, and for anything but the
    samples where only these are shown (``ehrmem app --host``)."""
    return _given(given, data_alone=False)


def sources_to_check(**given: str | Path | Iterable[str | Path] | None) -> Sources:
    """As ``given_sources``, but data may stand alone, without a model and a reference."""
    return _given(given, data_alone=True)


def _given(given: Mapping[str, str | Path | Iterable[str | Path] | None], *, data_alone: bool) -> Sources:
    for before, name in NAMES_BEFORE.items():
        if os.environ.get(f"EHRMEM_{before.upper()}"):
            raise BadInput(f"The environment names EHRMEM_{before.upper()}, which is called EHRMEM_{name.upper()} now.")
    found = {one.name: given.get(one.name) or os.environ.get(f"EHRMEM_{one.name.upper()}") for one in fields(Sources)}
    reference = comma_separated(found.pop("reference"))
    named = {name: str(value) if value else None for name, value in found.items()}
    records, model = named["data"] or named["sequences"], named["model"] or named["endpoint"]
    if not records and (not model or _is_sample_model(model)):
        samples = asdict(sample_sources())
        if model:
            samples["reference"] = tuple(
                one for one in samples["reference"] if Path(one).resolve() != Path(model).resolve()
            )
        named = {name: value or samples[name] for name, value in named.items()}
        reference = reference or samples["reference"]
    elif not records or not (model or (data_alone and not reference)):
        raise BadInput("Give the data set and the model together: a model is audited on the data it was trained on.")
    files = (value for name, value in named.items() if not name.endswith(("_split", "_filter")))
    refuse_all_but_samples(*filter(None, files), *reference)
    return Sources(**named, reference=reference)


def _is_sample_model(named: str) -> bool:
    from ehrmem_widgets.samples.folders import SAMPLES

    return not is_address(named) and Path(named).resolve().parent == (SAMPLES / "models").resolve()


def refuse_all_but_samples(*named: str | Path) -> None:
    """Raises BadInput for a file, folder or address that is not of the samples, where only these are shown."""
    if not os.environ.get(SAMPLES_ONLY):
        return
    from ehrmem_widgets.samples.folders import SAMPLES

    if not all(Path(one).resolve().is_relative_to(SAMPLES.resolve()) for one in named):
        raise BadInput("Only the sample patients and models are shown here: nothing else can be opened.")


def given_price(given: str | None = None) -> Price | None:
    """The declared price that was given, else what the environment names (EHRMEM_PRICE), else None. BadInput for what is none."""
    named = os.environ.get(PRICE_NAMED)
    if given:
        return Price.read(given, "price")
    return Price.read(named, PRICE_NAMED) if named else None


def given_population(given: int | None = None) -> int | None:
    """The declared population that was given, else what the environment names (EHRMEM_POPULATION), else None. BadInput for what is no
    whole number."""
    named = os.environ.get(POPULATION_NAMED)
    if given is not None or not named:
        return given
    return POPULATION.read(named, POPULATION_NAMED)
