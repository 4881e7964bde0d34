"""Write the teacher's guide and the worksheets from the lesson's words and the chosen figures:

python -m ehrmem_widgets.workshop.pages
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.reports.patient_report import make_report
from ehrmem_widgets.reports.pdf import as_pdf
from ehrmem_widgets.samples.folders import sample_data, sample_moderate, sample_reference
from ehrmem_widgets.workshop.asking import Asked
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.leave_one_out import left_out
from ehrmem_widgets.workshop.lesson import decimals, filled, hundred, is_memory, lesson

DOCS = Path(__file__).parents[2] / "docs" / "workshop"
GUIDE, WORKSHEETS = DOCS / "guide.md", DOCS / "worksheets.html"
_GOALS = {"predict": "all", "attack": "1, 3", "cards": "2", "training": "4", "committee": "3, 5", "exit": "all"}


def main(argv: Sequence[str] | None = None) -> None:
    """Write both, or the worksheets as a PDF."""
    parser = argparse.ArgumentParser(prog="python -m ehrmem_widgets.workshop.pages", description=__doc__)
    parser.add_argument("--pdf", type=Path, metavar="FILE.pdf", help="only write the worksheets, as a PDF")
    arguments = parser.parse_args(argv)
    if arguments.pdf:
        write_whole({arguments.pdf: as_pdf(worksheets())})
        return
    DOCS.mkdir(exist_ok=True)
    write_whole({GUIDE: guide(), WORKSHEETS: worksheets()})


def guide() -> str:
    """The guide, in Markdown."""
    environment = Environment(
        loader=PackageLoader("ehrmem_widgets.workshop", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"fill": filled, "hundred": hundred, "decimals": decimals}
    environment.tests["memory"] = is_memory
    minutes = [step.minutes for step in lesson().steps]
    text = environment.get_template("guide.md.j2").render(
        lesson=lesson(),
        chosen=chosen(),
        committee=committee_patient(),
        goals=_GOALS,
        left=left_out(),
        levels=KNOWLEDGE_LEVELS,
        starts=[
            f"0:{sum(minutes[:place]):02d}" if sum(minutes[:place]) < 60 else f"1:{sum(minutes[:place]) - 60:02d}"
            for place in range(len(minutes))
        ],
    )
    lines = (line.rstrip() for line in text.splitlines())
    kept: list[str] = []
    for line in lines:  # one empty line at most
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip() + "\n"


def worksheets() -> str:
    """The worksheets: nothing on them tells an answer."""
    cards = [
        {"about": one.about, "knowledge": one.knowledge, "title": one.title, "said": hundred(one.audited)}
        for one in chosen().cards
    ]
    return whole_page(
        "worksheets.html.j2",
        lesson=lesson(),
        cards=cards,
        do={step.key: filled(step.do) for step in lesson().steps},
        models=[one.model for one in chosen().training],
    )


def committee_patient() -> Asked:
    """The person of the committee's report: the lesson's first, as the moderate model answers."""
    return next(one for one in chosen().patients if one.model == "moderate")


def committee_report() -> str:
    """The report that the committee reads, written now as ``ehrmem report`` writes it (about half a minute)."""
    asked = committee_patient()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.html"
        make_report(
            out,
            data=str(sample_data()),
            model=str(sample_moderate()),
            reference=str(sample_reference()),
            patient=asked.patient,
            focus=asked.attribute,
        )
        return out.read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
