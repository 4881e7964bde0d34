"""What a reader should do about a verdict on one patient, and what would change it: fixed sentences, chosen by the verdict and its reason code."""

from __future__ import annotations

from collections.abc import Mapping

from ehrmem_widgets.charts.markup import plural
from ehrmem_widgets.probes.findings import Answer, AttributeFinding
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict

RECOMMENDED: Mapping[Verdict, tuple[str, ...]] = {
    Verdict.MEMORIZED: (
        "Do not give this model, or its answers, to anybody who may not see this patient's record.",
        "Ask whoever trains the model to train it again without this record, or with differential privacy; then make this report again.",
    ),
    Verdict.POPULATION: (
        "Nothing needs to be done for this patient because of this question. Ask it again when the model is trained again.",
        "What the model says, it says of everybody like this patient. Whether that may be said about a group is a question of its own.",
    ),
    Verdict.CANNOT_CONCLUDE: (
        "Treat the model as before: this is neither an alarm nor an all-clear.",
        "Ask again as said under what would change our mind, before anything is decided about this patient.",
    ),
}
NOT_HELD = ("Choose an attribute that the record holds: only that can be given away.",)
NOT_JUDGED = (
    "Make the report with similar people and a reference model to compare with: without them nothing can be judged.",
)
CONFIRM = "Confirm it by a sealed question before anything rests on it: ehrmem report --sealed."

CHANGES: Mapping[str, tuple[str, ...]] = {
    "stands_out": (
        "The same question with another seed does not stand out.",
        "The record turns out not to have been in the training data, or the reference model turns out to know less in general.",
    ),
    "within_margin": (
        "Other facts, a longer horizon or another attack brings out more than is said of others like this patient.",
        "The reference model, or the similar people, turn out to have been trained on this record.",
    ),
    "too_few": ("More similar people whom no model saw.",),
    "others_too": ("A reference model that predicts people never seen as well as the audited model does.",),
    "less": ("A reference model that is more like the audited model.",),
    "planted": ("Other facts about this patient.",),
    "control_missed": ("More people, or more facts: the test must first find what was planted.",),
    "nothing_planted": ("Planted canaries that the test finds.",),
}
"""What would change our mind, by the reason of a verdict."""


def recommended(finding: AttributeFinding | None, *, exploratory: bool) -> list[str]:
    """What is recommended."""
    if finding is None or finding.judgement is None:
        return list(NOT_HELD if finding is not None and not finding.held else NOT_JUDGED)
    confirm = [CONFIRM] if exploratory and finding.judgement.verdict is Verdict.MEMORIZED else []
    return [*RECOMMENDED[finding.judgement.verdict], *confirm]


def would_change(finding: AttributeFinding | None) -> list[str]:
    """What would change our mind."""
    if finding is None or finding.judgement is None:
        return [
            "An answer that can be judged: about an attribute in the record, beside a reference model and similar people."
        ]
    return [*_open(finding.judgement), *CHANGES.get(finding.judgement.reason, ())]


def limits(answer: Answer, *, asked: str) -> list[str]:
    """What this plan cannot say."""
    return [
        *([asked] if asked else []),
        f"One attack was run: {plural(answer.known.facts, 'fact') if answer.known.facts else 'no facts'}, one model, answers of "
        f"{plural(answer.horizon, answer.unit)}. Whoever knows other facts, or asks in another way, may learn more.",
        f"Not run here: {'' if answer.reconstruction else 'reconstruction of the record, '}membership inference, perturbation of identifiers, "
        "comparison of subgroups.",
        "It is not a clearance: no result here means that the model is safe for this or any other patient.",
    ]


def _open(judgement: Judgement) -> list[str]:
    """What the verdict itself names as missing."""
    said = [str(judgement.facts[name]) for name in ("blind", "more") if name in judgement.facts]
    return [f"{one[:1].upper()}{one[1:]}." for one in said]
