"""The report of an audit in a real browser, the network blocked: all of it shows, it prints, and axe-core finds nothing serious."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.reports.compare_page import compare_page
from tests.browser.npm import from_npm
from tests.reports.synthetic_audit import SyntheticAudit

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
ATTRIBUTES = [name for name, one in load_attributes().items() if one.asked_by_default]
A4_WIDTH, A4_HEIGHT = (210 - 24) / 25.4 * 96, (297 - 22) / 25.4 * 96  # what the margins leave, in CSS pixels

CUT_OFF = """() => [...document.querySelectorAll('main svg text')].filter(words => {
    const box = words.getBoundingClientRect(), drawn = words.ownerSVGElement.getBoundingClientRect();
    return box.width && (box.left < drawn.left - 1 || box.right > drawn.right + 1);
}).map(words => words.textContent)"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A whole report, one of an unfinished identifying audit, and a comparison."""
    out = tmp_path_factory.mktemp("pages")
    whole = SyntheticAudit(300).write(out / "a")
    every = SyntheticAudit(300, shares=dict.fromkeys(ATTRIBUTES, 0.3)).write(out / "c")
    part = SyntheticAudit(300, effect=0.0).write(
        out / "b",
        names=("confounding", "membership", "ranking"),
        finished=False,
        identifying=True,
        plan={"probes": list(probes())},
    )
    defended = SyntheticAudit(300, effect=0.0).write(out / "d")
    made = {
        "several": compare_page(whole, defended, every),
        "report": audit_page(whole),
        "every": audit_page(every),
        "unfinished": audit_page(part),
        "comparison": compare_page(whole, part),
    }
    for name, page in made.items():
        (out / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: out / f"{name}.html" for name in made}


@pytest.fixture
def axe() -> str:
    """axe-core's script."""
    return from_npm("axe-core@4", "axe.min.js")


def opened(chromium: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """The page, and whatever went wrong or was asked for from outside."""
    wrong: list[str] = []
    page = chromium.new_context(offline=True, **options).new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url))
    page.goto(path.as_uri())
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "unfinished", "comparison", "several"])
def test_everything_shows_offline(name: str, scheme: str, pages: dict[str, Path], chromium: Any) -> None:
    page, wrong = opened(chromium, pages[name], color_scheme=scheme, viewport={"width": 1100, "height": 900})
    assert wrong == []
    assert page.locator("main h2").count() == page.locator("nav a").count() > 4
    drawn = page.locator("main figure svg")
    for place in range(drawn.count()):
        box = drawn.nth(place).bounding_box()
        assert box and box["width"] > 300 and box["height"] > 40
    assert page.evaluate(CUT_OFF) == []
    assert page.locator("text=application/vnd.jupyter").count() == 0
    for link in page.locator("nav a").all():  # every link leads to a place in the page
        assert page.locator(link.get_attribute("href")).count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"audit_{name}_{scheme}.png", full_page=True)
    page.context.close()


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of eight audits, whose names have no place to break at."""
    out = tmp_path_factory.mktemp("eight")
    one, other = (
        SyntheticAudit(100, effect=effect).write(out / str(effect), names=("membership", "utility"))
        for effect in (0.3, 0.0)
    )
    names = [f"private_epsilon_{number}" for number in range(8)]
    page = compare_page(*[one, other] * 4, names=names)
    (out / "eight.html").write_text(page, encoding="utf-8")
    return out / "eight.html"


@pytest.mark.parametrize("width", [820, 480])
def test_what_is_wider_than_the_page_scrolls_in_its_own_box(
    width: int, eight: Path, pages: dict[str, Path], chromium: Any
) -> None:
    for path in (eight, pages["comparison"], pages["several"]):
        page, wrong = opened(chromium, path, viewport={"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and wrong == []
        table = page.locator(".wide:has(table)").first
        table.evaluate("box => box.scrollLeft = 1e6")
        last = table.locator("th[scope=col]").last.bounding_box()
        assert last and last["x"] + last["width"] <= width  # what is cut off can be reached
        page.screenshot(path=SHOTS / f"{path.stem}_{width}.png", full_page=True)
        page.context.close()


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("report", "light"),
        ("report", "dark"),
        ("unfinished", "light"),
        ("comparison", "light"),
        ("several", "light"),
        ("eight", "light"),
    ],
)
def test_axe_finds_nothing(
    name: str, scheme: str, pages: dict[str, Path], eight: Path, chromium: Any, axe: str
) -> None:
    narrow = {"width": 480, "height": 900}
    path, options = (eight, {"viewport": narrow}) if name == "eight" else (pages[name], {})
    page, _ = opened(chromium, path, color_scheme=scheme, bypass_csp=True, **options)
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]] == []
    page.context.close()


def test_the_first_page_is_one_page_and_every_page_has_a_head(
    pages: dict[str, Path], chromium: Any, tmp_path: Path
) -> None:
    page, _ = opened(chromium, pages["every"], viewport={"width": round(A4_WIDTH), "height": round(A4_HEIGHT)})
    page.emulate_media(media="print")
    box = page.locator("#summary").bounding_box()
    assert box and box["y"] + box["height"] <= A4_HEIGHT
    assert page.locator("table.sheet > thead").evaluate("e => getComputedStyle(e).display") == "table-header-group"
    page.context.close()
    if shutil.which("pdftotext") is None:
        return  # that the head is repeated can be read from a PDF only
    page, _ = opened(chromium, pages["unfinished"])
    page.pdf(path=tmp_path / "x.pdf", prefer_css_page_size=True, format="A4")
    page.context.close()
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "x.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    sheets = text.rstrip("\f").split("\f")
    assert len(sheets) > 3
    for one in sheets:
        assert "UNFINISHED AUDIT: 3 of 9" in one and "IDENTIFYING: internal use" in one
