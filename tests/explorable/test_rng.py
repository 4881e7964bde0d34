"""The page draws the numbers that numpy draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.explorable.modules import Run, modules_in

SEEDS = [0, 1, 2**31, 2**32 - 1, 2**32, 987_654_321_012, [0, 1], [7, 1], [2**40, 3], [5, 0, 3, 9, 2, 77, 2**33]]
COUNTS = [1, 2, 128, 5, 16, 3]  # an odd one leaves half of 64 bits for the next

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    with modules_in(browser) as run:
        yield run


def test_random_numbers_are_those_of_numpy_bit_for_bit(run: Run) -> None:
    found = run(
        """const { Generator } = await import("./rng.js");
        return data.seeds.map((seed) => {
          const random = new Generator(seed);
          return data.counts.map((n) => random.randomFloat32(n));
        });""",
        {"seeds": SEEDS, "counts": COUNTS},
    )
    for seed, of_seed in zip(SEEDS, found, strict=True):
        random = np.random.default_rng(seed)
        for n, numbers in zip(COUNTS, of_seed, strict=True):
            assert np.array_equal(np.array(numbers, np.float32), random.random(n, dtype=np.float32)), seed


def test_large_seeds_are_given_as_bigints(run: Run) -> None:
    found = run(
        """const { Generator } = await import("./rng.js"); return new Generator(2n ** 100n + 1n).randomFloat32(9);"""
    )
    assert np.array_equal(np.array(found, np.float32), np.random.default_rng(2**100 + 1).random(9, dtype=np.float32))


def test_seed_sequences_are_those_of_numpy(run: Run) -> None:
    entropies = [seed if isinstance(seed, list) else [seed] for seed in SEEDS]
    found = run(
        """const { generateState } = await import("./rng.js");
        return data.map((entropy) => generateState(entropy, 11));""",
        entropies,
    )
    for entropy, words in zip(entropies, found, strict=True):
        assert words == np.random.SeedSequence(entropy).generate_state(11).tolist()


def test_choices_are_those_of_numpy(run: Run) -> None:
    sizes = [2, 3, 1, 7, 2_000, 3 * 2**20]
    found = run(
        """const { Generator } = await import("./rng.js");
        const random = new Generator(0);
        return data.map((n) => random.choice(Array.from({ length: n }, (_, i) => i), 8));""",
        sizes,
    )
    random = np.random.default_rng(0)
    assert found == [random.choice(np.arange(n), 8).tolist() for n in sizes]
