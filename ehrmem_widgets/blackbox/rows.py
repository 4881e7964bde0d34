"""Which continuations go on, and of which prompt each is."""

from __future__ import annotations

import torch
from torch import Tensor


class Rows:
    """At first ``samples`` continuations of each prompt, the first prompt's first. What is the same for all of a prompt (its keys, its state) is
    asked in one product: for that, rows stand in a grid (prompts, most of a prompt, ...), with zeros where one has ended."""

    def __init__(self, prompts: int, samples: int, device: torch.device) -> None:
        self.prompt = torch.arange(prompts, device=device).repeat_interleave(samples)
        self._shape, self._counts = (prompts, samples), [samples] * prompts
        self._place: Tensor | None = None  # of each row in the grid; None where the grid is full

    def keep(self, rows: Tensor) -> Tensor:
        """Go on with these rows (ascending) alone. Returns the places of the prompts that still have one."""
        prompts, prompt, counts = self.prompt[rows].unique_consecutive(return_inverse=True, return_counts=True)
        self.prompt, self._counts = prompt, counts.tolist()
        self._shape = (len(prompts), max(self._counts))
        first = counts.cumsum(0) - counts
        place = prompt * self._shape[1] + torch.arange(len(rows), device=rows.device) - first[prompt]
        self._place = None if len(rows) == self._shape[0] * self._shape[1] else place
        return prompts

    def spread(self, x: Tensor) -> Tensor:
        """(rows, ...) -> (prompts, most of a prompt, ...)."""
        if self._place is not None:
            x = x.new_zeros(self._shape[0] * self._shape[1], *x.shape[1:]).index_copy_(0, self._place, x)
        return x.unflatten(0, self._shape)

    def gather(self, x: Tensor) -> Tensor:
        """The reverse of ``spread``."""
        x = x.flatten(0, 1)
        return x if self._place is None else x[self._place]

    def mask(self, rows: Tensor) -> Tensor:
        """(rows now,) bool: which of them ``rows`` are."""
        return torch.zeros_like(self.prompt, dtype=torch.bool).index_fill_(0, rows, True)

    def parts(self, x: Tensor) -> list[Tensor]:
        """(rows, ...) prompt by prompt."""
        return list(x.split(self._counts))
