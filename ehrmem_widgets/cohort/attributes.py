"""Sensitive attributes: which codes disclose HIV, substance use, an abortion, ..., and how severe that is.

The groups are data, ``sensitive_attributes.yaml`` beside this file, whose header says how to edit them. Diagnoses and
procedures are matched by beginnings and patterns of their code, never by words of their label; drugs and laboratory
tests are proxies, matched by code or by whole words. Sources: HL7 v3 ActInformationSensitivityPolicy, SAMHSA
(42 CFR Part 2), CCSR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import pandas as pd
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ehrmem_widgets.checked import LIST, Declared, checked, expected, expecting, within
from ehrmem_widgets.cohort.codes import CodeParts, Kind, parse_code
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.patterns import pattern
from ehrmem_widgets.registry import attribute_files, left_out
from ehrmem_widgets.settings import SEVERITY
from ehrmem_widgets.yaml_text import read_yaml_file

PACKAGED = Path(__file__).with_name("sensitive_attributes.yaml")

Role = Literal["code", "proxy"]


@dataclass(frozen=True)
class Rule:
    """Codes that count alike: the ``role`` and ``part`` (sub-title) they give, and how to know them."""

    role: Role
    part: str | None = None
    prefixes: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (coding system, beginnings of its codes)
    patterns: tuple[tuple[str, str], ...] = ()  # (coding system, regular expression for the beginning)
    exact: tuple[tuple[str, frozenset[str]], ...] = ()  # (coding system, whole codes)
    meds: tuple[str, ...] = ()  # whole MEDS codes, or their beginning up to a //
    words: tuple[tuple[Kind, frozenset[str]], ...] = ()  # (kind of code, whole words and phrases, lower-case)

    def covers(self, code: str, parts: CodeParts, said: frozenset[str]) -> bool:
        """Does the rule know this code? ``said`` are the words and phrases of the code and its description."""
        concept, system = parts.concept, parts.system
        return (
            any(system == name and concept.startswith(beginnings) for name, beginnings in self.prefixes)
            or any(system == name and pattern(text, name).match(concept) for name, text in self.patterns)
            or any(system == name and concept in known for name, known in self.exact)
            or any(code == known or code.startswith(known + "//") for known in self.meds)
            or any(parts.kind == kind and not said.isdisjoint(words) for kind, words in self.words)
        )

    def concerns(self, system: str | None, kind: Kind, head: str) -> bool:
        """Could the rule know any code of this system and kind, beginning with ``head``? Spares most comparisons."""
        systems = {name for name, _ in (*self.prefixes, *self.patterns, *self.exact)}
        return system in systems or kind in dict(self.words) or any(known.split("//")[0] == head for known in self.meds)


@dataclass(frozen=True)
class SensitiveAttribute:
    """A named group of codes with a declared severity (1 to 5) and a written reason.

    ``own_value`` names a comparator (``age_band`` or ``sex``) whose codes depend on the patient: it matches no
    code here.
    """

    name: str
    title: str
    severity: int
    reason: str
    sources: tuple[str, ...]
    own_value: str | None = None
    asked_by_default: bool = True
    rules: tuple[Rule, ...] = field(default=(), repr=False)

    def matches(self, code: str, description: str | None = None) -> Role | None:
        """``"code"`` if the code discloses the attribute, ``"proxy"`` if it is a strong hint, else None.

        Pass the base code, without a value bin. The description is read for drugs and laboratory tests only.

        >>> hiv = load_attributes()["hiv"]
        >>> hiv.matches("DIAGNOSIS//ICD//10//B20"), hiv.matches("MEDICATION//START//Stribild//61958120101")
        ('code', 'proxy')
        >>> hiv.matches("DIAGNOSIS//ICD//10//Z1159", "Screening for viral diseases, HIV among them") is None
        True
        """
        rule = self._rule(code, description)
        return rule.role if rule else None

    def part(self, code: str, description: str | None = None) -> str | None:
        """The sub-title (Alcohol, Opioids, ...) under which the code stands, if the group has any."""
        rule = self._rule(code, description)
        return rule.part if rule else None

    def _rule(self, code: str, description: str | None) -> Rule | None:
        parts = parse_code(code)
        said = _said(code, parts, description)
        return next((rule for rule in self.rules if rule.covers(code, parts, said)), None)


def load_attributes(path: str | Path | None = None) -> dict[str, SensitiveAttribute]:
    """Read the groups, in the order of the file; ``path=None`` is the packaged file, and after it those of installed packages.

    Raises :class:`BadInput` that names the group and what is wrong with it; a package's file that is wrong is left out instead
    (``registry.problems`` says it).
    """
    if path is not None:
        return _of_file(Path(path))
    return _of_file(PACKAGED) | _of_packages()


def attributes_with(path: str | Path | None) -> dict[str, SensitiveAttribute]:
    """The groups of ``load_attributes``, and those of a file of your own after them. Raises BadInput for a name that is taken."""
    known = load_attributes()
    more = _of_file(Path(path)) if path is not None else {}
    if taken := [name for name in more if name in known]:
        raise BadInput(
            f"{Path(str(path)).name}: there is an attribute {taken[0]!r} already. Give yours another name; a plan's 'severity' changes how "
            "grave one is."
        )
    return known | more


@cache
def _of_packages() -> dict[str, SensitiveAttribute]:
    """The groups of installed packages; ours come first where a name is taken."""
    found: dict[str, SensitiveAttribute] = {}
    ours = _of_file(PACKAGED)
    for name, path in attribute_files().items():
        try:
            found |= {one: group for one, group in _of_file(path).items() if one not in ours and one not in found}
        except BadInput as error:
            left_out("attribute file", name, str(path), str(error).rstrip("."))
    return found


def _of_file(source: Path) -> dict[str, SensitiveAttribute]:
    attributes: dict[str, SensitiveAttribute] = {}
    for position, entry in enumerate(_read(source), start=1):
        attribute = _attribute(entry, f"{source.name}, attribute {position}")
        if attribute.name in attributes:
            raise BadInput(f"{source.name}: two attributes are named {attribute.name!r}; give each its own name.")
        attributes[attribute.name] = attribute
    return attributes


def match_codes(
    attributes: Mapping[str, SensitiveAttribute], codes: Iterable[str], descriptions: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Which codes belong to which attribute: one row for each match, columns ``code``, ``attribute``, ``role``.

    ``descriptions`` (code to description, as in ``metadata/codes.parquet``) lets drugs given only by RxNorm or NDC code
    be recognized by ingredient. Repeated codes are looked at once.
    """
    described = descriptions or {}
    rows: list[tuple[str, str, Role]] = []
    concerned: dict[tuple[str | None, Kind, str], list[tuple[str, list[Rule]]]] = {}
    for code in dict.fromkeys(codes):
        parts = parse_code(code)
        sort = (parts.system, parts.kind, code.split("//", 1)[0])
        if sort not in concerned:
            kept = ((name, [rule for rule in it.rules if rule.concerns(*sort)]) for name, it in attributes.items())
            concerned[sort] = [(name, rules) for name, rules in kept if rules]
        said = _said(code, parts, described.get(code)) if concerned[sort] else frozenset()
        for name, rules in concerned[sort]:
            if rule := next((rule for rule in rules if rule.covers(code, parts, said)), None):
                rows.append((code, name, rule.role))
    return pd.DataFrame(rows, columns=["code", "attribute", "role"])


