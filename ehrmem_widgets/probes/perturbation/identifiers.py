"""The identifiers that can be moved off the truth. Light to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehrmem_widgets.errors import BadInput

IDENTIFIERS: Mapping[str, str] = {
    "age": "the age",
    "sex": "the sex",
    "lab": "the value of the first lab",
    "date": "the last known time between two events",
}
"""Each in words."""


def check_identifiers(given: Sequence[str], name: str = "identifiers") -> tuple[str, ...]:
    """Identifiers that can be moved. Raises BadInput for others."""
    unknown = [one for one in given if one not in IDENTIFIERS]
    if unknown or not given:
        raise BadInput(
            f"The identifiers that can be moved are {', '.join(IDENTIFIERS)}; got {', '.join(unknown) or 'none'}."
        )
    return tuple(dict.fromkeys(given))
