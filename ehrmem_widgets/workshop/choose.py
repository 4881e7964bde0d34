"""Choose the people, the ten cards and the figures of the lesson from findings on the sample models:

    python -m ehrmem_widgets.workshop.choose

Everybody who may be shown is screened with a few trajectories by both models; then the likeliest are asked in full, as on the main screen, until
there are enough of each kind. So no figure of the lesson is typed, and a retrained model brings other people and other figures. It can be stopped
and takes up where it was (the answers so far are kept in ``--answers``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.opening import open_with
from ehrmem_widgets.blackbox.protocol import BlackBox, SlotIds
from ehrmem_widgets.blackbox.training_splits import seen_by, trained_on
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.probes.exploration import HORIZON, Exploration
from ehrmem_widgets.probes.leak import leaks_of_many, slot_ids
from ehrmem_widgets.samples.folders import (
    sample_data,
    sample_model,
    sample_moderate,
    sample_private,
    sample_reference,
)
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.terminal import say
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.workshop.asking import SEED, Asked, Figure, Kept, ask, can_be_asked, sensitive
from ehrmem_widgets.workshop.chosen import FILE, Chosen, Odds, TrainedAs
from ehrmem_widgets.workshop.odds import advantage, right_of

KNOWLEDGE = "lab_values"
LITTLE = "age_sex"
BEGINNING = "first_20"
"""What is known of people never seen: diagnoses and drugs tell a model more than labs do."""
STEPS = ("age_sex", "one_lab", "lab_values")
"""What the attacker knows in the lesson's key to "be the attacker"."""
CARDS, PLANTED, PERSONS = 10, 3, 2
LOUD = 0.25
"""What a memory card shows at least: the attribute in a quarter of the answers."""
SAID = 0.15
"""What the card that fools shows at least: somebody never seen, and the model says it in every seventh answer."""
LESSON_PATIENTS = 2
_SCREENED = 8  # trajectories a person
_MEMBERS, _NEVER, _LOSSES, _CODES = 80, 140, 200, 64
_OFTEN = 16  # how often those planted most often stood in the training data
_TRIES = 16  # people asked in full for one card, at most


def main(argv: Sequence[str] | None = None) -> None:
    """Choose, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m ehrmem_widgets.workshop.choose", description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE, help="the file to write (the one of this package)")
    parser.add_argument("--answers", type=Path, help="keep the answers so far in this file, and take up from it")
    arguments = parser.parse_args(argv)
    found = choose(Kept(arguments.answers))
    write_whole({arguments.out: found.model_dump_json(indent=1) + "\n"})
    say(f"Wrote {arguments.out}.")


def choose(kept: Kept) -> Chosen:
    """The people, cards and figures."""
    exploration = open_sample("memorizing")
    names = sensitive(exploration)
    members = _members(exploration, names)
    most = [one for one in exploration.canaries if canary_repetitions(exploration.dataset)[one] == _OFTEN]
    planted = _holders(exploration, names, most, len(most), KNOWLEDGE)
    never = _holders(exploration, names, _never_seen(exploration), _NEVER, BEGINNING)
    _say(f"{len(members)} members, {len(planted)} who were planted and {len(never)} never seen are screened ...")
    groups = {"members": (members, KNOWLEDGE), "planted": (planted, KNOWLEDGE), "never": (never, BEGINNING)}
    both = (exploration.model, _reference(exploration))
    leaks = {
        name: tuple(_screen(one, exploration, names, people, knowledge) for one in both)
        for name, (people, knowledge) in groups.items()
    }
    cards = _cards(exploration, kept, {name: people for name, (people, _) in groups.items()}, leaks)
    shown = sorted((one for one in cards if one.verdict == Verdict.MEMORIZED), key=lambda one: -one.audited.value)[
        :LESSON_PATIENTS
    ]
    ids = {one.patient: exploration.dataset.find(one.patient) for one in shown}
    first = shown[0]
    attack = [_ask(exploration, kept, ids[first.patient], first.attribute, knowledge) for knowledge in STEPS]
    models = {"memorizing": exploration, **{name: open_sample(name, exploration) for name in ("moderate", "private")}}
    trained = [
        _trained(
            one,
            leaks["members"][0] if one is exploration else _screen(one.model, exploration, names, members, KNOWLEDGE),
        )
        for one in models.values()
    ]
    patients = [
        _ask(one, kept, ids[card.patient], card.attribute, KNOWLEDGE) for card in shown for one in models.values()
    ]
    return Chosen(
        command="python -m ehrmem_widgets.workshop.choose",
        seed=SEED,
        asked=kept.n,
        attack=tuple(attack),
        cards=tuple(cards),
        patients=tuple(patients),
        training=tuple(trained),
        reference=_reference(exploration).fingerprint,
        odds=_odds(sample_private()),
    )


def open_sample(name: str, beside: Exploration | None = None) -> Exploration:
    """A sample model by name, with the sample cohort and the reference; ``beside`` another, it shares these."""
    folder = {"memorizing": sample_model, "moderate": sample_moderate, "private": sample_private}[name]()
    if beside is None:
        return Exploration(*open_with(sample_data(), folder, sample_reference()), folder=folder)
    return Exploration(*open_with(beside.dataset, folder, beside.reference), folder=folder)


def _reference(exploration: Exploration) -> BlackBox:
    assert exploration.reference is not None
    return exploration.reference


Person = tuple[int, str]
"""A patient's id and an attribute that the record holds after the known facts."""


