"""Where the patient's own record stands among all records, by distance between embeddings; and the map of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.charts.map import drawn_points, no_map, point_map
from ehrmem_widgets.charts.marks import Key
from ehrmem_widgets.charts.markup import BLUE, GREY, ORANGE, escape, plural, shorten
from ehrmem_widgets.probes.findings import Neighbour, NeighbourFinding

KINDS = (
    Key("seen in training", BLUE, "disc"),
    Key("not seen in training", ORANGE, "ring"),
    Key("other", GREY, "cross"),
)


def neighbour_list(finding: NeighbourFinding | None) -> str:
    """The rank of the patient's own record, in a sentence, and the nearest records with their distances."""
    if finding is None:
        return f'<div class="ehrmem-neighbours">{neighbour_sentence(None)}</div>'
    rows = "".join(_row(place, neighbour) for place, neighbour in enumerate(finding.nearest, 1))
    names = ("Place", "Record", "Distance (0 to 2)", "Note")
    head = "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
    return f'<div class="ehrmem-neighbours">{neighbour_sentence(finding)}{table}</div>'


def neighbour_sentence(finding: NeighbourFinding | None) -> str:
    """Where the patient's own record stands, as a paragraph."""
    if finding is None:
        return "<p>Nearest records: nothing has been asked of the model yet.</p>"
    first = "the nearest" if finding.rank == 1 else f"number {finding.rank:,}"
    place = f"{first} of {finding.n:,} by distance from what the attacker holds"
    if not finding.n:
        return "<p>There are no records to compare with.</p>"
    return f"<p>The patient's own record is <b>{place}</b>{continued_words(finding)}.</p>"


def continued_words(finding: NeighbourFinding) -> str:
    """Where the own record stands by the model's own continuations, behind its place by the facts; empty where there are none.

    >>> continued_words(NeighbourFinding(214, 3000, (), continued_rank=1))
    ", and the nearest by where the model's own continuations lead"
    """
    if finding.continued_rank is None:
        return ""
    first = "the nearest" if finding.continued_rank == 1 else f"number {finding.continued_rank:,}"
    return f", and {first} by where the model's own continuations lead"


def neighbour_map(
    coordinates: np.ndarray,
    kinds: Sequence[int] | np.ndarray,
    finding: NeighbourFinding | None,
    *,
    nearest: Sequence[int] = (),
    patient: int = -1,
) -> str:
    """A static SVG of the map: a point a record, the query as a cross, rings around the nearest.

    ``coordinates`` is (n, 2); ``kinds`` holds n of 0 (seen in training), 1 (not seen), 2 (other). ``nearest`` and
    ``patient`` are rows of ``coordinates``. Beyond 3,000 points an even sample of rows is drawn, and the text says so.
    """
    points = np.asarray(coordinates, dtype=float).reshape(-1, 2)
    every_kind = np.asarray(kinds, dtype=int)
    if not len(points):
        return no_map("There is no map of the records yet.")
    position = finding.position if finding is not None else None
    return point_map(
        points,
        every_kind,
        KINDS,
        label=_map_sentence(len(points), every_kind, finding),
        query=None if position is None else np.asarray(position, dtype=float),
        roughly=finding is not None and finding.approximate,
        led_to=None if finding is None else finding.led_to,
        nearest=nearest,
        own=patient,
    )


def _row(place: int, neighbour: Neighbour) -> str:
    chosen = ' class="ehrmem-chosen"' if neighbour.is_patient else ""
    mark = "◈ this patient" if neighbour.is_patient else ""
    return (
        f"<tr{chosen}><td>{place}</td><td>{escape(shorten(neighbour.pseudonym, 40))}</td>"
        f"<td>{neighbour.distance:.3f}</td><td>{mark}</td></tr>"
    )


def _map_sentence(n: int, kinds: np.ndarray, finding: NeighbourFinding | None) -> str:
    counts = ", ".join(
        f"{int((kinds == kind).sum()):,} {key.words}" for kind, key in enumerate(KINDS) if (kinds == kind).any()
    )
    sentence = f"Map of {plural(n, 'record')} ({counts})"
    if (drawn := len(drawn_points(n))) < n:
        sentence += f", {drawn:,} of them drawn"
    if finding is not None and finding.n:
        rank = f"number {finding.rank:,} of {finding.n:,}"
        sentence += f"; the patient's own record is {rank} by distance (measured in the embedding, not on the map){continued_words(finding)}"
    return sentence + "."
