"""The letter says what the report's figures say, in each language, to whom it is addressed, and reaches nothing outside."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.reports.audit_page import overall
from ehrmem_widgets.reports.letter import AUDIENCES, make_letter
from ehrmem_widgets.reports.letter_texts import LETTERS, languages
from ehrmem_widgets.statistics.verdicts import Verdict
from tests.reports.synthetic_audit import SyntheticAudit
from tests.views.examples import words

EVIL = "<img src=x onerror=alert(1)>"


def a_report(folder: Path, **changes: Any) -> Path:
    finding = {
        "name": "hiv", "title": "HIV", "severity": 5, "in_record": True, "verdict": "Memorized",
        "audited": {"value": 0.963, "low": 0.93, "high": 0.98, "n": 256}, "reference": {"value": 0.08, "low": 0.05, "high": 0.12, "n": 256},
        "excess": {"value": 0.88, "low": 0.83, "high": 0.92, "n": 256},
    }  # fmt: skip
    finding |= changes.pop("finding", {})
    content = {
        "patient": "P-ABCD-EFGH", "data": "cohort", "model": {"name": "memorizing", "fingerprint": "x"}, "reference": None,
        "settings": {"focus": "hiv"}, "known": {"facts": 8, "k": 1, "patients": 3000}, "attributes": [finding], **changes,
    }  # fmt: skip
    path = folder / "report.json"
    path.write_text(json.dumps(content))
    return path


def letter(report: Path, **options: str) -> str:
    out = report.with_name("letter.html")
    make_letter(report, out, **options)
    return out.read_text()


def test_the_figures_of_the_report_in_natural_frequencies(tmp_path: Path) -> None:
    page = letter(a_report(tmp_path))
    said = words(re.sub(r"(?s)<style>.*?</style>|<!doctype html>|<meta[^>]*>", "", page))
    assert "In about 96 of 100 answers the model names it (most likely between 93 and 98)." in said
    assert "In about 8 of 100 answers a model that never saw your record names it" in said
    assert "knows 8 things about you" in said and "The model remembers you." in said
    assert page.count('fill="#0072B2"') == 2 * 96 and page.count('fill="#E69F00"') == 2 * 8  # a head and a body each
    assert "P-ABCD-EFGH" not in said  # the patient knows who is meant


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "Population knowledge"}, "does not say more about you"),
        ({"verdict": "Cannot conclude"}, "neither an alarm nor an all-clear"),
        ({"in_record": False, "verdict": None}, "Your record does not contain this"),
        ({"verdict": None}, "We cannot tell"),
        ({"reference": None, "verdict": "Cannot conclude"}, "There is no model that never saw your record"),
    ],
)
def test_each_verdict_has_its_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    written = letter(a_report(tmp_path, finding=change))
    assert said in written
    open_ = change.get("in_record", True) and change["verdict"] != "Population knowledge"
    assert ("as if it could remember" in written) == open_ and ("Nothing has to be done" in written) != open_


def test_a_board_is_told_whom_it_is_about(tmp_path: Path) -> None:
    page = letter(a_report(tmp_path), audience="board")
    assert "P-ABCD-EFGH" in page and "The model remembers this patient." in page and "about you" not in page


def test_in_german(tmp_path: Path) -> None:
    page = letter(a_report(tmp_path, finding={"title": "Abuse and violence"}), language="de")
    assert (
        '<html lang="de">' in page and "Misshandlung und Gewalt" in page and "Das Modell erinnert sich an Sie." in page
    )
    assert "In etwa 96 von 100 Antworten nennt das Modell diese Angabe" in page and not re.search(
        r">[^<]*\b(the|answers|record)\b", page.split("<body>")[1]
    )


def test_every_language_says_everything() -> None:
    texts = {name: yaml.safe_load((LETTERS / f"{name}.yaml").read_text()) for name in languages()}
    assert set(texts) >= {"en", "de"}
    for name, one in texts.items():
        assert set(texts["en"]) <= set(one), name
        for key in ("verdicts", "facts", "frequency", *AUDIENCES, "next", "audit"):
            assert set(texts["en"][key]) <= set(one[key]), (name, key)
        for key in ("answer", "found", "decided", "next", "knowledge"):
            assert set(texts["en"]["audit"][key]) == set(one["audit"][key]), (name, key)
        levels = {level for level in KNOWLEDGE_LEVELS if not level.startswith("first_")}
        assert set(one["audit"]["knowledge"]) == levels | {"first", "before"}
        for mine, theirs in zip(leaves(one), leaves(texts["en"]), strict=True):
            names = {field for _, field, _, _ in string.Formatter().parse(mine) if field}
            assert {"n", "low", "high"} & names == {"n", "low", "high"} & {
                field for _, field, _, _ in string.Formatter().parse(theirs) if field
            }, mine


def leaves(texts: Any, path: str = "") -> list[str]:
    """Every text of a file but the attributes' names, in the order of the keys."""
    if isinstance(texts, dict):
        return [
            one
            for key in sorted(texts, key=str)
            if key not in ("attributes", "whom_accusative", "whose_accusative")
            for one in leaves(texts[key])
        ]
    return [one for part in texts for one in leaves(part)] if isinstance(texts, list) else [texts]


