"""What of an audit may travel: the report, and the figures about the cohort as they may be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ehrmem_widgets.audit.releases import to_leave
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import WHAT
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.files import whole_folder
from ehrmem_widgets.probes.people import Named
from ehrmem_widgets.reports.audit_page import page_of

_ABOUT = ("finished", "name", "plan_hash", "started_at", "finished_at", "versions", "seed")
_READ_ME = """\
Exported by ehrmem. This folder names no patient. Counts of 1 to 10 people are withheld, with others from which they would follow; every n
is rounded down to tens, and a share is told to ten people. The exact figures stay in the results folder, which
is to be kept like patient data.

report.html     the report of the audit
figures.csv     the figures that it shows, one row per metric
about.json      what was asked, of which model and data, with which versions
"""


def export(results: Path, out: Path) -> None:
    """Write the folder ``out`` from the results folder of an audit. Raises BadInput for a folder that holds no audit, for an audit that
    is declared as identifying, and for an ``out`` that is there already."""
    if out.exists():
        raise BadInput(f"{str(out)!r} already exists. Name another folder.")
    audit = AuditResults(results)
    if audit.identifying:
        raise BadInput(
            "The plan of this audit declares it as identifying: its report names patients and must not leave the hospital."
        )
    audit = to_leave(results)
    page = page_of(audit)
    tables = [
        found.figures[
            (found.figures["n"] > 0) | found.figures["figure"].str.fullmatch(audit.views[name].judged_figure)
        ].assign(probe=name)
        for name, found in audit.findings.items()
    ]
    try:
        with whole_folder(out) as folder:
            (folder / "report.html").write_text(page, encoding="utf-8")
            whole = pd.concat(tables, ignore_index=True).drop(columns="judgement") if tables else pd.DataFrame()
            whole.to_csv(folder / "figures.csv", index=False)
            (folder / "about.json").write_text(json.dumps(_about(audit), indent=1) + "\n", encoding="utf-8")
            (folder / "README.txt").write_text(_READ_ME, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"{out} could not be written: {error.strerror or error}. Nothing was changed.") from None


def _about(audit: AuditResults) -> dict[str, object]:
    """Nothing that names or counts few people: of the plan only what was asked."""
    results = audit.results
    plan = results.get("plan") or {}
    asked = {
        name: plan.get(name)
        for name in ("probes", "knowledge_levels", "knowledge_of", "attributes", "priors", "population")
    }
    models: dict[str, object] = {name: _named(results.get(name)) for name in WHAT}
    return {**{name: results.get(name) for name in _ABOUT}, "plan": asked, **models, "people": dict(audit.people_shown)}


def _named(one: Named | None) -> Mapping[str, object] | None:
    return one and {name: one.get(name) for name in ("name", "fingerprint", "number_format") if name in one}
