"""Is the reference model as good as the audited one, on people whom neither saw?

A reference that predicts such people worse makes an excess over it look like memory. The rank test against similar people is not
fooled (methods, section 8.1); whoever reads the excess alone would be, so it is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, hidden_as_guessed
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, rounded
from ehrmem_widgets.tokens.sequence import encode

MOST = 30
"""People whom no model saw that are asked about."""
_CODES = 64  # of each record: a served model or a Python function answers code by code


def reference_calibration(model: BlackBox, reference: BlackBox, never_seen: Sequence[Record]) -> Estimate | None:
    """The reference's loss minus the audited model's, in nats per code, over people whom neither saw (the first ``MOST``; the mean of
    each person's mean over the first 64 codes, t-interval over people). Above 0 the reference is worse. None where a model scores nothing or
    the two read other codes, or fewer than two people can be scored."""
    if Query.SCORES not in model.answers or Query.SCORES not in reference.answers:
        return None
    if model.vocabulary.codes != reference.vocabulary.codes:
        return None
    context = min(model.context_length, reference.context_length, _CODES)
    vocabulary = model.vocabulary
    sequences = [encode(record, vocabulary).ids(vocabulary)[:context] for record in never_seen[:MOST]]
    sequences = [ids for ids in sequences if len(ids) > 1]
    if len(sequences) < 2:
        return None
    losses = [
        np.array([-float(hidden_as_guessed(scores, len(vocabulary)).mean()) for scores in each.score(sequences)])
        for each in (model, reference)
    ]
    gap = losses[1] - losses[0]
    return mean_with_interval(gap[np.isfinite(gap)])


def calibration_in_words(gap: Estimate | None) -> str:
    """A sentence where the reference is clearly worse; else empty."""
    if gap is None or not gap.low > 0:
        return ""
    value, low, high = rounded(gap.value, gap.low, gap.high)
    return (
        f"The reference model predicts people whom neither model saw worse than the audited model does: its loss is {value} nats a "
        f"code higher ({low} to {high}, n = {gap.n}). An excess over it alone may be better knowledge of a population; the verdict "
        "rests on the similar people as well."
    )
