"""The list of vulnerable patients: who is on it, why, at which false-discovery rate, and that nothing of it leaves."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.vulnerable import VulnerableList, vulnerable_list
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import row
from ehrmem_widgets.probes.confounding.ask import TOLD_APART
from ehrmem_widgets.probes.people import CANARY, MEMBER
from ehrmem_widgets.reports.export import export
from ehrmem_widgets.reports.vulnerable_page import in_words, write_list
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.cohort.meds import at, write
from tests.reports.synthetic_audit import SyntheticAudit

RARE = "DIAGNOSIS//ICD//10//E220"


class Audited:
    """A data set of the people of a made-up audit: two members have the same record, and so have two others but for a rare code of one."""

    def __init__(self, folder: Path, *, effect: float, people: int = 200) -> None:
        self.folder = folder
        self.audit = SyntheticAudit(people, effect=effect, seed=1)
        n, rng = len(self.audit.group), np.random.default_rng(0)
        self.alike = first, second, third, fourth = np.flatnonzero(self.audit.held.any(axis=1))[:4].tolist()
        codes = [rng.choice(60, 10, replace=False) for _ in range(n)]
        codes[second], codes[fourth] = codes[first], codes[third]
        rows = [(i, at("2020-01-01"), f"LAB//{code}", None) for i in range(n) for code in codes[i]]
        splits = {i: "train" if group in (MEMBER, CANARY) else "held_out" for i, group in enumerate(self.audit.group)}
        write(folder / "data", {"0.parquet": [*rows, (first, at("2020-01-02"), RARE, None)]}, splits=splits)
        self.dataset = MedsDataset(folder / "data")
        self.audit.patient = np.array([self.dataset.pseudonym(i) for i in range(n)], dtype=object)

    def results(self, name: str = "results", names: tuple[str, ...] = ("attribute", "ranking"), **changes: Any) -> Path:
        data = {"name": self.dataset.name, "fingerprint": self.dataset.fingerprint, "patients": len(self.dataset)}
        folder = self.folder / name
        return folder if folder.exists() else self.audit.write(folder, names=names, data=data, **changes)

    def listed(self, rate: float = 0.1, **more: Any) -> VulnerableList:
        return vulnerable_list(AuditResults(self.results(**more)), self.dataset, rate)


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return Audited(tmp_path_factory.mktemp("remembered"), effect=0.09)


def test_members_who_stand_out_are_listed_and_nobody_else(remembered: Audited) -> None:
    found = remembered.listed()
    group = dict(zip(remembered.audit.patient, remembered.audit.group, strict=True))
    rows, (leaks, ranked) = found.rows, found.searches
    assert 20 < len(rows) < leaks.asked and set(rows["patient"].map(group)) == {MEMBER} and rows["patient"].is_unique
    assert (rows["p_adjusted"] <= 0.05).all() and rows["exposed"].is_monotonic_decreasing
    assert leaks.rate == ranked.rate == 0.05  # each has half of it
    assert leaks.found.false_share is not None and leaks.found.false_share.n == leaks.never > 50
    assert leaks.canaries is not None and leaks.canaries.n == 30 and leaks.canaries.low > 0.5


def test_one_test_is_enough_and_the_cheapest_facts_come_first(tmp_path: Path) -> None:
    found = Audited(tmp_path, effect=0.6).listed(names=("ranking",), rate=0.2)
    (search,) = found.searches
    assert search.probe.name == "ranking" and search.rate == 0.2
    assert len(found.rows) > 5 and (np.diff(found.rows["exposed"]) <= 0).all()
    assert (found.rows["exposed"] == -np.log2(3000 / found.rows["k"])).all()  # bits


def test_where_nothing_is_remembered_the_list_is_empty_and_says_how_many_more_it_would_take(tmp_path: Path) -> None:
    found = Audited(tmp_path, effect=0.0).listed()
    assert found.rows.empty and not found.shares
    assert all("nobody is listed" in sentence for sentence in in_words(found))
    for search, sentence in zip(found.searches, in_words(found), strict=True):
        assert (f"with {search.found.needed:,} people never seen" in sentence) == (search.found.above > 0)


def test_reasons_are_those_of_the_data(remembered: Audited) -> None:
    found = remembered.listed(rate=0.5)
    first, second, *same = remembered.audit.patient[remembered.alike]
    rows = found.rows.drop_duplicates("patient").set_index("patient")
    assert rows.loc[first, "rare"] == (RARE,) and rows.loc[second, "rare"] == ()
    assert rows.loc[[first, second], "near"].tolist() == [1, 1] and rows.loc[first, "same"] == 0  # 10 codes of 11
    assert rows.loc[same, ["near", "same"]].to_numpy().tolist() == [[1, 1], [1, 1]] and rows["near"].sum() == 4
    for listed, others in found.shares.values():
        assert (
            listed.n == len(rows) and listed.n + others.n == found.searches[0].asked
        )  # whoever holds nothing was not asked
    page = remembered.folder / "reasons.html"
    write_list(found, AuditResults(remembered.folder / "results"), remembered.dataset, page)
    text = page.read_text()
    assert f"({RARE}, 1 person)" in text and "Repeated: 1 other record trained on is nearly the same." in text
    assert "nearly the same, 1 of them in the very same order." in text
    assert ("Unique in the data set by these facts" in text) == (found.rows["k"] == 1).any()


def test_the_page_is_for_internal_use_and_nothing_of_it_is_exported(
    remembered: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    results = remembered.results("told")
    assert main(["vulnerable", str(results), "--data", str(remembered.folder / "data")]) == 0
    out = capsys.readouterr().out
    page = results / "vulnerable.html"
    text = page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert (
        "Identifying: internal use." in text and "data protection officer" in text and "no report and no export" in text
    )
    listed = set(vulnerable_list(AuditResults(results), remembered.dataset, 0.1).rows["patient"])
    assert all(patient in text for patient in listed) and not any(patient in out for patient in listed)
    left = remembered.folder / "left"
    export(results, left)
    leaving = "".join(path.read_text() for path in left.iterdir())
    assert not any(patient in leaving for patient in listed) and not (left / "vulnerable.html").exists()
    words = ["vulnerable", str(results), "--data", str(remembered.folder / "data"), "--out", str(left / "list.html")]
    assert main(words) == 2 and "written to leave the hospital" in capsys.readouterr().err


def test_the_table_has_a_row_a_patient_and_test(remembered: Audited) -> None:
    results = remembered.results("tabled")
    out = remembered.folder / "list.csv"
    assert main(["vulnerable", str(results), "--data", str(remembered.folder / "data"), "--out", str(out)]) == 0
    table = pd.read_csv(out)
    found = vulnerable_list(AuditResults(results), remembered.dataset, 0.1)
    assert table["patient"].tolist() == found.rows["patient"].tolist() and set(table["test"]) == {
        "T2 Sensitive attributes"
    }
    assert table["handling"].str.startswith("internal").all()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_what_cannot_be_listed_is_refused_in_words(remembered: Audited, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Add attribute and ranking to the plan's probes"):
        remembered.listed(name="without", names=("membership",))
    with pytest.raises(BadInput, match="is not finished"):
        remembered.listed(name="unfinished", finished=False)
    with pytest.raises(BadInput, match="is not the data set that was audited"):
        vulnerable_list(
            AuditResults(remembered.results("others")), Audited(tmp_path, effect=0.1, people=40).dataset, 0.1
        )
    few = Audited(tmp_path / "few", effect=0.4, people=20)
    with pytest.raises(BadInput, match=r"nobody could be listed.*At least 19 are needed"):
        few.listed()


def test_people_who_differ_to_begin_with_are_listed_with_a_warning(tmp_path: Path) -> None:
    names = ("ranking", "confounding")
    plain = Audited(tmp_path / "alike", effect=0.6).listed(names=names)
    assert plain.confounded == "" and "differ to begin with" not in in_words(plain)[0]
    apart = Judgement(Verdict.CANNOT_CONCLUDE, TOLD_APART, "the data tell them apart", {})
    told = row("model_free_auroc", Estimate(0.9, 0.8, 0.95, 200), group="all", judgement=apart)
    audited = Audited(tmp_path / "apart", effect=0.6)
    audited.audit._confounding = lambda: ([], [told], {})  # type: ignore[attr-defined]
    found = audited.listed(names=names)
    assert found.confounded == "the data tell them apart" and found.rows.equals(plain.rows)
    assert "nobody knows how many are listed by chance" in in_words(found)[0]
