"""The moments of the model's own next-code distribution, against their closed form and a chain's (``test_contract`` holds
them against transformers' logits)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ehrmem_widgets.blackbox.folder import moments
from ehrmem_widgets.blackbox.markov import MarkovChain


def test_the_oracle_of_min_k_plus_plus_and_extreme_logits() -> None:
    step = torch.tensor([0.7, 0.2, 0.1]).log().repeat(200, 1)
    found = moments(step, torch.arange(200) % 3).numpy()
    np.testing.assert_allclose(found[:, 1:], np.tile([-0.801819, 0.703126], (200, 1)), atol=2e-6)
    inf = float("inf")
    logits = torch.tensor([[0.0, -inf, -inf], [0.0, -500.0, -500.0], [3.0, 3.0, -inf], [float("nan"), 1.0, 2.0]])
    certain, nearly, two, none = moments(logits, torch.tensor([1, 1, 0, 0])).numpy()
    np.testing.assert_allclose(certain, [-inf, 0, 0], atol=1e-12)
    np.testing.assert_allclose(nearly, [-500, 0, 0], atol=1e-12)
    np.testing.assert_allclose(two, [-np.log(2), -np.log(2), 0], atol=1e-6)
    assert np.isnan(none).all()


@pytest.mark.filterwarnings("error")
def test_a_chain_with_impossible_codes() -> None:
    chain = MarkovChain(np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]))
    first, second = chain.score_moments([[0, 1, 1, 0], [2]])
    np.testing.assert_allclose(first[0], [np.log(0.2), -0.801819, 0.703126], atol=1e-6)
    np.testing.assert_array_equal(first[1:], [[0, 0, 0], [-np.inf, 0, 0]])
    assert second.shape == (0, 3)
