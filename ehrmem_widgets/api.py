"""What a programmer calls: open, run, look. Every name here is offered by ``import ehrmem_widgets as em``.

>>> import ehrmem_widgets as em
>>> cohort = em.open_cohort()
>>> model, reference = em.open_model("memorizing"), em.open_model("reference")
>>> people = em.choose_people(cohort, model, reference, most=60, canaries=False)
>>> finding = em.run("membership", cohort, model, reference, people=people)
>>> list(finding.verdicts["verdict"])
['Memorized']
"""

from __future__ import annotations

from pathlib import Path

from ehrmem_widgets.blackbox.opening import open_model as open_named
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.samples.folders import SAMPLES, sample_data

__all__ = ["open_cohort", "open_model"]


def open_cohort(
    folder: str | Path | None = None,
    *,
    attribute_file: str | Path | None = None,
    canaries: str | Path | None = None,
) -> MedsDataset:
    """A MEDS data set from its folder; without one the synthetic sample cohort. ``attribute_file``: further sensitive attributes (YAML);
    ``canaries``: those that you planted (Parquet). Raises BadInput for a folder or file that is not one.

    >>> len(open_cohort())
    3000
    """
    dataset = MedsDataset(folder if folder is not None else sample_data())
    dataset.declare(attribute_file=attribute_file, canaries=canaries)
    return dataset


def open_model(
    named: str | Path,
    *,
    vocabulary: str | Path | None = None,
    token_scheme: str | Path | None = None,
    endpoint: str | None = None,
    training_split: str | None = None,
) -> BlackBox:
    """A model from its folder, its address, or through an installed black box ("NAME:..."); "memorizing", "moderate",
    "private" and "reference" are the sample models, unless a folder has that name.

    ``vocabulary``, ``token_scheme``, ``endpoint``: how it is read, as on the command line. ``training_split``: the split of the data that it was
    trained on, if its training.json does not say. Raises BadInput for a model that cannot be opened safely.

    >>> open_model("memorizing").training_split
    'train'
    """
    sample = SAMPLES / "models" / str(named)
    model = open_named(
        sample if not Path(named).exists() and sample.is_dir() else named,
        vocabulary=vocabulary, token_scheme=token_scheme, endpoint=endpoint,
    )  # fmt: skip
    model.training_split = model.training_split or training_split
    return model
