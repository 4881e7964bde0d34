"""The head of every screen but the main one: title, links to the other screens, its words explained, what came along, and a button that brings the screen
back when its kernel has died; it also keeps the notebook out of the way."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

from ehrmem_widgets.glossary import glossary

_HERE = Path(__file__)
AROUND = _HERE.with_name("around.js").read_text(encoding="utf-8")


class ScreenFrame(anywidget.AnyWidget):
    """Stands at the top of an ``.ehrmem-screen``. ``said``: what came along from the screen before, in words; ``link``: the state that the link
    to the main screen carries."""

    _esm = AROUND + _HERE.with_suffix(".js").read_text(encoding="utf-8")
    _css = "".join(_HERE.with_name(name).read_text(encoding="utf-8") for name in ("screen_frame.css", "around.css"))
    glossary: traitlets.Dict[str, object] = traitlets.Dict().tag(sync=True)
    own_id = traitlets.Unicode("").tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    said = traitlets.Unicode("").tag(sync=True)
    link = traitlets.Unicode("").tag(sync=True)
    screens: traitlets.List[list[str]] = traitlets.List().tag(sync=True)

    def __init__(self, title: str, *, said: str = "", link: str = "") -> None:
        words = {name: list(one) for name, one in glossary().items()}
        super().__init__(title=title, said=said, link=link, screens=screen_links(), glossary=words)
        self.own_id = str(self.model_id)


def screen_links() -> list[list[str]]:
    """The screens: the notebook's name, a short name, and the question that it answers."""
    from ehrmem_widgets.app.serve import screens

    return [[name, _short(name), title] for name, title, _ in screens()]


def _short(name: str) -> str:
    """A notebook's name in words.

    >>> _short("02_embedding_neighbours.ipynb")
    'Embedding neighbours'
    """
    return name.removesuffix(".ipynb").partition("_")[2].replace("_", " ").capitalize()
