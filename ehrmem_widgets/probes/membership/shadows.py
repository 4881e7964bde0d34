"""LiRA: each person's score from what the audited model and the shadow models say of the record."""

from __future__ import annotations

import math

import numpy as np

from ehrmem_widgets.blackbox.shadow_models import ShadowModels
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Exclusion
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.scores import LIRA, LOSS
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, PAIRS, People
from ehrmem_widgets.statistics.likelihood_ratio import FEWEST_OUT, likelihood_ratio

ALWAYS_IN = Exclusion(
    "always_in", f"no {LIRA}: fewer than {FEWEST_OUT} shadow models were trained without this patient"
)


def check_left_out(shadows: ShadowModels, people: People) -> None:
    """Raise BadInput where the shadow models were trained on all members, or on all non-members, that are asked about."""
    for group in (MEMBER, NON_MEMBER):
        asked = people.of(group)
        if asked and all(_left_out(shadows, one.pseudonym) < FEWEST_OUT for one in asked):
            raise BadInput(
                f"Fewer than {FEWEST_OUT} of the shadow models were trained without any {group} that is asked about, so nothing shows what a model "
                "says that never saw the record. Train them on random halves of the people: 'ehrmem train --shadow' does."
            )


def add_lira(answers: Rows, shadows: ShadowModels) -> str:
    """Put LiRA into the ``scores`` of each answer (with its ``group`` and what the ``shadows`` say), and why there is none into ``without``. In words,
    how often people were in."""
    said = []
    for name, pair in PAIRS.items():
        asked = []
        for answer in (a for a in answers if a["group"] in pair and LOSS in a["scores"]):
            if _left_out(shadows, answer["patient"]) < FEWEST_OUT:
                answer["without"].append(ALWAYS_IN)
            elif all(map(math.isfinite, [answer["scores"][LOSS], *answer["shadows"]])):
                asked.append(answer)
        if not asked:
            continue
        inside = np.array([shadows.inside(a["patient"]) for a in asked])
        found = likelihood_ratio(
            np.array([a["scores"][LOSS] for a in asked]), np.array([a["shadows"] for a in asked]), inside
        )
        for answer, score in zip(asked, found, strict=True):
            answer["scores"][LIRA] = round(float(score), 9)
        least, left = int(inside.sum(1).min()), int((~inside).sum(1).min())
        who = "everybody" if name == "all" else "every canary"
        said.append(
            f"{who} was in {least} or more and out of {left} or more"
            if least
            else f"{who} is held against {left} that left them out"
        )
    return f"{LIRA} rests on {len(shadows.models)} shadow models: {'; '.join(said) or 'nobody could be scored'}."


def _left_out(shadows: ShadowModels, pseudonym: str) -> int:
    return int((~shadows.inside(pseudonym)).sum())
