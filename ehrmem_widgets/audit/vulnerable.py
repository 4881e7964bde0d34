"""Who is most exposed, for those who must protect them: patients by pseudonym, by which facts, why, and how many of them chance would name.

Internal: neither a report nor an export takes anything from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.base import Probe
from ehrmem_widgets.probes.near_duplicates import alike_within
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.run import confounding
from ehrmem_widgets.probes.view import Exposures, ProbeView
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.multiple_testing import Discoveries, discoveries


@dataclass(frozen=True)
class Search:
    """What one test finds: ``asked`` members ranked among ``never`` seen people at a false-discovery ``rate``; ``canaries``: the share of the planted whom
    the same rule names (None: there are none)."""

    probe: Probe
    asked: int
    never: int
    rate: float
    found: Discoveries
    canaries: Estimate | None


@dataclass(frozen=True)
class VulnerableList:
    """``rows``: one a test and patient, the most exposed first: ``patient``, ``test``, ``figure`` with ``value``, ``low``, ``high`` and ``n``, ``attribute``,
    ``facts`` in words, ``k``, ``p``, ``p_adjusted``; and what may explain it: ``rare``, the codes that fewer than 11 people of the data set hold, and
    ``near`` and ``same``, how many other records trained on are nearly, or in the very sequence of codes, the same (nan: too few codes).
    ``shares``: of those listed and of the other members asked about, by what may explain it. ``confounded``: why the rate is not known (empty: it is)."""

    searches: Sequence[Search]
    rows: pd.DataFrame
    shares: Mapping[str, tuple[Estimate, Estimate]]
    confounded: str


def vulnerable_list(audit: AuditResults, dataset: MedsDataset, rate: float) -> VulnerableList:
    """The members of a finished audit who stand out of people never seen, at most a share ``rate`` of them expected to do so by chance; each of the
    tests that say so of single people has its part of it. ``dataset``: the data that were audited.

    Raises BadInput for an audit without such a test, unfinished, with too few people never seen, or of other data.
    """
    exposures = {name: one for name, view in audit.views.items() if (one := view.exposures()) is not None}
    _refuse(audit, dataset, exposures)
    part = rate / len(exposures)
    searches = [_search(probes()[name], one, part) for name, one in exposures.items()]
    if all(1 / (one.never + 1) > part for one in searches):
        raise BadInput(
            f"{max(one.never for one in searches)} people never seen were asked about an attribute that they hold: at a false-discovery rate of {rate:g} "
            f"nobody could be listed, however exposed. At least {math.ceil(1 / part - 1e-9) - 1} are needed: ask more people ('patients' in the "
            "plan), or allow a higher rate."
        )
    rows = pd.concat([_listed(one, exposures[one.probe.name]) for one in searches], ignore_index=True)
    asked = [patient for patient, group in audit.group_of_people.items() if group == MEMBER]
    reasons = _reasons(dataset, (audit.results.get("model") or {}).get("training_split") or MEMBER_SPLIT, asked)
    is_listed = reasons.index.isin(rows["patient"])
    checks = {name: Finding.load(path) for name, path in audit.files.items() if probes()[name].confounding}
    why = confounding(checks)
    return VulnerableList(
        searches,
        rows.join(reasons, on="patient"),
        _shares(reasons[is_listed], reasons[~is_listed]),
        why.sentence if why else "",
    )


def _refuse(audit: AuditResults, dataset: MedsDataset, exposures: Mapping[str, Exposures]) -> None:
    if not audit.finished:
        raise BadInput(f"The audit in {str(audit.folder)!r} is not finished: give the same 'ehrmem audit' again first.")
    if not exposures:
        able = [name for name, probe in probes().items() if probe.view_type.exposures is not ProbeView.exposures]
        raise BadInput(
            f"This audit holds no test that says who is exposed. Add {' and '.join(able)} to the plan's probes, and run it into another folder."
        )
    if (audit.results.get("data") or {}).get("fingerprint") != dataset.fingerprint:
        raise BadInput(
            f"{dataset.name} is not the data set that was audited ({audit.name_of('data')}), or was changed since. Name it with --data."
        )


def _search(probe: Probe, exposures: Exposures, rate: float) -> Search:
    found, planted = (
        discoveries(exposures.statistic(trained), exposures.statistic(never), rate)
        for trained, never in ((MEMBER, NON_MEMBER), (CANARY, NULL_CANARY))
    )
    canaries = proportion(int(planted.chosen.sum()), len(planted.chosen)) if len(planted.chosen) else None
    return Search(probe, len(found.chosen), exposures.asked.get(NON_MEMBER, 0), rate, found, canaries)


def _listed(search: Search, exposures: Exposures) -> pd.DataFrame:
    own, found = exposures.of(MEMBER), search.found
    p, adjusted, chosen = (one[: len(own)] for one in (found.p, found.p_adjusted, found.chosen))
    return own.assign(test=search.probe.name, figure=exposures.figure, p=p, p_adjusted=adjusted)[chosen]


def _reasons(dataset: MedsDataset, split: str, patients: Sequence[str]) -> pd.DataFrame:
    """By pseudonym: ``rare``, ``near`` and ``same``."""
    ids = [dataset.find(patient) for patient in patients]
    held = dataset.query(
        "SELECT patient_id, list(DISTINCT code ORDER BY code) FROM events JOIN codes USING (code) WHERE patients < ? "
        "AND patient_id IN (SELECT unnest(?::BIGINT[])) AND NOT starts_with(code, 'MEDS_BIRTH') GROUP BY patient_id",
        [FEWEST, ids],
    ).fetchall()
    rare = dict(held)
    found = alike_within(dataset, split, ids).reindex(ids)
    return found.assign(rare=[tuple(rare.get(number, ())) for number in ids]).set_axis(list(patients))


def _shares(listed: pd.DataFrame, others: pd.DataFrame) -> dict[str, tuple[Estimate, Estimate]]:
    if listed.empty or others.empty:
        return {}
    holds = {
        f"Hold a code that fewer than {FEWEST} people of the data set hold": lambda of: of["rare"].map(bool),
        "Have a near-duplicate among the records trained on": lambda of: of["near"] > 0,
    }
    sides = (listed, others)
    return {
        words: (proportion(int(of(sides[0]).sum()), len(sides[0])), proportion(int(of(sides[1]).sum()), len(sides[1])))
        for words, of in holds.items()
    }
