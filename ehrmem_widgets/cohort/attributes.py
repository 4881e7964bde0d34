"""Sensitive attributes: which codes disclose HIV, substance use, an abortion, ..., and how severe that is.

The groups are data, ``sensitive_attributes.yaml`` beside this file, whose header says how to edit them. Diagnoses and
procedures are matched by beginnings and patterns of their code, never by words of their label; drugs and laboratory
tests are proxies, matched by code or by whole words. Sources: HL7 v3 ActInformationSensitivityPolicy, SAMHSA
(42 CFR Part 2), CCSR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ehrmem_widgets.cohort.codes import CodeParts, Kind, parse_code
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import attribute_files, left_out
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
            or any(system == name and re.match(pattern, concept) is not None for name, pattern in self.patterns)
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


def with_severity(
    attributes: Mapping[str, SensitiveAttribute], changes: Mapping[str, tuple[int, str]]
) -> dict[str, SensitiveAttribute]:
    """A copy with other severities: ``{name: (severity, reason)}``; the given attributes stay as they are.

    >>> with_severity(load_attributes(), {"hiv": (3, "openly known in this cohort")})["hiv"].severity
    3
    """
    changed = dict(attributes)
    for name, (severity, reason) in changes.items():
        if name not in changed:
            raise BadInput(
                f"no attribute is named {name!r}{_did_you_mean(name, changed)}; there are: {_list(changed)}."
            )
        _check_severity(severity, f"the new severity of {name!r}")
        _check_text(reason, f"the new severity of {name!r}: the reason")
        changed[name] = replace(changed[name], severity=severity, reason=reason)
    return changed


# Reading the file -----------------------------------------------------------------------------------------------------

_NEEDED = ("name", "title", "severity", "reason", "sources")
_OPTIONAL = ("own_value", "asked_by_default", "codes", "proxies", "parts")
_OWN_VALUES = ("age_band", "sex")
_PREFIX_KEYS = {"icd10cm": "ICD10CM", "icd9cm": "ICD9CM", "icd10pcs": "ICD10PCS", "icd9proc": "ICD9Proc"}
_CODE_KEYS = (*_PREFIX_KEYS, "icd10cm_pattern", "snomed", "meds")
_LIST_KEYS = {"drugs": ("atc", "words"), "labs": ("loinc", "mimic_items", "words")}
_LONGEST_PHRASE = 5
_KINDS = {"drugs": Kind.medication, "labs": Kind.laboratory}


def _read(source: Path) -> list[Any]:
    """The list under ``attributes:``."""
    content = _packaged() if source == PACKAGED else read_yaml_file(source, source.name, hint=" Give a YAML file.")
    if not isinstance(content, dict) or list(content) != ["attributes"] or not isinstance(content["attributes"], list):
        raise BadInput(f"{source.name} must hold one key, 'attributes:', with a list of groups below it.")
    return content["attributes"]


@cache
def _packaged() -> Any:
    return read_yaml_file(PACKAGED, PACKAGED.name)


def _attribute(entry: Any, where: str) -> SensitiveAttribute:
    """One checked group."""
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        where += f" ({entry['name']})"
    _check_keys(entry, (*_NEEDED, *_OPTIONAL), where)
    if missing := [key for key in _NEEDED if key not in entry]:
        raise BadInput(f"{where} lacks {_list(missing)}; every attribute needs {_list(_NEEDED)}.")
    for key in ("name", "title", "reason"):
        _check_text(entry[key], f"{where}: {key}")
    _check_severity(entry["severity"], where)
    own_value, asked = entry.get("own_value"), entry.get("asked_by_default", True)
    if own_value is not None and own_value not in _OWN_VALUES:
        raise BadInput(f"{where}: own_value is {own_value!r}; expected one of {_list(_OWN_VALUES)}, or leave it out.")
    if not isinstance(asked, bool):
        raise BadInput(f"{where}: asked_by_default is {asked!r}; write true or false.")
    rules = tuple(_rules(entry, where))
    if (own_value is None) == (not any(rule.role == "code" for rule in rules)):
        raise BadInput(f"{where} needs either codes (its own or in its parts) or own_value, not both and not neither.")
    return SensitiveAttribute(
        name=entry["name"],
        title=entry["title"],
        severity=entry["severity"],
        reason=entry["reason"],
        sources=_strings(entry["sources"], f"{where}: sources"),
        own_value=own_value,
        asked_by_default=asked,
        rules=rules,
    )


def _rules(entry: dict[str, Any], where: str) -> Iterator[Rule]:
    """The rules of a group, codes before proxies, so that a code is never called a proxy."""
    parts = entry.get("parts", {})
    if not isinstance(parts, dict):
        raise BadInput(f"{where}: parts must be sub-titles with codes and proxies below each, not {parts!r}.")
    blocks: list[tuple[str | None, dict[str, Any]]] = [(None, entry)]
    for title, block in parts.items():
        _check_keys(block, ("codes", "proxies"), f"{where}, part {title!r}")
        blocks.append((str(title), block))
    for role, key in (("code", "codes"), ("proxy", "proxies")):
        for title, block in blocks:
            if key in block:
                place = f"{where}{f', part {title!r}' if title else ''}: {key}"
                yield _rule(block[key], "code" if role == "code" else "proxy", title, place)


def _rule(block: Any, role: Role, part: str | None, where: str) -> Rule:
    """One block of ``codes:`` or ``proxies:``."""
    _check_keys(block, _CODE_KEYS if role == "code" else (*_CODE_KEYS, *_LIST_KEYS), where)
    lists = {key: _strings(block[key], f"{where}: {key}") for key in _CODE_KEYS if key in block}
    hints = {
        (group, key): _strings(block[group][key], f"{where}: {group}: {key}")
        for group, keys in _LIST_KEYS.items()
        if group in block and _check_keys(block[group], keys, f"{where}: {group}")
        for key in keys
        if key in block[group]
    }
    prefixes = [(system, lists[key]) for key, system in _PREFIX_KEYS.items() if key in lists]
    prefixes += [("ATC", hints["drugs", "atc"])] if ("drugs", "atc") in hints else []
    exact = [("SNOMED", lists.get("snomed", ())), ("LOINC", hints.get(("labs", "loinc"), ()))]
    exact += [("MIMIC-item", hints.get(("labs", "mimic_items"), ()))]
    return Rule(
        role=role,
        part=part,
        prefixes=tuple((system, _dotless(beginnings, where)) for system, beginnings in prefixes),
        patterns=tuple(("ICD10CM", _pattern(text, where)) for text in lists.get("icd10cm_pattern", ())),
        exact=tuple((system, frozenset(known)) for system, known in exact if known),
        meds=lists.get("meds", ()),
        words=tuple((_KINDS[group], _phrases(words, where)) for (group, key), words in hints.items() if key == "words"),
    )


def _said(code: str, parts: CodeParts, description: str | None) -> frozenset[str]:
    """The words and phrases (up to five words) of drugs and laboratory tests; nothing of other codes.

    Whole words only: methylnaltrexone does not say naltrexone, and CD41 not CD4.
    """
    if parts.kind not in _KINDS.values():
        return frozenset()
    words = _words(f"{code} {description}" if isinstance(description, str) else code)
    longest = range(1, _LONGEST_PHRASE + 1)
    return frozenset(" ".join(words[start : start + n]) for n in longest for start in range(len(words) - n + 1))


def _words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def _phrases(phrases: tuple[str, ...], where: str) -> frozenset[str]:
    """The words and phrases to look for, written as :func:`_said` writes them."""
    if wrong := [text for text in phrases if not 1 <= len(_words(text)) <= _LONGEST_PHRASE]:
        raise BadInput(f"{where}: words: {wrong[0]!r} must have one to {_LONGEST_PHRASE} words of letters or digits.")
    return frozenset(" ".join(_words(text)) for text in phrases)


def _dotless(beginnings: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Beginnings of codes, upper-case; a dot would match nothing, an empty text everything: both are refused."""
    if wrong := [text for text in beginnings if not re.fullmatch(r"[A-Za-z0-9]+", text)]:
        raise BadInput(
            f"{where}: {_list(wrong)} cannot begin a code; write letters and digits without the dot (B18, not B18.-)."
        )
    return tuple(text.upper() for text in beginnings)


