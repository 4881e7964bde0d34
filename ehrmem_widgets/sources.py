"""What a person names to begin with: the data, the model, and what it takes to read both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ehrmem_widgets.errors import BadInput

SOURCES: Mapping[str, str] = {
    "data": "folder of a MEDS data set (the sample cohort, if neither data nor model is named)",
    "model": "the model to audit: a folder (config.json, *.safetensors, its list of codes), or the address of a served one",
    "reference": "a model that never saw these patients, folder or address; without one nothing can be called memorized",
    "vocabulary": "file of the model's codes and ids, if it does not lie in the model's folder",
    "grammar": "how the model writes time, ages and values: a file, or ehrmamba2, meicar, context_clues or ethos (guessed)",
    "sequences": "the patients in the model's own codes or ids: .parquet or .jsonl with subject_id, codes or ids, and split",
    "endpoint": "address of the server that answers for the model (http://...), if model names a folder with its codes only",
}
"""What can be named, and what it is, in words for people."""


@dataclass(frozen=True)
class Sources:
    """What was named; None: nothing. ``model`` and ``reference`` are folders or addresses."""

    data: str | None = None
    model: str | None = None
    reference: str | None = None
    vocabulary: str | None = None
    grammar: str | None = None
    sequences: str | None = None
    endpoint: str | None = None

    @property
    def model_folder(self) -> Path | None:
        """The audited model's folder, None for a served model without one."""
        return Path(self.model) if self.model and not is_address(self.model) else None

    def options(self) -> list[str]:
        """The command-line options that name the same, without those of the samples."""
        samples = asdict(sample_sources()) if self.data or self.model else {}
        given = ((name, value) for name, value in asdict(self).items() if value and samples.get(name) != value)
        return [word for name, value in given for word in (f"--{name}", value)]


def is_address(text: str | Path) -> bool:
    """Whether a model is named by an address rather than a folder."""
    return str(text).startswith(("http://", "https://"))


def sample_sources() -> Sources:
    """What is shown when nothing is named."""
    from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference

    return Sources(str(sample_data()), str(sample_model()), str(sample_reference()))


def given_sources(**given: str | Path | None) -> Sources:
    """What was given, else what the environment names (EHRMEM_DATA, EHRMEM_MODEL, ...); the samples only when neither names data
    nor model. Raises BadInput for data without a model or the other way round."""
    named = {
        one.name: str(given.get(one.name) or os.environ.get(f"EHRMEM_{one.name.upper()}") or "") or None
        for one in fields(Sources)
    }
    records, model = named["data"] or named["sequences"], named["model"] or named["endpoint"]
    if not records and not model:
        samples = asdict(sample_sources())
        return Sources(**{name: value or samples[name] for name, value in named.items()})
    if not records or not model:
        raise BadInput("Give the data set and the model together: a model is audited on the data it was trained on.")
    return Sources(**named)
