"""What a probe needs before it can be asked and decide, as conditions on the data and the models at hand.

A ``ProbeRun`` names its own in ``needs``; ``answerable`` holds them against what there is, before anything is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small
from ehrmem_widgets.statistics.verdicts import FEWEST_CONTROLS

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.check import Check, Stops
    from ehrmem_widgets.cohort.dataset import MedsDataset


class Can(StrEnum):
    """Whether a test can be done."""

    NO = "no"
    IN_PART = "in part"
    YES = "yes"


@dataclass(frozen=True)
class Lack:
    """What a probe goes without: ``words``, what to do about it (``todo``, may be empty), and what is left of the test (``leaves``; YES: it is
    only worth knowing)."""

    words: str
    todo: str = ""
    leaves: Can = Can.NO


@dataclass(frozen=True)
class Need:
    """``lack``: what is missing of it, None where nothing is. ``of_model``: what the probe asks of a model, after "needs", where it does."""

    lack: Callable[[AtHand], Lack | None]
    of_model: str = ""


@dataclass(frozen=True)
class AtHand:
    """The data and the models of an audit (``model`` None: no model was named), and the checks of them that failed."""

    dataset: MedsDataset
    model: BlackBox | None = None
    reference: BlackBox | None = None
    failed: tuple[Check, ...] = ()

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids of the members and of people whom no model saw, planted canaries left out."""
        from ehrmem_widgets.probes.people import sides

        return sides(self.dataset, self.model, self.reference)

    @cached_property
    def planted(self) -> frozenset[bool]:
        """Whether there are canaries that were trained on (True) and that never were (False)."""
        from ehrmem_widgets.cohort.ground_truth import canary_repetitions

        return frozenset(repetitions > 0 for repetitions in canary_repetitions(self.dataset).values())

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The sensitive attributes that can be asked about: the model has a code of them; without a model, the data have."""
        from ehrmem_widgets.tokens.attribute_codes import AttributeCodes

        dataset = self.dataset
        if self.model is None:
            held = set(dataset.attribute_codes.query("role == 'code'")["attribute"])
            return tuple(name for name, one in dataset.attributes.items() if one.asked_by_default and name in held)
        codes = dataset.codes["code"].tolist()
        return AttributeCodes(self.model.vocabulary, dataset.attributes, codes, dataset.descriptions).default_names()

    def failure(self, stops: Stops) -> Check | None:
        """The first failed check that stops this part of an audit."""
        return next((check for check in self.failed if check.stops == stops), None)


def failed(stops: Stops) -> Need:
    """That no check failed which stops a part of an audit."""

    def lack(at_hand: AtHand) -> Lack | None:
        check = at_hand.failure(stops)
        return failure(check) if check else None

    return Need(lack)


def failure(check: Check) -> Lack:
    """That a check failed."""
    return Lack(f"The check {check.name!r} failed: it says what to do.")


def query(asked: Query, words: str) -> Need:
    """That the model answers a kind of question, ``words``."""

    def lack(at_hand: AtHand) -> Lack | None:
        if at_hand.model is None or asked in at_hand.model.answers:
            return None
        return Lack(f"The model gives no {words}.", f"Serve the model so that it gives {words}, or audit its folder.")

    return Need(lack, words)


CONTINUATIONS = query(Query.SAMPLE, "continuations")
SCORES = query(Query.SCORES, "log-probabilities of given codes")
SCORES_OR_SAMPLES = Need(
    lambda at_hand: (
        _samples_only(at_hand) if at_hand.model and Query.SAMPLE in at_hand.model.answers else SCORES.lack(at_hand)
    ),
    SCORES.of_model,
)
"""Log-probabilities, or at least continuations: then there is one score, of samples alone."""
EMBEDDINGS = query(Query.EMBEDDINGS, "embeddings")
PROMPTS = failed("prompts")


def _start(at_hand: AtHand) -> Lack | None:
    if at_hand.model is None or at_hand.model.vocabulary.opening:
        return None
    todo = (
        "Leave that level out, as with --knowledge-levels first_10,first_20, or name the start code in a token scheme."
    )
    return Lack("The model has no start code, so it cannot be asked where nothing is known.", todo, Can.IN_PART)


START = Need(_start)
"""A start code, for the knowledge level at which nothing is known."""


def _counted(at_hand: AtHand) -> Lack | None:
    if at_hand.model is None or Query.PROBABILITIES in at_hand.model.answers:
        return None
    words = "The model gives no whole list of next-code probabilities: leaks are counted, which takes many times the samples."
    return Lack(words, leaves=Can.YES)


LEAKS = Need(_counted)
"""That leaks can be measured and need not be counted."""


def _samples_only(at_hand: AtHand) -> Lack | None:
    lack = SCORES.lack(at_hand)
    words = "The model gives no log-probabilities: membership is told from its samples alone, which finds less."
    return lack and Lack(words, lack.todo, Can.IN_PART)


def reference(leaves: Can, without: str) -> Need:
    """A reference model; ``without``: what is missing where there is none, and ``leaves`` what is left then."""

    def lack(at_hand: AtHand) -> Lack | None:
        if check := at_hand.failure("reference"):
            return Lack(f"{failure(check).words} Or leave --reference out.")
        if at_hand.model is None or at_hand.reference is not None:
            return None
        todo = "Name a model of the same kind that was trained on other patients with --reference."
        return Lack(f"Without a reference model {without}.", todo, leaves)

    return Need(lack, "a reference model" if leaves is Can.NO else "")


def _shown(count: int) -> str:
    return f"fewer than {FEWEST}" if is_small(count) else f"{count:,}" if count else "no"


def _enough(members: int, never: int, who: str, todo: str) -> Lack | None:
    """So many of each are compared; ``who``: what they have in common."""
    if min(members, never) >= FEWEST_CONTROLS:
        return None
    words = f"There are {_shown(members)} members and {_shown(never)} people never seen{who}: figures, but no verdict on members."
    return Lack(words, f"{todo} {FEWEST_CONTROLS} of each are needed.", Can.IN_PART)


def _people(at_hand: AtHand) -> Lack | None:
    if check := at_hand.failure("members"):
        return failure(check)
    members, never = map(len, at_hand.sides)
    if not len(at_hand.dataset.splits):
        todo = "Say in metadata/subject_splits.parquet who was in training and who was not."
        return Lack("Nothing says who was in training: figures, but no verdict on members.", todo, Can.IN_PART)
    split = trained_on(at_hand.model)
    return _enough(members, never, "", f"Give more patients of the split {split!r}, and more whom no model saw.")


PEOPLE = Need(_people)
"""Members and people whom no model saw, enough of each for a verdict."""


def _attributes(at_hand: AtHand) -> Lack | None:
    if at_hand.attributes:
        return None
    who = "data have" if at_hand.model is None else "model has"
    return Lack(
        f"The {who} no code of any declared sensitive attribute.",
        "Declare your own: 'ehrmem attributes --data DIR --write own.yaml' lists the codes of the data; --attribute-file names the file.",
    )


ATTRIBUTES = Need(_attributes, "codes of sensitive attributes")


def _holders(at_hand: AtHand) -> Lack | None:
    if not at_hand.attributes or _people(at_hand):
        return None
    held = at_hand.dataset.holders(at_hand.attributes)
    members, never = (int(np.isin(side, held).sum()) for side in at_hand.sides)
    return _enough(
        members,
        never,
        " who hold one of the attributes",
        "Give more patients, or declare attributes that more of them hold.",
    )


HOLDERS = Need(_holders)
"""Enough members and people never seen who hold an attribute that can be asked about."""


def _control(at_hand: AtHand) -> Lack | None:
    if at_hand.planted == {True, False}:
        return None
    words = "There are no planted canaries as a control: it can show memory, but cannot rule it out."
    return Lack(words, leaves=Can.YES)


PLANTED_CONTROL = Need(_control)
"""Planted canaries, trained on and never trained on, which show that a detector finds something."""