@pytest.mark.parametrize("audience", AUDIENCES)
@pytest.mark.parametrize("language", languages())
def test_no_brace_is_left_and_nothing_of_the_data_is_markup(tmp_path: Path, audience: str, language: str) -> None:
    page = letter(
        a_report(tmp_path, model={"name": EVIL, "fingerprint": ""}, finding={"title": EVIL}),
        audience=audience,
        language=language,
    )
    body = page.split("<body>")[1]
    assert "<img" not in body and not re.search(r"[{}]", re.sub(r"<[^>]*>", "", body))


@pytest.mark.parametrize(
    ("content", "said"), [("{", "is not the JSON file"), ("[]", "is not the JSON file"), ("{}", "is not the JSON file"), ('{"settings": {"focus": "x"}, "attributes": []}', "is not the JSON file")]
)  # fmt: skip
def test_what_is_no_report_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=said):
        make_letter(path, tmp_path / "letter.html")
    assert not (tmp_path / "letter.html").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = str(a_report(tmp_path))
    assert main(["letter", report, "--language", "de", "--out", str(tmp_path / "letter.html")]) == 0
    for wrong, said in (
        (["--audience", "press"], "patient or board"),
        (["--language", "xx"], "letters in de, en"),
        ([], "cannot be read"),
    ):
        options = ["letter", report if wrong else str(tmp_path / "no.json"), *wrong, "--out", str(tmp_path / "x.html")]
        assert main(options) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "x.html").exists()


# About a whole audit --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that remembers, one that nobody remembers anything of, one of few people, and one that is not finished."""
    out = tmp_path_factory.mktemp("audits")
    names = ("membership", "attribute", "ranking")
    return {
        "memory": SyntheticAudit(600, effect=0.5).write(out / "memory", names=names),
        "none": SyntheticAudit(600, effect=0.0, seed=1).write(out / "none", names=names),
        "few": SyntheticAudit(16, effect=0.5).write(out / "few", names=names),
        "untested": SyntheticAudit(60).write(out / "untested", names=("confounding",)),
        "unfinished": SyntheticAudit(60).write(out / "unfinished", names=names, finished=False),
    }


def to_board(audit: Path, out: Path, **options: str) -> str:
    make_letter(audit, out / "letter.html", **options)
    page = re.sub(r"(?s)<style>.*?</style>|<svg.*?</svg>", "", (out / "letter.html").read_text())
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


