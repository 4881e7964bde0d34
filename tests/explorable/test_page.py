"""The one HTML file, opened from a disk with the network off: it answers as Python does, by mouse and by keyboard, and sends nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.explorable.page import bundle, make_page
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from tests.browser.npm import from_npm

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOTS = Path(__file__).parents[1] / "browser" / "screenshots"
WAIT = 240_000  # milliseconds, on a machine ten times slower


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "lesson.html"
    main(["explorable", "--patients", "12", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def page(file: Path, browser: Any) -> Iterator[Any]:
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.goto(file.as_uri())
    settled(opened)
    yield opened
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    context.close()


def settled(page: Any) -> None:
    page.locator(".bar[aria-busy=false]").wait_for(timeout=WAIT)


def shoot(page: Any, name: str, **options: Any) -> None:
    page.screenshot(path=SHOTS / f"{name}_{page.context.browser.browser_type.name}.png", **options)


def again(page: Any, act: Any) -> None:
    """Do what asks a new question, and wait for its answer."""
    act()
    page.locator(".bar[aria-busy=true]").wait_for(timeout=WAIT)
    settled(page)


def rounded_figures(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"0\.\d+", text)]


def test_the_answer_is_that_of_python(page: Any) -> None:
    exploration = Exploration(
        MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference()), folder=sample_model()
    )
    patient = exploration.dataset.find(page.locator("#who").input_value())
    names = exploration.attributes.default_names()
    severity = {name: attribute.severity for name, attribute in exploration.attributes.attributes.items()}
    focus = choose_focus(exploration.held(patient), names, severity)
    facts = facts_of_level("one_lab", exploration.record(patient), exploration.model.vocabulary)
    *_, answer = exploration.answers(State(patient, facts, "one_lab", names, focus))
    assert answer is not None
    finding = answer.attribute(focus)
    assert finding is not None and finding.judgement is not None
    said = page.locator(".said").inner_text()
    assert said.startswith(str(finding.judgement.verdict))
    assert re.sub(r"0\.\d+", "#", said.split(" ", 1)[1]) == re.sub(r"0\.\d+", "#", finding.judgement.sentence)
    assert rounded_figures(said) == pytest.approx(rounded_figures(finding.judgement.sentence), abs=0.0101)
    stated = re.search(r"About ([\d,]+) questions? \(.+?\) for an even chance", page.locator(".bar").inner_text())
    assert stated and int(stated[1].replace(",", "")) == pytest.approx(for_even_chance(finding.audited).value, abs=1)
    assert page.locator("#who").evaluate("one => one.options.length") >= 12


def test_a_patient_facts_and_models_by_mouse(page: Any) -> None:
    before = page.locator(".rows b").first.inner_text()
    again(page, lambda: page.locator("input[value=nothing]").check())
    assert page.locator(".rows b").first.inner_text() != before and "0 facts" in page.locator(".bar").inner_text()
    again(page, lambda: page.locator("input[value=lab_values]").check())
    again(page, lambda: page.locator(".facts select").nth(1).select_option("no"))
    assert page.locator(".levels input:checked").count() == 0  # set by hand
    again(page, lambda: page.locator("#dates").select_option("month"))
    again(page, lambda: page.locator(".chips input[value=private]").check())
    assert [one.split("\n")[0] for one in page.locator(".bar .rows > span").all_inner_texts()][:2] == [
        "memorizing", "private",
    ]  # fmt: skip
    page.locator(".chips input[value=private]").uncheck()
    settled(page)
    page.locator(".chips input[value=memorizing]").click()
    assert "One model at least" in page.locator(".status").inner_text()
    page.get_by_role("tab", name="Steps").click()
    assert page.locator(".steps li").count() >= 5
    page.get_by_role("tab", name="Text").click()
    assert page.locator(".codes").count() == 4 and page.locator(".codes .true").count() > 3
    page.get_by_role("tab", name="Map").click()
    about = page.locator("[role=tabpanel]:visible p").last
    before = about.inner_text()
    rank = re.search(r"record is number (\d+) of the (\d+) people of this page", before)
    assert rank is not None and 1 <= int(rank[1]) <= int(rank[2])
    again(page, lambda: page.locator("input[value=nothing]").check())
    assert about.inner_text() != before  # the query moved
    canvas = page.locator("[role=tabpanel]:visible canvas[role=img]")
    assert canvas.get_attribute("aria-label") == about.inner_text() and canvas.bounding_box()["height"] > 200
    shoot(page, "explorable_map")
    page.get_by_role("tab", name="Other attributes").click()
    assert page.locator("tbody tr").count() > 5
    again(page, lambda: page.locator("#who").select_option(index=11))
    shoot(page, "explorable")


def test_all_of_it_by_keyboard(page: Any) -> None:
    page.locator("#who").focus()
    again(page, lambda: page.keyboard.press("Home"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "what"
    page.keyboard.press("Tab")
    again(page, lambda: page.keyboard.press("Tab") or page.keyboard.press("Space"))  # the second model
    assert page.locator(".chips input:checked").count() == 2
    page.locator(".levels input:checked, .levels input").first.focus()
    again(page, lambda: page.keyboard.press("ArrowDown"))
    page.get_by_role("tab", selected=True).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text() == "Text"
    assert page.evaluate("document.activeElement.innerText") == "Text"


def test_axe_finds_nothing_and_a_phone_shows_it_whole(page: Any) -> None:
    page.evaluate(from_npm("axe-core@4", "axe.min.js"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for tab in page.get_by_role("tab").all():
            tab.click()
            found = page.evaluate("axe.run()")
            assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
    for name, width, height in (("phone", 390, 844), ("tablet", 820, 1180)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"explorable_{name}")
    page.set_viewport_size({"width": 1280, "height": 800})


def test_without_wasm_it_answers_the_same_and_says_that_it_is_slower(file: Path, browser: Any, page: Any) -> None:
    again(page, lambda: page.reload())
    slow = browser.new_context(offline=True).new_page()
    slow.goto(f"{file.as_uri()}?kernels=js")
    settled(slow)
    assert "slowly" in slow.locator(".status").inner_text()
    assert "slowly" not in page.locator(".status").inner_text()
    assert slow.locator(".said").inner_text() == page.locator(".said").inner_text()
    slow.context.close()


def test_nothing_but_its_own_script_runs_and_nobody_is_named(file: Path) -> None:
    text = file.read_bytes().decode("ascii")  # decoded at once, where other characters would block the page
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None and policy[1].startswith("default-src 'none'; ") and "script-src 'sha256-" in policy[1]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy[1]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    packed = re.search(r'id="patients">(.*?)</script>', text, re.DOTALL)
    assert packed is not None
    content = json.loads(packed[1])
    ids = {str(patient) for patient in MedsDataset(sample_data()).ids()}
    names = {person["pseudonym"] for person in (*content["patients"], *content["controls"])}
    assert len(content["patients"]) >= 12 and all(name.startswith("P-") for name in names) and not names & ids
    assert not {"subject_id", "patient_id"} & {key for person in content["patients"] for key in person}


def test_a_module_that_imports_is_bundled_after_what_it_imports() -> None:
    made = bundle("worker")
    order = [made.index(f"const {name} = (") for name in ("RNG", "ENGINE", "QUESTION", "WORKER")]
    assert order == sorted(order) and not re.search(r"^(import|export) ", made, re.MULTILINE)


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    undeclared = shutil.copytree(sample_data(), tmp_path / "cohort")
    about = undeclared / "metadata" / "dataset.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "synthetic": False}))
    out = tmp_path / "lesson.html"
    four = [sample_model(), sample_moderate(), sample_private(), sample_reference()]
    for models, data, most, words in (
        ([sample_model()], undeclared, 12_000_000, "not declared synthetic"),
        (four, sample_data(), 12_000_000, "1 to 4 models, the reference among them; got 5"),
        ([sample_model()], sample_data(), 1_000_000, r"takes 1\.\d MB in the page"),
        ([sample_model()], sample_data(), 5_100_000, "Give fewer models or patients"),
    ):
        with pytest.raises(BadInput, match=words):
            make_page(out, data=data, models=models, reference=sample_reference(), patients=4, max_bytes=most)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--patients", "0"], "a number from 1 to 200"),
        (["--data", "x"], "--data and --models belong together"),
    ],
)
def test_the_command_refuses_in_words(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explorable", "--out", str(tmp_path / "x.html"), *given]) == 2
    assert words in capsys.readouterr().err
