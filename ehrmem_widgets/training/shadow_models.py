"""Train shadow models: small models each of which sees a random half of the people, so that for everybody some saw the record and some did
not (Carlini et al., Membership Inference Attacks From First Principles, arXiv 2112.03570)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.shadow_models import read_in_training
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import as_signed_json, whole_folder
from ehrmem_widgets.settings import SEED, SHADOWS
from ehrmem_widgets.sources import IN_TRAINING_FILE
from ehrmem_widgets.terminal import say
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from ehrmem_widgets.training.models import ids_to_train_on, train_model


def train_shadow_models(
    dataset: MedsDataset,
    out: Path,
    *,
    shadows: int,
    splits: Sequence[str] = (),
    seed: int = 0,
    epochs: int = 30,
    vocabulary: Vocabulary | None = None,
    time_to_event: bool = False,
    report: Callable[[str], None] = say,
) -> None:
    """Train ``shadows`` models into ``out``/shadow_00, shadow_01, ..., each on half of the people of ``splits`` (empty: on half of everybody).

    Beside the weights of each stands ``IN_TRAINING_FILE``, for this user's eyes only. What is there already is not trained again, so that a run
    that was interrupted goes on, and more models can be asked for later: model k depends on the seed and on k alone. The vocabulary is
    learned, unless given, from the first split (of everybody: from "train").

    Raises BadInput for splits without people, and for a folder with shadow models that were made otherwise.
    """
    SHADOWS.check(shadows, "shadow")
    SEED.check(seed, "seed")
    ids = sorted(one for split in splits for one in ids_to_train_on(dataset, split)) if splits else dataset.ids()
    vocabulary = vocabulary or learn_vocabulary(
        dataset, split=splits[0] if splits else MEMBER_SPLIT, with_ages=time_to_event
    )
    codes = hashlib.sha256("\n".join(vocabulary.codes).encode()).hexdigest()[:16]
    made_of = {
        "data": dataset.fingerprint, "splits": list(splits), "seed": seed, "epochs": epochs, "vocabulary": codes, "time_to_event": time_to_event,
    }  # fmt: skip
    out.mkdir(mode=0o700, exist_ok=True)
    for place, people in enumerate(random_halves(ids, shadows, seed)):
        folder, said = out / f"shadow_{place:02d}", f"shadow model {place + 1} of {shadows}"
        if (folder / IN_TRAINING_FILE).is_file():
            _check_made_alike(folder, made_of)
            report(f"{said}: there already")
            continue
        with whole_folder(folder) as new:
            train_model(
                dataset, new, split=splits[0] if len(splits) == 1 else None, people=people, seed=_seed(seed, place), epochs=epochs, vocabulary=vocabulary,
                time_to_event=time_to_event, report=lambda line, said=said: report(f"{said}, {line}"),  # type: ignore[misc]
            )  # fmt: skip
            inside = [dataset.pseudonym(patient) for patient in people]
            (new / IN_TRAINING_FILE).write_text(as_signed_json({"made_of": made_of, "people": inside}))


def random_halves(ids: Sequence[int], count: int, seed: int) -> Iterator[list[int]]:
    """``count`` halves of the ids, each ascending. The second is what the first left out, the fourth what the third left out and so on: everybody is in
    half of an even number.

    >>> [len(half) for half in random_halves(range(7), 3, 0)]
    [3, 4, 3]
    """
    for place in range(count):
        drawn = np.random.default_rng([seed, place // 2]).permutation(np.asarray(ids))
        first, second = drawn[: len(ids) // 2], drawn[len(ids) // 2 :]
        yield sorted(map(int, second if place % 2 else first))


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place, 17]).generate_state(1)[0])


def _check_made_alike(folder: Path, made_of: dict[str, object]) -> None:
    before, _ = read_in_training(folder)
    if other := [name for name in made_of if before.get(name) != made_of[name]]:
        name = other[0]
        raise BadInput(
            f"{str(folder)!r} holds a shadow model that was made otherwise ({name.replace('_', ' ')}: {before.get(name)}, now {made_of[name]}). Give what "
            "was given then, or name another folder."
        )