# Reading the file -----------------------------------------------------------------------------------------------------

_LONGEST_PHRASE = 5
_KINDS = (Kind.medication, Kind.laboratory)
_PREFIX_KEYS = {"icd10cm": "ICD10CM", "icd9cm": "ICD9CM", "icd10pcs": "ICD10PCS", "icd9proc": "ICD9Proc"}


def _compiling(text: str) -> str:
    pattern(text, "icd10cm")
    return text


def _phrase(phrase: str) -> str:
    """A word or phrase to look for, written as :func:`_said` writes it."""
    words = _words(phrase)
    if not 1 <= len(words) <= _LONGEST_PHRASE:
        raise expected(f"one to {_LONGEST_PHRASE} words of letters or digits")
    return " ".join(words)


Item = TypeVar("Item", bound=str)
_Text = Annotated[str, Field(pattern=r"\S"), expecting("some text, in quotes (YAML reads an unquoted 042 as 34)")]
_List = Annotated[
    tuple[Item, ...],
    Field(min_length=1),
    LIST,
    expecting('a list of texts that is not empty, e.g. ["B20", "Z21"]'),
]
# A dot would match nothing.
_Beginnings = _List[
    Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9]+$", to_upper=True),
        expecting("the beginning of a code, in quotes, in letters and digits without the dot (B18, not B18.-)"),
    ]
]
_Patterns = _List[Annotated[_Text, AfterValidator(_compiling)]]
_Phrases = _List[Annotated[_Text, AfterValidator(_phrase)]]
_Strings = _List[_Text]