def _members(exploration: Exploration, names: Sequence[str]) -> list[Person]:
    """Members at random, none of them planted."""
    planted = set(exploration.canaries)
    ids = [one for one in exploration.dataset.ids(trained_on(exploration.model)) if one not in planted]
    return _holders(exploration, names, ids, _MEMBERS, KNOWLEDGE)


def _never_seen(exploration: Exploration) -> list[int]:
    seen = seen_by(exploration.model, exploration.reference)
    dataset = exploration.dataset
    return [one for name in dataset.splits if name not in seen for one in dataset.ids(name)]


def _holders(
    exploration: Exploration, names: Sequence[str], ids: Sequence[int], most: int, knowledge: str
) -> list[Person]:
    """So many who hold an attribute that can still be given away, by chance, each with the most severe one."""
    holders = set(exploration.dataset.holders(list(names)))
    order = np.random.default_rng(SEED).permutation(sorted(holders.intersection(ids)))
    severity = {name: one.severity for name, one in exploration.attributes.attributes.items()}
    found: list[Person] = []
    for patient in order.tolist():
        if len(found) == most:
            break
        held = [name for name in exploration.held(patient) if name in names]
        held = [name for name in held if can_be_asked(exploration, patient, name, knowledge)]
        if held:
            found.append((patient, max(held, key=lambda name: severity[name])))
    return found


def _screen(
    model: BlackBox, exploration: Exploration, names: Sequence[str], people: Sequence[Person], knowledge: str
) -> np.ndarray:
    """(people,) how often a model names each person's attribute."""
    prompts: list[SlotIds] = []
    for patient, _ in people:
        record = exploration.record(patient)
        facts = facts_of_level(knowledge, record, model.vocabulary)
        prompt = build_prompt(record, facts, model.vocabulary, strip=exploration.attributes.strip(names, record))
        prompts.append(slot_ids(prompt, model.vocabulary)[: model.context_length - HORIZON])
    track = exploration.attributes.track(names, exploration.record(people[0][0]))
    *_, found = leaks_of_many(model, prompts, track, HORIZON, _SCREENED, SEED)
    assert found is not None  # the last is the answer
    return np.array([found.means[row, names.index(name)] for row, (_, name) in enumerate(people)])


def _ask(exploration: Exploration, kept: Kept, patient: int, attribute: str, knowledge: str) -> Asked:
    key = (exploration.model.name, exploration.record(patient).pseudonym, attribute, knowledge)
    found = kept.get(key, lambda: ask(exploration, patient, attribute, knowledge))
    _say(f"{key}: {found.audited.value:.2f}, {found.reference.value:.2f}, {found.verdict}")
    return found


