"""Train the same small Llama with differential privacy, a patient being the unit: a model that should remember nobody.

DP-SGD (Abadi et al. 2016, Deep Learning with Differential Privacy, Algorithm 1) with Adam on the noised gradient; the noise is
set and the privacy loss reported by Opacus' PRV accountant (Gopi, Lee and Wutschitz 2021, Numerical Composition of
Differential Privacy)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, extra
from ehrmem_widgets.settings import EPSILON, SEED
from ehrmem_widgets.terminal import say
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from ehrmem_widgets.training.models import (
    every_core,
    falling,
    ids_to_train_on,
    new_model,
    padded,
    record_windows,
    save_model,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEWEST_PATIENTS = 100
_CODES_AT_ONCE = 2048  # each patient's gradient is as large as the model: few patients at a time
_WARM_UP = 10
_NOTE = (
    "Covers the weights, against adding or leaving out all data of one patient. It does not cover the vocabulary (codes, "
    "value bins), the number of patients and the choice of the settings. The noise comes from the seed, so that this can be "
    "rebuilt: a model to be released needs secret noise."
)


def train_private_model(
    dataset: MedsDataset,
    out: Path,
    *,
    epsilon: float,
    delta: float | None = None,
    split: str = "train",
    seed: int = 0,
    steps: int = 200,
    sampling_rate: float = 0.1,
    clip: float = 1.0,
    learning_rate: float = 8e-3,
    vocabulary: Vocabulary | None = None,
    context: int = 256,
    width: int = 192,
    layers: int = 2,
    report: Callable[[str], None] = say,
) -> dict[str, object]:
    """Train on one split so that the weights are (epsilon, delta) differentially private, and write a model folder.

    In each step every patient takes part with probability ``sampling_rate``, by chance alone (Poisson sampling). The gradient
    of a patient, averaged over all codes of all windows of the record, is cut to the Euclidean norm ``clip``; Gaussian noise
    covers what any one of them adds to the sum. ``delta`` is 1 / (10 x patients) unless given. No loss is reported: it would
    be taken from the patients without noise.

    Raises
    ------
    BadInput
        For an epsilon outside 0.01 to 50, a delta outside 0 to 1 / patients, or a split of fewer than 100 patients.

    """
    SEED.check(seed, "seed")
    ids = ids_to_train_on(dataset, split)
    delta = 1 / (10 * len(ids)) if delta is None else delta
    _check(epsilon, delta, len(ids), split)
    vocabulary = vocabulary or learn_vocabulary(dataset, split=split)
    noise, spent = noise_and_epsilon(epsilon, delta, sampling_rate, steps)
    records = dataset.records(ids)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = new_model(vocabulary, context=context, width=width, layers=layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.98))
    begun = time.monotonic()
    with every_core():
        for step in range(steps):
            drawn = [records[i] for i in np.flatnonzero(rng.random(len(records)) < sampling_rate)]
            windows = [record_windows(record, vocabulary, context, rng) for record in drawn]
            gradient = private_gradient(model, windows, clip, noise, sampling_rate * len(records))
            for name, parameter in model.named_parameters():
                parameter.grad = gradient[name]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (step + 1) / _WARM_UP) * falling(step / steps)
            optimizer.step()
            if (step + 1) % 20 == 0:
                report(f"step {step + 1} of {steps} ({time.monotonic() - begun:.0f} s)")
    facts = {
        "data": dataset.name,
        "split": split,
        "patients": len(ids),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "epsilon": spent,
        "delta": delta,
        "unit_of_privacy": "patient",
        "accountant": "Opacus PRV, Poisson sampling",
        "sampling_rate": sampling_rate,
        "noise_multiplier": noise,
        "clip": clip,
        "steps": steps,
        "learning_rate": learning_rate,
        "privacy_note": _NOTE,
    }
    save_model(model, vocabulary, facts, out)
    return facts


@cache  # about ten seconds
def noise_and_epsilon(epsilon: float, delta: float, sampling_rate: float, steps: int) -> tuple[float, float]:
    """The least noise (its standard deviation in units of the clipping norm, rounded up to 4 digits) that keeps within epsilon,
    and the epsilon it spends (the accountant's upper bound, at most 0.01 below what was asked for).

    Raises BadInput when no noise would do.
    """
    with extra("training", "Training with differential privacy"):
        from opacus.accountants import PRVAccountant  # slow to import, and wanted here only
        from opacus.accountants.utils import get_noise_multiplier

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the orders of a looser bound, which only gives the search its range
            least = get_noise_multiplier(
                target_epsilon=epsilon, target_delta=delta, sample_rate=sampling_rate, steps=steps, accountant="prv"
            )
    except ValueError as error:
        raise BadInput(
            f"No noise keeps {steps} steps within epsilon {epsilon:g} ({error}). Give a larger one."
        ) from None
    accountant = PRVAccountant()
    noise = math.ceil(least * 1e4) / 1e4
    accountant.history = [(noise, sampling_rate, steps)]
    return noise, float(accountant.get_epsilon(delta))


def attack_advantage(noise: float, sampling_rate: float, steps: int) -> float:
    """The largest difference between hits and false alarms of any attacker who tells from the weights who took part: delta at epsilon 0, by the
    PRV accountant. It is far below what epsilon and delta alone allow (Kulynych et al. 2024, Attack-Aware Noise Calibration for Differential
    Privacy)."""
    with extra("training", "Odds from the noise of private training"):
        from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise, sampling_rate, steps)]
    return float(accountant._get_dprv(eps_error=0.01, delta_error=1e-8).compute_delta_estimate(0.0))


def private_gradient(
    model: PreTrainedModel, patients: Sequence[list[list[int]]], clip: float, noise: float, expected: float
) -> dict[str, Tensor]:
    """The clipped sum of the patients drawn with noise of standard deviation ``noise`` x ``clip`` (torch's generator), divided
    by how many were expected (how many were drawn is not public); by parameter."""
    sums = clipped_sum(model, patients, clip)
    return {name: (sums[name] + noise * clip * torch.randn(sums[name].shape)) / expected for name in sums}


def clipped_sum(model: PreTrainedModel, patients: Sequence[list[list[int]]], clip: float) -> dict[str, Tensor]:
    """The sum over patients (each a list of windows of ids) of their gradients, each cut to the norm ``clip``; by parameter."""
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for gradients in patient_gradients(model, patients):
        norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
        factors = (clip / norms.clamp(min=1e-12)).clamp(max=1.0)
        for name, gradient in gradients.items():
            sums[name] += torch.tensordot(factors, gradient, dims=1)
    return sums


def patient_gradients(model: PreTrainedModel, patients: Sequence[list[list[int]]]) -> Iterator[dict[str, Tensor]]:
    """Gradients of each patient's mean loss (nats per code, over all windows together), some patients at a time: by parameter,
    shape (patients, *parameter). Patients come in order of their longest window; those without any are left out (zero)."""
    model.set_attn_implementation("eager")  # the faster kernels have no rule for many gradients at once
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights: dict[str, Tensor], windows: Tensor) -> Tensor:
        given = {"input_ids": windows.clamp(min=0), "use_cache": False}
        logits = torch.func.functional_call(model, weights, kwargs=given).logits[:, :-1]
        target = windows[:, 1:].flatten()
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target, ignore_index=-1)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    for batch in _batches(patients):
        yield gradients(weights, batch)


def _batches(patients: Sequence[list[list[int]]]) -> Iterator[Tensor]:
    """Patients of as many windows and like length together: (patients, windows, codes), filled up with -1."""
    left = sorted((windows for windows in patients if windows), key=lambda w: (len(w), max(map(len, w))), reverse=True)
    while left:
        rows = len(left[0])
        at_once = max(1, _CODES_AT_ONCE // (rows * max(map(len, left[0]))))
        batch = [[*windows, *[[-1]] * (rows - len(windows))] for windows in left[:at_once]]
        left = left[at_once:]
        yield padded([window for windows in batch for window in windows]).unflatten(0, (-1, rows))


def _check(epsilon: float, delta: float, patients: int, split: str) -> None:
    EPSILON.check(epsilon, "epsilon")
    if patients < FEWEST_PATIENTS:
        raise BadInput(
            f"The split {split!r} has {patients} patients: too few for private training, whose noise would hide everything. "
            f"Give {FEWEST_PATIENTS} or more."
        )
    if not 0 < delta < 1 / patients:
        raise BadInput(
            f"Delta must be above 0 and below 1 / patients ({1 / patients:.2g}), or giving one patient away whole would "
            f"count as private; it was {delta:g}."
        )
