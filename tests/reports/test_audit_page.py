"""The report of a cohort audit: whole or in part, and nothing of a patient in it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding, as_json, row
from ehrmem_widgets.probes.embedding.ask import NO_EMBEDDINGS
from ehrmem_widgets.probes.people import CANARY, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.probes.view import Headline, group_words
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import audit_page, matrix_of, page_of, summary
from ehrmem_widgets.reports.page_template import check_offline
from ehrmem_widgets.statistics.attack_cost import median, queries_needed
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.tokens.sequence import encode
from tests.reports.small import Small
from tests.reports.synthetic_audit import SyntheticAudit

ASKED: Mapping[str, Mapping[str, Any]] = {
    "confounding": {},
    "reconstruction": {"knowledge_levels": ("demographics", "first_10"), "samples": 2, "horizon": 16},
    "attribute": {"knowledge_levels": ("demographics", "first_10"), "samples": 4, "horizon": 16},
    "membership": {},
    "perturbation": {"samples": 4, "horizon": 16},
    "ranking": {"knowledge_levels": ("demographics", "first_10"), "samples": 4, "horizon": 16},
}


class Text(HTMLParser):
    """What a person reads or hears of a page, without its style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._style = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        self.parts += [value for name, value in attrs if name in ("aria-label", "alt", "title") and value]

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.parts.append(data)

    def __str__(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.parts))


@pytest.fixture(scope="module")
def audited(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real probes over the small cohort, in a folder as an audit writes it."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "findings").mkdir()
    dataset, model, reference = MedsDataset(small.data), FolderModel(small.model), FolderModel(small.reference)
    people = choose_people(dataset, model, reference, most=80, seed=0)
    earlier: dict[str, Finding] = {}
    runs = []
    for name, options in ASKED.items():
        found = earlier[name] = run(name, dataset, model, reference, people=people, earlier=earlier, **options)
        found.save(folder / "findings" / name)
        runs.append(
            {
                "probe": name,
                "knowledge_levels": list(options.get("knowledge_levels", ())),
                "state": "done",
                "reason": "",
                "sentences": list(found.sentences),
                "exclusions": found.exclusions,
                "seconds": 1,
            }
        )
    runs.append(
        {
            "probe": "embedding",
            "knowledge_levels": [],
            "state": "not run",
            "reason": "the model gives no embeddings",
            "of_the_model": True,
            "sentences": [],
            "exclusions": {},
        }
    )
    results = {
        "finished": True, "name": "small", "plan": {"probes": [*ASKED, "embedding"], "patients": sorted(people.groups)}, "plan_hash": "00", "command": "ehrmem "
            "audit plan.yaml --out x",
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "patients": len(dataset)}, "model": {"name": "small", "fingerprint": model.fingerprint},
        "reference": {"name": "other", "fingerprint": reference.fingerprint}, "people": people.counts(), "seed": 0, "identifying": False, "runs": runs,
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(as_json(results)))
    return folder


@pytest.fixture(scope="module")
def page(audited: Path) -> str:
    return audit_page(audited)


