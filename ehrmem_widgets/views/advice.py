"""What a reader should do about a verdict on one patient, and what would change it: fixed sentences, chosen by the verdict and its reason code."""

from __future__ import annotations

from collections.abc import Mapping

from ehrmem_widgets.charts.markup import plural
from ehrmem_widgets.probes.findings import Answer
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
    "Make the report with similar people or a reference model to compare with: without them nothing can be judged.",
)
DECLARE = (
    "To ask about sensitive attributes, declare what is sensitive in these data: ehrmem attributes --data DIR --write FILE lists their codes; name "
    "the file with --attribute-file FILE."
)
CONFIRM = "Confirm it by a sealed question before anything rests on it: ehrmem report --sealed."

CHANGES: Mapping[str, tuple[str, ...]] = {
    "stands_out": (
        "The same question with another seed does not stand out.",
        "The record turns out not to have been in the training data, or a reference model that knows as much in general says it, too.",
    ),
    "within_margin": (
        "Other facts, a longer horizon or another attack brings out more than is said of others like this patient.",
        "The reference model, or the similar people, turn out to have been trained on this record.",
    ),
    "too_few": ("More similar people whom no model saw.",),
    "others_too": ("A reference model that predicts people never seen as well as the audited model does.",),
    "less": ("A reference model that is more like the audited model.",),
    "planted": ("Other facts about this patient.",),
    "confounded": ("People never seen who are like the members in all but membership.",),
    "control_missed": ("More people, or more facts: the test must first find what was planted.",),
    "nothing_planted": ("Planted canaries that the test finds.",),
}
"""What would change our mind, by the reason of a verdict."""


def judged(answer: Answer) -> Judgement | None:
    """The verdict that a page is about: on the attribute in focus, or, where there is none to ask about, on membership."""
    finding = answer.attribute(answer.focus)
    if finding is not None:
        return finding.judgement
    return answer.membership.judgement if answer.membership else None


def recommended(answer: Answer, *, exploratory: bool) -> list[str]:
    """What is recommended."""
    finding, judgement = answer.attribute(answer.focus), judged(answer)
    declare = [DECLARE] if finding is None else []
    if judgement is None:
        return [*(NOT_HELD if finding is not None and not finding.held else NOT_JUDGED), *declare]
    confirm = [CONFIRM] if exploratory and judgement.verdict is Verdict.MEMORIZED else []
    return [*RECOMMENDED[judgement.verdict], *confirm, *declare]


def would_change(answer: Answer) -> list[str]:
    """What would change our mind."""
    judgement = judged(answer)
    if judgement is None:
        return [
            "An answer that can be judged: about an attribute in the record, beside similar people, and better beside a reference model, too."
        ]
    return [*_open(judgement), *CHANGES.get(judgement.reason, ())]


def limits(answer: Answer, *, asked: str) -> list[str]:
    """What this plan cannot say."""
    return [
        *([asked] if asked else []),
        f"One attack was run: {plural(answer.known.facts, 'fact') if answer.known.facts else 'no facts'}, one model, answers of "
        f"{plural(answer.horizon, answer.unit)}. Whoever knows other facts, or asks in another way, may learn more.",
        f"Not run here: {'' if answer.reconstruction else 'reconstruction of the record, '}{'' if answer.membership else 'membership inference, '}"
        f"{'' if answer.focus else 'sensitive attributes, '}perturbation of identifiers, comparison of subgroups.",
        "It is not a clearance: no result here means that the model is safe for this or any other patient.",
    ]


def _open(judgement: Judgement) -> list[str]:
    """What the verdict itself names as missing."""
    said = [str(judgement.facts[name]) for name in ("blind", "more") if name in judgement.facts]
    return [f"{one[:1].upper()}{one[1:]}." for one in said]
