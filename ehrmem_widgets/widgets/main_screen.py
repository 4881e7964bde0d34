"""The main screen's widget: everything on one page, the answer and the dial together. It knows no model: it says what the user did, and shows what it is
given."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import traitlets

from ehrmem_widgets.glossary import glossary
from ehrmem_widgets.widgets.embedding_map import EmbeddingMap
from ehrmem_widgets.widgets.known_facts_dial import KnownFactsDial
from ehrmem_widgets.widgets.screen_frame import AROUND, screen_links

log = logging.getLogger(__name__)
_HERE = Path(__file__)
TOUR = (
    ("patient", "Press here to choose a patient: search by words such as \"female over 60 HIV\", sort by a column, press Enter."),
    ("dial", "Say what an attacker already knows. One press more is one step more precise. The buttons above are ready-made sets of facts."),
    ("answer", "The answer is always here: the verdict, and how often the model gives the attribute away, beside a model that never saw the patient and similar people."),
    ("models", "Switch further models on to see them side by side. The first one is audited."),
    ("why", "Why it is so: every step so far, the text that the model writes, the map, and what happens when one fact is moved."),
    ("report", "Take the evidence along: a report that opens offline, the session, a link, a picture, a table."),
)  # fmt: skip

Message = Mapping[str, object]


def _part(name: str, file: str) -> str:
    """The code of another widget as one object, so that its names stay its own."""
    code = _HERE.with_name(file).read_text(encoding="utf-8").replace("export default { render };", "return { render };")
    return f"const {name} = (() => {{\n{code}\n}})();\n"


class MainScreen(KnownFactsDial, EmbeddingMap):
    """The page: the dial of the known facts and the map of embeddings are parts of it, with their own traits.

    ``heard`` is called with every message from the page, a mapping with ``do``; it runs under a lock, one message after the other, and what it raises is
    handed to ``failed``.
    """

    _esm = (
        AROUND
        + _part("DIAL", "known_facts_dial.js")
        + _part("MAP", "embedding_map.js")
        + _HERE.with_name("patient_table.js").read_text(encoding="utf-8")
        + _HERE.with_suffix(".js").read_text(encoding="utf-8")
    )
    _css = "".join(
        _HERE.with_name(name).read_text(encoding="utf-8")
        for name in ("known_facts_dial.css", "patient_table.css", "screen_frame.css", "around.css", "main_screen.css")
    )

    head: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    question: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    status: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    job: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    glossary: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    tour: traitlets.List[object] = traitlets.List().tag(sync=True)
    screens: traitlets.List[list[str]] = traitlets.List().tag(sync=True)
    sheet = traitlets.Unicode("").tag(sync=True)
    answer = traitlets.Unicode("").tag(sync=True)
    steps = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    nearest_list = traitlets.Unicode("").tag(sync=True)
    others = traitlets.Unicode("").tag(sync=True)
    why = traitlets.Unicode("").tag(sync=True)
    parts: traitlets.List[object] = traitlets.List().tag(sync=True)
    parts_html: traitlets.Dict[str, dict[str, object]] = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    own_id = traitlets.Unicode("").tag(sync=True)

    def __init__(self, heard: Callable[[Message], None], failed: Callable[[Exception], None]) -> None:
        anywidget.AnyWidget.__init__(
            self,
            glossary={name: list(one) for name, one in glossary().items()},
            tour=[list(stop) for stop in TOUR],
            screens=screen_links(),
            height=300,
        )
        self._heard, self._failed, self.one = heard, failed, threading.RLock()
        self.own_id = str(self.model_id)
        self.on_msg(self._take)

    def _take(self, _: object, message: object, buffers: object) -> None:
        if isinstance(message, Mapping) and isinstance(message.get("do"), str):
            self.hear(message)

    def hear(self, message: Message) -> None:
        """What the page says, as if the user had done it."""
        try:
            with self.one:
                self._heard(message)
        except Exception as error:
            self._failed(error)

    def give_file(self, name: str, content: bytes, kind: str) -> None:
        """Hand a file to the browser, which keeps it where downloads go."""
        self.send({"kind": "file", "name": name, "type": kind}, [content])

    def give_report(self, page: bytes, words: str) -> None:
        """Hand a report to the page, which offers it for opening."""
        self.send({"kind": "report", "words": words}, [page])
