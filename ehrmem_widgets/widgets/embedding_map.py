"""The map of embeddings: up to 20,000 records as points, and a live query among them, on one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from ehrmem_widgets.errors import BadInput

MOST_POINTS = 20_000
_HERE = Path(__file__)


class EmbeddingMap(anywidget.AnyWidget):
    """A canvas of records; the base layer is drawn once, so that moving the query costs next to nothing.

    ``coordinates`` (n, 2) are the stored map, ``kinds`` (n,) is 0 (seen in training), 1 (not seen) or 2 (other).
    ``query`` is [x, y] or [], ``led_to`` [x, y] of each continuation, ``nearest`` up to ten rows of the map, ``patient`` the row of the patient's own or -1;
    ``approximate`` draws the query dashed; ``description`` is the sentence below the map and its accessible name.

    >>> EmbeddingMap([[0, 0], [1, 2]], [0, 1], patient=1).patient
    1
    """

    _esm = _HERE.with_suffix(".js").read_text(encoding="utf-8")  # text, never a Path: a watched file leaks widgets

    points = traitlets.Bytes(b"").tag(sync=True)
    kinds = traitlets.Bytes(b"").tag(sync=True)
    query = traitlets.List(traitlets.Float()).tag(sync=True)
    led_to = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    nearest = traitlets.List(traitlets.Int()).tag(sync=True)
    patient = traitlets.Int(-1).tag(sync=True)
    approximate = traitlets.Bool(False).tag(sync=True)
    description = traitlets.Unicode("").tag(sync=True)
    height = traitlets.Int(420).tag(sync=True)

    def __init__(
        self,
        coordinates: np.ndarray | Sequence[Sequence[float]] = (),
        kinds: np.ndarray | Sequence[int] = (),
        *,
        patient: int = -1,
        description: str = "",
        height: int = 420,
    ) -> None:
        packed = _pack(coordinates, kinds)
        super().__init__(**packed, patient=patient, description=description, height=height)

    def set_points(
        self, coordinates: np.ndarray | Sequence[Sequence[float]], kinds: np.ndarray | Sequence[int]
    ) -> None:
        """Show another map. Raises BadInput unless there is a kind of 0, 1 or 2 for each of at most 20,000 points."""
        packed = _pack(coordinates, kinds)
        with self.hold_sync():
            self.points = packed["points"]
            self.kinds = packed["kinds"]

    def place(
        self,
        query: Sequence[float] | np.ndarray | None,
        nearest: Sequence[int] = (),
        *,
        led_to: Sequence[Sequence[float]] | np.ndarray | None = None,
        approximate: bool = False,
        description: str | None = None,
    ) -> None:
        """Move the query, where the model's continuations of it lead, and its nearest records, in one message. ``query`` None takes it off the map."""
        with self.hold_sync():
            self.query = [] if query is None else [float(x) for x in query]
            self.led_to = [] if led_to is None else np.asarray(led_to, dtype=float).tolist()
            self.nearest = [int(row) for row in nearest][:10]
            self.approximate = approximate
            if description is not None:
                self.description = description


def _pack(coordinates: np.ndarray | Sequence[Sequence[float]], kinds: np.ndarray | Sequence[int]) -> dict[str, bytes]:
    points = np.asarray(coordinates, dtype="<f4").reshape(-1, 2)
    every_kind = np.asarray(kinds, dtype=np.int64).reshape(-1)
    if len(points) > MOST_POINTS:
        raise BadInput(f"The map shows at most {MOST_POINTS:,} points; got {len(points):,}. Give a sample of them.")
    if len(every_kind) != len(points) or not np.isin(every_kind, (0, 1, 2)).all():
        raise BadInput(
            f"The map needs a kind of 0, 1 or 2 for each of {len(points):,} points; got {len(every_kind):,} kinds."
        )
    return {"points": points.tobytes(), "kinds": every_kind.astype(np.uint8).tobytes()}
