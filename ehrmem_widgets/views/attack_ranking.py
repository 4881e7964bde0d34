"""The attack ranking of a cohort: what an attacker must know before the model gives somebody away, the least knowledge first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.charts.markup import escape, known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.statistics.disclosure import FEWEST, in_tens, rounded_n
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

FITS: Sequence[tuple[int, str]] = (
    (100, "100 patients or more"),
    (11, "11 to 99 patients"),
    (2, "2 to 10 patients"),
    (1, "this patient only"),
)
"""How many patients of the data set fit what the attacker knows (k): the least k of each class, and its name."""

WITHHELD = "withheld"
HOW_TO_READ = (
    "Each patient counts once, at the attack that takes the attacker the least knowledge, by how many patients of this data set "
    "this knowledge fits. On the left stand the dangerous leaks: the attacker could not tell who is meant, and the model tells "
    "something about them. On the right the facts are unique in this data set. That is about the data set, not about people: "
    "in a city more people may fit, and only a declared population says how many. The same search also runs over people whom the "
    "model never saw: what it finds there, it finds by chance. Numbers that would point at fewer than 11 people are withheld, and "
    "others with them so that they cannot be worked out."
)


@dataclass(frozen=True)
class AttackRow:
    """One kind of attack: ``words`` say what the attacker knows; ``cells`` are the patients it gives away by class of ``FITS`` (None:
    withheld), ``total`` all of them, ``share`` of those asked about, ``bits``, ``questions`` and ``searched``
    the medians of what the attacker must know, of the questions for an even chance, and of those of the search for the facts (None where there are
    too few)."""

    words: str
    cells: tuple[int | None, ...]
    total: int | None
    share: Estimate | None
    bits: float | None
    questions: Estimate | None = None
    searched: Estimate | None = None


@dataclass(frozen=True)
class AttackTable:
    """``kinds`` of attack that gave a member away, the cheapest first; ``rows``, one a kind (none where too much of them would be
    withheld), and their ``totals``. ``asked``: members who hold a sensitive attribute. ``never_seen``: the share of people never seen
    about whom the same search finds a leak, as it may be shown (None: nobody of them was asked about). ``population``: the declared
    one, and ``identified`` the share of those given away whose facts fit nobody else of it. ``beyond``: whether a leak is one beyond a
    reference model's."""

    kinds: tuple[str, ...]
    rows: tuple[AttackRow, ...]
    totals: AttackRow
    asked: int
    threshold: float
    never_seen: Estimate | None = None
    population: int | None = None
    identified: Estimate | None = None
    beyond: bool = True

    @property
    def asked_in_words(self) -> str:
        """How many were asked about, as it may be shown."""
        return f"{rounded_n(self.asked):,} or more members" if self.asked >= FEWEST else f"fewer than {FEWEST} members"


def attack_ranking(found: AttackTable) -> str:
    """HTML: a table of kinds of attack down and how many people fit the attacker's knowledge across, as far as numbers may be shown."""
    about = f"of {found.asked_in_words} asked about who hold a sensitive attribute"
    leak = f"a leak of {found.threshold:g} or more{', beyond the reference model' if found.beyond else ''}"
    if not found.kinds:
        return f"<p>No set of facts tried gave a member away ({escape(leak)}), {escape(about)}. {escape(_beside(found))}</p>"
    listed = f"By attacks, the least knowledge first: {'; '.join(kind[:1].lower() + kind[1:] for kind in found.kinds)}."
    if all(cell in (None, 0) for cell in found.totals.cells):
        where = ", ".join(words for (_, words), cell in zip(FITS, found.totals.cells, strict=True) if cell is None)
        how_many = (
            f"A share of {figure(found.totals.share, n=False)}"
            if found.totals.share is not None
            else "Too few to be counted here"
        )
        return (
            f"<p>{escape(how_many)} {escape(about)} is given away ({escape(leak)}), by facts that fit {escape(where)}. "
            f"{escape(listed)} {escape(_beside(found))}</p>"
        )
    heads = (
        "What the attacker knows",
        *(f"fits {words}" for _, words in FITS),
        "All",
        "Share of those asked",
        "Median bits",
        "Median questions for an even chance",
        "Median questions of the search",
    )
    rows = [_cells(row) for row in (*found.rows, found.totals)]
    shown = table(heads, rows, caption=f"Members given away ({leak}), {about}", name="ehrmem-attacks")
    return f"{shown}<p>{'' if found.rows else escape(listed)} {escape(_beside(found))}</p>"


def _beside(found: AttackTable) -> str:
    """What the same search finds about people never seen, and how many of those given away only the patient fits."""
    if found.never_seen is None:
        said = "There are no people never seen to run the same search on."
    else:
        said = f"Share of people never seen about whom the same search finds a leak: {figure(found.never_seen)}."
    if found.population and found.identified is not None:
        said += (
            f" Share of the members given away whose facts fit nobody else of {found.population:,} people ({ALREADY_IDENTIFIED}): "
            f"{figure(found.identified)}."
        )
    return said


def attack_shares(found: AttackTable) -> str:
    """An SVG: the share of members that each kind of attack gives away, with its interval; empty where no share may be shown."""
    shares = [(row, row.share) for row in (*found.rows, found.totals) if row.share is not None and known(row.share)]
    if not shares:
        return ""
    drawn = [IntervalRow(row.words, share, marked=row is found.totals) for row, share in shares]
    if known(found.never_seen):
        assert found.never_seen is not None
        drawn.append(IntervalRow("Any attack, on people never seen", found.never_seen))
    return interval_rows(
        drawn,
        title="Share of the members asked about whom an attack gives away, each at the cheapest attack",
        ends=(0.0, 1.0),
        level=(0.0, "nobody"),
    )


def _cells(row: AttackRow) -> tuple[object, ...]:
    counts = [WITHHELD if cell is None else in_tens(cell) for cell in (*row.cells, row.total)]
    bits = "" if row.bits is None else f"{row.bits:.1f}"
    spent = ("" if one is None else questions(one) for one in (row.questions, row.searched))
    return (row.words, *counts, figure(row.share, n=False), bits, *spent)
