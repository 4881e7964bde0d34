"""Differencing: everything that leaves of two audits of nearly the same people, held against each other by an attacker who has both."""

from __future__ import annotations

import json
import re
import stat
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets import cli
from ehrmem_widgets.audit.releases import folder_of_records, to_leave
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.errors import BadInput, Damaged
from ehrmem_widgets.findings.disclosure_control import disclosed
from ehrmem_widgets.findings.finding import finding, row
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, PAIRS
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.reports.compare_page import compare_page
from ehrmem_widgets.reports.export import export
from ehrmem_widgets.reports.letter import make_letter
from ehrmem_widgets.statistics.disclosure import is_small
from ehrmem_widgets.statistics.intervals import difference, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.reports.synthetic_audit import SyntheticAudit, loaded

PEOPLE = 300
HELD = {"hiv": 0.2, "substance_use": 0.4, "mental_health": 0.6}
TESTS = ("attribute", "membership", "subgroups", "confounding")
WAYS_OUT: dict[str, Callable[[Path, Path], object]] = {
    "report": lambda results, out: audit_page(results),
    "export": lambda results, out: export(results, out / "travels"),
    "letter": lambda results, out: make_letter(results, out / "letter.html"),
    "compare": lambda results, out: compare_page(results, results),
}


class Cohort(SyntheticAudit):
    """Those of 300 people who had not left; the answers about each are the same, whoever else is asked about."""

    def __init__(self, left: np.ndarray | list[int] = (), *, first: int = 0, effect: float = 0.3) -> None:  # type: ignore[assignment]
        super().__init__(PEOPLE, canaries=False, shares=HELD, knowledge_levels=("one_lab",), effect=effect)
        self.stay = ~np.isin(np.arange(PEOPLE), left)
        self.patient = np.array([f"P-{first:04d}-{place:04d}" for place in range(PEOPLE)], dtype=object)
        for name in ("group", "patient", "seen", "held"):
            setattr(self, name, getattr(self, name)[self.stay])
        self.people = {one: int((self.group == one).sum()) for one in (MEMBER, NON_MEMBER)}

    def _values(self, spread: float, effect: float, columns: int) -> np.ndarray:
        every = np.random.default_rng(17).normal(0.2, 0.2, (PEOPLE, columns))
        return every[self.stay] + (self.seen * effect)[:, None]

    def write(self, folder: Path, **more: Any) -> Path:  # type: ignore[override]
        return super().write(folder, names=TESTS, **more)


WHOLE = Cohort()


def members_with(*held: str, without: str = "") -> np.ndarray:
    """The places of members who hold some attributes and not another one."""
    names = list(HELD)
    found = WHOLE.group == MEMBER
    for one in held:
        found &= WHOLE.held[:, names.index(one)]
    if without:
        found &= ~WHOLE.held[:, names.index(without)]
    return np.flatnonzero(found)


def excess_of_members(results: AuditResults) -> float:
    (one,) = results.findings["attribute"].about("figures", figure="excess_risk", group=MEMBER).to_dict("records")
    return float(one["value"])


def test_without_records_the_difference_of_two_means_is_one_persons_answer(tmp_path: Path) -> None:
    """The attack finds what there is to find: what follows is no test that cannot fail."""
    left = int(members_with("hiv")[0])
    before, after = WHOLE.write(tmp_path / "a"), Cohort([left]).write(tmp_path / "b")
    answers = loaded(before, "attribute").query("figure == 'largest_excess' and group == 'member'")
    n = len(answers)
    got = n * excess_of_members(AuditResults(before)) - (n - 1) * excess_of_members(AuditResults(after))
    assert got == pytest.approx(float(answers.set_index("patient").loc[WHOLE.patient[left], "value"]), abs=0.02)


@pytest.mark.parametrize("way", WAYS_OUT)
@pytest.mark.parametrize("few", [1, 10])
def test_after_few_people_left_the_second_report_refuses(few: int, way: str, tmp_path: Path) -> None:
    left = members_with()[:few]
    before, after = WHOLE.write(tmp_path / "a"), Cohort(left).write(tmp_path / "b")
    out = tmp_path / "out"
    out.mkdir()
    to_leave(before)
    with pytest.raises(
        BadInput, match=r"nearly the same people .* very same people again .* at least 11 others"
    ) as said:
        WAYS_OUT[way](after, out)
    assert not list(out.iterdir()) and not any(WHOLE.patient[one] in str(said.value) for one in left)
    audit_page(before)  # and the first goes on leaving


