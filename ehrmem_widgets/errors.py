"""The one error that people are meant to read."""


class InputError(ValueError):
    """The user gave something wrong; the message says what was given, what was expected and what to do."""
