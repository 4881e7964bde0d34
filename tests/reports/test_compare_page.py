"""Two audits side by side: paired where the same people were asked, and each difference against its own oracle."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.audit.comparison import INDEPENDENT, PAIRED, Comparison, Shared
from ehrmem_widgets.audit.frontier import Frontier
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.reports.compare_page import compare_page
from ehrmem_widgets.reports.page_template import check_offline
from ehrmem_widgets.statistics.disclosure import as_shown
from ehrmem_widgets.statistics.intervals import Estimate, difference
from tests.reports.synthetic_audit import FilteredAudit, SyntheticAudit, loaded

KNOWLEDGE_LEVELS = ("demographics", "first_10")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that remembers, the same people asked of one that does not, and other people."""
    out = tmp_path_factory.mktemp("compared")
    names = ("attribute", "membership", "reconstruction", "neighbours", "embedding", "perturbation", "ranking")
    made = {"before": (240, 0.4, 0), "after": (240, 0.0, 0), "others": (238, 0.4, 9)}
    return {
        name: SyntheticAudit(people, effect=effect, seed=seed, knowledge_levels=KNOWLEDGE_LEVELS).write(
            out / name, names=names
        )
        for name, (people, effect, seed) in made.items()
    }


def compared(folders: dict[str, Path], a: str, b: str) -> Comparison:
    return Comparison(AuditResults(folders[a]), AuditResults(folders[b]))


def one(figures: list[Shared], heading: str, words: str) -> Shared:
    (found,) = [f for f in figures if heading in f.heading and f.words == words]
    return found


@pytest.fixture(scope="module")
def figures(folders: dict[str, Path]) -> list[Shared]:
    return compared(folders, "before", "after").figures


def test_the_same_people_are_compared_with_themselves(folders: dict[str, Path], figures: list[Shared]) -> None:
    found = one(figures, "excess risk of members", "The first 10 codes")
    sides = []
    for name in ("before", "after"):
        rows = loaded(folders[name], "attribute")
        rows = rows[
            (rows["figure"] == "largest_excess") & (rows["group"] == MEMBER) & (rows["knowledge"] == "first_10")
        ]
        sides.append(rows.set_index("patient")["value"])
    change = (sides[1] - sides[0]).dropna()
    assert found.how == PAIRED and found.gap.value == pytest.approx(change.mean(), abs=1e-4)
    reach = (
        stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change))
    )  # the bootstrap's is as wide
    assert found.gap.high - found.gap.low == pytest.approx(2 * reach, rel=0.15)
    assert found.worse == -1


def test_the_gap_to_people_never_seen_changes_by_what_both_groups_do(
    folders: dict[str, Path], figures: list[Shared]
) -> None:
    found = one(figures, "nearer to the truth", "Demographics")
    means = {}
    for name in ("before", "after"):
        rows = loaded(folders[name], "reconstruction")
        rows = rows[(rows["figure"] == "timed_distance") & (rows["knowledge"] == "demographics")]
        near = rows.pivot(index="patient", columns="model", values="value")
        excess = near["reference"] - near["audited"]
        group = rows.drop_duplicates("patient").set_index("patient")["group"]
        means[name] = excess[group == MEMBER].mean() - excess[group == NON_MEMBER].mean()
    assert found.how == PAIRED and found.gap.value == pytest.approx(means["after"] - means["before"], abs=1e-4)
    assert found.gap.value == pytest.approx(found.b.value - found.a.value, abs=2e-4)


def test_pairing_narrows_an_auroc(figures: list[Shared], folders: dict[str, Path]) -> None:
    found = one(figures, "AUROC", "Loss")
    assert found.how == PAIRED and found.gap.value == pytest.approx(found.b.value - found.a.value, abs=2e-4)
    assert found.gap.low <= found.gap.value <= found.gap.high