def test_two_audits_side_by_side_refuse_where_few_people_are_in_one_alone(tmp_path: Path) -> None:
    a, b = WHOLE.write(tmp_path / "a"), Cohort([3, 4], effect=0.1).write(tmp_path / "b")
    assert cli.main(["compare", str(a), str(b), "--out", str(tmp_path / "c.html")]) == 2
    assert not (tmp_path / "c.html").exists()


def test_the_record_taken_away_the_other_report_may_leave(tmp_path: Path) -> None:
    before, after = WHOLE.write(tmp_path / "a"), Cohort([7]).write(tmp_path / "b")
    to_leave(before)
    with pytest.raises(BadInput) as said:
        to_leave(after)
    record = Path(re.findall(r"record: (.*?\.json)", str(said.value))[0])
    record.unlink()
    to_leave(after)


def test_a_subgroup_that_left_is_withheld_and_the_rest_is_shown(tmp_path: Path) -> None:
    nothing = np.flatnonzero((WHOLE.group == MEMBER) & ~WHOLE.held.any(axis=1))
    left = [
        *members_with("hiv")[:4],
        *members_with("substance_use", "mental_health", without="hiv")[:20],
        *nothing[:15],
    ]
    before, after = WHOLE.write(tmp_path / "a"), Cohort(left).write(tmp_path / "b")
    export(before, tmp_path / "first")
    export(after, tmp_path / "second")
    first, second = (pd.read_csv(tmp_path / one / "figures.csv") for one in ("first", "second"))
    assert "hiv" in set(first["attribute"]) and "hiv" not in set(second["attribute"])
    assert {"substance_use", "mental_health"} <= set(second["attribute"])
    assert set(first["probe"]) - set(second["probe"]) == {"subgroups"}
    page = (tmp_path / "second" / "report.html").read_text()
    assert "WITHHELD, since earlier reports are about nearly the same people" in page
    assert "withheld beside earlier reports" in page
    shown = re.sub("WITHHELD.*?<", "", page)
    assert "HIV" not in re.sub(r'<section id="severities".*?</section>', "", shown, flags=re.S)
    assert "subgroups" in to_leave(before).findings  # the first goes on as it was
    make_letter(after, tmp_path / "letter.html")
    assert "an earlier report is about nearly the same people" in (tmp_path / "letter.html").read_text()


def test_three_reports_tell_of_few_where_no_two_do(tmp_path: Path) -> None:
    """All, half of them, and the other half but three: the three are all less both halves."""
    members = members_with()
    half = np.concatenate([members[:70], np.flatnonzero(WHOLE.group == NON_MEMBER)[:70]])
    other = np.setdiff1d(np.arange(PEOPLE), half)
    to_leave(WHOLE.write(tmp_path / "all"))
    assert "membership" in to_leave(Cohort(other).write(tmp_path / "half")).findings
    three = members[-3:]
    with pytest.raises(BadInput, match="nearly the same people"):
        to_leave(Cohort(np.union1d(half, three)).write(tmp_path / "but_three"))
    assert "membership" in to_leave(Cohort(half).write(tmp_path / "other")).findings


@pytest.mark.parametrize("seed", range(6))
def test_of_no_figure_that_left_twice_do_the_people_differ_by_few(seed: int, tmp_path: Path) -> None:
    """Whoever leaves: every figure that both reports show is of the same people, or of 11 others at least."""
    rng = np.random.default_rng(seed)
    left = rng.choice(PEOPLE, rng.integers(12, 90), replace=False)
    before, after = to_leave(WHOLE.write(tmp_path / "a")), to_leave(Cohort(left).write(tmp_path / "b"))
    gone = np.isin(np.arange(PEOPLE), left)
    names = list(HELD)

    def few_differ(group: str, attribute: str) -> bool:
        inside = gone & np.isin(WHOLE.group, PAIRS.get(group, (group,)))
        held = WHOLE.held[:, names.index(attribute)] if attribute in names else np.ones(PEOPLE, dtype=bool)
        return is_small(int((inside & held).sum())) or is_small(int((inside & ~held).sum()))

    compared = 0
    for name, found in after.findings.items():
        key = ["figure", "group", "model", "attribute", "knowledge"]
        both = before.findings[name].figures.merge(found.figures, on=key)
        for one in both[np.isfinite(both["value_x"]) & np.isfinite(both["value_y"])].to_dict("records"):
            assert one["group"] in (MEMBER, NON_MEMBER, "all"), "of a subgroup nobody knows who left it"
            assert not few_differ(one["group"], one["attribute"]), one
            compared += 1
    assert compared or not after.findings
    for likely in after.likelihoods:
        if likely.excess is not None:
            assert not few_differ(MEMBER, likely.attribute)


