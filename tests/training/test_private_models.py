"""Private training bounds what one patient adds, adds the noise that the accountant asks for, and says what it spent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant

from ehrmem_widgets.blackbox.checks import check_has_learned
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data, sample_private
from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.training.models import new_model
from ehrmem_widgets.training.private_models import (
    clipped_sum,
    noise_and_epsilon,
    patient_gradients,
    private_gradient,
    train_private_model,
)

PATIENTS = [[[1, 5, 9, 4, 2]], [[1, 7, 7], [6, 3, 8, 2]], [[1, 11, 5, 12, 13, 14, 6, 2]], [[1, 9]], []]
SMALL = {"steps": 3, "sampling_rate": 0.3, "context": 64, "width": 48, "layers": 1}


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(4)
    return new_model(
        Vocabulary(("[PAD]", "[BOS]", "[EOS]", *(f"C//{i}" for i in range(17)))), context=16, width=96, layers=2
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    folder = tmp_path_factory.mktemp("private") / "cohort"
    generate_cohort(folder, seed=3, members=110, non_members=20, reference=20, canaries=2, null_canaries=4, rare=6)
    return MedsDataset(folder)


def plain_gradient(model: torch.nn.Module, windows: list[list[int]]) -> dict[str, torch.Tensor]:
    """One patient alone through plain autograd, window by window without padding: the mean over all codes."""
    model.zero_grad()
    loss = torch.zeros(())
    for window in windows:
        logits = model(input_ids=torch.tensor([window])).logits[0, :-1]
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(window[1:]), reduction="sum")
    (loss / sum(len(window) - 1 for window in windows)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def norm(gradients: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(g.square().sum().item() for g in gradients.values()))


def test_the_gradient_of_a_patient_is_the_plain_gradient_of_that_patient_alone(model: torch.nn.Module) -> None:
    for windows in PATIENTS[:4]:
        plain = plain_gradient(model, windows)
        unclipped = clipped_sum(model, [windows], clip=1e6)
        assert set(plain) == set(unclipped)
        for name, gradient in plain.items():
            torch.testing.assert_close(unclipped[name], gradient, rtol=1e-4, atol=1e-6)


def test_no_patient_adds_more_than_the_clipping_norm(model: torch.nn.Module) -> None:
    assert sum(len(next(iter(g.values()))) for g in patient_gradients(model, PATIENTS)) == 4
    whole = [norm(plain_gradient(model, windows)) for windows in PATIENTS[:4]]
    assert min(whole) > 0.5
    for windows, before in zip(PATIENTS, whole, strict=False):
        assert norm(clipped_sum(model, [windows], clip=0.5)) == pytest.approx(0.5, rel=1e-4)
        assert norm(clipped_sum(model, [windows], clip=2 * before)) == pytest.approx(before, rel=1e-4)
    assert norm(clipped_sum(model, [[]], clip=0.5)) == 0
    together = clipped_sum(model, PATIENTS, clip=0.5)
    alone = [clipped_sum(model, [windows], clip=0.5) for windows in PATIENTS]
    for name, total in together.items():
        torch.testing.assert_close(total, torch.stack([one[name] for one in alone]).sum(0), rtol=1e-4, atol=1e-6)


def test_the_noise_is_the_least_that_keeps_within_epsilon() -> None:
    delta, rate, steps = 1 / 1100, SMALL["sampling_rate"], SMALL["steps"]
    noise, spent = noise_and_epsilon(8.0, delta, rate, steps)
    assert 7.9 < spent <= 8.0
    accountant = PRVAccountant()
    accountant.history = [(noise * 0.98, rate, steps)]
    assert accountant.get_epsilon(delta) > 8.0


def test_a_step_adds_that_noise_to_the_clipped_sum(model: torch.nn.Module) -> None:
    drawn = []
    for patients in ([], PATIENTS):
        torch.manual_seed(6)
        drawn.append(private_gradient(model, patients, clip=0.5, noise=1.7, expected=30.0))
    noise, noised = drawn
    values = torch.cat([gradient.flatten() for gradient in noise.values()])
    assert len(values) > 100_000
    assert values.std().item() == pytest.approx(1.7 * 0.5 / 30, rel=0.01)
    assert abs(values.mean().item()) < 5 * 1.7 * 0.5 / 30 / math.sqrt(len(values))
    for name, total in clipped_sum(model, PATIENTS, clip=0.5).items():
        torch.testing.assert_close(noised[name] - noise[name], total / 30, rtol=1e-3, atol=1e-6)


def test_what_is_reported_can_be_recomputed_and_the_same_seed_gives_the_same_weights(
    cohort: MedsDataset, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_private_model(cohort, tmp_path / name, epsilon=8.0, seed=seed, report=lambda _: None, **SMALL)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    check_recomputed(json.loads((tmp_path / "a" / "training.json").read_text()), patients=110, epsilon=8.0)


def check_recomputed(facts: dict[str, float], patients: int, epsilon: float) -> None:
    accountant = PRVAccountant()
    accountant.history = [(facts["noise_multiplier"], facts["sampling_rate"], facts["steps"])]
    assert facts["epsilon"] == pytest.approx(accountant.get_epsilon(facts["delta"]), abs=1e-9)
    assert 0.98 * epsilon < facts["epsilon"] <= epsilon
    assert facts["delta"] == pytest.approx(1 / (10 * patients))


def test_settings_that_protect_nobody_are_refused(cohort: MedsDataset, tmp_path: Path) -> None:
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(BadInput, match=r"epsilon must be a number from 0.01 to 50"):
            train_private_model(cohort, tmp_path / "m", epsilon=epsilon)
    for delta in (0.0, 0.5, math.nan):
        with pytest.raises(BadInput, match="Delta must be above 0 and below 1 / patients"):
            train_private_model(cohort, tmp_path / "m", epsilon=8.0, delta=delta)
    with pytest.raises(BadInput, match="has 20 patients: too few for private training"):
        train_private_model(cohort, tmp_path / "m", epsilon=8.0, split="reference")
    assert not (tmp_path / "m").exists()


def test_the_command_takes_epsilon_instead_of_epochs(
    cohort: MedsDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(cohort.root), "--out", str(tmp_path / "m"), "--epsilon"]
    assert main([*words, "8", "--epochs", "3"]) == 2
    assert "leave out --epochs and --minutes" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*words, "-1"])
    assert "argument --epsilon: it must be a number from 0.01 to 50" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_sample_says_its_epsilon_and_has_learned_without_the_patients() -> None:
    model, dataset = FolderModel(sample_private()), MedsDataset(sample_data())
    check_recomputed(model.training, patients=1100, epsilon=3.0)
    assert model.training["split"] == "train" and model.training["unit_of_privacy"] == "patient"
    sequences = [
        model.vocabulary.ids(encode(record, model.vocabulary).codes)
        for record in dataset.records(dataset.ids("train")[:100])
    ]
    assert check_has_learned(model, sequences) > 0.3
    assert np.mean([scores.mean() for scores in model.score(sequences)]) > -5.4  # a code's frequency alone: -5.5