@pytest.mark.slow
def test_no_patient_is_in_a_cohort_report(page: str, small: Small) -> None:
    dataset, vocabulary = MedsDataset(small.data), FolderModel(small.model).vocabulary
    read = str(Text(page))
    for patient in dataset.ids():
        assert not re.search(rf"(?<!\d){patient}(?!\d)", read)
        assert dataset.pseudonym(patient) not in page
    assert not re.search(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", page)
    followers = {
        pair
        for record in dataset.records(dataset.ids())
        for codes in (encode(record, vocabulary).codes, [e.code for e in record.events])
        for pair in pairwise(codes)
    }
    assert len(followers) > 1000
    for one, other in followers:
        for between in (" ", ", ", "; ", ",", "\n", '", "'):
            assert f"{one}{between}{other}" not in read and f"{one}{between}{other}" not in page


def small_counts(read: str) -> list[str]:
    """Whatever reads as a count of 1 to 10 people."""
    people = r"(?:ordinary )?(?:members?|non-members?|people|persons?|patients?|holders?|canar(?:y|ies)|controls?)\b"
    found = re.findall(rf"(?<![\d.,@])(?<!than )(?<!to )\b(?:[1-9]|10) {people}", read)
    found += re.findall(r"\bn = (?:[1-9]|10)\b(?![\d,])", read)
    return found + [
        m[0]
        for m in re.finditer(
            r"(?<![\d.,])\b(?:[1-9]|10) of [\d,]+\b(?! comparisons| figures| tests| subgroups| audits| codes)", read
        )
    ]


def test_the_search_for_small_counts_finds_them() -> None:
    assert small_counts("there are 5 members and 7 of 20 others, n = 3") == ["5 members", "n = 3", "7 of 20"]
    assert small_counts("fewer than 11 members, 2 to 10 people, n = 30, memorized in 3 of 9 comparisons") == []


def test_no_small_count_is_in_a_cohort_report(page: str, audited: Path) -> None:
    sentences = " ".join(
        s for run in json.loads((audited / "results.json").read_text())["runs"] for s in run["sentences"]
    )
    assert small_counts(sentences)  # the probes' own sentences have some
    assert small_counts(str(Text(page))) == []
    assert "fewer than 11" in page


def test_the_first_page_says_what_a_board_asks(page: str) -> None:
    first = page[page.index('id="summary"') : page.index('id="membership"')]
    read = str(Text(first))
    for words in (
        "Threat model",
        "What each test found",
        "Risk matrix",
        "Which attacks",
        "Vulnerable groups",
        "It is not a clearance",
    ):
        assert words in read
    assert "T2 Sensitive attributes" in read and "Planted canaries" in read


def test_what_the_model_has_no_code_of_is_not_passed_over(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(60).write(tmp_path / "a"))
    gravest = str(Text(matrix_of(audit))).partition("5, most severe")[2].partition("4 ")[0]
    assert "Self-harm and suicidality" in gravest and "the model has no code of it" in gravest
    assert "did not ask about these, as the model has no code of them: Self-harm and suicidality." in audit_page(
        audit.folder
    )
    path = audit.folder / "results.json"
    results = json.loads(path.read_text())
    assert "The model does not know" not in audit_page(audit.folder)
    results["data"]["unknown_codes"] = {"codes": 107, "of": 1512, "share": 0.0234}
    path.write_text(json.dumps(results))
    assert "The model does not know 107 of 1,512 codes of the data (2.3% of the events)." in audit_page(audit.folder)


def test_what_was_not_run_and_why(page: str) -> None:
    part = page[page.index('id="not-run"') : page.index('id="reproducibility"')]
    assert (
        "the model gives no embeddings" in part
        and probes()["subgroups"].full_title in part
        and "it is not in the plan" in part
    )
    assert probes()["membership"].full_title not in part


def test_the_page_is_whole_and_reaches_nowhere(page: str, audited: Path) -> None:
    check_offline(page)
    assert page == audit_page(audited)
    assert "<script" not in page and "default-src 'none'" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in re.findall(r'href="(#[^"]+)"', page)} <= set(ids)
    for name in ASKED:
        assert f'aria-labelledby="h-{name}"' in page
    for words in ("Held against", "How to read it", "SHA-256", "EDPB, Opinion 28/2024", "no legal advice"):
        assert words in page
    assert not re.search(
        r"\bis (safe|anonymous)\b(?!, or anonymous)",
        str(Text(page)).replace("no result here says that the model is safe, or anonymous", ""),
    )


@pytest.mark.parametrize("missing", [*probes(), "all"])
def test_any_test_may_be_missing(missing: str, tmp_path: Path) -> None:
    there = [name for name in probes() if missing not in (name, "all")]
    page = audit_page(SyntheticAudit(60, knowledge_levels=("demographics",)).write(tmp_path / "a", names=there))
    check_offline(page)
    for name in probes():
        assert (f'<section id="{name}"' in page) == (name in there)


PACE = {
    kind: {"seconds": asdict(Estimate(2.0, 1.9, 2.2, 6)), "codes": asdict(Estimate(80.0, 70.0, 84.0, 6))}
    for kind in ("sample", "scores", "embeddings")
}


