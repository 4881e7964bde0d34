"""A model's token scheme: which of its codes are time gaps and how long, ages, start and end, and how it writes values.

Every model that reads records has one, mostly in the code that made its training data. Here it is a small YAML, TOML or JSON
file, written by hand, or guessed from the codes and shown for confirmation. ``presets/`` holds those of published models.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, AllowInfNan, BeforeValidator, model_validator

from ehrmem_widgets.checked import LIST, Declared, checked, expecting
from ehrmem_widgets.cohort.time_codes import CALENDAR, GapRule, Gaps, days_of_unit
from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import read_json, read_text
from ehrmem_widgets.patterns import number_in, pattern, trust, whole_in
from ehrmem_widgets.registry import left_out, token_schemes
from ehrmem_widgets.settings import shown
from ehrmem_widgets.yaml_text import MOST_BYTES, read_yaml_file

PRESETS = Path(__file__).with_name("presets")
_MOST_DOTS = 1_000  # in a line of TOML: a key of so many parts is read for minutes
_ENDINGS = ("yaml", "yml", "toml", "json")


def _pattern(text: str, groups: Sequence[str], key: str) -> str:
    found = pattern(text, key).groups
    missing = [name for name in groups if name not in found]
    if missing:
        example = "".join(f"(?P<{name}>...)" for name in missing)
        raise BadInput(f"the pattern of {key} needs the group {' and '.join(missing)}, written {example}.")
    return text


def _ordered(gap: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= gap[0] <= gap[1]:
        raise ValueError
    return gap


def _rename(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for text, replacement in pairs:
        pattern(text, "rename")
        pattern(f"|{text}", "rename").replaced("", replacement)  # it finds something: else nobody looks
    return pairs


_Text = Annotated[str | None, expecting("a text or null")]
_Years = Annotated[str, AfterValidator(partial(_pattern, groups=("years",), key="age"))]
_Low = Annotated[str, AfterValidator(partial(_pattern, groups=("low",), key="time"))]
_Codes = Annotated[
    tuple[str, ...],
    LIST,
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    expecting("a list of codes"),
]


def _number(given: object) -> object:
    """A number that YAML reads as text (1e-3, inf) is one all the same."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


_Days = Annotated[float, AllowInfNan(), BeforeValidator(_number)]
_Gap = Annotated[
    tuple[_Days, _Days],
    AfterValidator(_ordered),
    LIST,
    BeforeValidator(lambda given: given if isinstance(given, list | tuple) else (given, given)),
    expecting("the shortest and the longest gap in days, in this order, such as [7, 14]"),
]
_Pair = Annotated[tuple[str, str], LIST, expecting("a pair [pattern, replacement]")]
_Pairs = Annotated[tuple[_Pair, ...], LIST, expecting("a list of pairs [pattern, replacement]")]


class ValueRule(Declared):
    """How values are written.

    ``kind``: "number" (the bin's number is part of the code), "range" (its ends are part of the code), "next" (a code of its
    own follows). ``pattern`` must match a whole code, with the groups ``code`` (not for "next") and ``bin``, or ``low`` and
    ``high``. None: only the codes whose bins the vocabulary itself declares.
    """

    what = "values"
    kind: Literal["number", "range", "next"]
    pattern: str | None = None

    @model_validator(mode="after")
    def _groups(self) -> Self:
        groups = {"number": ("code", "bin"), "range": ("code", "low", "high"), "next": ("bin",)}[self.kind]
        if self.pattern is not None:
            _pattern(self.pattern, groups, "values")
        elif self.kind != "number":
            raise BadInput(f"values of the kind {self.kind} need a pattern with the groups {', '.join(groups)}.")
        return self


class TimeRule(Declared):
    """How gaps are written: ``pattern`` must match a whole code, with the groups ``low`` and, where the code names it, ``high``,
    in ``unit`` (or with a unit behind each number, such as 1h15m). ``lengths`` names codes one by one instead, with the
    shortest and the longest gap in days. ``repeat``: the code that is repeated for gaps longer than any."""

    what = "time"
    pattern: _Low | None = None
    unit: str | None = None
    lengths: Annotated[
        dict[str, _Gap],
        BeforeValidator(lambda given: {} if given is None else given),
        expecting("codes with their gaps in days, such as 'TIME//1W: [7, 14]'"),
    ] = {}
    repeat: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.unit is not None:
            days_of_unit(self.unit)
        if self.pattern is None and not self.lengths:
            raise BadInput("time needs a pattern, or lengths of the codes one by one.")
        return self