def _pattern(text: str, where: str) -> str:
    """A regular expression that compiles."""
    try:
        return re.compile(text).pattern
    except re.error as error:
        raise BadInput(
            f"{where}: the pattern {text!r} is not a regular expression ({error}); correct or remove it."
        ) from error


def _strings(value: Any, where: str) -> tuple[str, ...]:
    """A list of texts: YAML reads an unquoted 042 as the number 34."""
    if not isinstance(value, list) or not value:
        raise BadInput(f'{where} must be a list that is not empty, e.g. ["B20", "Z21"], not {value!r}.')
    if wrong := [item for item in value if not isinstance(item, str) or not item.strip()]:
        raise BadInput(f"{where}: {wrong[0]!r} is not text; put quotes around it (YAML reads an unquoted 042 as 34).")
    return tuple(value)


def _check_keys(block: Any, known: tuple[str, ...], where: str) -> bool:
    """True, or an error that names the unknown key."""
    if not isinstance(block, dict):
        raise BadInput(f"{where} must be keys with values ({_list(known)}), not {block!r}.")
    if unknown := [key for key in block if key not in known]:
        raise BadInput(
            f"{where}: unknown key {unknown[0]!r}{_did_you_mean(str(unknown[0]), known)}; expected {_list(known)}."
        )
    return True


def _check_severity(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise BadInput(f"{where}: severity is {value!r}; expected a whole number from 1 (comparator) to 5 (worst).")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{where} is {value!r}; write some text.")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(str, names))
