"""The lesson's words, the guide and the chosen figures agree, and what they say of the sample models is still so."""

from __future__ import annotations

import json
import re
import string
from itertools import pairwise
from pathlib import Path

import pytest

from ehrmem_widgets.blackbox.opening import open_model
from ehrmem_widgets.samples.folders import SAMPLES, sample_private
from ehrmem_widgets.statistics.verdicts import LEAK_MARGIN, Verdict
from ehrmem_widgets.workshop.asking import Asked, Figure, ask
from ehrmem_widgets.workshop.choose import CARDS, LITTLE, LOUD, SAID, STEPS, open_sample
from ehrmem_widgets.workshop.chosen import FILE, chosen
from ehrmem_widgets.workshop.lesson import Lesson, decimals, figures, filled, hundred, is_memory, lesson, loud_card
from ehrmem_widgets.workshop.odds import advantage, most_found, right_of
from ehrmem_widgets.workshop.pages import GUIDE, WORKSHEETS, guide, worksheets


def every_item() -> list[str]:
    return [item.key for item in (*lesson().quiz, *(one for step in lesson().steps for one in step.ask))]


def test_the_minutes_add_up_in_every_form() -> None:
    assert sum(step.minutes for step in lesson().steps) == lesson().minutes == 90
    assert sum(lesson().forms[0].steps.values()) == 30
    assert 180 <= sum(lesson().forms[1].steps.values()) <= 240
    headings = re.findall(r"(?m)^### \d\. .* \((\d+) minutes\)$", GUIDE.read_text(encoding="utf-8"))
    assert sum(map(int, headings)) == 90


def test_every_misconception_is_met_and_every_wrong_answer_explained() -> None:
    met = {one.misconception for item in lesson().quiz for one in item.options if not one.right}
    assert met == set(lesson().misconceptions)
    assert len(set(every_item())) == len(every_item())


def test_a_lesson_that_does_not_fit_together_is_refused() -> None:
    content = json.loads(lesson().model_dump_json())
    content["steps"][0]["minutes"] += 1
    with pytest.raises(ValueError, match="do not add up to 90"):
        Lesson.model_validate(content)
    content["steps"][0]["minutes"] -= 1
    content["quiz"][0]["options"][0]["misconception"] = "none"
    with pytest.raises(ValueError, match="a misconception or a step is named"):
        Lesson.model_validate(content)


def test_the_words_hold_no_figure_but_those_of_the_findings() -> None:
    words = lesson().model_dump_json()
    named = {name for _, name, _, _ in string.Formatter().parse(" ".join(_texts(json.loads(words)))) if name}
    assert named and named <= set(figures())
    assert "{" not in filled(" ".join(step.answer for step in lesson().steps))


def test_guide_and_worksheets_are_those_of_the_lesson() -> None:
    """If this fails: python -m ehrmem_widgets.workshop.pages"""
    assert GUIDE.read_text(encoding="utf-8") == guide()
    assert WORKSHEETS.read_text(encoding="utf-8") == worksheets()


def test_every_figure_that_the_guide_quotes_is_among_the_chosen() -> None:
    chosen_figures = {hundred(one) for one in _figures()} | {decimals(one) for one in _figures()}
    quoted = re.findall(
        r"(?:under |over )?-?[\d.]+ \([^()]* to [^()]*; n = [\d,]+\)", GUIDE.read_text(encoding="utf-8")
    )
    assert len(quoted) > 40 and set(quoted) <= chosen_figures


def test_the_worksheets_tell_no_answer() -> None:
    text = WORKSHEETS.read_text(encoding="utf-8")
    wrong = [one.why for item in lesson().quiz for one in item.options if one.why]
    assert not any(why in text for why in wrong) and "Memorized" not in text
    assert all(hundred(one.audited) in text for one in chosen().cards)
    assert not any(f"in {hundred(one.reference)} of" in text for one in chosen().cards)


def test_the_cards_hold_both_kinds_and_one_that_fools() -> None:
    cards = chosen().cards
    assert len(cards) == CARDS == len({one.key for one in cards})
    memory = [one for one in cards if is_memory(one)]
    rest = [one for one in cards if not is_memory(one)]
    assert len(memory) == len(rest) == 5
    assert all(one.seen and one.excess.low > LEAK_MARGIN and one.audited.low >= LOUD for one in memory)
    assert all(one.verdict == Verdict.POPULATION and abs(one.excess.value) < LEAK_MARGIN for one in rest)
    assert any(one.times == 1 for one in memory) and any(one.times > 1 for one in memory)
    assert any(one.seen for one in rest)  # a member, of whom little is known
    fools = loud_card()
    assert (
        fools.times == 0
        and fools.audited.low >= SAID
        and fools.audited.value > 2 * min(one.audited.value for one in rest)
    )


