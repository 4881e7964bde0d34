"""The pages of reports, made from the templates beside this file: Python gathers the values, a template holds the words and the markup."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS, knowledge_words, knows
from ehrmem_widgets.charts.markup import escape, icon, interval, percent, plural
from ehrmem_widgets.charts.table import Markup, figure, inline
from ehrmem_widgets.probes.people import several
from ehrmem_widgets.statistics.disclosure import in_tens

_OUTSIDE = re.compile(
    r"<script|<iframe|<object|<embed|<base\b|<link\b|\bon[a-z]+\s*=\s*[\"']|@import|url\(\s*[\"']?(?!data:|#)"
    r"|\b(?:src|href|action|srcset)\s*=\s*[\"']?\s*(?!data:|#)[^\s>\"']",
    re.IGNORECASE,
)


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
    links = {f'href="{escape(name)}"' for name in beside}
    page = re.sub(r'href="[^"]*"', lambda link: "" if link[0] in links else link[0], page)
    tags = re.sub(r">[^<]*", ">", re.sub(r"(<style[^>]*>)", r"\1", page))  # text between tags is escaped: it cannot act
    for style in re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL | re.IGNORECASE):
        tags += f"<style {style}>"
    if found := _OUTSIDE.search(tags):
        start = max(0, found.start() - 40)
        raise RuntimeError(f"the report would not be self-contained: {tags[start : found.end() + 40]!r}")