def _cards(
    exploration: Exploration,
    kept: Kept,
    groups: Mapping[str, Sequence[Person]],
    leaks: Mapping[str, Sequence[np.ndarray]],
) -> list[Asked]:
    """Five that are memory, three of people who were planted, and five that are not: one person never seen of whom the model says it all the same,
    two members of whom the attacker knows little, and two people never seen of whom it says little. No attribute twice in a group, as long as
    there are others."""

    def likeliest(group: str, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Iterator[Person]:
        return (groups[group][row] for row in np.argsort(-score(*leaks[group]), kind="stable"))

    def more(audited: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return audited - reference

    def loud(audited: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.minimum(audited, reference) - 2 * np.abs(audited - reference)

    def quiet(audited: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return -np.maximum(audited, reference) - np.abs(audited - reference)

    wanted = [
        (likeliest("planted", more), KNOWLEDGE, Verdict.MEMORIZED, PLANTED, LOUD),
        (likeliest("members", more), KNOWLEDGE, Verdict.MEMORIZED, PERSONS, LOUD),
        (likeliest("never", loud), BEGINNING, Verdict.POPULATION, 1, SAID),
        (likeliest("members", more), LITTLE, Verdict.POPULATION, 2, 0.0),
        (likeliest("never", quiet), BEGINNING, Verdict.POPULATION, 2, 0.0),
    ]
    cards: list[Asked] = []
    for candidates, knowledge, verdict, n, least in wanted:
        cards += _confirmed(exploration, kept, candidates, knowledge, verdict, n, least)
    if len(cards) != CARDS:
        raise BadInput(f"The sample models give only {len(cards)} of {CARDS} cards. Look at them before the lesson.")
    return [cards[place] for place in np.random.default_rng(SEED).permutation(CARDS)]


def _confirmed(
    exploration: Exploration,
    kept: Kept,
    candidates: Iterator[Person],
    knowledge: str,
    verdict: Verdict,
    n: int,
    least: float,
) -> list[Asked]:
    """The first n of the candidates for whom the full answer has this verdict."""
    found: list[Asked] = []
    waiting: list[Person] = []  # another with an attribute that is there already
    tries = 0
    for patient, attribute in candidates if n == 1 else (*_firsts(candidates, waiting), *waiting):
        if len(found) == n or tries == _TRIES:
            break
        if not can_be_asked(exploration, patient, attribute, knowledge):
            continue
        tries += 1
        one = _ask(exploration, kept, patient, attribute, knowledge)
        if one.verdict == verdict and one.audited.low >= least:
            found.append(one)
    return found


def _firsts(candidates: Iterator[Person], waiting: list[Person]) -> list[Person]:
    """The first of each attribute; the others wait."""
    taken: set[str] = set()
    firsts: list[Person] = []
    for person in candidates:
        (waiting if person[1] in taken else firsts).append(person)
        taken.add(person[1])
    return firsts


def _trained(exploration: Exploration, leaks: np.ndarray) -> TrainedAs:
    model = exploration.model
    context = min(model.context_length, _CODES)
    records = exploration.controls.records[:_LOSSES]
    sequences = [encode(one, model.vocabulary).ids(model.vocabulary)[:context] for one in records]
    losses = np.array([-float(np.mean(scores)) for scores in model.score([ids for ids in sequences if len(ids) > 1])])
    return TrainedAs(
        model=model.name,
        fingerprint=model.fingerprint,
        leak=Figure.of(mean_with_interval(leaks.clip(0, 1), bounds=(0, 1))),
        loss=Figure.of(mean_with_interval(losses[np.isfinite(losses)])),
    )


def _odds(folder: Path) -> Odds:
    from ehrmem_widgets.training.private_models import attack_advantage

    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    epsilon, delta = facts["epsilon"], facts["delta"]
    by_noise = attack_advantage(facts["noise_multiplier"], facts["sampling_rate"], facts["steps"])
    return Odds(
        of=100,
        coin=50,
        promised=right_of(100, advantage(epsilon, delta)),
        by_noise=right_of(100, by_noise),
        epsilon=round(epsilon, 2),
        delta=delta,
    )


def _say(line: str) -> None:
    say(line, errors=True)


if __name__ == "__main__":
    main()
