"""The probes by name, each with the question that it asks, in words. Light to import: the command line lists them."""

QUESTIONS = {
    "reconstruction": "T1: does it continue a record as it really went on?",
    "attribute": "T2: does it name sensitive attributes, and of members only?",
    "embedding": "T3: can an attribute be read from the embedding of a prompt?",
    "neighbours": "is the own record among the nearest to what is known?",
    "membership": "T4: can one tell who was in the training data?",
    "perturbation": "T5: does the leak collapse off the true age, sex, value or date?",
    "subgroups": "T6: who is more exposed than others?",
    "ranking": "which known facts trigger a leak, cheapest first?",
    "preflight": "are members and non-members alike to begin with?",
}
"""Probe name: its question."""