def test_the_cards_name_nobody_but_by_pseudonym() -> None:
    text = FILE.read_text(encoding="utf-8")
    patients = set(re.findall(r'"patient": "([^"]*)"', text))
    assert patients and all(re.fullmatch(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", one) for one in patients)


def test_more_knowledge_leaks_more_and_the_private_model_less() -> None:
    attack = chosen().attack
    assert [one.knowledge for one in attack] == list(STEPS)
    assert attack[0].audited.high < attack[-1].audited.low
    leak = {one.model: one.leak for one in chosen().training}
    loss = {one.model: one.loss for one in chosen().training}
    assert leak["private"].high < leak["memorizing"].low
    assert loss["moderate"].high < loss["memorizing"].low and loss["moderate"].value < loss["private"].value


def test_the_models_are_those_that_were_asked() -> None:
    """If this fails: python -m ehrmem_widgets.workshop.choose, then python -m ehrmem_widgets.workshop.pages"""
    now = {name: open_model(SAMPLES / "models" / name).fingerprint for name in ("memorizing", "moderate", "private")}
    assert {one.model: one.fingerprint for one in chosen().training} == now
    assert open_model(SAMPLES / "models" / "reference").fingerprint == chosen().reference


@pytest.mark.slow
def test_the_sample_models_still_show_what_the_lesson_says() -> None:
    exploration = open_sample("memorizing")
    memory = next(one for one in chosen().cards if is_memory(one) and one.times == 1)
    little = next(one for one in chosen().cards if one.knowledge == LITTLE)
    for said in (memory, loud_card(), little, chosen().attack[1]):
        now = ask(exploration, exploration.dataset.find(said.patient), said.attribute, said.knowledge)
        assert (now.verdict, now.about, now.times, now.facts) == (said.verdict, said.about, said.times, said.facts)
        for before, after in ((said.audited, now.audited), (said.reference, now.reference)):
            assert after.value == pytest.approx(before.value, abs=0.01)  # another machine rounds otherwise


@pytest.mark.slow
def test_a_model_that_remembers_nobody_would_not_show_it() -> None:
    """The same questions put to the private model: so the test above can fail."""
    exploration = open_sample("private")
    said = chosen().attack[-1]
    now = ask(exploration, exploration.dataset.find(said.patient), said.attribute, said.knowledge)
    assert now.verdict != said.verdict and now.audited.high < said.audited.low


def test_odds_follow_from_the_promise() -> None:
    alarms = [place / 1000 for place in range(1001)]
    for epsilon, delta in ((0.0, 0.0), (0.5, 1e-5), (3.0, 1e-4), (8.0, 0.01)):
        gaps = [most_found(epsilon, delta, one) - one for one in alarms]
        assert max(gaps) == pytest.approx(advantage(epsilon, delta), abs=0.01) and min(gaps) >= -1e-9
        assert all(most_found(epsilon, delta, a) <= most_found(epsilon, delta, b) + 1e-9 for a, b in pairwise(alarms))
    facts = json.loads((sample_private() / "training.json").read_text())
    odds = chosen().odds
    assert odds.promised == right_of(100, advantage(facts["epsilon"], facts["delta"]))
    assert odds.coin < odds.by_noise < odds.promised <= 100


def test_the_noise_allows_what_gaussian_differential_privacy_says() -> None:
    pytest.importorskip("opacus")
    from math import exp, sqrt

    from scipy.stats import norm

    from ehrmem_widgets.training.private_models import attack_advantage

    for noise in (1.0, 3.0):  # one step of the plain Gaussian mechanism: exactly 2 Phi(1 / (2 noise)) - 1
        assert attack_advantage(noise, 1.0, 1) == pytest.approx(2 * norm.cdf(1 / (2 * noise)) - 1, abs=0.002)
    facts = json.loads((sample_private() / "training.json").read_text())
    noise, rate, steps = facts["noise_multiplier"], facts["sampling_rate"], facts["steps"]
    found = attack_advantage(noise, rate, steps)
    limit = rate * sqrt(steps * (exp(noise**-2) - 1))  # of many small steps (Dong, Roth and Su 2022, corollary 4)
    assert found == pytest.approx(2 * norm.cdf(limit / 2) - 1, abs=0.03)
    assert chosen().odds.by_noise == right_of(100, found)


def _figures() -> list[Figure]:
    found: list[Figure] = []
    asked: tuple[Asked, ...] = (*chosen().attack, *chosen().cards, *chosen().patients)
    for one in asked:
        found += [one.audited, one.reference, one.excess]
    for model in chosen().training:
        found += [model.leak, model.loss]
    return found


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, dict):
        return [text for one in content.values() for text in _texts(one)]
    return [text for one in content for text in _texts(one)] if isinstance(content, list) else []


def test_the_pages_are_linked_from_the_index() -> None:
    docs = Path(GUIDE).parents[1]
    assert "workshop/guide" in (docs / "index.md").read_text(encoding="utf-8")
