"""Where the patient's own record stands among all records, by distance between embeddings; and the map of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ehrmem_widgets.probes.findings import Neighbour, NeighbourFinding
from ehrmem_widgets.views.markup import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAPER,
    RULE,
    VERMILION,
    escape,
    plural,
    shorten,
    svg,
    text,
)

MOST_POINTS = 3000
WIDTH, HEIGHT, LEGEND = 640, 440, 48
KINDS = (("seen in training", BLUE), ("not seen in training", ORANGE), ("other", GREY))


def neighbour_list(finding: NeighbourFinding | None) -> str:
    """The rank of the patient's own record, in a sentence, and the nearest records with their distances."""
    if finding is None:
        return '<div class="ehrmem-neighbours"><p>Nearest records: nothing has been asked of the model yet.</p></div>'
    rows = "".join(_row(place, neighbour) for place, neighbour in enumerate(finding.nearest, 1))
    names = ("Place", "Record", "Distance (0 to 2)", "Note")
    head = "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in names) + "</tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
    return f'<div class="ehrmem-neighbours"><p>{_sentence(finding)}</p>{table}</div>'


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
    position = finding.position if finding is not None else None
    if not len(points):
        words = "There is no map of the records yet."
        return svg(text(12, 24, words, more='opacity=".75"'), width=WIDTH, height=HEIGHT + LEGEND, label=words)
    placed = _scale(points, position)
    at = placed(points)
    drawn = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int))
    body = f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" fill="none" style="stroke:{RULE}"/>'
    body += "".join(_kind(at[drawn][every_kind[drawn] == kind], kind) for kind in (0, 1, 2))
    body += "".join(_ring(*at[place]) for place in nearest if 0 <= place < len(at))
    if 0 <= patient < len(at):
        body += _patient(*at[patient])
    if position is not None:
        x, y = placed(np.asarray(position, dtype=float).reshape(1, 2))[0].tolist()
        body += _query(x, y, finding is not None and finding.approximate)
    body += _legend(bool(len(nearest)), patient >= 0, position is not None)
    return svg(
        body, width=WIDTH, height=HEIGHT + LEGEND, label=_map_sentence(len(points), len(drawn), every_kind, finding)
    )


def _sentence(finding: NeighbourFinding) -> str:
    first = "the nearest" if finding.rank == 1 else f"number {finding.rank:,}"
    place = f"{first} of {finding.n:,} by distance from what the attacker holds"
    return f"The patient's own record is <b>{place}</b>." if finding.n else "There are no records to compare with."


def _row(place: int, neighbour: Neighbour) -> str:
    chosen = ' class="ehrmem-chosen"' if neighbour.is_patient else ""
    mark = "◈ this patient" if neighbour.is_patient else ""
    return (
        f"<tr{chosen}><td>{place}</td><td>{escape(shorten(neighbour.pseudonym, 40))}</td>"
        f"<td>{neighbour.distance:.3f}</td><td>{mark}</td></tr>"
    )


def _scale(points: np.ndarray, position: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """A function from map to SVG coordinates, the same scale both ways, y upwards."""
    every = points if position is None else np.vstack([points, np.asarray(position, dtype=float).reshape(1, 2)])
    low, high = every.min(axis=0), every.max(axis=0)
    size = min((WIDTH - 32) / max(high[0] - low[0], 1e-9), (HEIGHT - 32) / max(high[1] - low[1], 1e-9))
    middle = (low + high) / 2
    return lambda p: (p - middle) * (size, -size) + (WIDTH / 2, HEIGHT / 2)


def _kind(at: np.ndarray, kind: int) -> str:
    if not len(at):
        return ""
    name, colour = KINDS[kind]
    spots = [f"{x:.1f} {y:.1f}" for x, y in at.tolist()]
    label = f"<title>{escape(name)}</title>"
    if kind == 0:  # a line of no length with round ends is a dot
        d = "".join(f"M{s}h0" for s in spots)
        look = 'stroke-width="4" stroke-linecap="round"'
        return f'<path d="{d}" stroke="{colour}" {look} opacity=".8">{label}</path>'
    shape = "m-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0" if kind == 1 else "m-2-2l4 4m0-4l-4 4"
    d = "".join(f"M{s}{shape}" for s in spots)
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1" opacity=".8">{label}</path>'


def _ring(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5" fill="none" stroke="currentColor" stroke-width="1.4"/>'


def _patient(x: float, y: float) -> str:
    return (
        f'<path d="M{x:.1f} {y - 6:.1f}l6 6-6 6-6-6z" fill="{VERMILION}" style="stroke:{PAPER}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="none" stroke="{VERMILION}" stroke-width="2"/>'
    )


def _query(x: float, y: float, approximate: bool) -> str:
    dash = ' stroke-dasharray="4 3"' if approximate else ""
    d = f"M{x - 12:.1f} {y:.1f}h24M{x:.1f} {y - 12:.1f}v24"
    halo = f'<path d="{d}" style="stroke:{PAPER}" stroke-width="6" opacity=".9"/>'
    return f'{halo}<path d="{d}" style="stroke:{INK}" stroke-width="2.6"{dash}/>'


def _legend(nearest: bool, patient: bool, query: bool) -> str:
    y = HEIGHT + 17
    body = "".join(
        f'<g transform="translate({x - 9} {y - 4}) scale(1.6)">{_kind(np.zeros((1, 2)), kind)}</g>'
        + text(x, y, KINDS[kind][0])
        for kind, x in ((0, 24), (1, 150), (2, 310))
    )
    y += 20
    if query:
        body += f'<path d="M4 {y - 4}h14M11 {y - 11}v14" stroke="currentColor" stroke-width="2.4"/>'
        body += text(24, y, "what the attacker holds (dashed: placed roughly)")
    if patient:
        body += f'<g transform="translate(330 {y - 4}) scale(.75)">{_patient(0, 0)}</g>' + text(
            344, y, "this patient's record"
        )
    if nearest:
        body += _ring(490, y - 4) + text(502, y, "nearest records")
    return f'<g font-size="11">{body}</g>'


def _map_sentence(n: int, drawn: int, kinds: np.ndarray, finding: NeighbourFinding | None) -> str:
    counts = ", ".join(
        f"{int((kinds == kind).sum()):,} {name}" for kind, (name, _) in enumerate(KINDS) if (kinds == kind).any()
    )
    sentence = f"Map of {plural(n, 'record')} ({counts})"
    if drawn < n:
        sentence += f", {drawn:,} of them drawn"
    if finding is not None and finding.n:
        rank = f"number {finding.rank:,} of {finding.n:,}"
        sentence += f"; the patient's own record is {rank} by distance (measured in the embedding, not on the map)"
    return sentence + "."
