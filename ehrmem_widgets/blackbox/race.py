"""Time-to-event models: all codes race, and the first to come is the next code, so that each code comes with its waiting time.

A code with the logit l comes after an exponential time of the rate exp(l) a day. So the next code follows the softmax of the logits, the
waiting time is exponential with the sum of the rates, and the two are independent (Delphi-2M: gerstung-lab/Delphi, Shmatko et al., Nature 2025).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ehrmem_widgets.blackbox.protocol import Step
from ehrmem_widgets.tokens.moments import ID_BITS, IDS, MINUTES_A_DAY

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.decoding import Decoder
    from ehrmem_widgets.blackbox.sampling import Uniforms

_DENSE = 0.875  # of the continuations that a decoder holds: where fewer go on, it goes on with these alone


@dataclass(frozen=True)
class Race:
    """Which codes take part, (codes,) bool each. ``never``: those that are given and not predicted (padding, sex, habits). ``once``: those
    that leave the race once they have come."""

    never: Tensor
    once: Tensor

    def masked(self, logits: Tensor, seen: Tensor) -> Tensor:
        """(..., codes) logits, -inf where a code does not take part; ``seen``: (..., codes) which have come."""
        return logits.float().masked_fill(self.never | (seen & self.once), -torch.inf)

    def rates(self, logits: Tensor, seen: Tensor) -> Tensor:
        """As ``masked``, how often each code comes a day: 0 for one that does not take part."""
        return logits.float().exp().masked_fill_(self.never | (seen & self.once), 0.0)

    def scores(self, logits: Tensor, sequence: Tensor) -> Tensor:
        """(n, codes) logits after each of the first n of n + 1 moments -> (n, 3): the log-density of the code and the waiting time that
        followed, and the mean and the standard deviation of that log-density under the model itself.

        A code that does not take part is given to the model: only that no other came before it is scored.
        """
        ids, days = code_ids(sequence), ages(sequence)
        seen = has_come(ids[:-1], logits.shape[-1])
        masked = self.masked(logits, seen)
        total = masked.logsumexp(dim=-1)
        wait = days[1:] - days[:-1]
        own = masked.gather(-1, ids[1:, None])[:, 0]
        log_density = torch.where(own.isinf(), 0.0, own) - wait * total.exp()
        log_density = log_density.masked_fill(wait < 0, -torch.inf)  # no code comes before the last
        p = masked.softmax(dim=-1)
        finite = masked.masked_fill(masked.isinf(), 0.0)
        mean = (p * finite).sum(dim=-1)
        spread = (p * (finite - mean[:, None]) ** 2).sum(dim=-1)
        return torch.stack([log_density, mean - 1, (spread + 1).sqrt()], dim=-1)  # the waiting time adds Exp(1)


def code_ids(moments: Tensor) -> Tensor:
    """The ids of moments; 0 for -1 (ended)."""
    return moments.clamp(min=0) & IDS


def ages(moments: Tensor) -> Tensor:
    """The ages of moments in days."""
    return (moments.clamp(min=0) >> ID_BITS).double() / MINUTES_A_DAY


def has_come(ids: Tensor, size: int) -> Tensor:
    """(..., n) ids -> (..., n, size) bool: the codes at each place and before it."""
    at = torch.zeros(*ids.shape, size, dtype=torch.int8, device=ids.device).scatter_(-1, ids[..., None], 1)
    return at.cumsum(dim=-2, dtype=torch.int16) > 0


@dataclass
class _Field:
    """The continuations that the decoder holds: (rows,) days of age, (rows, codes) what has come."""

    now: Tensor
    seen: Tensor

    def add(self, ids: Tensor, wait: Tensor) -> Tensor:
        """Each continuation goes on by a code; returns the moments."""
        self.now = self.now + wait
        self.seen[torch.arange(len(ids), device=ids.device), ids] = True
        minutes = (self.now.clamp(max=1e6) * MINUTES_A_DAY).round().long()
        return ids | minutes << ID_BITS

    def keep(self, rows: Tensor) -> None:
        self.now, self.seen = self.now[rows], self.seen[rows]


def race_steps(
    decoder: Decoder,
    race: Race,
    shared: list[list[int]],
    slots: list[list[list[int]]],
    horizon: float,
    steps: int,
    codes_drawn: Uniforms,
    waits_drawn: Uniforms,
    goes_on: Tensor,
    groups: Tensor | None,
    keep: Tensor | None,
) -> Iterator[Step]:
    """Continuations until ``horizon`` days have passed, at most ``steps`` codes; as ``BlackBox.generate`` where elapsed times are given."""
    samples, device = codes_drawn.samples, goes_on.device
    shape = (len(shared), samples)
    rows = torch.arange(shape[0] * samples, device=device)  # the continuations that the decoder holds
    logits = decoder.begin(shared, samples, len(slots[0]) + steps).repeat_interleave(samples, dim=0)
    begun = [torch.tensor(prompt, device=device) for prompt in shared]
    field = _Field(
        torch.stack([ages(one)[-1] for one in begun]).repeat_interleave(samples),
        torch.stack([has_come(code_ids(one), len(goes_on))[-1] for one in begun]).repeat_interleave(samples, dim=0),
    )
    log_weight = torch.zeros(len(rows), dtype=torch.float64, device=device)
    for place in range(len(slots[0])):
        filled = [torch.tensor(prompt[place], device=device) for prompt in slots]
        uniforms = [one.slot(place).repeat(shape[0]) for one in (codes_drawn, waits_drawn)]
        ids, wait, weight = _fill(race.rates(logits, field.seen), field.now, filled, uniforms[0], uniforms[1])
        log_weight += weight
        logits = decoder.step(field.add(ids, wait))
    weights = log_weight.view(shape).cpu().numpy()
    start, alive = field.now, torch.ones(len(rows), dtype=torch.bool, device=device)
    days = torch.zeros(shape[0] * samples, dtype=torch.float64, device=device)
    for step in range(steps):
        every = race.rates(logits, field.seen)
        drawn, total = _first(every if keep is None else every * keep, codes_drawn.next_step()[rows % samples])
        wait = -torch.log1p(-waits_drawn.next_step()[rows % samples].double()) / total.clamp(min=1e-300)
        left = horizon - (field.now - start)
        comes = alive & (wait <= left)
        watched = None if groups is None else _watched(every[alive], left[alive], groups)
        mass, rates = (None, None) if watched is None else (_spread(one, rows[alive], shape) for one in watched)
        days[rows[alive]] = horizon - (left - torch.minimum(wait, left))[alive]
        moments = field.add(drawn, torch.where(comes, wait, 0.0))
        codes = torch.full((shape[0] * samples,), -1, device=device)
        codes[rows[comes]] = moments[comes]
        yield Step(codes.view(shape).cpu().numpy(), mass, weights, days.view(shape).cpu().numpy().copy(), rates)
        alive = comes & goes_on[drawn]
        going = int(alive.sum())
        if step + 1 == steps or not going:
            return
        if going <= _DENSE * len(rows):
            decoder.keep(at := alive.nonzero()[:, 0])
            field.keep(at)
            rows, moments, start, alive = rows[at], moments[at], start[at], alive[at]
        logits = decoder.step(torch.where(alive, moments, -1))


def _watched(every: Tensor, left: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Of each group the probability that the next code is of it and comes within ``left`` days, and its rate, (rows, groups)."""
    rates, total = (every @ groups).double(), every.sum(dim=-1, keepdim=True).double()
    return rates / total.clamp(min=1e-300) * -torch.expm1(-total * left[:, None]), rates


