"""Every term that people meet on a screen or in a report, with what it means: known in one place (``glossary.yaml``)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from ehrmem_widgets.yaml_text import read_yaml_file


class Term(NamedTuple):
    """A term as it stands on a screen, what it means in a sentence or two, and the words by which it is recognized in a text."""

    name: str
    meaning: str
    forms: tuple[str, ...]


@cache
def glossary() -> dict[str, Term]:
    """The terms by key."""
    content = cast("dict[str, list[str]]", read_yaml_file(Path(__file__).with_suffix(".yaml"), "The glossary"))
    return {key: Term(name, meaning, tuple(forms) or (name,)) for key, (name, meaning, *forms) in content.items()}


def terms_in(text: str) -> list[str]:
    """The keys of the terms that a text uses.

    >>> terms_in("The record comes to it beyond the horizon of 16.")
    ['horizon']
    """
    return [
        key
        for key, term in glossary().items()
        if any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text, re.IGNORECASE) for form in term.forms)
    ]
