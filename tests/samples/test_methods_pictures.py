"""The methods page: one picture per test, drawn from findings, and every probe on the page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.findings.finding import Finding, curve_row, finding, patient_row, row
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.registry import probes
from ehrmem_widgets.samples.methods_pictures import PICTURES, draw_pictures, sample_findings
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict

PAGE = PICTURES.parent / "methods.md"
ONE = Estimate(0.6, 0.5, 0.7, 23)
GROUPS = (MEMBER, NON_MEMBER, CANARY, NULL_CANARY)
KNOWLEDGE_LEVELS = {"knowledge_levels": ["nothing", "first_10"], "searched": 50}


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    """One finding a probe, as small as can be."""
    by_level = [
        {"knowledge": knowledge, "group": group}
        for knowledge in KNOWLEDGE_LEVELS["knowledge_levels"]
        for group in GROUPS
    ]  # type: ignore[attr-defined]
    one_model = {"group": "all", "model": "", "attribute": "Ratio"}
    scores = [
        patient_row(f"P-{group}-{i}", "score", value=i + 9.0 * (group == MEMBER), attribute="Ratio", group=group)
        for group in (MEMBER, NON_MEMBER)
        for i in range(20)
    ]
    curve = [
        curve_row("P-1", "age", Estimate(leak, 0.0, 0.2, 30), group="canary x4", model="audited", attribute="hiv",
                  step=age - 41, code=f"AGE//{age}", label=f"Aged {age}")
        for age, leak in ((40, 0.1), (41, 0.9), (42, 0.1))
    ]  # fmt: skip
    judged = Judgement(Verdict.POPULATION, "within_margin", "no more.")
    split = {"group": "sex: F", "attribute": "Ratio"}
    rows = {
        "reconstruction": [row("timed_distance", ONE, model="audited", **of) for of in by_level],
        "attribute": [row("auroc", ONE, model="audited", attribute="all attributes", **of) for of in by_level],
        "embedding": [row("gain_logistic", ONE, model="audited", group=group) for group in GROUPS],
        "neighbours": [row("hit@10", ONE, model="audited", **of) for of in by_level],
        "membership": [
            row("auroc", ONE, judgement=Judgement(Verdict.MEMORIZED, "more_for_members", "more."), **one_model),
            *scores,
        ],
        "exposure": [row("mean_exposure", Estimate(7.0, 6.0, 8.0, 23), model="audited", group="canary x4")],
        "one_run": [row("epsilon_bound", Estimate(2.0, 2.0, np.inf, 23), group="canaries")],
        "disclosures": [
            row("people_matched", ONE, model="audited", group=group, knowledge="nothing", attribute="visit")
            for group in GROUPS
        ],
        "perturbation": [
            patient_row("P-1", "spike:age", ONE, group="canary x4", model="audited", attribute="hiv"), *curve
        ],
        "subgroups": [
            row("mean:score", ONE, **split), row("gap:score", ONE, **split), row("screening:score", **split, p_adjusted=0.5),
            row("difference:score", ONE, judgement=judged, p_adjusted=0.5, **split),
        ],
        "ranking": [
            patient_row("P-1", "bits", value=3.0, attribute="hiv"), patient_row("P-1", "k", value=4, attribute="hiv"),
            patient_row("P-1", "leak", ONE, attribute="hiv"),
        ],
        "confounding": [row("model_free_auroc", ONE, group="all")],
        "utility": [row("recall@10", ONE, model="audited", group=NON_MEMBER)],
    }  # fmt: skip
    return {name: finding(name, some, {**KNOWLEDGE_LEVELS, "samples": 4}, []) for name, some in rows.items()}


def test_every_finding_gives_a_picture_that_stands_alone(findings: dict[str, Finding], tmp_path: Path) -> None:
    assert set(findings) == set(probes())
    draw_pictures(tmp_path / "new", findings)
    assert {file.stem for file in (tmp_path / "new").iterdir()} == set(probes())
    for file in (tmp_path / "new").iterdir():
        drawn = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(drawn)
        assert (
            root.tag == "{http://www.w3.org/2000/svg}svg"
            and root.attrib["width"].isdigit()
            and root[0].tag.endswith("rect")
        )
        said = " ".join((root.attrib["aria-label"], *root.itertext()))
        assert "var(" not in drawn and "nan" not in said
        assert ("n = 4" if file.stem == "perturbation" else "23") in said


def test_the_pictures_hold_the_findings_figures(findings: dict[str, Finding], tmp_path: Path) -> None:
    draw_pictures(tmp_path, findings)
    said = {file.stem: " ".join(ElementTree.parse(file).getroot().itertext()) for file in tmp_path.iterdir()}
    assert "7.00 (6.00 to 8.00), n = 23" in said["exposure"] and "canaries, trained on 4 times" in said["exposure"]
    assert "0.60 (0.50 to 0.70), n = 23" in said["confounding"] and "k = 4 of 32" in said["ranking"]
    assert "HIV" in said["ranking"] and "P-1" in said["perturbation"] and "Female" in said["subgroups"]
    assert "95 % interval" not in said["perturbation"]  # a cohort's curve has none to show


def test_what_was_not_found_is_not_drawn(findings: dict[str, Finding], tmp_path: Path) -> None:
    draw_pictures(tmp_path, {"confounding": findings["confounding"]})
    assert [file.name for file in tmp_path.iterdir()] == ["confounding.svg"]


def test_kept_findings_are_read_and_not_run_again(findings: dict[str, Finding], tmp_path: Path) -> None:
    for name, found in findings.items():
        found.save(tmp_path / name)
    read = sample_findings(tmp_path)
    assert {name: found.rows for name, found in read.items()} == {n: f.rows for n, f in findings.items()}


def test_every_picture_on_the_page_exists_is_small_and_has_words_for_those_who_do_not_see_it() -> None:
    shown = re.findall(r"!\[([^\]]*)\]\(pictures/([\w-]+\.svg)\)", PAGE.read_text(encoding="utf-8"))
    assert {file for _, file in shown} == {file.name for file in PICTURES.iterdir()} == {f"{n}.svg" for n in probes()}
    for words, file in shown:
        assert len(words) > 40
        assert ElementTree.parse(PICTURES / file).getroot().attrib["aria-label"]
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < 400_000


def test_every_probe_is_on_the_page_with_its_command_and_every_link_leads_somewhere() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in probes():
        assert f"`ehrmem probe {name} --out DIR`" in page
    for notebook in set(re.findall(r"\((\d\d_\w+\.ipynb)\)", page)):
        assert (PAGE.parent / notebook).is_file()
    headings = {
        re.sub(r"[^\w-]", "", line[3:].lower().replace(" ", "-"))
        for line in page.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\(#([\w-]+)\)", page)) <= headings
    for section in page.split("\n## ")[2:]:
        assert section.count("![") == 1 and all(
            f"**{part}" in section for part in ("It asks", "Read it", "It misleads", "On the samples")
        )
