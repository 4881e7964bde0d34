"""A model's grammar: which of its codes are time gaps and how long, ages, start and end, and how it writes values.

Every model that reads records has one, mostly in the code that made its training data. Here it is a small YAML, TOML or JSON
file, written by hand, or guessed from the codes and shown for confirmation. ``grammars/`` holds those of published models.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from ehrmem_widgets.cohort.time_codes import CALENDAR, GapRule, Gaps, days_of_unit
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import left_out, token_schemes
from ehrmem_widgets.yaml_text import read_yaml_file

PRESETS = Path(__file__).with_name("grammars")
FILE_NAMES = ("grammar.yaml", "grammar.yml", "grammar.toml", "grammar.json")


@dataclass(frozen=True)
class ValueRule:
    """How values are written.

    ``kind``: "number" (the bin's number is part of the code), "range" (its ends are part of the code), "next" (a code of its
    own follows). ``pattern`` must match a whole code, with the groups ``code`` (not for "next") and ``bin``, or ``low`` and
    ``high``. None: only the codes whose bins the vocabulary itself declares.
    """

    kind: Literal["number", "range", "next"] = "number"
    pattern: str | None = None


@dataclass(frozen=True)
class TimeRule:
    """How gaps are written: ``pattern`` must match a whole code, with the groups ``low`` and, where the code names it, ``high``,
    in ``unit`` (or with a unit behind each number, such as 1h15m). ``lengths`` names codes one by one instead, with the
    shortest and the longest gap in days. ``repeat``: the code that is repeated for gaps longer than any."""

    pattern: str | None = None
    unit: str | None = None
    lengths: tuple[tuple[str, float, float], ...] = ()
    repeat: str | None = None


@dataclass(frozen=True)
class Grammar:
    """How a model writes a record.

    ``before_start``: codes that always stand before the start code. ``stops``: codes that end a record, the first of them
    written at its end. ``statics``: whether facts without a date are written (first). ``age``: pattern of the codes of an age in
    years (group ``years``); ``birth``: the code of the birth, when it is written as an event, so that the gap after it is the
    age. ``time``: "calendar" for this kit's own time codes, a ``TimeRule``, or None when time leaves no trace. ``rename``: pairs
    (pattern, replacement) that turn a data set's code into the model's.
    """

    name: str = "ehrmem"
    before_start: tuple[str, ...] = ()
    start: str | None = None
    stops: tuple[str, ...] = ()
    pad: str | None = None
    statics: bool = True
    age: str | None = r"AGE//(?P<years>\d+)"
    birth: str | None = None
    time: TimeRule | Literal["calendar"] | None = "calendar"
    values: ValueRule | None = ValueRule()
    rename: tuple[tuple[str, str], ...] = ()

    def renamed(self, code: str) -> str:
        """A data set's code as the model writes it, without its value."""
        for pattern, replacement in self.rename:
            code = re.sub(pattern, replacement, code)
        return code

    def gaps(self, codes: Sequence[str]) -> GapRule | None:
        """The time codes among the codes, with their lengths; None where there are none."""
        if self.time is None:
            return None
        if self.time == "calendar":
            return CALENDAR
        rule, lengths = self.time, {}
        for code, low, high in self.time.lengths:
            lengths[code] = (low, high)
        if rule.pattern:
            for code in codes:
                if match := re.fullmatch(rule.pattern, code):
                    lengths[code] = _length(match, rule.unit)
        known = set(codes)
        lengths = {code: length for code, length in lengths.items() if code in known}
        return Gaps(lengths, rule.repeat if rule.repeat in lengths else None) if lengths else None

    def years(self, code: str) -> int | None:
        """The age that a code stands for, None for any other code."""
        match = re.fullmatch(self.age, code) if self.age else None
        return int(match["years"]) if match else None

    def to_yaml(self) -> str:
        """The grammar as a file that ``read_grammar`` reads."""
        content: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, ValueRule | TimeRule):
                value = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name)}
                if "lengths" in value:
                    value["lengths"] = {code: [low, high] for code, low, high in value["lengths"]}
            elif isinstance(value, tuple):
                value = [list(v) if isinstance(v, tuple) else v for v in value]
            content[one.name] = value
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


OWN = Grammar()
"""The grammar of models that ``ehrmem train`` makes (arXiv 2510.12950, section 4.1)."""


