"""Sampling in parts, and at the edges of rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ehrmem_widgets.blackbox import sampling
from ehrmem_widgets.blackbox.decoding import best_decoder
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.own_keys import BagsOfKeys
from ehrmem_widgets.blackbox.protocol import Step
from ehrmem_widgets.blackbox.sampling import _draw, free_memory
from ehrmem_widgets.errors import Unavailable
from tests.blackbox.contract import ARCHITECTURES, SIZE, make, random_model, single

PROMPTS = [[*single(1, 5, 7), [3, 4]], [*single(1, 6), [8, 9]], [*single(1, 4), [8, 3]]]


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("at_once", [1, 3, 7, 14, 20])  # continuations; the last: all but some of one prompt
def test_the_answer_does_not_depend_on_the_parts_that_fit(
    kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_decoder = best_decoder(random_model(kind))
    begun: list[tuple[int, int]] = []

    def ask(stops: tuple[int, ...]) -> list[Step]:
        def new():  # type: ignore[no-untyped-def]
            decoder = new_decoder()
            begin = decoder.begin

            def counted(prompts: list[list[int]], samples: int, room: int) -> torch.Tensor:
                begun.append((len(prompts), samples))
                return begin(prompts, samples, room)

            decoder.begin = counted
            return decoder

        track = np.eye(SIZE)[:, :3]
        asked = {"size": SIZE, "context_length": 24, "track": track, "seed": 2}
        return list(sampling.sample(new, PROMPTS, 6, 7, stops=stops, **asked))

    for stops in ((), tuple(range(10, SIZE))):  # none ends; all end early, some parts before others
        whole = ask(stops)
        assert begun == [(3, 7)]
        begun.clear()
        a_sample = new_decoder().bytes_a_sample(4, 7) + 16 * SIZE
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "free_memory", lambda device, free=2 * at_once * a_sample + 1: free)
            parts = ask(stops)
        assert len(begun) == {1: 21, 3: 9, 7: 3, 14: 2, 20: 2}[at_once] and max(p * s for p, s in begun) <= at_once
        begun.clear()
        assert len(parts) == len(whole)
        for one, other in zip(parts, whole, strict=True):
            assert one.mass is not None and other.mass is not None
            np.testing.assert_array_equal(one.codes, other.codes)
            np.testing.assert_allclose(one.mass, other.mass, atol=1e-6)
            np.testing.assert_allclose(one.log_weight, other.log_weight, atol=1e-5)


def test_a_code_without_weight_is_never_drawn_however_the_sum_is_rounded() -> None:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.random((500, 37), dtype=np.float32))
    weights[:, [0, 5, 6, -2, -1]] = 0
    for uniform in (0.0, float(np.nextafter(np.float32(1), np.float32(0)))):
        for of_each in (1, 2):
            codes, total = _draw(weights, torch.full((500, of_each), uniform))
            assert codes.shape == total.shape == (500, of_each)
            assert (weights.gather(-1, codes) > 0).all()


def test_a_continuation_that_does_not_fit_the_memory_is_refused_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FolderModel(make(tmp_path / "m"))
    monkeypatch.setattr(sampling, "free_memory", lambda device: 3000)
    with pytest.raises(Unavailable, match=r"One continuation needs about [\de.-]+ GB of memory and 3e-06 GB are free"):
        list(model.generate(PROMPTS, 10, 5))


def test_free_memory_is_some() -> None:
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50


def test_the_memory_that_is_reckoned_with_is_that_of_the_caches(tmp_path: Path) -> None:
    """``bytes_a_sample`` against what the decoders really hold."""
    for kind in ARCHITECTURES:
        decoder = best_decoder(random_model(kind))()
        decoder.begin([[1, 2, 3]], 50, 20)
        for _ in range(20):
            decoder.step(torch.ones(50, dtype=torch.long))
        held: dict[int, int] = {}

        def weigh(found: object, held: dict[int, int] = held) -> None:
            if isinstance(found, torch.Tensor):
                held[found.untyped_storage().data_ptr()] = found.untyped_storage().nbytes()
            elif isinstance(found, (list, tuple)):
                for one in found:
                    weigh(one)
            elif hasattr(found, "_recent") or isinstance(found, BagsOfKeys):
                weigh(list(vars(found).values()))

        for name, value in vars(decoder).items():
            if name != "_parts":
                weigh(value)
        assert 0.5 < sum(held.values()) / (50 * decoder.bytes_a_sample(3, 20)) < 2, kind
