"""The likelihood-ratio attack: is what the audited model says of a record more like models that saw it, or like models that did not?"""

from __future__ import annotations

import numpy as np

FEWEST_OUT = 2
"""Models that left a person out: one alone shows no scatter."""


def likelihood_ratio(audited: np.ndarray, shadows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n,) scores of n people, higher: more like a member (LiRA; Carlini et al., arXiv 2112.03570).

    ``audited``: (n,) what the audited model says of each record, such as its mean log-probability; ``shadows``: (n, K) what each of K shadow models
    says of it; ``inside``: (n, K) bool, whether that one was trained on it. Everybody needs two models that were not (``FEWEST_OUT``).

    Two normal distributions of one variance for each person, around the mean of the models without and with the record. With few models the
    variance and the gain of having been in training are drawn towards those of all people, as far as chance explains that they differ (conjugate
    priors; BaVarIA, arXiv 2603.11799). Where somebody was in no model, all are held against the models without them alone (offline): Student's t,
    of the same degrees of freedom for everybody. So that nobody's score scatters more because
    more models left the record out, equally many are used of each. What sets the audited model apart on everybody alike (another length of
    training) is taken out by the median.

    >>> shadows = np.array([[0.0, 0.2, 1.0, 1.2], [1.0, 1.2, 0.1, 0.3]])
    >>> inside = np.array([[False, False, True, True], [True, True, False, False]])
    >>> likelihood_ratio(np.array([1.1, 0.2]), shadows, inside).round(1).tolist()
    [22.6, -22.6]
    """
    out, within = _of_each(shadows, ~inside), _of_each(shadows, inside)
    degrees = out.shape[1] - 1 + max(within.shape[1] - 1, 0)
    variance = _shrunk((_squares(out) + _squares(within)) / degrees, degrees)
    if not within.shape[1]:
        return np.asarray(_centred(audited - out.mean(1)) / np.sqrt(variance * (1 + 1 / out.shape[1])))
    without, gain = _means(out, within, variance)
    return np.asarray(gain * _centred(audited - without - gain / 2) / variance)


def _of_each(shadows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(n, m) the first m chosen figures of each person, m being what the one with the fewest has."""
    first = np.argsort(~chosen, axis=1, kind="stable")[:, : int(chosen.sum(axis=1).min())]
    return np.take_along_axis(shadows, first, axis=1)


def _squares(figures: np.ndarray) -> np.ndarray:
    """(n,) the squared distances of each person's figures from their mean."""
    return (
        np.asarray(((figures - figures.mean(1, keepdims=True)) ** 2).sum(1))
        if figures.shape[1]
        else np.zeros(len(figures))
    )


def _shrunk(variance: np.ndarray, degrees: int) -> np.ndarray:
    """Towards their mean, unless they differ by more than variances of so many degrees of freedom do by chance."""
    mean = float(variance.mean())
    if mean == 0:
        return np.ones_like(variance)
    differ = (float(variance.var()) / mean**2 - 2 / degrees) / (1 + 2 / degrees)
    if differ <= 0:
        return np.full_like(variance, mean)
    prior = 4 + 2 / differ  # degrees of freedom of the prior, by its moments
    return np.asarray((prior * mean + degrees * variance) / (prior + degrees))


def _means(out: np.ndarray, within: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) what a model without the record says, and how much more one with it: posterior means, the gains being normal around their mean. A gain is
    never below a tenth of that: training on a record makes it no less likely."""
    apart = within.mean(1) - out.mean(1)
    noise = variance * (1 / out.shape[1] + 1 / within.shape[1])
    typical, spread = float(apart.mean()), max(0.0, float(apart.var() - noise.mean()))
    if typical <= 0:
        return out.mean(1), np.ones(len(out))
    of_out, of_within = out.shape[1] / variance, 1 / (variance / within.shape[1] + spread)
    without = (of_out * out.mean(1) + of_within * (within.mean(1) - typical)) / (of_out + of_within)
    gain = typical + spread * of_within * (within.mean(1) - without - typical)
    return without, np.maximum(gain, 0.1 * typical)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - np.median(values)