def test_each_attack_says_what_it_costs(tmp_path: Path) -> None:
    plan = {"probes": list(probes()), "price": "500 EUR per 1000 questions"}
    audit = AuditResults(SyntheticAudit(200).write(tmp_path / "a", pace=PACE, plan=plan))
    page = str(Text(page_of(audit)))
    took = "2 seconds (pace measured in 6 rounds), and 0.50 EUR at the declared price"
    assert f"About one person: 1 scoring of the whole record, {took}." in page
    assert "come back, where they do at least once in 1,000 answers: at most 693 questions, 23 minutes" in page
    assert "256 scorings of what was planted" in page and "1 embedding of what is known" in page
    moved = 4 * 7 * audit.findings["perturbation"].settings["samples"]
    assert f"{moved} questions at most, about the known facts with one of them moved at a time, " in page
    assert "an output points at a member (true), or at somebody never seen (phantom)" in page
    assert "about 4 questions (3 to 4; n = 1,600 outputs)" in page
    assert "it splits by group what other tests found" in page and "one scoring of each record by each model" in page
    leaks = audit.query(
        "attribute",
        "patients",
        """SELECT max(value) AS leak FROM rows WHERE figure = 'leak' AND model = 'audited' AND knowledge = 'first_20'
        AND "group" = 'member' GROUP BY patient""",
    )["leak"]
    needed = median([queries_needed(leak, 0.5) or math.inf for leak in leaks])
    assert f"{needed.value:g} question" in page and f"n = {len(leaks) // 10 * 10} people)" in page
    assert page.count("at the declared price") > 5


def test_of_few_people_no_cost_is_told_and_without_a_price_no_money(tmp_path: Path) -> None:
    few = str(
        Text(audit_page(SyntheticAudit(16, canaries=False).write(tmp_path / "a", names=("attribute", "membership"))))
    )
    costs = few[few.rindex("What the attack costs") :]
    assert "withheld: fewer than 11 people" in costs[:600] and "EUR" not in few and "pace measured" not in few
    assert "1 scoring of the whole record." in few


def test_without_a_reference_the_ranking_says_what_its_control_is(tmp_path: Path) -> None:
    page = audit_page(SyntheticAudit(60).write(tmp_path / "a", names=("ranking", "confounding"), reference=None))
    assert "members are compared with people never seen by the audited model alone" in page
    assert "Only the comparison with people never seen says whether it is memory" in page
    assert "no leak can be called memorized" not in page and "beyond the reference model)" not in page


def test_without_a_reference_there_is_no_column_for_it(tmp_path: Path) -> None:
    for reference in ({"name": "other", "fingerprint": "r0"}, None):
        made = SyntheticAudit(60).write(
            tmp_path / str(reference is None), names=("reconstruction",), reference=reference
        )
        said = AuditResults(made).views["reconstruction"].pictures()[1]
        assert ("Members, reference model" in said) == bool(reference)


def test_an_unfinished_audit_says_so_at_the_head_of_every_page(tmp_path: Path) -> None:
    made = SyntheticAudit(60)
    folder = made.write(
        tmp_path / "a", names=("confounding", "membership"), finished=False, plan={"probes": list(probes())}
    )
    page = audit_page(folder)
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert f"UNFINISHED AUDIT: 2 of {len(probes())} tests are done" in head and "The audit is unfinished" in page
    assert "display: table-header-group" in page
    assert "UNFINISHED" not in audit_page(made.write(tmp_path / "b", names=("confounding",)))


def test_patients_are_named_only_where_the_plan_declares_it(tmp_path: Path) -> None:
    named = r"P-[A-Z2-7]{4}-[A-Z2-7]{4}"
    made = SyntheticAudit(200)
    page = audit_page(made.write(tmp_path / "a", names=("ranking", "membership"), identifying=True))
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert "IDENTIFYING: internal use" in head and re.search(named, page[page.index('id="patients"') :])
    assert not re.search(named, page[: page.index('id="patients"')])
    other = audit_page(made.write(tmp_path / "b", names=("ranking", "membership")))
    assert not re.search(named, other) and 'id="patients"' not in other