def test_other_people_are_compared_as_independent(folders: dict[str, Path]) -> None:
    # The tests' pseudonyms are of places, so that other people are those of an audit under other names.
    other = folders["others"]
    for file in (other / "findings").glob("*/*.parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        if "patient" not in table.column_names:
            continue
        names = table["patient"].to_pylist()
        place = table.schema.get_field_index("patient")
        pq.write_table(table.set_column(place, "patient", [[f"Q{n}" if n else n for n in names]]), file)
    comparison = compared(folders, "before", "others")
    found = comparison.figures
    assert comparison.changed_sides is None and {f.how for f in found} == {INDEPENDENT}
    for f in found:
        assert f.gap == as_shown(difference(f.b, f.a))
    page = compare_page(folders["before"], other)
    assert "They share nobody whom they asked about" in page


def test_an_audit_differs_from_itself_in_nothing(folders: dict[str, Path]) -> None:
    comparison = compared(folders, "before", "before")
    figures = comparison.figures
    assert len(figures) > 15 and {f.worse for f in figures} == {0}
    assert all(f.gap.value == 0 for f in figures) and comparison.changed_sides == 0


def test_the_page(folders: dict[str, Path], figures: list[Shared]) -> None:
    page = compare_page(folders["before"], folders["after"], names=("Vendor <A>", "Vendor B"))
    check_offline(page)
    less = sum(f.worse == -1 for f in figures)
    assert less > 5
    assert (
        f"Of {len(figures)} figures that both audits have, Vendor B gives away less than Vendor &lt;A&gt; in {less} "
        "and more in 0" in page
    )
    for words in (
        "two vendors",
        "before and after retraining",
        "It is not a clearance",
        "The model differs.",
        "The data are the same in both.",
        PAIRED,
        INDEPENDENT,
    ):
        assert words in page
    assert not re.search(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", page) and "Vendor <A>" not in page


def test_marks_of_either_stand_on_every_page(folders: dict[str, Path], tmp_path: Path) -> None:
    other = SyntheticAudit(60).write(tmp_path / "a", names=("confounding",), finished=False)
    page = compare_page(folders["before"], other, names=("before", "after"))
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert "after: UNFINISHED" in head and "before: UNFINISHED" not in head
    assert "no figure in common" in page


def test_people_who_changed_sides_are_told(folders: dict[str, Path], tmp_path: Path) -> None:
    made = SyntheticAudit(240, effect=0.0, knowledge_levels=KNOWLEDGE_LEVELS)
    swapped = np.flatnonzero(made.group == MEMBER)[:30]
    made.group[swapped] = NON_MEMBER
    folder = made.write(tmp_path / "b", names=("membership",))
    comparison = Comparison(AuditResults(folders["before"]), AuditResults(folder))
    assert comparison.changed_sides == 30 and {f.how for f in comparison.figures} == {INDEPENDENT}
    assert "30 or more of the people whom both asked about are members in one" in compare_page(
        folders["before"], folder
    )


NAMES = ("model src=https://a.example", "\"href='x' onload=<script>alert(1)</script> url(//b.example)")


def test_names_may_hold_anything_and_are_escaped(folders: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / 'src=x <b>\'href="y"'
    shutil.copytree(folders["after"], odd)
    assert (
        main(["compare", str(folders["before"]), str(odd), "--names", *NAMES, "--out", str(tmp_path / "a.html")]) == 0
    )
    assert main(["compare", str(folders["before"]), str(odd), "--out", str(tmp_path / "b.html")]) == 0
    page, by_folder = ((tmp_path / name).read_text() for name in ("a.html", "b.html"))
    for name in NAMES:
        assert escape(name) in page and ("<" not in name or name not in page)
    assert escape(odd.name) in by_folder and odd.name not in by_folder


# Any number of audits -------------------------------------------------------------------------------------------------


class Useless(SyntheticAudit):
    """A model that remembers nobody, and predicts nobody well: what a defence may cost."""

    def _utility(self) -> Any:
        patients, cohort, settings = super()._utility()
        patients[0] = {**patients[0], "value": patients[0]["value"] + 1}
        cohort[0] = cohort[0] | {name: cohort[0][name] + 1 for name in ("value", "low", "high")}
        return patients, cohort, settings


NAMES_OF_ALL = ("attribute", "membership", "exposure", "one_run", "disclosures", "utility")


@pytest.fixture(scope="module")
def defences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One training without a defence, with a good one, and with one that costs as much as it buys; the same people."""
    out = tmp_path_factory.mktemp("defences")
    made = {
        "none": SyntheticAudit(240, effect=0.4, knowledge_levels=KNOWLEDGE_LEVELS),
        "good": SyntheticAudit(240, effect=0.0, knowledge_levels=KNOWLEDGE_LEVELS),
        "costly": Useless(240, effect=0.0, knowledge_levels=KNOWLEDGE_LEVELS),
    }
    return {name: audit.write(out / name, names=NAMES_OF_ALL) for name, audit in made.items()}


def of_all(folders: dict[str, Path]) -> Frontier:
    return Frontier({name: AuditResults(folder) for name, folder in folders.items()})


def test_the_frontier_holds_what_all_have(defences: dict[str, Path]) -> None:
    found = of_all(defences)
    assert found.missing == "" and not found.left_out
    loss, recall = found.useful
    assert {name: round(one.value) for name, one in loss.of.items()} == {"none": 3, "good": 3, "costly": 4}
    assert recall.of["good"].value > recall.of["none"].value
    headings = [one.heading for one in found.risks]
    for title in (
        "Membership",
        "Sensitive attribute",
        "Exposure of canaries",
        "Privacy loss in one run",
        "disclosures",
    ):
        assert any(title in heading for heading in headings), title
    assert len(headings) == len(set(headings)) and all(set(one.of) == set(defences) for one in found.risks)
    (leak,) = [one for one in found.risks if "excess risk of members" in one.heading]
    assert leak.words == "The first 10 codes"  # where the attacker knows most


def test_a_defence_is_dominated_only_where_both_ways_are_shown(defences: dict[str, Path]) -> None:
    """Without a defence: worse than the good one both ways. The costly one gives away as little as the good one: no risk tells."""
    (worse,) = of_all(defences).dominated
    assert (worse.name, worse.by, worse.too) == ("none", "good", ())
    assert worse.useful[0].gap.value == pytest.approx(0.4, abs=1e-3) and worse.useful[0].gap.low > 0
    assert all(one.gap.low > 0 for one in worse.risks) and any("AUROC" in one.heading for one in worse.risks)
    turned = of_all(dict(reversed(defences.items()))).dominated
    assert [(one.name, one.by) for one in turned] == [("none", "good")]
    assert [one.gap for one in turned[0].useful] == [one.gap for one in worse.useful]


def test_nothing_is_dominated_by_itself_or_by_what_trades_one_for_the_other(defences: dict[str, Path]) -> None:
    same = {name: defences["none"] for name in ("a", "b", "c")}
    assert of_all(same).dominated == []
    assert of_all({name: defences[name] for name in ("none", "costly")}).dominated == []


def test_many_figures_take_wider_intervals() -> None:
    def gap(value: float, *, good: bool = False) -> Shared:
        one = Estimate(0.5, 0.4, 0.6, 100)
        return Shared("", "", one, one, Estimate(value, value - 1.96, value + 1.96, 100), PAIRED, good=good)

    assert [gap(value).worse for value in (1.9, 2.0, -2.0)] == [0, 1, -1] and gap(2.0, good=True).worse == -1
    assert gap(2.0).worse_among(2) == 0 and gap(3.0).worse_among(20) == 0
    assert gap(3.1).worse_among(20) == 1  # 3.02 standard errors: 5 % shared by 20, two-sided
    assert gap(-3.1).turned.worse == 1


def test_the_page_of_several(defences: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", *map(str, defences.values()), "--out", str(page)]) == 0
    written = page.read_text()
    check_offline(written)
    assert "3 audits side by side: none, good and costly" in written
    assert "none is dominated by good" in written and "costly is dominated" not in written
    assert "good gives away less than none in" in written and "costly gives away less than none in" in written
    assert written.count("Upwards: more is given away") == len(of_all(defences).risks)
    assert "not known, n =" in written  # two lower bounds have no difference
    assert "AUROC" in written and "nan" not in written


def test_audits_that_cannot_be_drawn_are_said(
    defences: dict[str, Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    older = {**defences, "older": folders["after"]}
    assert of_all(older).left_out == ["older"] and of_all(older).missing == ""
    page = compare_page(*older.values(), names=list(older))
    assert "older: not measured what the model is good for" in page and "none is dominated by good" in page
    assert "Fewer than two of the audits measured" in compare_page(folders["before"], folders["after"])
    others = SyntheticAudit(240, effect=0.0, knowledge_levels=KNOWLEDGE_LEVELS).write(
        tmp_path / "elsewhere", names=NAMES_OF_ALL, data={"name": "other data", "fingerprint": "d1", "patients": 900}
    )
    page = compare_page(defences["none"], defences["good"], others)
    assert "The audits are of different data" in page and "Upwards:" not in page
    assert not [
        one for one in compared({"a": defences["none"], "b": others}, "a", "b").figures if "Exposure" in one.heading
    ]


def test_a_loss_through_a_filter_is_not_compared(defences: dict[str, Path], tmp_path: Path) -> None:
    """It is of those people in whose record nothing is hidden. Recall compares, as a hidden code is among no model's likeliest."""
    filtered = FilteredAudit(240, effect=0.0, knowledge_levels=KNOWLEDGE_LEVELS).write(
        tmp_path / "f", names=NAMES_OF_ALL
    )
    for folders in ({**defences, "filtered": filtered}, {"filtered": filtered, **defences}):
        found = of_all(folders)
        loss, recall = found.drawn.values()
        assert set(loss) == set(defences) and set(recall) == set(folders) and found.missing == ""
        assert [one.name for one in found.dominated] == ["none"]
        page = compare_page(*folders.values(), names=list(folders))
        assert "<td>— The loss could be computed for 60 to 69 of 120 to 129 people only" in page
        assert page.count("not compared") == (1 if folders["filtered"] is not next(iter(folders.values())) else 3)
    assert list(of_all({"none": defences["none"], "filtered": filtered}).drawn) == list(found.drawn)[1:]


def test_one_audit_or_names_that_do_not_fit_are_refused(defences: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="Name two results folders or more"):
        compare_page(defences["none"])
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(BadInput, match="2 audits need 2 different names"):
            compare_page(defences["none"], defences["good"], names=names)
