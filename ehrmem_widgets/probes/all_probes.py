"""All probes by name, each run in the same way: what a command, a notebook or an audit calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from ehrmem_widgets.attacker.facts import check_rung
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding, judgement_of, told
from ehrmem_widgets.probes.embedding import CANARIES
from ehrmem_widgets.probes.exposure import AlternativesOf, canary_exposures
from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
from ehrmem_widgets.probes.over_patients import Heard, Portions, PortionsMissingError
from ehrmem_widgets.probes.people import CANARY, MOST, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.preflight import confounding
from ehrmem_widgets.settings import check_probe
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict


@dataclass(frozen=True)
class Probe:
    """A probe's name, its function (module and name), the keyword that a rung is given by (None: it takes no rung), and whether
    its verdicts compare members with non-members (then the preflight may downgrade them)."""

    name: str
    function: str
    rung: str | None
    compares: bool = True


PROBES: Mapping[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe("reconstruction", "reconstruction", "rungs"),
        Probe("attribute", "attribute", "rungs"),
        Probe("embedding", "embedding", "rung"),
        Probe("neighbours", "embedding_neighbours", "rungs"),
        Probe("membership", "membership", None, compares=False),
        Probe("perturbation", "perturbation", "rung"),
        Probe("subgroups", "subgroups.subgroup_probe", "rung"),
        Probe("ranking", "ranking", "ladder"),
        Probe("preflight", "preflight", None, compares=False),
    )
}


def run_probe(
    name: str,
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None = None,
    *,
    rung: str | None = None,
    patients: Sequence[int | str] | None = None,
    people: People | None = None,
    most: int = MOST,
    seed: int = 0,
    keep: Path | Portions | None = None,
    heard: Heard | None = None,
    preflight: Finding | None = None,
    alternatives_of: AlternativesOf | None = None,
    **more: Any,
) -> Finding:
    """Run one probe by its name; ``more`` are options of its own.

    Who is asked about is chosen first (``people``, or by ``patients``, or ``most`` at random, without near-duplicates across the split). A
    probe that compares members
    with non-members is preceded by the data preflight (unless ``preflight`` is given), which may downgrade its verdicts.
    With ``alternatives_of`` (other secrets that a canary could have held), membership also measures the canaries' exposure.
    Raises BadInput for an unknown name, or a rung given to a probe that takes none.
    """
    if name not in PROBES:
        raise BadInput(f"There is no probe {name!r}. The probes are {', '.join(PROBES)}.")
    probe = PROBES[name]
    check_probe(seed=seed)
    if rung is not None:
        if probe.rung is None:
            raise BadInput(f"The probe {name!r} asks about whole records and takes no rung.")
        check_rung(rung)
        more[probe.rung] = rung if probe.rung == "rung" else (rung,)
    if people is None:
        people = choose_people(dataset, model, reference, patients=patients, most=most, seed=seed)
        people = without_near_duplicates(people, dataset, model, reference, seed=seed)
    if preflight is None and (probe.compares or name == "membership"):
        preflight = _function(PROBES["preflight"])(dataset, model, reference=reference, people=people, seed=seed)
    if name == "preflight":
        return _function(probe)(dataset, model, reference=reference, people=people, seed=seed, heard=heard)
    if name == "membership":
        more["preflight"] = preflight
    try:
        found = _function(probe)(
            model, dataset, reference=reference, people=people, seed=seed, keep=keep, heard=heard, **more
        )
    except PortionsMissingError:
        if name == "membership" and alternatives_of is not None and set(people.groups.values()) & {CANARY, NULL_CANARY}:
            canary_exposures(
                model, dataset, alternatives_of=alternatives_of, reference=reference, people=people, seed=seed,
                heard=heard, keep=None if isinstance(keep, Path) else keep,
            )  # fmt: skip
        raise
    if name == "membership" and alternatives_of is not None and set(people.groups.values()) & {CANARY, NULL_CANARY}:
        exposed = canary_exposures(
            model,
            dataset,
            alternatives_of=alternatives_of,
            reference=reference,
            people=people,
            seed=seed,
            heard=heard,
            keep=None if isinstance(keep, Path) else keep,
        )
        figures, patients, excluded = (
            pd.concat([getattr(found, name), getattr(exposed, name)], ignore_index=True)
            for name in ("figures", "patients", "excluded")
        )
        said = (*found.sentences, *exposed.sentences)
        found = replace(found, figures=figures, patients=patients, excluded=excluded, sentences=said)
    return downgraded(found, preflight) if probe.compares and preflight is not None else found


def downgraded(found: Finding, preflight: Finding) -> Finding:
    """A finding whose cohort verdicts *memorized* become *cannot conclude* where ``confounding`` names a reason: then a difference between
    members and non-members need not come from the model. Patients' own verdicts stand: they are measured against a reference model as
    well."""
    why = confounding(preflight)
    table = found.figures
    touched = (
        (table["verdict"] == Verdict.MEMORIZED) & (table["group"] != CANARIES) & ~table["group"].str.startswith(CANARY)
    )
    if why is None or not touched.any():
        return found
    table = table.copy()
    was = [judgement_of(one) for one in table[touched].to_dict("records")]
    now = [
        Judgement(Verdict.CANNOT_CONCLUDE, "confounded", "{was}. But {because}.", {"was": one, "because": why})
        for one in was
        if one is not None
    ]
    for name, values in pd.DataFrame([told(one) for one in now], index=table.index[touched]).items():
        table.loc[touched, name] = values
    notes = [one.sentence for one in was if one is not None]
    said = [
        sentence.replace(Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE, 1)
        if any(note in sentence for note in notes)
        else sentence
        for sentence in found.sentences
    ]
    first = f"{Verdict.CANNOT_CONCLUDE} from members against non-members: {why}."
    return replace(found, figures=table, sentences=(first, *said))


def _function(probe: Probe) -> Callable[..., Finding]:
    module, _, name = probe.function.partition(".")
    return getattr(import_module(f"ehrmem_widgets.probes.{module}"), name or module)