def test_reports_of_the_same_people_go_on_leaving(tmp_path: Path) -> None:
    for number in range(4):  # models, plans, and each again and again
        folder = Cohort(effect=number / 10).write(tmp_path / str(number))
        for _ in range(3):
            assert set(to_leave(folder).findings) == set(TESTS)
    assert len(list(folder_of_records().glob("*.json"))) == 1
    compare_page(tmp_path / "0", tmp_path / "3")
    others = Cohort(first=1).write(tmp_path / "others")
    assert set(to_leave(others).findings) == set(TESTS)
    half = Cohort(np.arange(0, PEOPLE, 2)).write(tmp_path / "half")
    assert {"attribute", "membership", "confounding"} <= set(to_leave(half).findings)


def test_the_same_people_in_other_data_may_hold_other_things(tmp_path: Path) -> None:
    """Of subgroups no rows are kept: whether one of them changed by a few people is not known, and nothing of them is shown twice."""
    to_leave(WHOLE.write(tmp_path / "a"))
    again = {"data": {"name": "later", "fingerprint": "d1", "patients": 90_000}}
    assert set(to_leave(Cohort().write(tmp_path / "b", **again)).findings) == set(TESTS) - {"subgroups"}


def test_two_reports_of_nearly_the_same_people_at_the_same_moment_do_not_both_leave(tmp_path: Path) -> None:
    folders = [Cohort(left).write(tmp_path / str(len(left))) for left in ([], [5])]
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(to_leave, folder) for folder in folders]
    refused = [one.exception() for one in done]
    assert sum(one is None for one in refused) == 1 and sum(isinstance(one, BadInput) for one in refused) == 1


def test_what_is_kept_names_nobody_and_nothing(tmp_path: Path) -> None:
    to_leave(WHOLE.write(tmp_path / "a"))
    (path,) = folder_of_records().glob("*.json")
    text = path.read_text()
    assert not any(word in text for word in (*WHOLE.patient, *HELD, *TESTS, MEMBER))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.write_text(json.dumps({"version": 1, "people": "?"}))
    with pytest.raises(Damaged, match="Delete it only if"):
        to_leave(tmp_path / "a")


def test_neither_made_up_people_nor_what_stays_is_recorded(tmp_path: Path) -> None:
    named = {"name": "made up", "fingerprint": "d", "patients": 300, "synthetic": True}
    for place, changes in enumerate(({"data": named}, {"identifying": True})):
        for left in ([], [5]):
            audit_page(Cohort(left).write(tmp_path / f"{place}{len(left)}", **changes))
    assert not folder_of_records().exists()


def test_counts_do_not_follow_from_a_difference_of_shares_with_its_interval_p_value_and_words() -> None:
    """Every pair of counts of two groups of 57 and 52, of whom the reader knows the sizes: from all that leaves, nine in a row at least fit."""
    members, others, view = 57, 52, probes()["neighbours"].view_type
    looks: dict[str, set[int]] = defaultdict(set)
    exact: dict[str, set[int]] = defaultdict(set)
    for k, m in product(range(11, 47, 2), range(11, 42, 5)):
        shares = {MEMBER: proportion(k, members), NON_MEMBER: proportion(m, others)}
        gap = difference(*shares.values())
        facts = {"effect": gap, "p": 0.5 / k, "more": f"about {1000 // k} more people"}
        judged = Judgement(Verdict.POPULATION, "x", "the share {effect}, p = {p}, {more}.", facts)
        where = {"knowledge": "one_lab", "model": "audited"}
        rows = [row("hit@10", share, group=group, **where) for group, share in shares.items()]
        rows.append(row("hit@10_difference", gap, group="all", **where, p=0.5 / k, judgement=judged))
        found = finding("neighbours", rows, {}, ())
        shown = disclosed(found, view.rules, {MEMBER: members, NON_MEMBER: others}, pairs=PAIRS)
        looks[f"{shown.figures.to_csv()} {m}"].add(k)
        exact[f"{found.figures.to_csv()} {m}"].add(k)
    assert min(map(len, looks.values())) >= 4 and max(map(len, exact.values())) == 1


def test_the_table_of_attacks_counts_in_tens(tmp_path: Path) -> None:
    audit = SyntheticAudit(600, effect=0.6, canaries=False).write(tmp_path / "a", names=("attribute", "ranking"))
    table = re.findall(r'<table class="ehrmem-attacks.*?</table>', audit_page(audit), flags=re.S)[0]
    cells = [re.sub("<.*?>", "", one) for one in re.findall(r"<td.*?</td>", table, flags=re.S)]
    counts = [one for one in cells if re.fullmatch(r"[\d,]+( to [\d,]+)?", one)]
    assert any(" to " in one for one in counts) and all(one == "0" or " to " in one for one in counts)
