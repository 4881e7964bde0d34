"""Keys and values of continuations, asked in both ways, against plain sums."""

from __future__ import annotations

import pytest
import torch

from ehrmem_widgets.blackbox.own_keys import BagsOfKeys, FixedKeys, OwnKeys

PROMPTS, SAMPLES, HEADS, GROUP, WIDTH, LAYERS, STEPS = 2, 3, 2, 2, 5, 2, 40
ROWS = PROMPTS * SAMPLES


def new(kind: type[BagsOfKeys] | type[FixedKeys], at: int, dtype: torch.dtype = torch.float32) -> OwnKeys:
    return kind(LAYERS, (ROWS, HEADS, GROUP, WIDTH), at, at + STEPS, torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("kind", [BagsOfKeys, FixedKeys])
@pytest.mark.parametrize("at", [0, 7, 16])
def test_scores_and_mixtures_are_plain_sums(kind: type[BagsOfKeys] | type[FixedKeys], at: int) -> None:
    generator = torch.Generator().manual_seed(at)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    own, rows = new(kind, at), torch.arange(ROWS)
    begun = drawn(LAYERS, 2, PROMPTS, HEADS, at, WIDTH)
    if at:
        for layer in range(LAYERS):
            own.fill(layer, *begun[layer])
    kept = begun.repeat_interleave(SAMPLES, dim=2)  # (layers, keys or values, rows, heads, steps, width)
    for step in range(STEPS):
        added = drawn(LAYERS, 2, len(rows), HEADS, WIDTH)
        kept = torch.cat([kept, added.unsqueeze(4)], dim=4)
        reach = at + step + 1
        for layer, (keys, values) in enumerate(kept):
            own.put(layer, *added[layer])
            queries, weights = drawn(len(rows), HEADS, GROUP, WIDTH), drawn(len(rows), HEADS, GROUP, reach)
            torch.testing.assert_close(own.scores(layer, queries, reach), queries @ keys.transpose(2, 3))
            torch.testing.assert_close(own.mixed(layer, weights), weights @ values)
        own.next()
        if step in (5, 20):  # one continuation ends, then all of the first prompt
            still = torch.arange(1, len(rows)) if step == 5 else torch.arange(2, len(rows))
            rows, kept = rows[still], kept[:, :, still]
            own.keep(still)
    assert len(rows) == SAMPLES


def test_a_continuation_is_the_same_whatever_stands_beside_it() -> None:
    torch.manual_seed(0)
    queries, keys, weights = (
        torch.randn(ROWS, HEADS, GROUP, WIDTH),
        torch.randn(ROWS, HEADS, WIDTH),
        torch.randn(ROWS, HEADS, GROUP, 1),
    )
    together, alone = new(BagsOfKeys, 0), new(BagsOfKeys, 0)
    alone.keep(last := torch.tensor([ROWS - 1]))
    together.put(0, keys, keys)
    alone.put(0, keys[last], keys[last])
    assert torch.equal(together.scores(0, queries, 1)[last], alone.scores(0, queries[last], 1))
    assert torch.equal(together.mixed(0, weights)[last], alone.mixed(0, weights[last]))


def test_half_precision_is_nearly_the_same() -> None:
    torch.manual_seed(0)
    queries, keys = torch.randn(ROWS, HEADS, GROUP, WIDTH), torch.randn(ROWS, HEADS, WIDTH)
    own = new(BagsOfKeys, 0, torch.float16)
    own.put(0, keys, keys)
    found = own.scores(0, queries, 1)
    assert found.dtype == torch.float32  # that of the queries
    torch.testing.assert_close(found, queries @ keys.unsqueeze(3), atol=5e-3, rtol=5e-3)