class TokenScheme(Declared):
    """How a model writes a record.

    ``before_start``: codes that always stand before the start code. ``stops``: codes that end a record, the first of them
    written at its end. ``statics``: whether facts without a date are written (first). ``age``: pattern of the codes of an age in
    years (group ``years``); ``birth``: the code of the birth, when it is written as an event, so that the gap after it is the
    age. ``time``: "calendar" for this kit's own time codes, a ``TimeRule``, "ages" when no code tells time and the model is told the age
    beside each code, or None when time leaves no trace. ``no_event``: for such a model, the code that says only how old somebody is by
    now. ``repeats``: whether a code is written again when it comes again. ``rename``: pairs (pattern, replacement) that turn a data set's
    code into the model's.
    """

    what = "token scheme"
    name: str = "ehrmem"
    before_start: _Codes = ()
    start: _Text = None
    stops: _Codes = ()
    pad: _Text = None
    statics: bool = True
    age: _Years | None = r"AGE//(?P<years>\d+)"
    birth: _Text = None
    time: Annotated[
        TimeRule | Literal["calendar", "ages"] | None,
        expecting("'calendar', 'ages', null, or a rule with a pattern or lengths"),
    ] = "calendar"
    no_event: _Text = None
    repeats: bool = True
    values: ValueRule | None = ValueRule(kind="number")
    rename: Annotated[_Pairs, AfterValidator(_rename)] = ()

    @property
    def patterns(self) -> list[str]:
        """All of its regular expressions."""
        rules = [rule.pattern for rule in (self.time, self.values) if isinstance(rule, TimeRule | ValueRule)]
        return [text for text in (self.age, *rules, *(text for text, _ in self.rename)) if text]

    def renamed(self, code: str) -> str:
        """A data set's code as the model writes it, without its value."""
        for text, replacement in self.rename:
            code = pattern(text, "rename").replaced(code, replacement)
        return code

    def gaps(self, codes: Sequence[str]) -> GapRule | None:
        """The time codes among the codes, with their lengths; None where there are none."""
        if self.time is None or self.time == "ages":
            return None
        if self.time == "calendar":
            return CALENDAR
        rule, lengths = self.time, dict(self.time.lengths)
        if rule.pattern:
            time = pattern(rule.pattern, "time")
            for code in codes:
                if match := time.fullmatch(code):
                    lengths[code] = _length(match, rule.unit)
        known = set(codes)
        lengths = {code: length for code, length in lengths.items() if code in known}
        if lengths.get(rule.repeat or "", (1.0, 1.0))[0] < 1 / 24:
            raise BadInput(
                f"the code {shown(rule.repeat)} that is repeated for long gaps must stand for an hour or more."
            )
        return Gaps(lengths, rule.repeat if rule.repeat in lengths else None) if lengths else None

    def years(self, code: str) -> int | None:
        """The age that a code stands for, None for any other code."""
        match = pattern(self.age, "age").fullmatch(code) if self.age else None
        years = whole_in(match, "years") if match else None
        return years if years is not None and years < 1000 else None

    def to_yaml(self) -> str:
        """The token scheme as a file that ``read_token_scheme`` reads."""
        content = self.model_dump()
        for rule in ("time", "values"):  # as it has always been written: a model's fingerprint rests on it
            if isinstance(content[rule], dict):
                content[rule] = {name: value for name, value in content[rule].items() if value}
        if self.no_event is None:
            del content["no_event"]
        if self.repeats:
            del content["repeats"]
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


NONE = TokenScheme(name="none", age=None, time=None, values=None)
"""Nothing is known of how the codes tell time, age or values."""
OWN = TokenScheme()
trust(OWN.patterns)
"""The token scheme of models that ``ehrmem train`` makes (arXiv 2510.12950, section 4.1)."""
WITH_AGES = TokenScheme(
    name="ehrmem with ages", start="[BOS]", pad="[PAD]", no_event="[NO EVENT]", age=None, time="ages", repeats=False
)
"""That of time-to-event models that ``ehrmem train --time-to-event`` makes."""


def read_token_scheme(given: str | Path) -> TokenScheme:
    """A token scheme from a file (YAML, TOML or JSON) or the name of a published model's (``preset_names``).

    A file may begin from a published one with ``preset: NAME`` and name only what differs. Raises BadInput, in words, for an
    unknown key, a pattern that is none or lacks its groups, and a value of the wrong type.
    """
    text = str(given)
    if text.lower().replace(" ", "_") in _presets():
        return _presets()[text.lower().replace(" ", "_")]
    path = Path(given)
    if not path.is_file():
        raise BadInput(
            f"There is no token scheme file {text!r}, and no published token scheme of that name. Published are {', '.join(preset_names())}."
        )
    return _from(_content(path), path.name)


def token_scheme_in(folder: Path) -> Path | None:
    """The token scheme's file in a folder. Raises BadInput where it has the name of before version 0.2."""
    for ending in _ENDINGS:
        if (folder / f"grammar.{ending}").is_file():
            raise BadInput(f"{folder / f'grammar.{ending}'} is called token_scheme.{ending} now: rename the file.")
        if (found := folder / f"token_scheme.{ending}").is_file():
            return found
    return None


