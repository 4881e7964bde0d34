"""The ROC curve and its page: harmless, named, with interval and n, and steps where the scores step."""

from __future__ import annotations

import numpy as np
import pytest

from ehrmem_widgets.charts.markup import percent
from ehrmem_widgets.probes.membership.page import membership_bar, membership_page
from ehrmem_widgets.probes.membership.roc import roc_curve
from ehrmem_widgets.probes.membership.slices import MembershipSlice, Part, Roc, ScoreFigures, roc
from ehrmem_widgets.statistics.discrimination import auroc, tpr_at_fpr
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

RNG = np.random.default_rng(0)
MEMBERS, OTHERS = RNG.normal(1, 1, 60), RNG.normal(0, 1, 40)
FIGURES = ScoreFigures(EVIL, auroc(MEMBERS, OTHERS), tpr_at_fpr(MEMBERS, OTHERS, 0.1), Estimate(0.4, 0.3, 0.5, 100))


def curve() -> Roc:
    found = roc(MEMBERS, OTHERS)
    assert found is not None
    return found


@pytest.mark.parametrize("log_scale", [True, False])
def test_the_curve_says_itself_with_interval_and_n(log_scale: bool) -> None:
    drawn = roc_curve(curve(), FIGURES, 0.1, log_scale=log_scale)
    assert_harmless(drawn)
    figure = f"{FIGURES.auroc.value:.2f} ({FIGURES.auroc.low:.2f} to {FIGURES.auroc.high:.2f}), n = 100"
    assert figure in label(drawn) and figure in words(drawn)
    assert "60 members and 40 people never seen" in label(drawn)
    assert "at 10 % false alarms" in label(drawn)
    svg = next(iter(parsed(drawn)))
    assert svg.attrib["role"] == "img" and svg.attrib["height"].isdigit()


def test_shares_that_cannot_be_seen_are_marked_on_the_log_scale_only() -> None:
    assert "less than 1 of 40" in words(roc_curve(curve(), FIGURES, 0.1, log_scale=True))
    assert "less than 1 of 40" not in words(roc_curve(curve(), FIGURES, 0.1, log_scale=False))


def test_nobody_to_compare() -> None:
    assert roc(MEMBERS, np.empty(0)) is None
    drawn = roc_curve(None, None, 0.01, log_scale=True)
    parsed(drawn)
    assert label(drawn) == "No curve: nobody could be scored on both sides."


def test_the_curve_goes_through_the_share_found_at_every_share_of_false_alarms() -> None:
    found = curve()
    for fpr in (0.08, 0.1, 0.5):
        highest = found.true[found.false <= fpr].max()
        assert highest == tpr_at_fpr(MEMBERS, OTHERS, fpr).value
    inside = [
        low <= found.true[found.false <= at].max() <= high
        for at, low, high in zip(found.band_at, found.low, found.high, strict=True)
    ]
    assert all(inside) and found.band_at[0] > 0.07  # for less, 40 never seen are too few
    assert (np.diff(found.false) >= 0).all() and found.false[-1] == found.true[-1] == 1


def test_shares_in_words() -> None:
    assert [percent(x) for x in (0.001, 0.0125, 0.5)] == ["0.1 %", "1.25 %", "50 %"]


def page(**changes: object) -> str:
    fields: dict[str, object] = {
        "score": EVIL, "group": "ordinary", "fpr": 0.01, "prior": 0.1,
        "judgement": Judgement(Verdict.MEMORIZED, "evil", EVIL), "roc": curve(), "scores": (FIGURES,),
        "parts": (Part(EVIL, False, FIGURES.auroc, 0.01), Part("time", False, FIGURES.auroc, 1.0, EVIL)), "needed": 299,
    }  # fmt: skip
    cut = MembershipSlice(**{**fields, **changes})  # type: ignore[arg-type]
    return membership_bar(cut) + membership_page(
        cut, log_scale=True, confounding=[EVIL], exposure=[EVIL], controls=[EVIL], exclusions={EVIL: 2}
    )


def test_the_page_is_harmless_and_begins_with_the_verdict() -> None:
    made = page()
    assert_harmless(made)
    assert label(made) == "Answer about membership: Memorized"
    said = words(made)
    assert said.index("Memorized") < said.index("AUROC")
    assert "299 people never seen are needed; only 40 were asked about, so what is found" in said
    assert "0.40 (0.30 to 0.50)" in said


def test_a_page_about_nothing_says_so() -> None:
    made = page(
        roc=None,
        scores=(),
        parts=(),
        judgement=Judgement(Verdict.CANNOT_CONCLUDE, "no_score", "no record has a score."),
    )
    assert "Cannot conclude" in words(made) and "No score could be computed." in words(made)
    assert "are needed" not in words(made)