def read_grammar(given: str | Path) -> Grammar:
    """A grammar from a file (YAML, TOML or JSON) or the name of a published model's (``preset_names``).

    A file may begin from a published one with ``preset: NAME`` and name only what differs. Raises BadInput, in words, for an
    unknown key, a pattern that is none or lacks its groups, and a value of the wrong type.
    """
    text = str(given)
    if text.lower().replace(" ", "_") in _presets():
        return _presets()[text.lower().replace(" ", "_")]
    path = Path(given)
    if not path.is_file():
        raise BadInput(
            f"There is no grammar file {text!r}, and no published grammar of that name. Published are {', '.join(preset_names())}."
        )
    return _from(_content(path), path.name)


def preset_names() -> tuple[str, ...]:
    """The names of the published models' grammars: those that come with this kit, and those of installed packages."""
    return tuple(_presets())


def guess_grammar(codes: Sequence[str]) -> Grammar:
    """The published grammar that explains most of these codes: its start and stop codes, gaps, ages and values. What it names
    and the codes lack is left out; a start or a stop of a common name is taken when it names none."""
    best = max(_presets().values(), key=lambda one: _explained(one, codes))
    return fitted(best, codes)


def fitted(grammar: Grammar, codes: Sequence[str]) -> Grammar:
    """The grammar without the special codes that the model does not have, and with those of a common name that it has."""
    from dataclasses import replace

    known = set(codes)

    def common(*names: str) -> str | None:
        return next((name for name in names if name in known), None)

    start = grammar.start if grammar.start in known else common("[BOS]", "[CLS]", "<s>", "<BOS>", "TIMELINE//START")
    stops = tuple(code for code in grammar.stops if code in known)
    end = common("[EOS]", "[SEP]", "</s>", "<EOS>", "TIMELINE//END")
    pad = grammar.pad if grammar.pad in known else common("[PAD]", "<pad>", "PAD")
    return replace(
        grammar,
        before_start=tuple(code for code in grammar.before_start if code in known and code != start),
        start=start,
        stops=stops or ((end,) if end else ()),
        pad=pad,
        birth=grammar.birth if grammar.birth in known else None,
    )


def _explained(grammar: Grammar, codes: Sequence[str]) -> int:
    known = set(codes)
    special = {grammar.start, grammar.pad, grammar.birth, *grammar.stops, *grammar.before_start} & known
    gaps = grammar.gaps(codes)
    count = 3 * len(special) + 3 * (len(known & set(gaps.codes)) if gaps else 0)
    values = grammar.values
    pattern = re.compile(values.pattern) if values and values.pattern else None
    for code in codes:
        count += bool(pattern and pattern.fullmatch(code)) + (grammar.years(code) is not None)
    return count


def _length(match: re.Match[str], unit: str | None) -> tuple[float, float]:
    found = match.groupdict()
    low = _days(found.get("low"), unit, 0.0)
    return low, _days(found.get("high"), unit, math.inf)