def test_a_broken_seal_is_said(tmp_path: Path) -> None:
    folder = SyntheticAudit(60).write(tmp_path / "a", names=("confounding",))
    assert "agree with it" in audit_page(folder)
    (folder / "audit.json").write_text(json.dumps({"plan_hash": "another"}))
    assert "DOES NOT AGREE" in audit_page(folder)
    (folder / "audit.json").unlink()
    assert "it cannot be shown that the plan was made before the first answer" in audit_page(folder)


def test_numbers_that_are_not_float32_are_said(tmp_path: Path) -> None:
    said = "continuations computed in 16-bit numbers (bfloat16)"
    assert said not in audit_page(SyntheticAudit(60).write(tmp_path / "a", names=("confounding",)))
    model = {"name": "wide", "fingerprint": "m0", "number_format": "bfloat16"}
    assert said in audit_page(SyntheticAudit(60).write(tmp_path / "b", names=("confounding",), model=model))


def test_names_from_data_are_escaped(tmp_path: Path) -> None:
    evil = '<img src="x" onerror="y">'
    page = audit_page(
        SyntheticAudit(60).write(
            tmp_path / "a", names=("confounding",), model={"name": evil, "fingerprint": evil}, command=evil, name=evil
        )
    )
    assert "<img" not in page


def test_a_verdict_of_memory_and_one_of_none(tmp_path: Path) -> None:
    names = ("membership", "attribute", "reconstruction", "perturbation")
    found = str(Text(audit_page(SyntheticAudit(300, effect=0.5).write(tmp_path / "a", names=names))))
    assert (
        "This model remembers people it was trained on." in found
        and "some of the people" not in found
        and "knowing demographics" in found
    )
    none = str(Text(audit_page(SyntheticAudit(300, effect=0.0, seed=1).write(tmp_path / "b", names=names))))
    assert "This model remembers" not in none and "they too were not remembered, or this test cannot see it" in none


def test_the_matrix_follows_the_severities_given(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(600).write(tmp_path / "a", names=("attribute",)))
    before, after = matrix_of(audit), matrix_of(audit, severities={"substance_use": 1, "mental_health": 2})
    row = {name: part for part in after.split("<tr>") for name in ("1, least", ">2<", "not declared") if name in part}
    assert "Alcohol and drug use" in row["1, least"] and "Mental health" in row[">2<"] and "HIV" in row["not declared"]
    assert before != after and "demographics" in matrix_of(audit, knowledge="demographics")


def test_what_is_no_audit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no audit"):
        audit_page(tmp_path)


def test_when_every_test_is_open_nothing_is_said_to_be_remembered_or_not(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(60).write(tmp_path / "a", names=("membership", "attribute")))
    open_ = Headline(Verdict.CANNOT_CONCLUDE, "too few people")

    def overall(second: Headline) -> str:
        audit.headlines = {"membership": open_, "attribute": second}
        return str(Text(summary(audit))).partition("What is recommended")[0].strip("? ")  # the icon

    said = overall(open_)
    assert said.startswith("Nothing can be concluded: neither that this model remembers people, nor that it does not.")
    found = overall(Headline(Verdict.POPULATION, "no more than others"))
    assert "No memory of individuals was shown" in found


def test_page_one_begins_with_the_answer_its_figures_and_what_to_do(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(300, effect=0.5).write(tmp_path / "a"))
    said = str(Text(summary(audit))).strip()
    assert said.startswith("This model remembers people it was trained on.")
    order = ["What is recommended", "What would change our mind", "What this plan cannot say", "What each test found"]
    assert [said.index(words) for words in order] == sorted(said.index(words) for words in order)
    three = said[said.index("The strongest attack that works") : said.index("What is recommended")]
    assert len(re.findall(r"n = \d+", three)) == 1 + 3  # the strongest attack, and three figures


@pytest.mark.parametrize(("low", "everybody"), [(0.995, True), (0.8, False)])
def test_a_test_that_tells_everybody_apart_says_so(low: float, everybody: bool, tmp_path: Path) -> None:
    folder = SyntheticAudit(300, effect=0.5).write(tmp_path / "a", names=("membership",))
    found = Finding.load(folder / "findings" / "membership")
    rows = found.figures
    judged = (rows["verdict"] != "") & (rows["group"] == "all")
    assert judged.sum() == 1
    rows.loc[judged, ["value", "low", "high", "verdict"]] = [1.0, low, 1.0, "Memorized"]
    judgement = {"verdict": "Memorized", "reason": "more_for_members", "template": "more.", "facts": {}}
    rows.loc[judged, "judgement"] = json.dumps(judgement)
    found.save(folder / "findings" / "membership")
    said = str(Text(summary(AuditResults(folder))))
    assert ("nearly everybody it was trained on can be told" in said) == everybody
    assert "some of the people" not in said