def _spread(found: Tensor, rows: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """(n, groups) of the continuations that go on -> (prompts, samples, groups), 0 for the others."""
    whole = found.new_zeros(shape[0] * shape[1], found.shape[1])
    whole[rows] = found
    return np.asarray(whole.view(*shape, -1).cpu().numpy())


def _first(rates: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, codes) rates, (rows,) uniforms -> (rows,) which code is the first to come, and the rate of all together."""
    cumulated = rates.cumsum(dim=-1)
    total = cumulated[:, -1]
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))  # never a code of no rate
    found = torch.searchsorted(cumulated, target[:, None], right=True)[:, 0]
    return found.clamp(max=rates.shape[-1] - 1), total.double()


def _fill(
    rates: Tensor, now: Tensor, allowed: list[Tensor], uniform: Tensor, uniform_wait: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A slot of each prompt filled from the model restricted to it: codes, waiting times and log weights, (rows,).

    ``allowed``: by prompt, moments; between their lowest and highest age the code may come, and where these are one, it comes then: the weight
    is a density. What does not take part in the race is given: it is drawn evenly and weighs nothing.
    """
    each = len(now) // len(allowed)
    fits = torch.zeros(len(allowed), rates.shape[-1], dtype=torch.bool, device=now.device)
    for row, one in enumerate(allowed):
        fits[row, code_ids(one)] = True
    fits = fits.repeat_interleave(each, dim=0)
    low, high = (
        torch.stack([getattr(ages(one), end)() for one in allowed]).repeat_interleave(each) - now
        for end in ("min", "max")
    )
    exact, low = low == high, low.clamp(min=0)
    racing, total = rates * fits, rates.sum(dim=-1).double()
    given = (racing == 0).all(dim=-1)
    racing = torch.where(given[:, None], fits.float(), racing)
    drawn, of_fitting = _first(racing, uniform)
    share = torch.where(given, 0.0, of_fitting.log() - total.log())
    inside = torch.expm1(-total * (high - low)).neg().clamp(min=0)
    within = low - torch.log1p(-uniform_wait.double() * inside) / total
    wait = torch.where(exact, high, torch.minimum(within, high)).clamp(min=0)
    log_wait = torch.where(exact, torch.where(given, 0.0, total.log()) - total * high, inside.log() - total * low)
    impossible = high < 0
    weight = (share + log_wait).masked_fill(impossible, -torch.inf)
    return drawn, wait, weight
