"""What canaries are drawn from: how often codes, values and gaps occur in the records of a split, never a record itself. Nothing that fewer
than 11 patients have goes in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import duckdb
import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.statistics.disclosure import FEWEST

RUN = 5
"""Codes in a row of which none may be copied from a record if one of them is rare."""
RARE = 0.05
"""Held by a smaller share of the patients."""
_LEVELS = [round(0.05 * step, 2) for step in range(1, 20)]
_MOST_CODES, _MOST_OF_A_DAY, _VALUES = 240, 40, 4
_BETWEEN = "\x1f"


@dataclass(frozen=True)
class Weighted:
    """Codes and how often each is drawn, adding to 1."""

    codes: list[str]
    weights: np.ndarray

    def draw(self, rng: np.random.Generator) -> str:
        """One of them."""
        return self.codes[int(rng.choice(len(self.codes), p=self.weights))]


@dataclass(frozen=True)
class Spread:
    """A distribution by its 5 to 95 % quantiles, between which it is even; what lies further out is some patient's own. ``decimals`` (negative: of
    tens) as the data have them."""

    quantiles: np.ndarray
    decimals: int = 0

    def draw(self, rng: np.random.Generator) -> float:
        """A number."""
        place = rng.uniform(0, len(self.quantiles) - 1)
        return round(float(np.interp(place, np.arange(len(self.quantiles)), self.quantiles)), self.decimals)


class CodeStatistics:
    """The statistics of the ordinary patients of one split. Raises BadInput where too few patients share any codes."""

    def __init__(self, dataset: MedsDataset, split: str, without: Collection[int]) -> None:
        self._dataset, self._split, self._without = dataset, split, list(without)
        self._people = int(self._query("SELECT count(DISTINCT patient_id) FROM own").fetchall()[0][0])
        if not self.codes.codes:
            raise BadInput(
                f"No code is held by {FEWEST} patients of the split {split!r} of {dataset.name}: canaries cannot be drawn from so few "
                "without copying somebody's record."
            )

    @cached_property
    def codes(self) -> Weighted:
        """All common codes."""
        return self._weighted("SELECT code, count(*) FROM own GROUP BY code HAVING {common}")

    @cached_property
    def _starts(self) -> Weighted:
        sql = f"SELECT code, count(*) FROM (SELECT *, row_number() OVER {_OF_A_DAY} AS place FROM own) WHERE place = 1 GROUP BY code HAVING {{common}}"
        found = self._weighted(sql)
        return found if found.codes else self.codes

    @cached_property
    def _next(self) -> dict[str, Weighted]:
        rows = self._query(
            f"SELECT code, next, count(*) FROM (SELECT *, lead(code) OVER {_OF_A_DAY} AS next FROM own) WHERE next IS NOT NULL "
            f"GROUP BY code, next HAVING {_COMMON} ORDER BY code, next"
        ).fetchall()
        after: dict[str, list[tuple[str, int]]] = {}
        for code, following, n in rows:
            if code in self._common and following in self._common:
                after.setdefault(code, []).append((following, n))
        return {code: _weighted(pairs) for code, pairs in after.items()}

    @cached_property
    def _common(self) -> frozenset[str]:
        return frozenset(self.codes.codes)

    @cached_property
    def rare(self) -> frozenset[str]:
        """Those of the codes drawn that few patients hold."""
        rows = self._query(
            "SELECT code FROM own GROUP BY code HAVING count(DISTINCT patient_id) < ?", RARE * self._people
        )
        return frozenset(code for (code,) in rows.fetchall())

    @cached_property
    def values(self) -> dict[str, Spread]:
        """The values of each code that has any."""
        rows = self._query(
            f"SELECT code, quantile_disc(value, {_LEVELS}) FROM own WHERE value IS NOT NULL GROUP BY code HAVING {_COMMON} ORDER BY code"
        ).fetchall()
        found = {code: np.array(quantiles, float) for code, quantiles in rows if code in self._common}
        return {code: Spread(q, _decimals(q)) for code, q in found.items() if q[0] < q[-1]}

    @cached_property
    def _valued(self) -> Weighted:
        return _weighted(
            [pair for pair in zip(self.codes.codes, self.codes.weights, strict=True) if pair[0] in self.values]
        )

    @cached_property
    def _static(self) -> list[tuple[tuple[str, ...], float]]:
        rows = self._dataset.query(
            f"SELECT codes, count(*) FROM (SELECT string_agg(code, ? ORDER BY code) AS codes FROM events JOIN splits USING (patient_id) "
            f"WHERE time IS NULL AND value IS NULL AND {_ORDINARY} GROUP BY patient_id) GROUP BY codes HAVING count(*) >= {FEWEST} ORDER BY codes",
            [_BETWEEN, self._split, self._without],
        ).fetchall()
        return [(tuple(codes.split(_BETWEEN)), float(n)) for codes, n in rows]

    @cached_property
    def _first(self) -> Spread:
        return self._spread("SELECT epoch(min(time)) AS x FROM own GROUP BY patient_id")

    @cached_property
    def _age(self) -> Spread | None:
        """Days from birth to the first event, where it is known of enough patients."""
        sql = (
            "SELECT date_diff('day', birth, first) AS x FROM patients JOIN splits USING (patient_id) "
            f"WHERE birth IS NOT NULL AND first >= birth AND {_ORDINARY}"
        )
        n, quantiles = self._dataset.query(
            f"SELECT count(*), quantile_cont(x, {_LEVELS}) FROM ({sql})", [self._split, self._without]
        ).fetchall()[0]
        return Spread(np.array(quantiles, float)) if n >= FEWEST else None

    @cached_property
    def _shape(self) -> dict[str, Spread]:
        per_day = "SELECT patient_id, day, count(*) AS n, min(time) AS begin FROM own GROUP BY patient_id, day"
        lag = "lag({}) OVER (PARTITION BY patient_id{} ORDER BY {})"
        earlier = lag.format("time", ", day", "time, filename, file_row_number")
        return {
            "codes": self._spread("SELECT count(*) AS x FROM own GROUP BY patient_id"),
            "of a day": self._spread(f"SELECT n AS x FROM ({per_day})"),
            "days": self._spread(
                f"SELECT x FROM (SELECT date_diff('day', {lag.format('day', '', 'day')}, day) AS x FROM ({per_day})) WHERE x IS NOT NULL",
                otherwise=1,
            ),
            "begin": self._spread(f"SELECT date_diff('minute', day, begin) AS x FROM ({per_day})"),
            "minutes": self._spread(
                f"SELECT x FROM (SELECT date_diff('minute', {earlier}, time) AS x FROM own) WHERE x IS NOT NULL"
            ),
        }

    def draw(self, rng: np.random.Generator, smoothing: float) -> tuple[tuple[Event, ...], datetime | None]:
        """The events of one made-up patient, and the birth. ``smoothing``: the chance that a code is drawn from all and not from those
        that follow the last one."""
        shape = self._shape
        total = min(_MOST_CODES, max(2, int(shape["codes"].draw(rng))))
        begin = datetime(1970, 1, 1) + timedelta(days=int(self._first.draw(rng) // 86_400))
        day, events = begin, [Event(None, code) for code in self._facts(rng)]
        static = len(events)
        while len(events) - static < total:
            room = total - (len(events) - static)
            codes = self._day(rng, min(room, _MOST_OF_A_DAY, max(1, int(shape["of a day"].draw(rng)))), smoothing)
            if day == begin:
                codes = self._with_values(rng, codes)
            minute = shape["begin"].draw(rng)
            for code in codes:
                at = day + timedelta(minutes=min(max(0.0, minute), 1439))
                events.append(Event(at, code, self._value(rng, code)))
                minute += shape["minutes"].draw(rng)
            day += timedelta(days=max(1, int(shape["days"].draw(rng))))
        age = self._age
        return tuple(events), begin - timedelta(days=int(age.draw(rng))) if age else None

    def other_values(self, rng: np.random.Generator, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The events up to the end of the first day, with values drawn anew by the same law."""
        first = next(event.time for event in events if event.time is not None)
        day = [event for event in events if event.time is None or event.time.date() == first.date()]
        return tuple(
            Event(event.time, event.code, self._value(rng, event.code) if event.time else event.value) for event in day
        )

    def copied(self, sequences: list[tuple[str, ...]]) -> set[int]:
        """Which of some code sequences are a record, or hold a run of ``RUN`` codes with a rare one that a record has."""
        runs = {
            (place, _BETWEEN.join(run))
            for place, codes in enumerate(sequences)
            for run in zip(*(codes[start:] for start in range(RUN)), strict=False)
            if self.rare.intersection(run)
        }
        order = "(PARTITION BY patient_id ORDER BY time, filename, file_row_number)"
        lead = ", ".join(f"lead(code, {ahead}) OVER {order}" for ahead in range(1, RUN))
        found = self._query(
            f"SELECT DISTINCT run FROM (SELECT concat_ws(?, code, {lead}) AS run FROM own) WHERE run IN (SELECT unnest(?::VARCHAR[]))",
            _BETWEEN,
            sorted({run for _, run in runs}),
        ).fetchall()
        whole = self._query(
            "SELECT DISTINCT codes FROM (SELECT string_agg(code, ? ORDER BY time, filename, file_row_number) AS codes FROM own GROUP BY patient_id) "
            "WHERE codes IN (SELECT unnest(?::VARCHAR[]))",
            _BETWEEN,
            [_BETWEEN.join(codes) for codes in sequences],
        ).fetchall()
        there, records = {run for (run,) in found}, {codes for (codes,) in whole}
        alike = {place for place, codes in enumerate(sequences) if _BETWEEN.join(codes) in records}
        return alike | {place for place, run in runs if run in there}

    def _facts(self, rng: np.random.Generator) -> tuple[str, ...]:
        if not self._static:
            return ()
        weights = np.array([n for _, n in self._static])
        return self._static[int(rng.choice(len(weights), p=weights / weights.sum()))][0]

    def _day(self, rng: np.random.Generator, count: int, smoothing: float) -> list[str]:
        codes = [self._starts.draw(rng)]
        while len(codes) < count:
            after = self._next.get(codes[-1])
            codes.append(self.codes.draw(rng) if after is None or rng.random() < smoothing else after.draw(rng))
        return codes

    def _with_values(self, rng: np.random.Generator, codes: list[str]) -> list[str]:
        """A first day with some values, of which a canary's exposure is measured."""
        lacking = min(_VALUES, len(self.values)) - len(self.values.keys() & set(codes))
        while lacking > 0:
            one = self._valued.draw(rng)
            if one not in codes:
                codes, lacking = [*codes, one], lacking - 1
        return codes

    def _value(self, rng: np.random.Generator, code: str) -> float | None:
        return float(np.float32(self.values[code].draw(rng))) if code in self.values else None

    def _spread(self, sql: str, otherwise: float = 0.0) -> Spread:
        quantiles = self._query(f"SELECT quantile_cont(x, {_LEVELS}) FROM ({sql})").fetchall()[0][0]
        return Spread(np.full(len(_LEVELS), otherwise) if quantiles is None else np.array(quantiles, float))

    def _weighted(self, sql: str) -> Weighted:
        return _weighted(self._query(sql.format(common=_COMMON) + " ORDER BY code").fetchall())

    def _query(self, sql: str, *parameters: object) -> duckdb.DuckDBPyConnection:
        own = (
            "WITH own AS (SELECT patient_id, time, CAST(time AS DATE) AS day, code, value, filename, file_row_number FROM events "
            f"JOIN splits USING (patient_id) WHERE time IS NOT NULL AND NOT regexp_matches(code, '^MEDS_(BIRTH|DEATH)(//|$)') AND {_ORDINARY}) "
        )
        return self._dataset.query(own + sql, [self._split, self._without, *parameters])


_ORDINARY = "split = ? AND NOT list_contains(?::BIGINT[], patient_id)"
_COMMON = f"count(DISTINCT patient_id) >= {FEWEST}"
_OF_A_DAY = "(PARTITION BY patient_id, day ORDER BY time, filename, file_row_number)"


def _weighted(pairs: Sequence[tuple[str, float]]) -> Weighted:
    weights = np.array([n for _, n in pairs], float)
    return Weighted([code for code, _ in pairs], weights / weights.sum() if len(weights) else weights)


def _decimals(values: np.ndarray) -> int:
    """How many decimals the data have."""
    return next((d for d in range(4) if np.allclose(np.round(values, d), values, rtol=1e-6, atol=0)), 4)
