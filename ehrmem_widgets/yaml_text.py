"""YAML that people wrote, read so that nothing in it is lost without a word."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from textwrap import shorten

import yaml

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_text
from ehrmem_widgets.settings import shown

MOST_BYTES = 1_000_000
"""Of a YAML file: it is written by hand."""
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")


def read_yaml(text: str, what: str) -> object:
    """The content of a YAML (or JSON) text as plain data. ``what`` names it in the error's sentence.

    Raises BadInput for text that is no YAML, a date or number that there is not, a key that is given twice (YAML would take the
    last of them and forget the first), and a whole number that YAML would take for another one (010 for 8, 1:30 for 90).

    >>> read_yaml("seed: 1\\nseed: 2", "The plan")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: The plan cannot be read as YAML: 'seed' is given twice (line 2). Correct that line.
    """
    try:
        return yaml.load(text, _Once)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise BadInput(
            f"{what} cannot be read as YAML: {shorten(str(error.problem), 120)}{line}. Correct that line."
        ) from None
    except yaml.YAMLError as error:
        raise BadInput(f"{what} cannot be read as YAML: {shorten(str(error), 120)}.") from None
    except RecursionError:
        raise BadInput(f"{what} cannot be read as YAML: it is nested too deeply.") from None


def read_yaml_file(path: Path, what: str, *, hint: str = "") -> object:
    """The content of a YAML (or JSON) file; errors as of ``read_yaml``, and for a file that cannot be read, with a ``hint``."""
    try:
        text = read_text(path, what, most=MOST_BYTES)
    except BadInput as error:
        raise BadInput(f"{error}{hint}") from None
    return read_yaml(text, what)


class _Once(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, numbers that mean others, and aliases, which make a book of a line; says where a date or
    number is none."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{event.anchor} is not allowed: write it out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refusal(key, f"{shown(key.value)} is given twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        if node.tag == "tag:yaml.org,2002:int" and not _WHOLE.fullmatch(str(node.value)):
            raise _refusal(
                node, f"{shown(node.value)} would be taken for another number: write it plainly, or in quotes"
            )
        try:
            return super().construct_object(node, deep)
        except ValueError:  # 9999-99-99, which YAML takes for a date, or a number of 4,301 digits
            raise _refusal(node, f"{shown(node.value)} is not a valid date or number") from None


def _refusal(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
