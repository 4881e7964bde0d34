"""From epsilon to odds: how often the best attacker can be right about who was in the training data.

An (epsilon, delta) differentially private training allows an attacker who may raise false alarms at the rate a to find at most 1 - f(a) of the
members, f(a) = max(0, 1 - delta - e^epsilon a, e^-epsilon (1 - delta - a)) (Kairouz, Oh and Viswanath 2015, The Composition Theorem for
Differential Privacy; Dong, Roth and Su 2022, Gaussian Differential Privacy, section 2). So hits minus false alarms are at most
(e^epsilon - 1 + 2 delta) / (e^epsilon + 1). The package riskcal computes the same; it calls itself a research prototype and pins one version of
dp-accounting, which nothing else here needs, for these two lines.
"""

from __future__ import annotations

import math


def most_found(epsilon: float, delta: float, false_alarms: float) -> float:
    """The largest share of members that can be found at a rate of false alarms.

    >>> round(most_found(0, 0, 0.1), 3), round(most_found(1, 0, 0.1), 3)
    (0.1, 0.272)
    """
    grown = math.exp(epsilon)
    return min(1.0, delta + grown * false_alarms, 1 - (1 - delta - false_alarms) / grown)


def advantage(epsilon: float, delta: float) -> float:
    """The largest difference between hits and false alarms.

    >>> advantage(0, 0), round(advantage(1, 0), 3)
    (0.0, 0.462)
    """
    grown = math.exp(epsilon)
    return min(1.0, (grown - 1 + 2 * delta) / (grown + 1))


def right_of(people: int, advantage: float) -> int:
    """Of so many people, half of whom were in the training data: how many guesses can be right, rounded up.

    >>> right_of(100, 0), right_of(100, 0.3), right_of(100, 1)
    (50, 65, 100)
    """
    return math.ceil(round(people * (1 + advantage) / 2, 6))