def _days(text: str | None, unit: str | None, missing: float) -> float:
    if text is None:
        return missing
    if unit is not None:
        return float(text) * days_of_unit(unit)
    return sum(float(number) * days_of_unit(name) for number, name in re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", text))


@cache
def _presets() -> dict[str, Grammar]:
    found = {path.stem: _from(_content(path), path.name) for path in sorted(PRESETS.glob("*.yaml"))}
    for name, path in token_schemes().items():
        try:
            found.setdefault(name, _from(_content(path), path.name))
        except BadInput as error:
            left_out("token scheme", name, str(path), str(error).rstrip("."))
    return found


def _content(path: Path) -> Any:
    if path.suffix not in (".toml", ".json"):
        return read_yaml_file(path, f"The grammar file {str(path)!r}")
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise BadInput(f"The grammar file {str(path)!r} cannot be read: {said}.") from None


def _from(content: Any, file: str) -> Grammar:
    if not isinstance(content, Mapping):
        raise BadInput(f"The grammar {file} must hold names and values, such as 'start: \"[BOS]\"'.")
    given = dict(content)
    preset = given.pop("preset", None)
    _known_keys(given, {one.name for one in fields(Grammar)}, file)
    if preset is not None and str(preset).lower().replace(" ", "_") not in _presets():
        raise BadInput(f"{file}: there is no published grammar {preset!r}. Published are {', '.join(preset_names())}.")
    base = read_grammar(str(preset)) if preset is not None else Grammar(name=file)
    made = {one.name: getattr(base, one.name) for one in fields(Grammar)}
    made |= {key: _field(key, value, file) for key, value in given.items()}
    return Grammar(**made)


def _field(key: str, value: Any, file: str) -> Any:
    if key in ("before_start", "stops"):
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadInput(f"{file}: {key} must be a list of codes; got {value!r}.")
        return tuple(value)
    if key == "statics":
        if not isinstance(value, bool):
            raise BadInput(f"{file}: statics must be true or false; got {value!r}.")
        return value
    if key == "rename":
        if not isinstance(value, list) or not all(isinstance(one, list) and len(one) == 2 for one in value):
            raise BadInput(f"{file}: rename must be a list of pairs [pattern, replacement]; got {value!r}.")
        return tuple((_pattern(str(a), (), key, file), str(b)) for a, b in value)
    if key == "time":
        return value if value in (None, "calendar") else _time(value, file)
    if key == "values":
        return None if value is None else _values(value, file)
    if value is not None and not isinstance(value, str):
        raise BadInput(f"{file}: {key} must be a text or null; got {value!r}.")
    return _pattern(value, ("years",), key, file) if key == "age" and value is not None else value


def _time(value: Any, file: str) -> TimeRule:
    if not isinstance(value, Mapping):
        raise BadInput(f"{file}: time is 'calendar', null, or has a pattern or lengths; got {value!r}.")
    _known_keys(value, {one.name for one in fields(TimeRule)}, f"{file}, time")
    pattern, unit = value.get("pattern"), value.get("unit")
    if pattern is not None:
        pattern = _pattern(str(pattern), ("low",), "time", file)
    if unit is not None:
        days_of_unit(str(unit))
    lengths = value.get("lengths") or {}
    try:
        listed = tuple((str(code), *_ends(given)) for code, given in lengths.items())
    except (TypeError, ValueError, AttributeError):
        raise BadInput(
            f"{file}: lengths of time gives each code its shortest and longest gap in days, such as 'TIME//1W: [7, 14]'; "
            f"got {lengths!r}."
        ) from None
    if pattern is None and not listed:
        raise BadInput(f"{file}: time needs a pattern, or lengths of the codes one by one.")
    return TimeRule(pattern, unit and str(unit), listed, value.get("repeat"))


def _ends(given: Any) -> tuple[float, float]:
    low, high = given if isinstance(given, list) else (given, given)
    return float(low), float(high)


def _values(value: Any, file: str) -> ValueRule:
    if not isinstance(value, Mapping):
        raise BadInput(f"{file}: values has a kind and a pattern, or is null; got {value!r}.")
    _known_keys(value, {one.name for one in fields(ValueRule)}, f"{file}, values")
    groups = {"number": ("code", "bin"), "range": ("code", "low", "high"), "next": ("bin",)}
    kind = value.get("kind")
    if kind not in groups:
        raise BadInput(f"{file}: the kind of values is one of {', '.join(groups)}; got {kind!r}.")
    pattern = value.get("pattern")
    if pattern is None and kind != "number":
        raise BadInput(f"{file}: values of the kind {kind} need a pattern with the groups {', '.join(groups[kind])}.")
    return ValueRule(kind, None if pattern is None else _pattern(str(pattern), groups[kind], "values", file))


def _pattern(text: str, groups: Sequence[str], key: str, file: str) -> str:
    try:
        found = re.compile(text).groupindex
    except re.error as error:
        raise BadInput(f"{file}: the pattern of {key} is not a regular expression ({error}): {text!r}.") from None
    missing = [name for name in groups if name not in found]
    if missing:
        example = "".join(f"(?P<{name}>...)" for name in missing)
        raise BadInput(f"{file}: the pattern of {key} needs the group {' and '.join(missing)}, written {example}.")
    return text


def _known_keys(given: Mapping[Any, Any], allowed: set[str], where: str) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, n=1)
            hint = f" Is {near[0]!r} meant?" if near else ""
            raise BadInput(f"{where}: {key!r} is nothing a grammar says.{hint} Known are {', '.join(sorted(allowed))}.")
