"""The keys and values that the continuations keep for themselves, no two the same: asking them is limited by memory, and most of a step.

``BagsOfKeys`` is for processors. A vector times a matrix of its own is a weighted sum of the matrix's rows: torch's ``embedding_bag``, whose kernels
are generated for the processor at hand, needs half the time of its batched product (a third in half precision), and gives the same for a
row whatever stands beside it. ``FixedKeys`` is for CUDA devices, where a step must always be of the same shape to be replayed (``replayed``).

Shapes: rows are continuations, ``heads`` those of the keys, ``group`` the queries that ask one of them, ``width`` that of a head.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

_STEPS = 16  # that there is room for at a time: what is not used of it is read, too


class OwnKeys(Protocol):
    """Keys and values of all layers; ``reach`` is how many steps of them a call asks."""

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Begin with those of prompts, (prompts, heads, length, width): the same for all continuations of one."""
        ...

    def put(self, layer: int, key: Tensor, value: Tensor) -> None:
        """(rows, heads, width) at the next step."""
        ...

    def scores(self, layer: int, queries: Tensor, reach: int) -> Tensor:
        """(rows, heads, group, width) -> (rows, heads, group, reach)."""
        ...

    def mixed(self, layer: int, weights: Tensor) -> Tensor:
        """(rows, heads, group, reach) -> (rows, heads, group, width)."""
        ...

    def next(self) -> None:
        """Each layer has put its key and value."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        ...


class _Bags(NamedTuple):
    places: Tensor  # (n,) rows of a table, bag by bag
    starts: Tensor  # (bags,) of each bag in ``places``


class BagsOfKeys:
    """As ``OwnKeys``; ``at`` is the first step to be put, ``room`` how many there will be, ``like`` says the number format."""

    def __init__(self, layers: int, shape: tuple[int, int, int, int], at: int, room: int, like: Tensor) -> None:
        rows, heads, self._group, self._width = shape
        self._at, self._room = at, room
        first = min(at - at % _STEPS + _STEPS, room)  # few sizes: for each a kernel is made and kept
        self._keys = [like.new_empty(rows, heads, self._width, first) for _ in range(layers)]
        self._values = [like.new_empty(rows, heads, first, self._width) for _ in range(layers)]
        self._bags: dict[tuple[int, int], _Bags] = {}

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        prompts, _, length, _ = keys.shape
        self._keys[layer].unflatten(0, (prompts, -1))[..., :length] = keys.transpose(2, 3).unsqueeze(1)
        self._values[layer].unflatten(0, (prompts, -1))[:, :, :, :length] = values.unsqueeze(1)

    def put(self, layer: int, key: Tensor, value: Tensor) -> None:
        if self._at == self._keys[layer].shape[3]:  # layer by layer: memory is not held twice
            more = min(_STEPS, self._room - self._at)
            self._keys[layer] = _longer(self._keys[layer], 3, more)
            self._values[layer] = _longer(self._values[layer], 2, more)
        self._keys[layer][..., self._at] = key
        self._values[layer][:, :, self._at] = value

    def scores(self, layer: int, queries: Tensor, reach: int) -> Tensor:
        keys = self._keys[layer]
        found = _sums(keys.flatten(0, 2), queries, self._bags_of(keys.shape[2], keys.shape[2]))
        return found[:, :reach].view(*queries.shape[:3], reach)

    def mixed(self, layer: int, weights: Tensor) -> Tensor:
        values = self._values[layer]
        found = _sums(values.flatten(0, 2), weights, self._bags_of(values.shape[2], weights.shape[3]))
        return found.view(*weights.shape[:3], -1)

    def next(self) -> None:
        self._at += 1
        self._bags = {which: bags for which, bags in self._bags.items() if which == (self._width, self._width)}

    def keep(self, rows: Tensor) -> None:
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]
        self._bags.clear()

    def _bags_of(self, stride: int, count: int) -> _Bags:
        """For each query of each row and head, the first ``count`` of its ``stride`` rows of a table."""
        if (stride, count) not in self._bags:
            rows, heads = self._keys[0].shape[:2]
            first = torch.arange(0, rows * heads * stride, stride, dtype=torch.int32).repeat_interleave(self._group)
            places = first[:, None] + torch.arange(count, dtype=torch.int32)
            self._bags[stride, count] = _Bags(
                places.flatten(), torch.arange(0, places.numel(), count, dtype=torch.int32)
            )
        return self._bags[stride, count]


class FixedKeys:
    """As ``OwnKeys``, all its room there from the beginning. What has not been written yet is 0, for a step that is replayed multiplies it, too."""

    def __init__(self, layers: int, shape: tuple[int, int, int, int], at: int, room: int, like: Tensor) -> None:
        rows, heads, _, width = shape
        self.at = torch.tensor([at], device=like.device)
        self._cache = [
            (like.new_zeros(rows, heads, room, width), like.new_zeros(rows, heads, room, width)) for _ in range(layers)
        ]

    def fill(self, layer: int, keys: Tensor, values: Tensor) -> None:
        for cache, found in zip(self._cache[layer], (keys, values), strict=True):
            cache.unflatten(0, (len(found), -1))[:, :, :, : found.shape[2]] = found.unsqueeze(1)

    def put(self, layer: int, key: Tensor, value: Tensor) -> None:
        for cache, new in zip(self._cache[layer], (key, value), strict=True):
            cache.index_copy_(2, self.at, new.unsqueeze(2))

    def scores(self, layer: int, queries: Tensor, reach: int) -> Tensor:
        keys = self._cache[layer][0].flatten(0, 1)[:, :reach]
        return torch.bmm(queries.flatten(0, 1), keys.transpose(1, 2)).view(*queries.shape[:3], reach)

    def mixed(self, layer: int, weights: Tensor) -> Tensor:
        values = self._cache[layer][1].flatten(0, 1)[:, : weights.shape[3]]
        return torch.bmm(weights.flatten(0, 1), values).view(*weights.shape[:3], -1)

    def next(self) -> None:
        self.at += 1

    def keep(self, rows: Tensor) -> None:
        self._cache = [(keys[rows], values[rows]) for keys, values in self._cache]


def _sums(table: Tensor, weights: Tensor, bags: _Bags) -> Tensor:
    """Each bag's rows of the table, weighted and added up: (bags, columns), in the number format of the weights."""
    of_each = weights.to(table.dtype).reshape(-1)
    found = torch.embedding_bag(table, bags.places, bags.starts, mode=0, per_sample_weights=of_each)[0]
    return found.to(weights.dtype)


def _longer(cache: Tensor, dimension: int, more: int) -> Tensor:
    """With room for more steps."""
    shape = list(cache.shape)
    shape[dimension] += more
    found = cache.new_empty(shape)
    found.narrow(dimension, 0, cache.shape[dimension])[:] = cache
    return found
