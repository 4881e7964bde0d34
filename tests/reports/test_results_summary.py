"""The summary of an audit against the same figures computed from all rows in pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from ehrmem_widgets.attacker.facts import knows
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.perturbation.show import PerturbationView
from ehrmem_widgets.probes.ranking.ask import SEARCH
from ehrmem_widgets.probes.ranking.show import way_words
from ehrmem_widgets.probes.subgroups.show import SubgroupsView
from ehrmem_widgets.statistics.disclosure import rounded_n
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.risk_matrix import NO_CODE
from tests.reports.synthetic_audit import KNOWLEDGE_LEVELS, SyntheticAudit, loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticAudit(600).write(tmp_path_factory.mktemp("audit"))


@pytest.fixture(scope="module")
def audit(folder: Path) -> AuditResults:
    return AuditResults(folder)


def test_likelihoods_are_means_over_members_who_hold_the_attribute(folder: Path, audit: AuditResults) -> None:
    rows = loaded(folder, "attribute")
    assert len(audit.likelihoods) == len(KNOWLEDGE_LEVELS) * 5
    for one in audit.likelihoods:
        if one.attribute in audit.findings["attribute"].settings["without_code"]:
            assert one.excess is None and one.why == NO_CODE
            continue
        of = rows[
            (rows["figure"] == "excess") & (rows["knowledge"] == one.knowledge) & (rows["attribute"] == one.attribute)
        ]
        member, other = (of[of["group"] == group]["value"] for group in (MEMBER, NON_MEMBER))
        if len(member) < 11:
            assert one.excess is None and one.why == "fewer than 11 members hold it"
            continue
        assert one.excess is not None and one.never_seen is not None
        assert one.excess.value == pytest.approx(member.mean(), abs=1e-4) and one.excess.n == rounded_n(len(member))
        assert one.excess.low < one.excess.value < one.excess.high
        assert one.never_seen.value == pytest.approx(other.mean(), abs=1e-4)


def test_the_worst_level_has_the_largest_mean_excess(audit: AuditResults) -> None:
    rows = (
        audit.findings["attribute"].about("figures", figure="excess_risk", group=MEMBER).set_index("knowledge")["value"]
    )
    assert audit.worst_level == rows.idxmax() == "first_20"


def test_the_attack_table_counts_each_member_once_at_the_cheapest_attack(folder: Path, audit: AuditResults) -> None:
    rows = loaded(folder, "ranking")
    rows = rows[rows["group"] == MEMBER]
    k = rows[rows["figure"] == "k"].set_index("patient")["value"]
    attacks = audit.attacks
    assert attacks is not None and attacks.totals.total == len(k)
    expected = [(k >= 100).sum(), ((k >= 11) & (k < 100)).sum(), ((k >= 2) & (k < 11)).sum(), (k == 1).sum()]
    for cell, count in zip(attacks.totals.cells, expected, strict=True):
        assert cell in (None, count)
    assert [row.bits for row in attacks.rows if row.bits is not None] == sorted(
        row.bits for row in attacks.rows if row.bits is not None
    )
    members = loaded(folder, "attribute")
    holders = members[(members["figure"] == "largest_excess") & (members["group"] == MEMBER)]["patient"].nunique()
    assert attacks.asked == holders


def test_what_the_same_search_finds_about_people_never_seen_stands_beside_as_it_may_be_shown(
    folder: Path, audit: AuditResults
) -> None:
    rows = loaded(folder, "ranking", "figures")
    (one,) = rows[(rows["figure"] == "given_away") & (rows["group"] == NON_MEMBER)].to_dict("records")
    assert audit.attacks is not None and audit.attacks.never_seen is not None
    assert 0 < one["value"] * one["n"] < 11  # so the number is withheld
    assert np.isnan(audit.attacks.never_seen.value) and audit.attacks.never_seen.n == rounded_n(int(one["n"]))
    assert audit.attacks.population is None and audit.attacks.identified is None


def test_moved_curves_are_means_less_each_ones_own_level(folder: Path, audit: AuditResults) -> None:
    rows = loaded(folder, "perturbation", "curves")
    rows = rows[(rows["figure"] == "age") & (rows["model"] == "audited") & (rows["group"] == MEMBER)]
    curves = rows["value"].to_numpy().reshape(-1, 7)
    less = curves - np.median(np.delete(curves, 3, axis=1), axis=1, keepdims=True)
    view = audit.views["perturbation"]
    assert isinstance(view, PerturbationView)
    found = view.moved[(view.moved["identifier"] == "age") & (view.moved["who"] == "members")].sort_values("step")
    assert found["step"].tolist() == list(range(-3, 4))
    assert np.allclose(found["value"], less.mean(axis=0).round(4)) and (found["n"] == rounded_n(len(curves))).all()


def test_reasons_of_few_are_put_together(audit: AuditResults) -> None:
    said = audit.exclusions["ranking"]
    assert len(said) == 1 and "or more: the record holds none of the attributes asked about" in said[0]


def test_subgroups_by_figure(audit: AuditResults) -> None:
    view = audit.views["subgroups"]
    assert isinstance(view, SubgroupsView) and set(view.split) == {"membership", "excess"}
    rows = {row.name: row for row in view.split["excess"]}
    assert rows["holds: HIV"].hidden and rows["sex: F"].judgement.verdict is Verdict.MEMORIZED


def test_versions_of_severities(folder: Path, tmp_path: Path) -> None:
    copy = SyntheticAudit(40).write(tmp_path / "a", names=("confounding",))
    given = yaml.safe_load((copy / "severity.yaml").read_text())
    given.append(
        {"by": "the board", "at": "2026-02-02", "severities": {"hiv": {"severity": 2, "reason": "openly known here"}}}
    )
    (copy / "severity.yaml").write_text(yaml.safe_dump(given))
    first, last = AuditResults(copy).severities
    assert first.severity["hiv"] == 5 and "stigma" in first.reason["hiv"]
    assert (last.by, last.severity, last.reason["hiv"]) == ("the board", {"hiv": 2}, "openly known here")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("severity.yaml", "- {by: x}", "list of at least one version"), ("results.json", "{}", "holds no audit")],
)
def test_what_is_no_audit_is_said(name: str, text: str, words: str, tmp_path: Path) -> None:
    folder = SyntheticAudit(40).write(tmp_path / "a", names=("confounding",))
    (folder / name).write_text(text)
    with pytest.raises(BadInput, match=words):
        AuditResults(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Name the folder that 'ehrmem audit"):
        AuditResults(tmp_path / "none")


def test_words() -> None:
    assert knows("lab_values") == "demographics + those labs with their values"
    assert way_words("first_10") == "The first 10 codes" and way_words(SEARCH).startswith("A few facts")
