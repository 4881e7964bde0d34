"""The list of vulnerable patients as a page or a table, for internal use."""

from __future__ import annotations

import shlex
from collections.abc import Hashable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.vulnerable import Search, VulnerableList
from ehrmem_widgets.charts.markup import interval, plural
from ehrmem_widgets.charts.table import inline
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.findings.finding import estimate_of
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.reports.patient_report import checked_out, who
from ehrmem_widgets.statistics.disclosure import FEWEST

HANDLING = "internal: names patients by pseudonym, for those who must protect them"


def write_list(found: VulnerableList, audit: AuditResults, dataset: MedsDataset, out: Path) -> None:
    """Write the list (mode 600): a page, or its rows where the name ends in .csv. Raises BadInput for another name, and for a folder that was
    written to leave the hospital."""
    checked_out(out, kinds=(".html", ".htm", ".csv"))
    if all((out.parent / name).is_file() for name in ("about.json", "figures.csv")):
        raise BadInput(
            f"{str(out.parent)!r} was written to leave the hospital, and this list names patients. Keep it in the results folder."
        )
    titles = {one.probe.name: one.probe.full_title for one in found.searches}
    rows = found.rows.assign(attribute=found.rows["attribute"].map(audit.title), test=found.rows["test"].map(titles))
    if out.suffix.lower() == ".csv":
        table = rows.assign(rare=rows["rare"].map("; ".join), handling=HANDLING).drop(columns=["group", "exposed"])
        return write_whole({out: table.to_csv(index=False)})
    results = audit.results
    run = {
        "made_by": who(), "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "handling": HANDLING,
        "command": shlex.join(["ehrmem", "vulnerable", str(audit.folder), "--out", str(out)]),
        "seed": results.get("seed", 0), "versions": results.get("versions") or {},
        **{name: audit.name_of(name) for name in ("data", "model", "reference")},
    }  # fmt: skip
    patients = [
        (patient, list(map(_told, its.to_dict("records"))), list(_because(its, dataset)))
        for patient, its in rows.groupby("patient", sort=False)
    ]
    shares = [(words, *map(inline, shares)) for words, shares in found.shares.items()]
    page = whole_page("vulnerable.html.j2", run=run, searches=in_words(found), patients=patients, shares=shares)
    write_whole({out: page})


def in_words(found: VulnerableList) -> list[str]:
    """How many each test lists, how many of them chance explains, and whether the same rule finds the planted; nothing about a patient."""
    confounded = f"People trained on and people never seen differ to begin with, so nobody knows how many are listed by chance: {found.confounded}"
    return [*([confounded] if found.confounded else []), *map(_of_search, found.searches)]


def _of_search(one: Search) -> str:
    found, never = one.found, f"{one.never:,} people never seen"
    planted = (
        "No canaries were planted, so it is not shown that this test finds anybody."
        if one.canaries is None
        else f"Of the planted canaries, which are made up, the same rule names {inline(one.canaries)}."
    )
    asked = f"{one.probe.full_title}: of {plural(one.asked, 'member')} who hold a sensitive attribute"
    if found.false_share is not None:
        return (
            f"{asked}, {found.chosen.sum():,} are listed. By the {never}, chance explains a share of {inline(found.false_share)} of them; over many "
            f"such lists it is at most {one.rate:g} on average. {planted}"
        )
    above = (
        f" {found.above} lie above everybody never seen, which may be chance: with {found.needed:,} people never seen they would be listed, if they still do."
        if found.above
        else ""
    )
    return f"{asked}, nobody is listed: none stands out enough of {never}.{above} {planted}"


def _told(one: dict[Hashable, Any]) -> str:
    fits = (
        ""
        if one["k"] != one["k"]
        else f" Of the data set {one['k']:,.0f} fit."
        if one["k"] > 1
        else " Only this patient fits."
    )
    return (
        f"{one['attribute']}: {one['figure']} {interval(estimate_of(pd.Series(one)))}, knowing: {one['facts']}.{fits} "
        f"({one['test']}, p {one['p']:.3f}, corrected {one['p_adjusted']:.3f})"
    )


def _because(its: pd.DataFrame, dataset: MedsDataset) -> Iterator[str]:
    """What may explain one patient's rows."""
    rare, near, same = its.iloc[0][["rare", "near", "same"]]
    people = dataset.codes.set_index("code")["patients"]
    if rare:
        named = [f"{dataset.label(code)} ({code}, {plural(int(people[code]), 'person', 'people')})" for code in rare]
        yield f"Rare codes, held by fewer than {FEWEST} people of the data set: {'; '.join(named)}."
    if alone := its.loc[its["k"] == 1, "facts"].tolist():
        yield f"Unique in the data set by these facts: {alone[0]}."
    if near > 0:
        more = f", {same:.0f} of them in the very same order" if same else ""
        yield f"Repeated: {plural(int(near), 'other record')} trained on {'is' if near == 1 else 'are'} nearly the same{more}."
    if not (rare or alone or near > 0):
        short = " (which takes more codes than the record has)" if near != near else ""
        yield f"Nothing was found among rare codes, unique facts and repetitions{short}."
