"""Two audits side by side: paired where the same people were asked, and each difference against its own oracle."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.audit.comparison import INDEPENDENT, PAIRED, Comparison, Shared
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cli import main
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.reports.compare_page import compare_page
from ehrmem_widgets.reports.page_template import check_offline
from ehrmem_widgets.statistics.disclosure import as_shown
from ehrmem_widgets.statistics.intervals import difference
from tests.reports.synthetic_audit import SyntheticAudit, loaded

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
    return compared(folders, "before", "after").figures()


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
    assert found.given_away == -1


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
    found = comparison.figures()
    assert comparison.changed_sides is None and {f.how for f in found} == {INDEPENDENT}
    for f in found:
        assert f.gap == as_shown(difference(f.b, f.a))
    page = compare_page(folders["before"], other)
    assert "They share nobody whom they asked about" in page


def test_an_audit_differs_from_itself_in_nothing(folders: dict[str, Path]) -> None:
    comparison = compared(folders, "before", "before")
    figures = comparison.figures()
    assert len(figures) > 15 and {f.given_away for f in figures} == {0}
    assert all(f.gap.value == 0 for f in figures) and comparison.changed_sides == 0


def test_the_page(folders: dict[str, Path], figures: list[Shared]) -> None:
    page = compare_page(folders["before"], folders["after"], names=("Vendor <A>", "Vendor B"))
    check_offline(page)
    less = sum(f.given_away == -1 for f in figures)
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
    assert comparison.changed_sides == 30 and {f.how for f in comparison.figures()} == {INDEPENDENT}
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
