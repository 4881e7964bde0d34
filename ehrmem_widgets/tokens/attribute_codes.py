"""Which codes of a vocabulary belong to which sensitive attribute: what to watch for, and what to withhold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ehrmem_widgets.cohort.attributes import SensitiveAttribute, match_codes
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.vocabulary import Vocabulary

DECLARE = (
    "'ehrmem attributes --data DIR --write FILE' lists the codes of the data for you to choose from; then name the file: --attribute-file FILE "
    "(in a plan or a notebook: attribute_file)."
)
"""What to do where no declared attribute has a code."""


class AttributeCodes:
    """The declared attributes, matched to a vocabulary and to the codes of a data set (which may hold more)."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        attributes: Mapping[str, SensitiveAttribute],
        data_codes: Sequence[str] = (),
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.attributes = attributes
        bases = sorted({vocabulary.base(code) for code in vocabulary.codes} | set(data_codes))
        matched = match_codes(attributes, bases, {**vocabulary.labels, **(descriptions or {})})
        self._codes: dict[str, set[str]] = {name: set() for name in attributes}
        self._all: dict[str, set[str]] = {name: set() for name in attributes}
        for code, name, role in matched[["code", "attribute", "role"]].itertuples(index=False):
            self._all[name].add(code)
            if role == "code":
                self._codes[name] |= {code, vocabulary.token_scheme.renamed(code)}
        self._bases = np.array([vocabulary.base(code) for code in vocabulary.codes], dtype=object)

    def check_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names, or BadInput that lists the valid ones."""
        if not names:
            raise CannotAnswer(
                "The model's vocabulary holds no code of any declared sensitive attribute: there is nothing to ask about. "
                + DECLARE
            )
        unknown = [name for name in names if name not in self.attributes]
        if unknown:
            raise BadInput(
                f"There is no sensitive attribute {', '.join(map(repr, unknown))}. "
                f"The attributes are {', '.join(self.attributes)}."
            )
        return tuple(dict.fromkeys(names))

    def default_names(self) -> tuple[str, ...]:
        """The attributes asked about unless the user chooses, in the order of the file: those that the vocabulary has."""
        return tuple(
            name
            for name, attribute in self.attributes.items()
            if attribute.asked_by_default and self._codes[name] & set(self._bases)
        )

    def unknown_to_model(self) -> tuple[str, ...]:
        """The attributes that would be asked about, had the vocabulary a code of them."""
        return tuple(
            name
            for name, attribute in self.attributes.items()
            if attribute.asked_by_default and not self._codes[name] & set(self._bases)
        )

    def track(self, names: Sequence[str], record: Record) -> np.ndarray:
        """(codes of the vocabulary, names) bool: which codes give the attribute away."""
        columns = [np.isin(self._bases, list(self._of(name, record)[0])) for name in names]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self._bases), 0), dtype=bool)

    def listed(self, names: Sequence[str]) -> np.ndarray:
        """(codes of the vocabulary,) bool: which are codes of these attributes. Raises BadInput for one that has none of its own (age, sex)."""
        if own := [name for name in names if self.attributes[name].own_value is not None]:
            raise BadInput(f"The attribute {own[0]!r} is each patient's own value and has no list of codes.")
        return np.isin(self._bases, list(set[str]().union(*(self._codes[name] for name in names))))

    def strip(self, names: Sequence[str], record: Record) -> frozenset[str]:
        """Base codes withheld from a prompt that asks about these attributes: their codes and their strong proxies."""
        return frozenset().union(*(self._of(name, record)[1] for name in names))

    def held(self, name: str, record: Record) -> bool:
        """Whether the record holds a code (not merely a proxy) of the attribute."""
        if self.attributes[name].own_value is not None:
            return bool(self._of(name, record)[0])
        return any(event.code in self._codes[name] for event in record.events)

    def title_of(self, code: str) -> str | None:
        """The title of the first attribute that a code belongs to by itself, or None."""
        base = self.vocabulary.base(code)
        for name, attribute in self.attributes.items():
            if attribute.own_value is None and base in self._codes[name]:
                return attribute.title
        return None

    def _of(self, name: str, record: Record) -> tuple[set[str], set[str]]:
        own_value = self.attributes[name].own_value
        if own_value is None:
            return self._codes[name], self._all[name]
        if own_value == "age_band":
            age = record.age_at_start()
            if age is None:
                return set(), set(AGE_CODES)
            own = {code for code, years in self.vocabulary.ages.items() if years // 10 == age // 10}
            return own, {*AGE_CODES, *self.vocabulary.ages}
        sexes = {code for code in self._bases if code.startswith(("GENDER//", "SEX//"))}
        own = {event.code for event in record.events} & sexes
        return own, sexes | own