@pytest.mark.parametrize(
    ("name", "answer", "verdict"),
    [
        ("memory", "Yes: the model remembers people", Verdict.MEMORIZED),
        ("none", "was not shown to remember single people", Verdict.POPULATION),
        ("few", "We cannot tell whether the model remembers single people.", Verdict.CANNOT_CONCLUDE),
        ("untested", "was not tested: no test compared", None),
    ],
)
def test_the_board_is_told_what_the_audit_concludes_and_no_more(
    name: str, answer: str, verdict: Verdict | None, audits: dict[str, Path], tmp_path: Path
) -> None:
    assert overall(AuditResults(audits[name])) is verdict
    said = to_board(audits[name], tmp_path)
    answers = yaml.safe_load((LETTERS / "en.yaml").read_text())["audit"]["answer"].values()
    assert answer in said and sum(one in said for one in answers) == 1
    decided = yaml.safe_load((LETTERS / "en.yaml").read_text())["audit"]["decided"]
    if verdict is not Verdict.MEMORIZED:
        assert decided["Memorized"] not in said and "Do not give the model" not in said
    assert not re.search(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", said)


def test_the_figures_of_the_audit_in_natural_frequencies(audits: dict[str, Path], tmp_path: Path) -> None:
    audit = AuditResults(audits["memory"])
    shown = [one for view in audit.views.values() for one in view.frequencies()]
    assert {one.key for one in shown} == {"pairs", "remembered", "given_away"}
    said = to_board(audits["memory"], tmp_path)
    for one in shown:
        assert f"about {round(100 * one.figure.value)} " in said
        assert f"between {round(100 * one.figure.low)} and {round(100 * one.figure.high)}" in said
    assert "about 300 to 309 people from whose records it learned, and about 300 to 309 people" in said


def test_few_people_are_not_counted(audits: dict[str, Path], tmp_path: Path) -> None:
    for language, words_ in (("en", "fewer than 11 people from whose records"), ("de", "(Anzahl: weniger als 11)")):
        said = to_board(audits["few"], tmp_path, language=language)
        assert words_ in said and not re.search(r"\b8 (people|Menschen)|Anzahl: 8", said)
        assert not re.search(r"Of 100 people|Von 100 Menschen", said)


@pytest.mark.parametrize("k", [2, 10])
def test_who_else_fits_is_not_counted_where_they_are_few(k: int, tmp_path: Path) -> None:
    page = letter(a_report(tmp_path, known={"facts": 3, "k": k, "patients": 3000}), language="de")
    assert "trifft auf weniger als 11 von 3.000 Menschen" in page
    assert "11 of 3,000 people" in letter(a_report(tmp_path, known={"facts": 3, "k": 11, "patients": 3000}))


@pytest.mark.parametrize(
    ("value", "said"), [(0.001, "In fewer than 1 of 100"), (0.999, "In more than 99 of 100"), (0.0, "In 0 of 100")]
)
def test_what_is_rare_is_not_rounded_away(value: float, said: str, tmp_path: Path) -> None:
    figure = {"value": value, "low": 0.0, "high": 1.0, "n": 256}
    assert said in letter(a_report(tmp_path, finding={"audited": figure}))


def test_the_letter_to_a_board_in_german(audits: dict[str, Path], tmp_path: Path) -> None:
    said = to_board(audits["memory"], tmp_path, audience="board", language="de")
    assert (
        "Ja: Das Modell erinnert sich an Menschen" in said and "Bekannt war: die ersten 20 Einträge der Akte." in said
    )
    assert not re.search(r"\b(the|people|records|of)\b", said.replace("made-up model", ""))


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("name", ["memory", "none", "few", "untested"])
def test_no_brace_is_left_in_a_letter_to_a_board(
    name: str, language: str, audits: dict[str, Path], tmp_path: Path
) -> None:
    assert not re.search(r"[{}]", to_board(audits[name], tmp_path, language=language))


def test_names_of_an_audit_stay_text(tmp_path: Path) -> None:
    evil = {"name": EVIL, "fingerprint": ""}
    audit = SyntheticAudit(60).write(tmp_path / "a", names=("membership",), model=evil)
    make_letter(audit, tmp_path / "letter.html")
    assert "<img" not in (tmp_path / "letter.html").read_text()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("unfinished", {}, "is not finished"),
        ("memory", {"audience": "patient"}, "is for a board"),
        ("memory", {"audience": "press"}, "patient or board"),
        ("memory", {"language": "fr"}, "letters in de, en; got 'fr'"),
    ],
)
def test_what_does_not_fit_an_audit_is_refused(
    name: str, options: dict[str, str], said: str, audits: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=said):
        make_letter(audits[name], tmp_path / "letter.html", **options)
    with pytest.raises(BadInput, match="holds no audit"):
        make_letter(tmp_path, tmp_path / "letter.html")
    assert not (tmp_path / "letter.html").exists()
