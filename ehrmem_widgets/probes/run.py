"""Run a probe: choose people, run what it builds on, ask in batches, judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.base import AlternativesOf, Probe, ProbeRun, Task, loaded
from ehrmem_widgets.probes.batching import Checkpoint, OnProgress, in_batches
from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
from ehrmem_widgets.probes.options import given
from ehrmem_widgets.probes.people import CANARIES, CANARY, MOST, People, choose_people
from ehrmem_widgets.registry import probe_named, probes
from ehrmem_widgets.settings import check_probe
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict


def run(
    name: str,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None = None,
    *,
    knowledge_levels: Sequence[str] | str | None = None,
    patients: Sequence[int | str] | None = None,
    people: People | None = None,
    most: int = MOST,
    seed: int = 0,
    checkpoint: str | Path | Checkpoint | None = None,
    progress: OnProgress | None = None,
    earlier: Mapping[str, Finding] | None = None,
    alternatives_of: AlternativesOf | None = None,
    **options: object,
) -> Finding:
    """Run one probe by its name; ``options`` are those of the probe.

    Who is asked about is chosen first (``people``, or by ``patients``, or ``most`` at random, without near-duplicates across the split).
    What the probe builds on is run before it, unless ``earlier`` holds it; a probe that compares members with non-members is preceded by
    the check for confounding, which may take its verdicts back. ``checkpoint``: a folder where answers are kept, so that a run that was
    interrupted goes on; ``progress`` is told of progress. ``alternatives_of``: other values that a planted canary could have held.

    Raises BadInput for a name, level or option that there is not, and CannotAnswer for a question that this model cannot be asked.
    """
    probe = probe_named(name)
    check_probe(seed=seed)
    more = given(probe, knowledge_levels, options)
    if people is None:
        people = choose_people(dataset, model, reference, patients=patients, most=most, seed=seed)
        people = without_near_duplicates(people, dataset, model, reference, seed=seed)
    task = Task(
        dataset, model, reference, people, seed=seed, alternatives_of=alternatives_of, progress=progress, **more
    )  # fmt: skip
    kept = Checkpoint(Path(checkpoint)) if isinstance(checkpoint, str | Path) else checkpoint
    return run_task(probe, task, checkpoint=kept, earlier=earlier or {})


def run_task(
    probe: Probe, task: Task, *, checkpoint: Checkpoint | None = None, earlier: Mapping[str, Finding] = {}
) -> Finding:
    """Run a probe that was set up; ``earlier``: findings about the same people that need not be made again."""
    found: dict[str, Finding] = {}
    for name in needed(probe, task):
        found[name] = _earlier(name, task, {**earlier, **found}, checkpoint)
    why = confounding(found) if probe.guarded else None
    result = asked(probe, replace(task, earlier=found, confounded=why), checkpoint=checkpoint)
    check_heeds(result, why)
    return result


def asked(probe: Probe, task: Task, *, checkpoint: Checkpoint | None = None) -> Finding:
    """Ask in batches and judge; what the probe builds on is in the task."""
    asking = probe.start(task)
    if not asking.records:
        return asking.judge([])
    answers = in_batches(
        asking.ask, asking.records, what=asking.doing, settings={**asking.settings, "probe": probe.name}, checkpoint=checkpoint,
        progress=task.progress, at_once=asking.batch,
    )  # fmt: skip
    return asking.judge(answers)


def needed(probe: Probe, task: Task) -> tuple[str, ...]:
    """The probes to run before one: those that it builds on, and if it is guarded whatever says whether the groups are alike."""
    guards = [other.name for other in probes().values() if other.confounding] if probe.guarded else []
    kind: type[ProbeRun] = loaded(probe.run)
    return tuple(dict.fromkeys([*guards, *kind.builds_on(probe, task)]))


def _earlier(name: str, task: Task, earlier: Mapping[str, Finding], checkpoint: Checkpoint | None) -> Finding:
    """A finding to build on, about the same people and what they are known by; made where it is not there."""
    probe, found = probe_named(name), earlier.get(name)
    if found is not None:
        knowledge_levels = found.settings.get("knowledge_levels") or [found.settings.get("knowledge")]
        if not probe.knowledge_levels or set(task.knowledge_levels) <= set(knowledge_levels):
            return found
    shared = {option: value for option, value in task.options.items() if option in probe.options}
    fitted = replace(task, **given(probe, task.knowledge_levels if probe.knowledge_levels else None, shared))
    return run_task(probe, fitted, checkpoint=checkpoint, earlier=earlier)


def confounding(found: Mapping[str, Finding]) -> Judgement | None:
    """Why no comparison of members with non-members is evidence, by the findings that say so; None where nothing was found."""
    every = probes()
    reasons = [
        loaded(probe.confounding)(finding)
        for name, finding in found.items()
        if (probe := every.get(name)) is not None and probe.confounding
    ]
    return next((reason for reason in reasons if reason is not None), None)


def check_heeds(found: Finding, why: Judgement | None) -> None:
    """Raise CannotAnswer where a finding calls members memorized although ``why`` says that the groups differ without any model: a
    package's probe that did not look at ``Task.confounded``. Planted canaries are compared like with like whatever the groups are, and
    patients' own verdicts are measured against a reference model, or take ``confounded`` themselves."""
    table = found.figures
    planted = (table["group"] == CANARIES) | table["group"].str.startswith(CANARY)
    if why is not None and ((table["verdict"] == Verdict.MEMORIZED) & ~planted).any():
        raise CannotAnswer(
            f"The probe {found.probe!r} calls members memorized without regard to Task.confounded ({why}). Nothing of it is shown; "
            "whoever wrote it must pass Task.confounded to the verdict."
        )
