"""The fixed words of an audit's report: what each test asks, what it is held against, how to read it."""

from __future__ import annotations

from collections.abc import Mapping

from ehrmem_widgets.views.attack_ranking import HOW_TO_READ as READ_ATTACKS
from ehrmem_widgets.views.subgroup_page import HOW_TO_READ as READ_SUBGROUPS

ASKED: Mapping[str, str] = {
    "membership": "An attacker holds somebody's whole record and asks the model how likely it is. Records that the "
    'model was trained on tend to be likelier than others; a score above a threshold means "was in the training '
    'data".',
    "attribute": "An attacker knows some facts about a person, and asks what comes next. How likely is it that the "
    "model names a sensitive attribute of that person? Codes of the attribute and strong hints at it were taken "
    "out of what is known.",
    "reconstruction": "The model is given the beginning of a record and goes on by itself. How near does it come to "
    "what really happened to this person?",
    "embedding": "The model turns what is known into numbers (an embedding). Can somebody read a sensitive attribute "
    "from these numbers that the known codes themselves do not give away?",
    "neighbours": "All full records lie in the model's own map. Do the facts that an attacker knows lead to this "
    "person's own record?",
    "perturbation": "One identifier (the age, the sex, a lab value, a date) is moved off the truth while all else "
    "stays. If the leak collapses, the model answers about this individual; if it changes smoothly, about people "
    "of this kind.",
    "subgroups": "Is more remembered of some kinds of people than of others? Every subgroup's members are compared "
    "with all other members, and the same gap among people never seen is taken away.",
    "ranking": "For every member who holds a sensitive attribute: which facts, as few and as common as possible, "
    "suffice for the model to give it away?",
    "preflight": "Before any verdict: are members and non-members alike? If they can be told apart without asking the "
    "model, by their era, their length or their codes, a difference between them need not come from memory.",
}
"""By probe: what was asked, for somebody who does not know the test."""

NULL: Mapping[str, str] = {
    "membership": "People whom neither model saw: by chance the right one of two is named in half of all pairs. The "
    "same score from the reference model must not tell them apart either.",
    "attribute": "The same question to a reference model that never saw these people (the excess is what is left), "
    "and the same excess among people whom neither model saw. Its null is no difference between the two groups.",
    "reconstruction": "What the reference model continues for the same people, and both models' continuations for "
    "people never seen.",
    "embedding": "A reader that sees the known codes only (the bag of codes), a reader of shuffled labels, the same "
    "gain for people never seen, and the reference model's. The null exchanges members and non-members at random.",
    "neighbours": "The share found for people never seen, by a reference model, and by a plain search for the known "
    "codes, which needs no model.",
    "perturbation": "The same sweep on people whom no model saw. Their spikes are the null.",
    "subgroups": "The same gap among people never seen. Corrected for all subgroups and figures together (Holm).",
    "ranking": "The very same search over people whom neither model saw: whatever it finds there, it finds by chance. And only leaks "
    "that go beyond the reference model's answer count, each asked anew with other random numbers.",
    "preflight": "An AUROC of 0.5: no classifier can do better than guessing. Differences between the groups: 0.",
}
"""By probe: what its figures are held against."""

READ: Mapping[str, str] = {
    "membership": "AUROC: how often the right one of a member and a person never seen gets the higher score; 0.5 is "
    "guessing, 1 is always. An average says little about the few who stand out most, so that the share of "
    "members found at 1 % and 0.1 % false alarms stands beside it. How far somebody who is called a member can "
    "be taken for one depends on how many of those asked about are members at all.",
    "attribute": "Excess risk: how much likelier the model names an attribute that the person has than the reference "
    "does, the largest over what a person holds; 0 is no more than anybody could know. A mean near 0 can hide a "
    "few people with a large excess: read the share called memorized beside it.",
    "reconstruction": "Distance 0 is the record itself, 1 nothing alike, in codes, order and time. A curve that falls "
    "no more than the reference's is general medicine. The published distance cannot see a shift in time, and "
    "routine codes match in everyone; so rare codes are counted too.",
    "embedding": "Above 0: the embedding of members holds what their codes do not, more than that of people never "
    "seen. That embeddings tell more than codes is no memory by itself; the difference is.",
    "neighbours": "The share of people whose own full record is among the ten nearest. If a plain search for the "
    "codes does as well, the known facts and not the model point at the person.",
    "perturbation": "Each curve is the mean over people of the leak at so many steps from the truth, less each "
    "person's own level off it. A peak at the truth for members, flat for people never seen, is memory of "
    "individuals.",
    "subgroups": READ_SUBGROUPS,
    "ranking": READ_ATTACKS,
    "preflight": "Standardised differences: 0 is none, 0.2 small, 0.8 large. Where this test finds a difference, "
    'verdicts that compare the two groups become "cannot conclude".',
}
"""By probe: how to read its figure, and when it misleads."""
