"""One probe by itself: about everybody chosen, near-duplicates too, and without the check for confounding that ``run`` puts before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.base import AlternativesOf, Task
from ehrmem_widgets.probes.batching import Checkpoint, OnProgress
from ehrmem_widgets.probes.options import given
from ehrmem_widgets.probes.people import MOST, People, choose_people
from ehrmem_widgets.probes.run import asked
from ehrmem_widgets.registry import probe_named
from ehrmem_widgets.settings import check_probe


def ask_alone(
    name: str,
    model: BlackBox,
    dataset: MedsDataset,
    *,
    reference: BlackBox | None = None,
    patients: Sequence[int | str] | None = None,
    people: People | None = None,
    most: int = MOST,
    knowledge_levels: Sequence[str] | str | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: OnProgress | None = None,
    earlier: Mapping[str, Finding] | None = None,
    alternatives_of: AlternativesOf | None = None,
    **options: Any,
) -> Finding:
    """The finding of one probe."""
    probe = probe_named(name)
    check_probe(seed=seed)
    more = given(probe, knowledge_levels, options)
    people = people or choose_people(dataset, model, reference, patients=patients, most=most, seed=seed)
    task = Task(
        dataset, model, reference, people, seed=seed, earlier=earlier or {}, alternatives_of=alternatives_of, progress=progress, **more
    )  # fmt: skip
    return asked(probe, task, checkpoint=checkpoint and Checkpoint(checkpoint))


def compare_groups(dataset: MedsDataset, model: BlackBox | None = None, **more: Any) -> Finding:
    """The check for confounding alone; without a model that of the sample cohort."""
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.samples.folders import sample_model

    return ask_alone("confounding", model or FolderModel(sample_model()), dataset, **more)