def test_the_excess_of_canaries_is_a_figure(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(300, effect=0.5).write(tmp_path / "a"))
    table = summary(audit).partition("What each test found")[2]
    cells = [re.sub(r"<[^>]*>", "", row).strip() for row in re.findall(r"<td>([^<]*)</td></tr>", table)]
    rows = [(name, line) for name, line in audit.headlines.items() if audit.views[name].on_first_page]
    assert len(cells) == len(rows) > 10 and not {"found", "not found"} & set(cells)
    told = [
        (cell, figure(line.planted, signed=audit.views[name].signed))
        for cell, (name, line) in zip(cells, rows, strict=True)
        if known(line.planted)
    ]
    assert len(told) == 5 and all(cell == expected and "n = " in cell for cell, expected in told)


def test_canaries_of_whom_there_is_no_figure_are_not_called_unplanted(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(60, canaries=False).write(tmp_path / "a", names=("membership",)))
    said = []
    for people in ({}, {CANARY: 30}):
        audit.people = people
        said.append(audit.views["membership"].control())
    assert said == ["none planted", "no figure"]


@pytest.mark.parametrize(
    ("people", "reasons"),
    [
        (200, ["not known: needs 299 people never seen", "not known: needs 2,995 people never seen"]),
        (20, ["withheld: fewer than 11 people"]),
    ],
)
def test_why_the_share_found_is_not_known(people: int, reasons: list[str], tmp_path: Path) -> None:
    class Few(SyntheticAudit):
        """As of a run: without enough people never seen, no share is known."""

        def _membership(self) -> Any:
            patients, cohort, settings = super()._membership()
            for one in cohort:
                if one["figure"].startswith(("tpr", "ppv")):
                    one |= {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0}
            return patients, cohort, settings

    audit = AuditResults(Few(people, canaries=False).write(tmp_path / "a", names=("membership",)))
    (table,) = [one for one in audit.views["membership"].pictures() if "At few false alarms" in one]
    cells = re.findall("<td>(.*?)</td>", table)
    assert len(cells) == 15 and set(cells) == set(reasons)
    assert sum("2,995" in cell for cell in cells) == (5 if people == 200 else 0)


@pytest.mark.parametrize(
    ("people", "rows", "why"),
    [
        (200, [row("embeddings", judgement=NO_EMBEDDINGS)], "the model gives no embeddings."),
        (200, [row("holders", value=4.0, n=200, attribute="hiv")], "has 11 holders and 11 others among the people"),
        (
            200,
            [
                row("holders", value=40.0, n=200, attribute="hiv"),
                row("auroc_logistic", Estimate(0.6, 0.5, 0.7, 200), attribute="hiv", group="all", model="audited"),
            ],
            "or of the people never seen, too few hold",
        ),
        (20, [], "fewer than 11 members or people never seen"),
    ],
)
def test_t3_without_a_figure_says_why(people: int, rows: list[Any], why: str, tmp_path: Path) -> None:
    class Without(SyntheticAudit):
        def _embedding(self) -> Any:
            return [], rows, {"folds": 5}

    rows.append(
        row("excess_gain_logistic", Estimate(math.nan, math.nan, math.nan, 70), group="canaries", model="audited")
    )
    view = AuditResults(Without(people).write(tmp_path / "a", names=("embedding",))).views["embedding"]
    assert view.control() == "no figure" and view.planted("") is None  # and not that they do not stand out
    assert why in view.headline().words and why in view.pictures()[0]


def test_once_is_no_plural() -> None:
    assert [group_words(f"canary x{times}") for times in (1, 4)] == [
        "Planted canaries, seen once an epoch",
        "Planted canaries, seen 4 times an epoch",
    ]
