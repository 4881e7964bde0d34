"""What ``choose`` wrote: the lesson's patients, cards and figures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ehrmem_widgets.workshop.asking import Asked, Figure

FILE = Path(__file__).with_name("chosen.json")


class TrainedAs(BaseModel):
    """One way to train: ``leak``: the mean probability that it names an attribute that a member holds; ``loss``: its mean negative
    log-likelihood, in nats a code, on people whom no model saw."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    fingerprint: str
    leak: Figure
    loss: Figure


class Odds(BaseModel):
    """Of ``of`` people, half of whom were in the training data, the best attacker tells so many rightly: ``coin`` by tossing a coin, at most
    ``promised`` by epsilon and delta alone, at most ``by_noise`` by the noise that was really added."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: int
    coin: int
    promised: int
    by_noise: int
    epsilon: float
    delta: float


class Chosen(BaseModel):
    """``attack``: one person, by how much the attacker knows; ``cards``: the ten to sort; ``patients``: the lesson's people by model; ``asked``: how many
    questions were asked before these were chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    command: str
    seed: int
    asked: int
    attack: tuple[Asked, ...]
    cards: tuple[Asked, ...]
    patients: tuple[Asked, ...]
    training: tuple[TrainedAs, ...]
    reference: str
    odds: Odds


@cache
def chosen() -> Chosen:
    """What was chosen."""
    return Chosen.model_validate_json(FILE.read_bytes())