def preset_names() -> tuple[str, ...]:
    """The names of the published models' token schemes: those that come with this kit, and those of installed packages."""
    return tuple(_presets())


def guess_token_scheme(codes: Sequence[str]) -> TokenScheme:
    """The published token scheme that explains most of these codes: its start and stop codes, gaps, ages and values. What it names
    and the codes lack is left out; a start or a stop of a common name is taken when it names none. None of them where it explains nothing but
    special codes, which all share."""
    best = max(_presets().values(), key=lambda one: sum(_explained(one, codes)))
    return fitted(best if _explained(best, codes)[1] else NONE, codes)


def fitted(token_scheme: TokenScheme, codes: Sequence[str]) -> TokenScheme:
    """The token scheme without the special codes that the model does not have, and with those of a common name that it has."""
    known = set(codes)

    def common(*names: str) -> str | None:
        return next((name for name in names if name in known), None)

    start = (
        token_scheme.start
        if token_scheme.start in known
        else common("[BOS]", "[CLS]", "<s>", "<BOS>", "TIMELINE//START")
    )
    stops = tuple(code for code in token_scheme.stops if code in known)
    end = common("[EOS]", "[SEP]", "</s>", "<EOS>", "TIMELINE//END")
    pad = token_scheme.pad if token_scheme.pad in known else common("[PAD]", "<pad>", "PAD")
    return token_scheme.model_copy(
        update={
            "before_start": tuple(code for code in token_scheme.before_start if code in known and code != start),
            "start": start,
            "stops": stops or ((end,) if end else ()),
            "pad": pad,
            "birth": token_scheme.birth if token_scheme.birth in known else None,
            "no_event": token_scheme.no_event if token_scheme.no_event in known else None,
        }
    )


def _explained(token_scheme: TokenScheme, codes: Sequence[str]) -> tuple[int, int]:
    """How much of the special codes is explained, and how much of gaps, ages and values."""
    known = set(codes)
    special = {
        token_scheme.start,
        token_scheme.pad,
        *token_scheme.stops,
        *token_scheme.before_start,
    } & known
    gaps = token_scheme.gaps(codes)
    count = 3 * (len(known & set(gaps.codes)) if gaps else 0)
    count += 3 * (token_scheme.birth in known) + 3 * (token_scheme.no_event in known)
    values = token_scheme.values
    bins = pattern(values.pattern, "values") if values and values.pattern else None
    for code in codes:
        count += bool(bins and bins.fullmatch(code)) + (token_scheme.years(code) is not None)
    return 3 * len(special), count


def _length(match: re.Match[str], unit: str | None) -> tuple[float, float]:
    return _days(match, "low", unit, 0.0), _days(match, "high", unit, math.inf)


def _days(match: re.Match[str], group: str, unit: str | None, missing: float) -> float:
    text = match.groupdict().get(group)
    if text is None:
        return missing
    if unit is not None:
        return number_in(match, group) * days_of_unit(unit)
    return sum(float(number) * days_of_unit(name) for number, name in re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", text))


@cache
def _presets() -> dict[str, TokenScheme]:
    found = {path.stem: _from(_content(path), path.name) for path in sorted(PRESETS.glob("*.yaml"))}
    for ours in found.values():
        trust(ours.patterns)
    for name, path in token_schemes().items():
        try:
            found.setdefault(name, _from(_content(path), path.name))
        except BadInput as error:
            left_out("token scheme", name, str(path), str(error).rstrip("."))
    return found


def _content(path: Path) -> object:
    if path.suffix not in (".toml", ".json"):
        return read_yaml_file(path, f"The token scheme file {str(path)!r}")
    what = f"The token scheme file {str(path)!r}"
    if path.suffix == ".json":
        return read_json(path, what)
    text = read_text(path, what, most=MOST_BYTES)
    try:
        if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):
            raise RecursionError
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else said_by(error)
        raise BadInput(f"{what} cannot be read: {said}.") from None


def _from(content: object, file: str) -> TokenScheme:
    if not isinstance(content, Mapping):
        raise BadInput(f"The token scheme {file} must hold names and values, such as 'start: \"[BOS]\"'.")
    given = dict(content)
    preset = given.pop("preset", None)
    if preset is not None and str(preset).lower().replace(" ", "_") not in _presets():
        raise BadInput(
            f"{file}: there is no published token scheme {shown(preset)}. Published are {', '.join(preset_names())}."
        )
    base = {"name": file} if preset is None else read_token_scheme(str(preset)).model_dump()
    return checked(TokenScheme, {**base, **given}, f"{file}: ")
