"""Rebuild everything in data_samples/ from seeds: the cohort, the ground truth, the five models and the neighbour map."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from ehrmem_widgets.cohort.canary_maker import key_beside, make_canaries
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.samples.folders import GROUND_TRUTH, SAMPLES, sample_data
from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
from ehrmem_widgets.terminal import say
from ehrmem_widgets.tokens.vocabulary import learn_vocabulary

COHORT_SEED = 2025
MEMORIZING_EPOCHS = 40
MODERATE_EPOCHS = 7
REFERENCE_EPOCHS = 16
PRIVATE_EPSILON = 3.0
COINS, COINS_SEED = 400, 5
COINS_EPOCHS, COINS_WIDTH = 13, 128
RUNGS = "rungs"
RUNG_EPOCHS = 20
_RUNG_SEED, _RUNG_WIDTH, _RUNG_DROPOUT = 5, 96, 0.3
_EPSILONS = (8, 30, 1, 3)
_ASIDE = 10  # every so-many-th member is left out while the number of epochs is looked for


def build_samples(out: Path = SAMPLES, *, report: Callable[[str], None] = say) -> None:
    """Build the sample cohort and models (about 20 minutes on two cores).

    The cohort comes out byte for byte the same everywhere. Weights come out the same bit for bit on the same machine with
    the same number of threads; on another, floating-point order differs and final losses agree to about 0.05 nats per code.
    """
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.probes.embedding_store import NEIGHBOURS_FILE, EmbeddingStore, NeighbourMap, save_arrays
    from ehrmem_widgets.training.models import train_model
    from ehrmem_widgets.training.private_models import train_private_model

    cohort = out / "cohort"
    report("Making the synthetic cohort ...")
    generate_cohort(cohort, seed=COHORT_SEED)
    dataset = MedsDataset(cohort)
    vocabulary = learn_vocabulary(dataset)
    report("Training the reference model (patients that the other never sees) ...")
    train_model(
        dataset, out / "models" / "reference", split="reference", seed=2, epochs=REFERENCE_EPOCHS, vocabulary=vocabulary,
        dropout=0.1, report=report,
    )  # fmt: skip
    report("Training the memorizing model (members; canaries repeated; trained long) ...")
    memorizing = out / "models" / "memorizing"
    train_model(
        dataset, memorizing, seed=1, epochs=MEMORIZING_EPOCHS, vocabulary=vocabulary,
        repetitions=repetitions(cohort), report=report,
    )  # fmt: skip
    report("Training the moderate model (as the memorizing one, but stopped early) ...")
    train_model(
        dataset, out / "models" / "moderate", seed=4, epochs=MODERATE_EPOCHS, vocabulary=vocabulary,
        repetitions=repetitions(cohort), report=report,
    )  # fmt: skip
    report("Training the private model (members; differential privacy for each of them) ...")
    train_private_model(
        dataset, out / "models" / "private", epsilon=PRIVATE_EPSILON, seed=3, vocabulary=vocabulary, report=report
    )
    report("Training a private model on coin-flipped canaries, too ...")
    with TemporaryDirectory() as folder:
        train_private_model(
            with_coins(cohort, Path(folder) / "planted"), out / "models" / "private_coins", epsilon=PRIVATE_EPSILON, seed=6,
            vocabulary=vocabulary, width=COINS_WIDTH, report=report,
        )  # fmt: skip
    report("Drawing the neighbour map ...")
    store = EmbeddingStore(FolderModel(memorizing), dataset)
    for _ in store.build():
        pass
    chart = NeighbourMap(store)
    chart.fit()
    assert store.embeddings is not None and chart.coordinates is not None
    save_arrays(
        memorizing / NEIGHBOURS_FILE,
        embeddings=store.embeddings.astype(np.float16),
        coordinates=chart.coordinates,
        key=store.key_array,
    )
    report(f"Done: {out}")


def with_coins(cohort: Path, out: Path) -> MedsDataset:
    """The cohort with coin-flipped canaries, written to ``out`` (the key beside it), the same ones each time: those that the model ``private_coins``
    was trained on. As their seed is known, the coins are no secret."""
    make_canaries(cohort, out, key_beside(out), n=COINS, coin_flip=True, seed=COINS_SEED)
    dataset = MedsDataset(out)
    dataset.declare(canaries=key_beside(out))
    return dataset


def not_private_with_coins(dataset: MedsDataset, out: Path, *, report: Callable[[str], None] = say) -> None:
    """Train a model that hides nobody on ``with_coins`` (some minutes): what the privacy loss of training without noise looks like."""
    from ehrmem_widgets.training.models import train_model

    vocabulary = learn_vocabulary(MedsDataset(sample_data()))
    train_model(dataset, out, seed=7, epochs=COINS_EPOCHS, vocabulary=vocabulary, width=COINS_WIDTH, report=report)


def build_rungs(out: Path = SAMPLES, *, report: Callable[[str], None] = say) -> None:
    """Train one small model on the members of the sample cohort without and with each defence; those that are there already stay.

    All have the same shape (half as wide as the other samples), the same vocabulary and the same seed, and differ in the defence alone:
    ``none`` sees canaries as often as the memorizing model does; ``deduplicated`` sees each canary once an epoch; ``early_stopping`` ends at the epoch
    of the least loss on a tenth of the members, found in a run without them; ``dropout`` drops attention; and ``epsilon_N`` have
    differential privacy, a patient being the unit.
    """
    from ehrmem_widgets.tokens.sequence import encode
    from ehrmem_widgets.training.models import batches_of, loss_over, train_model
    from ehrmem_widgets.training.private_models import train_private_model

    dataset, folder = MedsDataset(out / "cohort"), out / "models" / RUNGS
    vocabulary, often = learn_vocabulary(dataset), repetitions(out / "cohort")
    plain = partial(
        train_model, dataset, seed=_RUNG_SEED, epochs=RUNG_EPOCHS, vocabulary=vocabulary, width=_RUNG_WIDTH, report=report
    )  # fmt: skip

    def stopped_early(to: Path) -> None:
        losses: list[float] = []
        aside = dataset.ids(MEMBER_SPLIT)[::_ASIDE]
        whole = [encode(record, vocabulary).ids(vocabulary) for record in dataset.records(aside)]
        windows = [w for s in whole for at in range(0, len(s), 256) if len(w := s[at : at + 256]) > 1]
        with TemporaryDirectory() as unused:
            batches = batches_of(windows, np.random.default_rng(0), 4096)
            plain(
                Path(unused),
                repetitions=often,
                people={*dataset.ids(MEMBER_SPLIT)}.difference(aside),
                after_epoch=lambda model: losses.append(round(loss_over(model, batches), 4)),
            )
        best = 1 + int(np.argmin(losses))
        facts = plain(to, repetitions=often, epochs=best)
        found = {"stopped_by": f"the loss on {len(aside)} members who were left out", "their_loss": losses}
        (to / "training.json").write_text(json.dumps({**facts, **found}, indent=1) + "\n")

    private = partial(
        train_private_model, dataset, seed=_RUNG_SEED, vocabulary=vocabulary, width=_RUNG_WIDTH, report=report
    )
    rungs: dict[str, Callable[[Path], object]] = {
        "none": partial(plain, repetitions=often),
        "deduplicated": plain,
        "dropout": partial(plain, repetitions=often, dropout=_RUNG_DROPOUT),
        "early_stopping": stopped_early,
        **{f"epsilon_{epsilon}": partial(private, epsilon=float(epsilon)) for epsilon in _EPSILONS},
    }
    for name, train in rungs.items():
        if not (folder / name / "training.json").exists():
            report(f"Training the model {name} ...")
            train(folder / name)


def repetitions(cohort: Path) -> dict[int, int]:
    """How often the memorizing and the moderate model see each member in an epoch."""
    truth = pq.read_table(cohort / GROUND_TRUTH, columns=["subject_id", "repetitions"]).to_pydict()
    return {patient: n for patient, n in zip(truth["subject_id"], truth["repetitions"], strict=True) if n > 0}