class _Codes(Declared):
    """A block of ``codes:``."""

    what = "codes"
    icd10cm: _Beginnings = ()
    icd9cm: _Beginnings = ()
    icd10pcs: _Beginnings = ()
    icd9proc: _Beginnings = ()
    icd10cm_pattern: _Patterns = ()
    snomed: _Strings = ()
    meds: _Strings = ()


class _Drugs(Declared):
    what = "drugs"
    atc: _Beginnings = ()
    words: _Phrases = ()


class _Labs(Declared):
    what = "labs"
    loinc: _Strings = ()
    mimic_items: _Strings = ()
    words: _Phrases = ()


class _Proxies(_Codes):
    """A block of ``proxies:``."""

    what = "proxies"
    drugs: _Drugs = _Drugs()
    labs: _Labs = _Labs()


class _Part(Declared):
    what = "part"
    codes: _Codes = _Codes()
    proxies: _Proxies = _Proxies()


class _Group(_Part):
    """An entry of the list."""

    what = "attribute"
    name: _Text
    title: _Text
    severity: Annotated[int, within(SEVERITY), expecting("a whole number from 1 (comparator) to 5 (worst)")]
    reason: _Text
    sources: _Strings
    own_value: Literal["age_band", "sex"] | None = None
    asked_by_default: bool = True
    parts: dict[str, _Part] = {}

    def blocks(self) -> list[tuple[str | None, _Part]]:
        return [(None, self), *self.parts.items()]

    @model_validator(mode="after")
    def _has_codes(self) -> Self:
        if (self.own_value is None) == (not any("codes" in block.model_fields_set for _, block in self.blocks())):
            raise BadInput("it needs either codes (its own or in its parts) or own_value, not both and not neither.")
        return self


def _read(source: Path) -> list[object]:
    """The list under ``attributes:``."""
    content = _packaged() if source == PACKAGED else read_yaml_file(source, source.name, hint=" Give a YAML file.")
    if not isinstance(content, dict) or list(content) != ["attributes"] or not isinstance(content["attributes"], list):
        raise BadInput(f"{source.name} must hold one key, 'attributes:', with a list of groups below it.")
    return content["attributes"]


@cache
def _packaged() -> object:
    return read_yaml_file(PACKAGED, PACKAGED.name)


def _attribute(entry: object, where: str) -> SensitiveAttribute:
    """One checked group."""
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        where += f" ({entry['name']})"
    group = checked(_Group, entry, f"{where}: ")
    return SensitiveAttribute(
        name=group.name,
        title=group.title,
        severity=group.severity,
        reason=group.reason,
        sources=group.sources,
        own_value=group.own_value,
        asked_by_default=group.asked_by_default,
        rules=tuple(_rules(group)),
    )


def _rules(group: _Group) -> Iterator[Rule]:
    """The rules of a group, codes before proxies, so that a code is never called a proxy."""
    for part, block in group.blocks():
        if "codes" in block.model_fields_set:
            yield _rule(block.codes, _Proxies(), "code", part)
    for part, block in group.blocks():
        if "proxies" in block.model_fields_set:
            yield _rule(block.proxies, block.proxies, "proxy", part)


def _rule(codes: _Codes, hints: _Proxies, role: Role, part: str | None) -> Rule:
    drugs, labs = hints.drugs, hints.labs
    prefixes = [*((system, getattr(codes, key)) for key, system in _PREFIX_KEYS.items()), ("ATC", drugs.atc)]
    exact = (("SNOMED", codes.snomed), ("LOINC", labs.loinc), ("MIMIC-item", labs.mimic_items))
    words = ((Kind.medication, drugs.words), (Kind.laboratory, labs.words))
    return Rule(
        role=role,
        part=part,
        prefixes=tuple((system, beginnings) for system, beginnings in prefixes if beginnings),
        patterns=tuple(("ICD10CM", pattern) for pattern in codes.icd10cm_pattern),
        exact=tuple((system, frozenset(known)) for system, known in exact if known),
        meds=codes.meds,
        words=tuple((kind, frozenset(phrases)) for kind, phrases in words if phrases),
    )


def _said(code: str, parts: CodeParts, description: str | None) -> frozenset[str]:
    """The words and phrases (up to five words) of drugs and laboratory tests; nothing of other codes.

    Whole words only: methylnaltrexone does not say naltrexone, and CD41 not CD4.
    """
    if parts.kind not in _KINDS:
        return frozenset()
    words = _words(f"{code} {description}" if isinstance(description, str) else code)
    longest = range(1, _LONGEST_PHRASE + 1)
    return frozenset(" ".join(words[start : start + n]) for n in longest for start in range(len(words) - n + 1))


def _words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())
