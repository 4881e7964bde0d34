"""The embedding map: what it packs, and that its canvas follows the query without redrawing the records."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.widgets.embedding_map import MOST_POINTS, EmbeddingMap
from tests.widgets.harness import page


def test_points_are_packed_as_little_endian_float32() -> None:
    shown = EmbeddingMap([[1, 2], [3, 4.5]], [0, 2])
    assert np.frombuffer(shown.points, "<f4").tolist() == [1, 2, 3, 4.5]
    assert shown.kinds == b"\x00\x02"
    shown.set_points([[9, 9]], [1])
    assert (len(shown.points), shown.kinds) == (8, b"\x01")


def test_place_moves_the_query() -> None:
    shown = EmbeddingMap([[1, 2]], [0])
    shown.place(np.array([1.5, 2.5]), np.arange(12), approximate=True, description="near")
    assert (shown.query, shown.nearest, shown.approximate, shown.description) == (
        [1.5, 2.5],
        list(range(10)),
        True,
        "near",
    )
    shown.place(None)
    assert shown.query == [] and shown.description == "near"


def test_wrong_points_are_named() -> None:
    with pytest.raises(BadInput, match="20,000"):
        EmbeddingMap(np.zeros((MOST_POINTS + 1, 2)), np.zeros(MOST_POINTS + 1))
    with pytest.raises(BadInput, match="kind of 0, 1 or 2"):
        EmbeddingMap([[0, 0]], [3])
    with pytest.raises(TypeError, match="colour"):
        EmbeddingMap(colour="red")  # type: ignore[call-arg]


def test_front_end_is_text() -> None:
    assert isinstance(EmbeddingMap._esm, str) and "innerHTML" not in EmbeddingMap._esm


@pytest.mark.browser
def test_canvas_follows_the_query_and_the_theme(chromium: Any) -> None:
    points = np.random.default_rng(0).normal(size=(2000, 2))
    made = EmbeddingMap(points, np.arange(2000) % 3)
    state = {
        "points": base64.b64encode(made.points).decode(),
        "kinds": base64.b64encode(made.kinds).decode(),
        **{
            "query": [],
            "nearest": [1, 2],
            "patient": 3,
            "approximate": False,
            "description": "<b>near</b>",
            "height": 420,
        },
    }
    errors: list[str] = []
    tab = chromium.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.set_content(page(made._esm, state, binary=("points", "kinds")))
    before = _picture(tab)
    tab.evaluate("window.model.set('query', [0, 0])")
    after = _picture(tab)
    tab.evaluate("window.model.set('approximate', true)")
    dashed = _picture(tab)
    tab.evaluate("window.model.set('query', [])")
    assert before != after != dashed
    assert _picture(tab) == before
    tab.evaluate(
        "document.body.style.setProperty('--jp-layout-color1', '#111'); document.body.dataset.jpThemeLight = 'false'"
    )
    assert _picture(tab) != before
    assert tab.locator("canvas[role=img]").get_attribute("aria-label") == "<b>near</b>"
    assert tab.get_by_text("<b>near</b>").count() == 1
    tab.evaluate("window.cleanup()")
    tab.close()
    assert errors == []


def _picture(tab: Any) -> str:
    tab.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"
    )
    return str(tab.evaluate("document.querySelector('canvas').toDataURL()"))
