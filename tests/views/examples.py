"""Findings made by hand, with markup in every string that data may bring."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np

from ehrmem_widgets.attacker.identifiability import Identifiability
from ehrmem_widgets.probes.findings import Answer, AttributeFinding, Curve, Neighbour, NeighbourFinding, ReadableEvent
from ehrmem_widgets.statistics.intervals import Estimate, difference
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict

EVIL = '<script>alert("1")</script>&\'\x00'
AUDITED, REFERENCE = Estimate(0.71, 0.62, 0.79, 128), Estimate(0.06, 0.03, 0.10, 96)
CONTROLS = ((0.05, 0.06),) * 40


def finding(name: str = "hiv", title: str = "HIV", **changes: object) -> AttributeFinding:
    """A finding that is memorized, unless changed."""
    fields: dict[str, object] = {
        "severity": 5,
        "held": True,
        "audited": AUDITED,
        "reference": REFERENCE,
        "excess": difference(AUDITED, REFERENCE),
        "method": "product form",
        "controls": CONTROLS,
        "judgement": Judgement(
            Verdict.MEMORIZED,
            "stands_out",
            "the model names it with probability 0.71 (0.62 to 0.79), against 0.06 (0.03 to 0.10) from a model that never saw the "
            "patient: more than for 40 similar people whom no model saw.",
            rank_p=1 / 41,
        ),
    }
    return AttributeFinding(name, title, **{**fields, **changes})  # type: ignore[arg-type]


def undecided() -> AttributeFinding:
    """A finding of which only the audited model has answered."""
    return finding("b", "Mental health", reference=None, excess=None, controls=(), judgement=None)


def not_held() -> AttributeFinding:
    """A finding about an attribute that the record does not hold: nothing is judged."""
    return finding("d", "Infertility", held=False, judgement=None)


def no_data() -> AttributeFinding:
    """A finding about which nothing was asked."""
    nothing = Estimate(float("nan"), 0.0, 1.0, 0)
    return finding("c", "Genetic disease", audited=nothing, reference=None, excess=None, controls=(), judgement=None)


def curve(end: float = 0.71, n: int = 128, length: int = 80) -> Curve:
    """A straight curve up to ``end``."""
    value = np.linspace(0, end, length)
    return Curve(value, value * 0.9, np.minimum(value * 1.1, 1), n)


def answer(**changes: object) -> Answer:
    """A settled answer with markup in every string."""
    evil = finding("evil", EVIL, method=EVIL, judgement=Judgement(Verdict.CANNOT_CONCLUDE, "evil", EVIL))
    event = ReadableEvent(EVIL, EVIL, EVIL, True)
    fields: dict[str, object] = {
        "known": Identifiability(7, 1, 3000),
        "focus": "evil",
        "horizon": 80,
        "stripped": 2,
        "left_out": 1,
        "attributes": (finding(), evil, undecided(), no_data()),
        "curve": curve(),
        "reference_curve": curve(0.06, 96),
        "generated": ((event, event), (event,)),
        "truth": (event,),
        "neighbours": NeighbourFinding(3, 3000, (Neighbour(EVIL, 0.25, True),), np.array([0.5, 0.5]), True),
        "effective_samples": 6.3,
        "warnings": (EVIL,),
        "settled": True,
    }
    return Answer(**{**fields, **changes})  # type: ignore[arg-type]


def parsed(markup: str) -> ElementTree.Element:
    """The markup as XML: it must be well formed."""
    return ElementTree.fromstring(f"<x>{markup.replace('&nbsp;', ' ')}</x>")


def words(markup: str) -> str:
    """What a person reads, with spaces between elements."""
    return " ".join(part.strip() for part in parsed(markup).itertext() if part.strip())


def label(markup: str) -> str:
    """The aria-label of the first element that has one."""
    return next(e.attrib["aria-label"] for e in parsed(markup).iter() if "aria-label" in e.attrib)


def assert_harmless(markup: str) -> None:
    """No element or attribute came out of data, nothing outside is asked for, and what XML cannot hold is gone."""
    _Watch().feed(markup)
    assert "<script" not in markup.lower()
    assert "://" not in markup
    assert "\x00" not in markup


class _Watch(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "iframe", "link", "img", "object"}
        assert not any(name.startswith("on") or name in {"href", "src"} for name, _ in attrs)
