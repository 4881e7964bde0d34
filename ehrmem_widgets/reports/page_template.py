"""The pages of reports, made from the templates beside this file: Python gathers the values, a template holds the words and the markup."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from html.parser import HTMLParser

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS, knowledge_words, knows
from ehrmem_widgets.charts.markup import escape, icon, interval, percent, plural
from ehrmem_widgets.charts.table import Markup, figure, inline
from ehrmem_widgets.kept import IN_REPORTS
from ehrmem_widgets.probes.people import several
from ehrmem_widgets.statistics.disclosure import in_tens

_FORBIDDEN = frozenset({"script", "iframe", "frame", "object", "embed", "applet", "base", "link", "form"})
_ADDRESSES = frozenset(
    {
        "src",
        "srcset",
        "href",
        "xlink:href",
        "action",
        "formaction",
        "poster",
        "data",
        "background",
        "ping",
        "manifest",
        "cite",
    }
)
_LOADED_BY_STYLE = re.compile(r"@import|url\(\s*[\"']?(?!data:|#)|expression\(", re.IGNORECASE)
_WITHIN = re.compile(r"\s*(?:data:image/|data:font/|#|$)", re.IGNORECASE)


def whole_page(template: str, *, beside: Collection[str] = (), **values: object) -> str:
    """A whole HTML file. ``beside``: names of files in the same folder to which it links; RuntimeError if anything else in it would
    reach outside the file: then it is not written at all."""
    page = str(fragment(template, **values))
    check_offline(page, beside)
    return page


def fragment(template: str, **values: object) -> Markup:
    """A part of a page. Every value is escaped, but for markup that the template declares as safe."""
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ehrmem_widgets.reports"),
        autoescape=True,
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["kept"] = IN_REPORTS
    environment.filters |= {
        "figure": figure,
        "icon": icon,
        "in_tens": in_tens,
        "inline": inline,
        "interval": interval,
        "knows": knows,
        "people": _people,
        "percent": percent,
        "plural": plural,
        "knowledge_in_full": lambda knowledge: KNOWLEDGE_LEVELS.get(knowledge, knowledge_words(knowledge)),
        "thousands": "{:,}".format,
    }
    return environment


def _escaped(value: object) -> object:
    """By the one function that escapes elsewhere, too: it also replaces what XML cannot hold."""
    return value if hasattr(value, "__html__") else Markup(escape(value))


def _people(shown: Mapping[str, str]) -> list[str]:
    """How many of each group, in words."""
    return [f"{n} {several(group)}" for group, n in shown.items()]


def check_offline(page: str, beside: Collection[str] = ()) -> None:
    """Raise RuntimeError when a page holds a script or would load or link anything from outside itself, but for links to the files
    named in ``beside``.

    >>> check_offline('<img src="data:image/png;base64,AA"><a href="#top">')
    >>> check_offline('<img src="//cdn.example/x.png">')
    Traceback (most recent call last):
    RuntimeError: the report would not be self-contained: '<img src="//cdn.example/x.png">'
    """
    found = _Outside(beside)
    found.feed(page)
    found.close()
    if found.first:
        raise RuntimeError(f"the report would not be self-contained: {found.first[:120]!r}")


class _Outside(HTMLParser):
    """Keeps the ``first`` tag that acts or reaches outside. It reads tags and attributes as a browser does, so that a name in a text or in an
    attribute that loads nothing may hold anything."""

    def __init__(self, beside: Collection[str]) -> None:
        super().__init__()
        self._beside, self.first = frozenset(beside), ""
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        refreshes = tag == "meta" and any(
            name == "http-equiv" and value != "Content-Security-Policy" for name, value in attrs
        )
        if tag in _FORBIDDEN or refreshes or any(self._reaches(name, value or "") for name, value in attrs):
            self.first = self.first or self.get_starttag_text() or tag

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style and (found := _LOADED_BY_STYLE.search(data)):
            self.first = self.first or data[max(0, found.start() - 40) : found.end() + 40]

    def _reaches(self, name: str, value: str) -> bool:
        if name in _ADDRESSES:
            return not _WITHIN.match(value) and not (name == "href" and value in self._beside)
        return (
            name.startswith("on")
            or name == "srcdoc"
            or (name == "style" and _LOADED_BY_STYLE.search(value) is not None)
        )
