"""At every door a value that is none gets one short sentence, and nothing else happens: no traceback, no other number instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets import cli
from ehrmem_widgets.attacker.facts import check_knowledge, facts_from_text, load_facts
from ehrmem_widgets.audit.plan import declared_severities, read_plan
from ehrmem_widgets.audit.results import _read_severities
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import State
from ehrmem_widgets.probes.membership.screen import MembershipState
from ehrmem_widgets.probes.neighbours.screen import NeighboursState
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.probes.perturbation.screen import PerturbationState
from ehrmem_widgets.probes.subgroups.screen import SubgroupState
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.parameters import check_given, notebook_parameters
from ehrmem_widgets.reports.patient_report import make_report
from ehrmem_widgets.reports.patient_reports import make_reports
from ehrmem_widgets.settings import OF_NOTEBOOKS, OF_PROBES, Number, Whole, shown
from ehrmem_widgets.training.models import train_model
from ehrmem_widgets.training.private_models import train_private_model
from ehrmem_widgets.widgets.audit_cohort import AuditCohort
from ehrmem_widgets.widgets.number_field import LastValid, NumberField
from ehrmem_widgets.widgets.share_dial import ShareDial
from tests.attacker.records import RECORD, VOCABULARY
from tests.probes.alone import ask_alone

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
KNOWLEDGE_LEVELS = ["first_1000000000000", "first_0", "first_010", "first_-1", "before_9999-99-99", "before_0000-01-01", "before_2023-02-29", "", "labs"]  # fmt: skip
TYPED = [
    "-5",
    "1e9",
    "-1e9",
    "64.7",
    "",
    " ",
    "abc",
    "nan",
    "inf",
    "True",
    "0x10",
    "1_0",
    "1,024",
    "٣",
    "9" * 5000,
    "-",
    "6 4",
]
NO_NUMBERS: list[object] = ["-5", "64", "", None, True, False, math.nan, math.inf, -math.inf, [64], {"a": 1}, np.True_, 10**5000, -(10**5000)]  # fmt: skip
NO_WHOLE = [*NO_NUMBERS, 64.7, 64.0, -5, 10**12, np.float64(64)]
NO_SHARE = [*NO_NUMBERS, 0, 1, 1.5, -0.1, 64]


def one_sentence(words: str) -> str:
    assert 20 < len(words) <= 300 and "\n" not in words.strip() and "Traceback" not in words, words
    return words


def refused(act: Callable[[], object]) -> str:
    """What is said of a value that is refused. Any other exception, or none, fails the test."""
    with pytest.raises(BadInput) as caught:
        act()
    return one_sentence(str(caught.value))


# Bounds -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", sorted({*OF_NOTEBOOKS.values(), *OF_PROBES.values()}, key=str), ids=str)
def test_both_ends_are_allowed_and_what_lies_beyond_is_not(bounds: Whole | Number) -> None:
    inside = (
        [bounds.example]
        if isinstance(bounds, Number) and bounds.exclusive
        else [bounds.least, bounds.example, bounds.most]
    )
    for value in inside:
        assert bounds.check(value, "it") == bounds.read(f"{value:.10g}", "it") == value
    beyond = [bounds.least - 1, bounds.most + 1]
    for value in beyond[bool(isinstance(bounds, Whole) and bounds.or_zero and bounds.least == 1) :]:
        said = {
            refused(lambda value=value: bounds.check(value, "it")),
            refused(lambda value=value: bounds.read(f"{value}", "it")),
        }
        assert all(one.startswith(f"it must be {bounds}; got ") for one in said)


def test_numbers_of_numpy_become_plain_ones() -> None:
    made = State(1, (), None, ("hiv",), "hiv", horizon=np.int64(32), seed=np.uint8(7))  # type: ignore[arg-type]
    assert (made.horizon, made.seed) == (32, 7) and type(made.horizon) is type(made.seed) is int


@pytest.mark.parametrize(
    "value", ["x" * 10**6, [[[[["deep"]]]]], list(range(10**6)), {i: {i: i} for i in range(999)}, 10**5000], ids=shown
)
def test_a_value_of_any_size_is_shown_short(value: object) -> None:
    assert len(shown(value)) <= 90


# Commands ---------------------------------------------------------------------------------------------------------------

OPTIONS = {
    ("report", "--horizon"): TYPED, ("report", "--samples"): [*TYPED, "1000000", "15"], ("report", "--workers"): [*TYPED, "1000"],
    ("report", "--seed"): [*TYPED, "4294967296"], ("report", "--knowledge"): KNOWLEDGE_LEVELS, ("probe", "--seed"): TYPED, ("probe", "--knowledge-levels"): [*KNOWLEDGE_LEVELS, "one_lab,labs", "first_10,first_10"],
    ("audit", "--workers"): TYPED, ("train", "--seed"): TYPED, ("train", "--epochs"): TYPED, ("explore", "--port"): [*TYPED, "0"],
    ("train", "--minutes"): ["-5", "1e9", "", "abc", "nan", "inf", "0", "9" * 5000], ("train", "--epsilon"): ["-5", "nan", "0", "51"],
}  # fmt: skip
NEEDED = {
    "report": ["--out", "x.html"], "probe": ["attribute", "--out", "x.parquet"], "audit": ["plan.yaml", "--out", "x"],
    "train": ["--data", "d", "--out", "x"], "explore": ["--no-browser"],
}  # fmt: skip


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_command_ends_with_2_and_one_sentence(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for text in OPTIONS[command, option]:
        for words in ([option, text], [f"{option}={text}"]):
            with pytest.raises(SystemExit) as ended:
                cli.main([command, *NEEDED[command], *words])
            assert ended.value.code == 2
            said = one_sentence(capsys.readouterr().err)
            assert f"argument {option}" in said and ("; got " in said or "knowledge level" in said.lower()), said
    assert list(tmp_path.iterdir()) == []


# Plans ------------------------------------------------------------------------------------------------------------------

PLANS = [
    *(f"{key}: {value}" for key in ("patients", "holders", "seed") for value in (
        "-5", "1e9", "64.7", "true", ".nan", "2020-01-01", "[1]", "{a: 1}", "1000000000000", "0x10", "010", "1:30", "1_000", "", "~",
        "9" * 5000,
    )),
    *(f"severity: {value}" for value in (
        "[1]", "3", "", "{}", "''", "true", "{hiv: 3}", "{hiv: [5, x]}", "{hiv: {severity: 9, reason: x}}", "{hiv: {severity: 9}}",
        "{hiv: {severity: true, reason: x}}", "{hiv: {severity: 4.0, reason: x}}", "{hiv: {severity: '4', reason: x}}",
        "{hiv: {severity: 4, reason: 2020-01-01}}", "{hiv: {severity: 4, reason: ''}}", "{hiv: {severity: 4, reason: x, severty: 5}}",
        "{hiv: {severity: 4, reason: x}, hiv: {severity: 1, reason: x}}", "{hiv: {severity: 4, severity: 1, reason: x}}",
        "{[hiv]: {severity: 4, reason: x}}", "{1: {severity: 4, reason: x}}", "2020-01-01",
    )),
    *(f"priors: {value}" for value in ("[true]", "[]", "0.1", "[[0.1]]", "[.nan]", "[0]", "['0.1']", "[1e9]", "{a: 0.1}", "[-0.1]", "")),
    *(f"knowledge_levels: {value}" for value in ("first_10", "[[first_10]]", "[1]", "[true]", "[first_10, first_10]", "[2020-01-01]", "{a: b}", "")),
    *(f"knowledge_levels: ['{knowledge}']" for knowledge in KNOWLEDGE_LEVELS), *(f"knowledge_of: {{embedding: '{knowledge}'}}" for knowledge in KNOWLEDGE_LEVELS),
    "knowledge_of: {embedding: [one_lab]}", "knowledge_of: [one_lab]", "knowledge_of: {embedding: one_lab, embedding: first_10}", "knowledge_of: 3",
    "probes: [[membership]]", "probes: membership", "probes: [membership, membership]", "probes: [true]", "attributes: [[hiv]]",
    "attributes: [2020-01-01]", "attributes: {hiv: 1}", "attributes: ''", "identifying: 1", "identifying: 'yes'", "identifying: [true]",
    "name: [a]", "name: 3", "name: 2020-01-01", "name: true", "name: ''", "data: [a]", "model: 2020-01-01", "token_scheme: true", "data:",
    "seed: 1\nseed: 2", "seed: 1\nname: a\n\"seed\": 2", "seed: 9999-99-99", "2020-01-01: 3", "[seed]: 3", "true: 1", "x" * 5000 + ": 1",
    "probes: ['" + "x" * 5000 + "']", "patients: '" + "x" * 5000 + "'", "patients: \"a\\0b\"", "[" * 5000, "&a [*a]", "a: *b", "\x00", "seed: !!python/name:os.system",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nprobes: [*c, *c]", "seed: !!int x", "just words", "3", "",
]  # fmt: skip


@pytest.mark.parametrize("text", PLANS, ids=lambda text: text[:60])
def test_a_plan_is_refused_in_one_sentence_before_anything_is_asked(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.yaml").write_text(text + "\n")
    said = refused(lambda: read_plan(tmp_path / "plan.yaml"))
    assert str(tmp_path) not in said
    assert cli.main(["audit", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"ehrmem: {said}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


def test_the_audits_screen_refuses_the_same_plan(tmp_path: Path) -> None:
    for text in ("patients: -5", "severity: [1]", "seed: 1\nseed: 2"):
        (tmp_path / "plan.yaml").write_text(text)
        refused(lambda: AuditCohort(tmp_path / "plan.yaml", tmp_path / "out", live=False))


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "hiv: 3",
        "",
        "hiv: {severity: 9, reason: x}",
        "hiv: {severity: 4, reason: x}\nhiv: {severity: 1, reason: x}",
    ],
)
def test_a_file_of_severities_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    refused(lambda: declared_severities(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("severity", ["4.7", "true", "'4'", "9", "[4]", "~"])
def test_a_saved_severity_that_somebody_edited_is_never_rounded(severity: str, tmp_path: Path) -> None:
    file = tmp_path / "severity.yaml"
    file.write_text(f"- {{by: a, at: b, severities: {{hiv: {{severity: {severity}, reason: x}}}}}}\n")
    assert "the severity of hiv must be a whole number from 1 to 5" in refused(lambda: _read_severities(file))


# Facts ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["- {code: 'LAB//2951-2', date: 9999-99-99}", "- {code: 'LAB//2951-2', date: '9999-99-99'}", "- {code: 'LAB//2951-2', date: 0001-01-01}",
     "- {code: 'LAB//2951-2', date: '0001-01-01T00:00+14:00'}", "- {code: 'LAB//2951-2', date: 5}", "- {code: 'LAB//2951-2', value: .nan}", "- {code: [a]}",
     "- {code: 'LAB//2951-2', value: true}", "- {age: 1e9}", "- {age: 60, age: 61}", "- {code: 042}"],
)  # fmt: skip
def test_a_facts_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        refused(lambda: load_facts("facts.yaml", RECORD, VOCABULARY))


def test_a_line_of_facts_is_refused() -> None:
    for text in ("٣", "9" * 5000, "-5", "1e9", "nan", "5:x"):
        refused(lambda text=text: facts_from_text(text))


# Notebooks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_numbers_are_refused(path: Path) -> None:
    declared = notebook_parameters(path)
    numbers = [name for name, one in declared.items() if one.type in ("int", "float")]
    assert set(numbers) <= set(OF_NOTEBOOKS)  # a number without bounds would be a hole
    for name in numbers:
        check_given({name: declared[name].default}, declared)
        for value in NO_WHOLE if declared[name].type == "int" else NO_SHARE:
            if (
                isinstance(value, float)
                and OF_NOTEBOOKS[name].least <= value <= OF_NOTEBOOKS[name].most
                and declared[name].type == "float"
            ):
                continue
            said = refused(lambda name=name, value=value: check_given({name: value}, declared))
            assert said.startswith(f"The parameter {name} must be ")


# Python -----------------------------------------------------------------------------------------------------------------

NOTHING: Any = None  # neither a model nor a data set: what is wrong is said before either is touched
STATE = partial(State, 1, (), None, ("hiv",), "hiv")
CALLS: dict[str, tuple[Callable[..., object], list[str]]] = {
    "State": (STATE, ["horizon", "samples", "seed"]),
    "MembershipState": (partial(MembershipState, score="Loss", group="ordinary", log_scale=True, fpr=0.1, prior=0.1, patients=40, seed=0), ["patients", "seed"]),
    "SubgroupState": (partial(SubgroupState, "membership", (), "claims", "first_1", patients=40, seed=0), ["patients", "seed"]),
    "NeighboursState": (partial(NeighboursState, 1, "first_1"), ["cohort", "seed"]),
    "PerturbationState": (partial(PerturbationState, 1, "first_1", "age", "hiv"), ["people", "samples", "horizon", "seed"]),
    "AuditCohort": (AuditCohort, ["workers"]),
    "run_audit": (partial(run_audit, NOTHING, "nowhere"), ["workers"]),
    "make_report": (partial(make_report, "x.html"), ["horizon", "samples", "seed"]),
    "make_reports": (partial(make_reports, ["a"], "nowhere"), ["workers", "horizon", "samples", "seed"]),
    "choose_people": (partial(choose_people, NOTHING, NOTHING), ["most", "seed"]),
    **{name: (partial(ask_alone, name, NOTHING, NOTHING), [*(o for o in one.options if o in OF_PROBES), "seed"]) for name, one in probes().items()},
    "train_model": (partial(train_model, NOTHING, Path("x")), ["seed", "epochs"]),
    "train_private_model": (partial(train_private_model, NOTHING, Path("x"), epsilon=8.0), ["seed"]),
}  # fmt: skip

NONE_IS_MEANT = {("make_reports", "workers"), ("train_model", "epochs")}
"""As many as there are cores, and as fit into the time."""


@pytest.mark.parametrize("name", CALLS)
def test_a_keyword_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, keywords = CALLS[name]
    for keyword in keywords:
        for value in NO_WHOLE:
            if value is None and (name, keyword) in NONE_IS_MEANT:
                continue
            said = refused(lambda keyword=keyword, value=value: call(**{keyword: value}))
            assert f"{keyword} must be " in said
    assert list(tmp_path.iterdir()) == []


def test_shares_are_refused() -> None:
    for value in NO_SHARE:
        refused(lambda value=value: ask_alone("ranking", NOTHING, NOTHING, threshold=value))  # type: ignore[arg-type]
        refused(lambda value=value: ask_alone("membership", NOTHING, NOTHING, priors=[0.1, value]))  # type: ignore[list-item]
        refused(lambda value=value: ask_alone("membership", NOTHING, NOTHING, priors=value))  # type: ignore[arg-type]
        for name in ("fpr", "prior"):
            refused(lambda value=value, name=name: CALLS["MembershipState"][0](**{name: value}))


@pytest.mark.parametrize(
    "knowledge",
    [*KNOWLEDGE_LEVELS, None, True, 3, ["first_1"], math.nan, "x" * 5000],
    ids=lambda knowledge: shown(knowledge),
)
def test_a_knowledge_is_refused(knowledge: Any) -> None:
    refused(lambda: check_knowledge(knowledge))
    for name, probe in probes().items():
        refused(lambda name=name: ask_alone(name, NOTHING, NOTHING, knowledge_levels=["first_1", knowledge]))
        refused(lambda name=name: ask_alone(name, NOTHING, NOTHING, knowledge_levels=[knowledge]))
        if probe.knowledge_levels and knowledge is not None:
            refused(
                lambda name=name: ask_alone(
                    name, NOTHING, NOTHING, knowledge_levels=[knowledge] if isinstance(knowledge, list) else knowledge
                )
            )
    refused(lambda: PerturbationState(1, knowledge, "age", "hiv"))
    refused(lambda: NeighboursState(1, knowledge))
    refused(lambda: SubgroupState("membership", (), "claims", knowledge, 40, 0))
    if knowledge is not None:  # facts set by hand
        refused(lambda: State(1, (), knowledge, ("hiv",), "hiv"))
        if knowledge:  # empty: the default
            refused(lambda: make_report("x.html", knowledge=knowledge))


# Screens ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*TYPED, "0", "50000", "-1"], ids=shown)
def test_a_field_keeps_bad_text_and_its_last_valid_number(text: str) -> None:
    field = NumberField("horizon", 64, OF_NOTEBOOKS["horizon"], description="Horizon")
    answer = NumberField("other", 1, OF_NOTEBOOKS["seed"], description="Other").text
    mark = LastValid((answer,))
    mark.track(field)
    seen: list[object] = []
    field.observe(lambda change: seen.append(change["new"]), "value")
    field.text.value = text if text else " "
    assert field.value == 64 and seen == [] and field.text.value == (text or " ")
    one_sentence(field.refused)
    assert (
        'role="alert" aria-live="assertive"' in field.message.value
        and "What is shown is for horizon 64." in field.message.value
    )
    assert "Shown for horizon 64, the last valid setting." in mark.note.value and "ehrmem-kept" in answer._dom_classes
    field.text.value = "32"
    assert seen == [32] and field.refused == field.message.value == mark.note.value == ""
    assert "ehrmem-kept" not in answer._dom_classes
    field.text.value = text if text else " "
    field.text.value = "32"  # the last valid one again: nothing to be asked anew
    assert seen == [32] and not field.refused
    field.text.value = text if text else " "
    field.show(32)  # chosen elsewhere
    assert field.text.value == "32" and not field.refused and seen == [32]
    refused(lambda: setattr(field, "value", -5))
    assert field.value == 32 and field.text.value == "32"


@pytest.mark.parametrize("text", ["", "-1", "abc", "nan", "0", "51", "1e1", "0,5", "5 %"])
def test_a_share_dial_keeps_its_last_valid_share(text: str) -> None:
    seen: list[float] = []
    bounds = OF_NOTEBOOKS["fpr"]
    assert isinstance(bounds, Number)
    dial = ShareDial(
        "False alarms", "False alarms", 0.01, bounds, steps=(0.001, 0.01, 0.5), words=str, changed=seen.append
    )
    dial.number.text.value = text
    assert seen == [] and dial.slider.value == 0.01
    assert "False alarms (in %) must be a number from 0.1 to 50, such as 1; got " in one_sentence(
        dial.number.refused[:1].upper() + dial.number.refused[1:]
    )
    dial.slider.value = 0.5
    assert seen == [0.5] and dial.number.text.value == "50" and not dial.number.refused
    dial.number.text.value = "12.5"
    assert seen == [0.5, 0.125]
