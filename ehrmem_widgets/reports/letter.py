"""A letter in plain language: about one patient's report, for the patient or for a board, or about a whole audit, for a board. From the
figures of the findings, in the words of a file that can be translated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import ehrmem_widgets
from ehrmem_widgets.charts.markup import BLUE, ORANGE
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.files import read_text, write_whole
from ehrmem_widgets.reports.audit_letter import audit_letter
from ehrmem_widgets.reports.letter_texts import Texts, count, day, icons, of_100, texts_in
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.reports.patient_report import Numbers, Report, checked_out
from ehrmem_widgets.settings import shown

AUDIENCES = ("patient", "board")


def make_letter(source: str | Path, out: str | Path, *, audience: str = "", language: str = "en") -> None:
    """Write the letter about a report's JSON file (to the patient, unless a board is named), or about an audit's folder (to a board). Raises
    BadInput for what is neither, and for an audience or language that there is not or that does not fit."""
    source, out = Path(source), checked_out(Path(out))
    if audience and audience not in AUDIENCES:
        raise BadInput(f"A letter is for {' or '.join(AUDIENCES)}; got {shown(audience)}.")
    texts = texts_in(language)
    if source.is_dir():
        if audience == "patient":
            raise BadInput(
                f"{str(source)!r} is a folder, and a letter about a whole audit is for a board: leave out --audience. For a patient, name the "
                "JSON file that 'ehrmem report' wrote."
            )
        letter = audit_letter(source, texts)
    else:
        letter = _patient_letter(_read(source), texts, audience or "patient", source)
    write_whole({out: whole_page("letter.html.j2", letter=letter)})


def _read(path: Path) -> Report:
    text = read_text(path, f"The report {str(path)!r}")
    try:
        found = json.loads(text)
        focus = found["settings"]["focus"]
        if focus == "" and found["attributes"] == []:
            raise CannotAnswer(
                f"{path.name} asks about no sensitive attribute, and a letter to a patient is about one. Declare what is sensitive in the data: "
                "'ehrmem attributes --data DIR --write FILE'; then make the report again with --attribute-file FILE."
            )
        assert any(one["name"] == focus for one in found["attributes"]) and found["known"]["facts"] >= 0
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise BadInput(
            f"{path.name} is not the JSON file of a patient's report: 'ehrmem report' writes it beside the HTML file."
        ) from None
    return cast("Report", found)


def _patient_letter(report: Report, texts: Texts, audience: str, path: Path) -> dict[str, object]:
    """What the template fills in."""
    about = cast("Mapping[str, Mapping[str, object]]", report)
    finding = next(one for one in report["attributes"] if one["name"] == about["settings"]["focus"])
    known, who = about["known"], texts["patient"] if audience == "patient" else texts["board"]
    facts = int(str(known["facts"]))
    title = texts["attributes"].get(finding["title"], finding["title"])
    counted = texts["facts"].get(facts, texts["facts"]["many"].format(n=facts))
    given = {
        **who, "patient": report["patient"], "model": report["model"]["name"], "facts": counted, "attribute": title,
        "day": day(texts, datetime.now(UTC).date()), "version": ehrmem_widgets.__version__, "report": path.with_suffix(".html").name,
    }  # fmt: skip

    def say(words: str, **more: object) -> str:
        return words.format_map({**given, **more})

    def in_100(words: str, figure: Numbers) -> str:
        return say(words, **of_100(texts, figure["value"], figure["low"], figure["high"]))

    verdict = (finding["verdict"] or "Cannot conclude") if finding["in_record"] else "none"
    audited, reference = finding["audited"], finding["reference"]
    pictures = [(in_100(texts["found_model"], audited), icons(texts, audited["value"], BLUE))]
    if reference is not None:
        pictures.append((in_100(texts["found_reference"], reference), icons(texts, reference["value"], ORANGE)))
    verdicts = texts["verdicts"] if reference else texts["verdicts"] | texts["verdicts_alone"]
    next_ = texts["next"].get(verdict, texts["next"]["other"])
    return {
        "language": texts["language"], "title": who["title"], "greeting": say(who["greeting"]), "answer": "", "why": say(texts["why"]),
        "what_title": texts["what_title"], "what": say(texts["what"]), "found_title": texts["found_title"], "pictures": pictures,
        "besides": "" if reference else say(texts["found_no_reference"]),
        "fits": _fits(known, texts, say) if facts else "",
        "means_title": texts["means_title"], "means": say(verdicts[verdict]),
        "limits_title": texts["limits_title"], "limits": [say(one) for one in texts["limits"]],
        "next_title": texts["next_title"], "next": [say(one) for one in next_], "made": say(texts["made"]),
    }  # fmt: skip


def _fits(known: Mapping[str, object], texts: Texts, say: Callable[..., str]) -> str:
    """Who else fits: nobody, or how many; a few are not counted."""
    try:
        k, n = int(str(known["k"])), int(str(known["patients"]))
    except (KeyError, ValueError):
        raise BadInput(
            "The report does not say how many patients fit the facts: it was changed, or cut short. Write it again."
        ) from None
    return say(texts["unique"]) if k == 1 else say(texts["fits"], k=count(texts, k), n=count(texts, n))
