"""The index of many patients' reports: who, the most severe verdict, the most severe leak, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict

if TYPE_CHECKING:
    from ehrmem_widgets.reports.patient_report import Leak, Numbers, PatientResults

GRAVEST_FIRST = (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE, Verdict.POPULATION)


class Row(TypedDict):
    """One report in the index."""

    patient: str
    report: str
    verdict: str
    held: int
    memorized: int
    gravest_leak: Leak | None


class Patient(TypedDict, total=False):
    """Somebody asked for: the pseudonym, or the place in the list where that names nobody; and why there is no report."""

    patient: str
    entry: int
    reason: str
    partial_notebook: str | None


class Summary(TypedDict):
    """What ``summary.json`` holds."""

    handling: str
    finished: bool
    data: str
    model: str
    reference: str | None
    settings: Mapping[str, object]
    made_by: str
    made_at: str
    command: str
    patients: int
    reports: list[Row]
    failed: list[Patient]


def row_of(report: PatientResults) -> Row:
    """What the index says of one report (what its JSON file holds).

    The patient's verdict is the most severe that any attribute got: memorized, then cannot conclude, then population knowledge;
    where there is no attribute to ask about, that of membership. The most severe leak is the memorized attribute of the highest declared severity, among equals that of the largest excess (without a reference model: leak).
    """
    attributes = report["attributes"]
    membership = report.get("membership")
    verdicts = {attribute["verdict"] for attribute in attributes} | ({membership["verdict"]} if membership else set())
    memorized = [attribute for attribute in attributes if attribute["verdict"] == Verdict.MEMORIZED]
    leak = max(memorized, key=lambda a: (a["severity"], _beyond(a)["value"]), default=None)
    return {
        "patient": report["patient"],
        "report": f"{report['patient']}.html",
        "verdict": str(next((v for v in GRAVEST_FIRST if v in verdicts), Verdict.CANNOT_CONCLUDE)),
        "held": sum(attribute["in_record"] for attribute in attributes),
        "memorized": len(memorized),
        "gravest_leak": leak
        and {
            "name": leak["name"],
            "title": leak["title"],
            "severity": leak["severity"],
            "audited": leak["audited"],
            "reference": leak["reference"],
            "excess": _beyond(leak),
        },
    }


def index_page(summary: Summary) -> str:
    """The whole HTML file for a ``summary.json``; it links to the reports beside it and to nothing else."""
    rows = sorted(summary["reports"], key=_gravest_first)
    verdicts = Counter(row["verdict"] for row in rows)
    held = sum(row["held"] for row in rows)
    settings = summary["settings"]
    return whole_page(
        "index.html.j2",
        beside=[row["report"] for row in rows],
        run={**summary, "seed": settings["seed"], "versions": {"ehrmem": settings["ehrmem"]}},
        verdicts={verdict: verdicts[verdict] for verdict in GRAVEST_FIRST},
        rows=[{**row, "verdict": Verdict(row["verdict"]), "leak": _leak(row["gravest_leak"])} for row in rows],
        held=held,
        memorized=sum(row["memorized"] for row in rows),
        alarm_rate=ALARM_RATE,
        by_chance=ALARM_RATE * held,
    )


def _beyond(one: Leak) -> Numbers:
    """What is given away beyond a reference model; without one, the leak."""
    return one["excess"] or one["audited"]


def _gravest_first(row: Row) -> tuple[int, float, float, str]:
    leak = row["gravest_leak"]
    grave = (-leak["severity"], -_beyond(leak)["value"]) if leak else (0, 0.0)
    return (GRAVEST_FIRST.index(Verdict(row["verdict"])), *grave, row["patient"])


def _leak(leak: Leak | None) -> dict[str, object] | None:
    """With its two probabilities as estimates."""
    if leak is None:
        return None
    return {
        **leak,
        "audited": Estimate(**leak["audited"]),
        "reference": leak["reference"] and Estimate(**leak["reference"]),
    }
