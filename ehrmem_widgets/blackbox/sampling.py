"""From a decoder's logits to steps: the sampling loop of every black box whose next-code distribution is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import psutil
import torch
from torch import Tensor

from ehrmem_widgets.blackbox.decoding import Decoder
from ehrmem_widgets.blackbox.protocol import SlotIds, Step, slot_uniforms, split_prompts, within_context
from ehrmem_widgets.blackbox.race import Race, race_steps
from ehrmem_widgets.blackbox.replayed import Replayed
from ehrmem_widgets.errors import BadInput, Unavailable

_share = 0.5  # of the free memory that continuations may take
_DENSE = {
    "cpu": 0.875,
    "cuda": 0.5,
}  # of the continuations that a decoder holds: where fewer go on, it goes on with these alone
_SMALLEST = 2**-25  # half of the step of uniform numbers: what a filter hides weighs less, and must not come at 0
_BYTES_A_LOGIT = 16  # logits, probabilities, those allowed, and their sums


class NotANumber(BadInput):
    """A model's logits are NaN."""


def sample(
    new_decoder: Callable[[], Decoder],
    prompts: Sequence[SlotIds],
    horizon: int,
    samples: int,
    *,
    size: int,
    context_length: int,
    stops: Sequence[int],
    track: np.ndarray | None = None,
    banned: np.ndarray | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    race: Race | None = None,
    share: float = 1.0,
) -> Iterator[Step]:
    """As ``BlackBox.generate``; stops early when the context is full or every continuation has ended.

    ``race``: how the codes race, of a model that gives elapsed times; the horizon is then in days.

    ``size``: codes that a decoder gives logits of; ``track`` and ``banned`` may be shorter. What does not fit half of the free
    memory (or this ``share`` of the half) is sampled in parts, one after the other: the same answer, whose first step then waits for all parts but
    the last. Raises ``Unavailable`` where not even one continuation fits.
    """
    device = device or torch.device("cpu")
    shared, slots = split_prompts(prompts)
    longest, days = max(map(len, prompts)), float(horizon)
    horizon = within_context(prompts, horizon if race is None else context_length, context_length)
    decoder = new_decoder()
    bytes_a_sample = decoder.bytes_a_sample(longest, len(slots[0]) + horizon) + _BYTES_A_LOGIT * size
    free = free_memory(device)
    if bytes_a_sample > free and device.type == "cpu":
        raise Unavailable(
            f"One continuation needs about {bytes_a_sample / 1e9:,.2g} GB of memory and {free / 1e9:,.2g} GB are free. Close other programs, or ask for "
            "a shorter horizon."
        )
    parts = _parts(len(prompts), samples, int(share * _share * free) // bytes_a_sample)
    goes_on = torch.ones(size, dtype=torch.bool, device=device)
    goes_on[list(stops)] = False
    groups = None if track is None else torch.from_numpy(_padded(track, size).astype(np.float32)).to(device)
    keep = None if banned is None else torch.from_numpy(~_padded(banned, size)).to(device)

    def run(rows: slice, columns: slice) -> Iterator[Step]:
        uniforms = Uniforms(len(slots[0]), samples, seed, columns, device)
        if race is not None:
            waits = int(np.random.SeedSequence([seed, 3]).generate_state(1)[0])
            return race_steps(
                new_decoder(), race, shared[rows], slots[rows], days, horizon, uniforms,
                Uniforms(len(slots[0]), samples, waits, columns, device), goes_on, groups, keep,
            )  # fmt: skip
        return _run(new_decoder(), shared[rows], slots[rows], horizon, uniforms, goes_on, groups, keep)

    if len(parts) == 1:
        yield from run(*parts[0])
        return
    whole = _Whole(horizon, (len(prompts), samples), track, timed=race is not None)
    for number, (rows, columns) in enumerate(parts):
        last, place = number == len(parts) - 1, -1
        for place, step in enumerate(run(rows, columns)):
            whole.put(place, rows, columns, step)
            if last:
                yield whole.step(place)
        whole.ended(place, rows, columns)
    for rest in range(place + 1, horizon):  # the last part has ended, others may not have
        if (whole.codes[rest] < 0).all():
            return
        yield whole.step(rest)


def share_memory(processes: int) -> None:
    """Let this process take its part of the free memory only, being one of so many that sample at the same time."""
    global _share
    _share = 0.5 / processes


def free_memory(device: torch.device) -> int:
    """Bytes that could be had."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    return int(psutil.virtual_memory().available)


class _Whole:
    """The steps of all parts."""

    def __init__(self, horizon: int, shape: tuple[int, int], track: np.ndarray | None, *, timed: bool) -> None:
        self.codes, self._log_weight = np.full((horizon, *shape), -1), np.zeros(shape)
        groups = None if track is None else (horizon, *shape, track.shape[1])
        self._mass = None if groups is None else np.zeros(groups, dtype=np.float64 if timed else np.float32)
        self._days = np.zeros((horizon, *shape)) if timed else None
        self._rates = np.zeros(groups) if timed and groups is not None else None

    def put(self, place: int, rows: slice, columns: slice, step: Step) -> None:
        """A step of a part."""
        self.codes[place, rows, columns], self._log_weight[rows, columns] = step.codes, step.log_weight
        for whole, part in ((self._mass, step.mass), (self._days, step.days), (self._rates, step.rates)):
            if whole is not None:
                whole[place, rows, columns] = part

    def ended(self, last: int, rows: slice, columns: slice) -> None:
        """A part that has ended stays where it was."""
        if self._days is not None:
            self._days[last + 1 :, rows, columns] = self._days[last, rows, columns]

    def step(self, place: int) -> Step:
        """A step of all parts so far."""
        mass, days, rates = (None if one is None else one[place] for one in (self._mass, self._days, self._rates))
        return Step(self.codes[place], mass, self._log_weight, days, rates)


class Uniforms:
    """The common random numbers of some samples: the same whatever the prompts and whichever samples are drawn with them."""

    def __init__(self, slots: int, samples: int, seed: int, columns: slice, device: torch.device) -> None:
        self._rng, self._samples, self._columns, self._device = np.random.default_rng(seed), samples, columns, device
        self._slots = slot_uniforms(slots, samples, seed)
        self.samples = len(range(samples)[columns])

    def slot(self, place: int) -> Tensor:
        return torch.tensor(self._slots[place, self._columns], device=self._device)

    def next_step(self) -> Tensor:
        drawn = self._rng.random(self._samples, dtype=np.float32)
        return torch.from_numpy(drawn[self._columns]).to(self._device)


def _run(
    decoder: Decoder,
    shared: list[list[int]],
    slots: list[list[list[int]]],
    horizon: int,
    uniforms: Uniforms,
    goes_on: Tensor,
    groups: Tensor | None,
    keep: Tensor | None,
) -> Iterator[Step]:
    shape, device = (len(shared), uniforms.samples), goes_on.device
    logits = decoder.begin(shared, uniforms.samples, len(slots[0]) + horizon)
    _refuse_nan(logits)
    rows = torch.arange(shape[0] * shape[1], device=device)  # the continuations that the decoder holds
    log_weight = torch.zeros(len(rows), device=device)
    for place in range(len(slots[0])):
        allowed = torch.zeros(shape[0], len(goes_on), dtype=torch.bool, device=device)
        for row, filled in enumerate(slots):
            allowed[row, filled[place]] = True
        probabilities = torch.softmax(logits, dim=-1)
        allowed = allowed if len(logits) == shape[0] else allowed[rows // shape[1]]
        codes, kept = _draw(probabilities * allowed, _for_each(uniforms.slot(place), len(logits), rows))
        log_weight = log_weight + kept.flatten().log()
        logits = decoder.step(codes.flatten())
    weight = log_weight.view(shape).cpu().numpy()
    alive = torch.ones(len(rows), dtype=torch.bool, device=device)
    going = len(rows)

    def drawn_of(logits: Tensor, uniform: Tensor) -> tuple[Tensor, ...]:
        probabilities = torch.softmax(logits, dim=-1)
        drawn, _ = _draw(probabilities if keep is None else probabilities * keep, uniform)
        return (drawn,) if groups is None else (drawn, probabilities @ groups)

    replayed = Replayed() if device.type == "cuda" else None
    for step in range(horizon):
        _refuse_nan(logits[:, :1])  # one spreads to all codes
        given = logits, _for_each(uniforms.next_step(), len(logits), rows)
        drawn, *masses = drawn_of(*given) if replayed is None else replayed(drawn_of, *given)
        of_each, drawn = drawn.shape[1], drawn.flatten()
        found = [drawn, *(one.repeat_interleave(of_each, dim=0) for one in masses)]
        if going < shape[0] * shape[1]:
            found = [_of_all(one, rows[alive], alive, shape[0] * shape[1]) for one in found]
        codes, *mass = (one.unflatten(0, shape).cpu().numpy() for one in found)
        yield Step(codes, mass[0] if mass else None, weight)
        alive = alive & goes_on[drawn]
        going = int(alive.sum())
        if step + 1 == horizon or not going:
            return
        if going <= _DENSE[device.type] * len(rows):
            decoder.keep(alive.nonzero()[:, 0])
            rows, drawn, alive = rows[alive], drawn[alive], alive[alive]
        logits = decoder.step(torch.where(alive, drawn, -1))


def _refuse_nan(logits: Tensor) -> None:
    if bool(logits.isnan().any()):
        raise NotANumber(
            "The model's answer is not a number (NaN): its weights are broken, or too large for the number format it runs in."
        )


def _of_all(found: Tensor, rows: Tensor, alive: Tensor, of_all: int) -> Tensor:
    """(held, ...) of the continuations that the decoder holds -> (all, ...): -1 as the code of one that has ended, 0 as its mass."""
    whole = found.new_full((of_all, *found.shape[1:]), 0 if found.is_floating_point() else -1)
    whole[rows] = found[alive]
    return whole


def _for_each(uniforms: Tensor, distributions: int, rows: Tensor) -> Tensor:
    """One uniform a sample -> (distributions, 1 or samples): each row its sample's, or at first all samples of a prompt."""
    if distributions * len(uniforms) == len(rows):
        return uniforms.expand(distributions, -1)
    return uniforms[rows % len(uniforms)][:, None]


def _parts(prompts: int, samples: int, at_once: int) -> list[tuple[slice, slice]]:
    """(prompts, samples) of each part: at most ``at_once`` continuations, of whole prompts if that can be."""
    if at_once >= samples:
        step = at_once // samples
        return [(slice(first, first + step), slice(None)) for first in range(0, prompts, step)]
    step = max(1, at_once)
    return [
        (slice(row, row + 1), slice(first, first + step)) for row in range(prompts) for first in range(0, samples, step)
    ]


def _draw(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling: (n, codes) weights, (n, m) uniforms -> codes (n, m), total weight (n, m)."""
    cumulated = weights.cumsum(dim=-1)
    total = cumulated[:, -1:]
    # Below the total whatever the rounding, so that a code without weight is never drawn.
    target = torch.minimum(uniform.clamp(min=_SMALLEST) * total, torch.nextafter(total, torch.zeros_like(total)))
    drawn = torch.searchsorted(cumulated, target, right=True)
    return drawn.clamp(max=weights.shape[-1] - 1), total.expand(target.shape)


def _padded(by_code: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(by_code)
    return np.concatenate([by_code, np.zeros((missing, *by_code.shape[1:]), by_code.dtype)]) if missing else by_code
