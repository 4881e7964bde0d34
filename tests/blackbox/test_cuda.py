"""On a CUDA device: the same answers, steps that are launched as one, and what happens where it is full or gone.

Nothing here runs without such a device: ``make bench-gpu`` runs it first.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ehrmem_widgets.blackbox import attention_decoding
from ehrmem_widgets.blackbox.attention_decoding import SharedPromptDecoder
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import Step
from ehrmem_widgets.blackbox.replayed import Replayed
from tests.blackbox.contract import ARCHITECTURES, CONTEXT, SIZE, assert_alike, make, single, some_sequences

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

PROMPTS = [single(1, 5), single(1, 6, 7, 8, 3, 4)]
ATTENTION = ("llama", "gpt2", "gpt_neox")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_answers_are_the_same(tmp_path: Path, kind: str, dtype: str) -> None:
    folder = make(tmp_path / "m", kind)
    there = FolderModel(folder, device="cuda", dtype=dtype)
    assert_alike(there, FolderModel(folder, device="cpu"), within=0.05 if dtype == "bfloat16" else 1e-3)


@pytest.mark.parametrize("copied", [True, False], ids=["prompt copied", "prompt asked apart"])
@pytest.mark.parametrize("kind", ATTENTION)
def test_a_step_that_is_replayed_is_the_same_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, copied: bool
) -> None:
    """Over the edges of what is recorded at once, with prompts of two lengths, and with continuations that end."""
    monkeypatch.setattr(attention_decoding, "_REPLAYED_STEPS", 4)
    if not copied:
        monkeypatch.setattr(attention_decoding, "_COPIED_PROMPT", 0)
    folder = make(tmp_path / "m", kind)
    there, here = FolderModel(folder, device="cuda"), FolderModel(folder, device="cpu")
    assert type(there.new_decoder()) is SharedPromptDecoder
    found, expected = (list(m.generate(PROMPTS, 16, 50, track=np.eye(SIZE), seed=3)) for m in (there, here))
    assert_follows(found, expected)
    embed, exact = there.embed_continuations, here.embed_continuations
    assert embed is not None and exact is not None
    away = np.linalg.norm(embed(PROMPTS, 16, 50, 2) - exact(PROMPTS, 16, 50, 2), axis=-1)
    assert np.quantile(away, 0.9) < 1e-3  # a code on the edge of two may be drawn otherwise


def assert_follows(found: list[Step], expected: list[Step]) -> None:
    """The same codes and masses, up to where rounding draws another code: in at most a tenth of the continuations."""
    assert len(found) == len(expected)
    same = np.ones(expected[0].codes.shape, dtype=bool)
    for step, other in zip(found, expected, strict=True):
        assert step.mass is not None and other.mass is not None
        np.testing.assert_allclose(step.mass[same], other.mass[same], atol=1e-3)
        same &= step.codes == other.codes
    assert same.mean() > 0.9


def test_what_is_replayed_is_run_twice_and_follows_its_input() -> None:
    runs, total = [], torch.zeros(3, device="cuda")

    def act(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        runs.append(1)
        total.add_(x.flatten())
        return (x * 2, total + 0)

    replayed = Replayed()
    for number in range(1, 6):
        double, so_far = replayed(act, torch.full((3,), float(number), device="cuda"))
        assert double.tolist() == [2.0 * number] * 3 and so_far.tolist() == [number * (number + 1) / 2] * 3
    assert len(runs) == 2
    assert replayed(act, torch.ones(3, 1, device="cuda"))[0].tolist() == [[2.0]] * 3  # another shape


@contextmanager
def only_free(megabytes: int) -> Iterator[None]:
    """As if others held the rest of the device."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + megabytes * 2**20) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_on_a_full_device_less_of_it_is_taken_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there = FolderModel(make(tmp_path / "m"), device="cuda")
    whole = list(there.generate(PROMPTS, 16, 40_000, seed=3))
    with only_free(megabytes=200):
        parts = list(there.generate(PROMPTS, 16, 40_000, seed=3))
    assert there.device.type == "cuda" and not caplog.records
    assert np.mean([one.codes == other.codes for one, other in zip(parts, whole, strict=True)]) > 0.99


def test_a_device_without_any_room_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make(tmp_path / "m")
    there, here = FolderModel(folder, device="cuda"), FolderModel(folder, device="cpu")
    with only_free(megabytes=0), caplog.at_level(logging.WARNING):
        found = list(there.generate(PROMPTS, 8, 2000, track=np.eye(SIZE)[:, :2], seed=3))
    assert_follows(found, list(here.generate(PROMPTS, 8, 2000, track=np.eye(SIZE)[:, :2], seed=3)))
    assert there.device.type == "cpu" and len(caplog.records) == 1
    assert "The graphics card (cuda:0) is full. The model goes on with the processor" in caplog.text


LOST = """
import logging, sys, torch
from ehrmem_widgets.blackbox.folder import FolderModel
model, here = FolderModel(sys.argv[1], device="cuda"), FolderModel(sys.argv[1], device="cpu")
steps = model.generate([[[1], [5]]], 12, 5, seed=3)
first = next(steps)
try:
    torch.zeros(1, device="cuda")[torch.tensor([7], device="cuda")]
    torch.cuda.synchronize()
except RuntimeError:
    pass
codes = [step.codes.tolist() for step in (first, *steps)]
assert codes == [step.codes.tolist() for step in here.generate([[[1], [5]]], 12, 5, seed=3)], codes
assert abs(model.score([[1, 5, 9]])[0] - here.score([[1, 5, 9]])[0]).max() < 1e-5
print(model.device)
"""


def test_a_device_that_is_gone_in_the_middle_of_a_stream_is_done_without(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST, str(make(tmp_path / "m"))], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "cpu"
    assert ended.stderr.count("stopped answering") == 1


def test_embeddings_are_had_where_the_device_is_full(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    there, here = FolderModel(folder, device="cuda"), FolderModel(folder, device="cpu")
    sequences = some_sequences(200, CONTEXT)
    with only_free(megabytes=0):
        found = there.embed(sequences)
    np.testing.assert_allclose(found, here.embed(sequences), atol=1e-4)
