"""The known facts dial: a record as a timeline, where each event is ticked as known, with how precisely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

import anywidget
import traitlets

from ehrmem_widgets.attacker.facts import DatePrecision, ValuePrecision

_HERE = Path(__file__)


class DialRow(TypedDict):
    """The age or an event, as the dial lists it."""

    place: int
    when: str
    label: str
    value: str
    sensitive: str
    has_value: bool
    has_date: bool


_ROW = get_type_hints(DialRow)


class KnownFactsDial(anywidget.AnyWidget):
    """Every event a toggle, every value and date with its precision.

    ``rows``: dicts with ``place`` (int, -1 is the age), ``when`` ("2130-05-02 14:30", or "" without a date), ``label``,
    ``value`` (text), ``sensitive`` (the sensitive attribute's title, or ""), ``has_value`` and ``has_date``.
    ``facts``: ``[place, value precision, date precision]`` for each event known, in order of place; synced both ways. Raises TraitError for a row or fact of the wrong form, saying which.

    >>> dial = KnownFactsDial(facts=[(3, "exact", "day"), (-1, "coarse", "exact")])
    >>> dial.facts
    [[-1, 'coarse', 'exact'], [3, 'exact', 'day']]
    """

    _esm = _HERE.with_suffix(".js").read_text(encoding="utf-8")  # text, never a Path: a watched file leaks widgets
    _css = _HERE.with_suffix(".css").read_text(encoding="utf-8")

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    facts: traitlets.List[list[int | str]] = traitlets.List().tag(sync=True)

    def __init__(self, rows: Iterable[Mapping[str, object]] = (), facts: Iterable[Sequence[object]] = ()) -> None:
        super().__init__(rows=[dict(row) for row in rows], facts=[list(fact) for fact in facts])

    @traitlets.validate("rows")
    def _check_rows(self, proposal: traitlets.Bunch) -> list[DialRow]:
        for row in proposal["value"]:
            wrong = [name for name, kind in _ROW.items() if not isinstance(row.get(name), kind)]
            if wrong:
                raise traitlets.TraitError(
                    f"A row of the dial needs {', '.join(wrong)} in the right type; got {row!r}."
                )
        return list(proposal["value"])

    @traitlets.validate("facts")
    def _check_facts(self, proposal: traitlets.Bunch) -> list[list[int | str]]:
        facts = sorted(_fact(given) for given in proposal["value"])
        if len({place for place, _, _ in facts}) < len(facts):
            raise traitlets.TraitError("A fact is given twice.")
        return [list(fact) for fact in facts]


def _fact(given: Sequence[Any]) -> tuple[int, str, str]:
    """One fact in plain types, so that what comes back from the browser compares equal to what was sent."""
    try:
        place, value, date = given
        return int(place), str(ValuePrecision(value)), str(DatePrecision(date))
    except (TypeError, ValueError):
        raise traitlets.TraitError(
            f"A fact is [place, value precision, date precision] with the words {', '.join(ValuePrecision)} and "
            f"{', '.join(DatePrecision)}; got {given!r}."
        ) from None
