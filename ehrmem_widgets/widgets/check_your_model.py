"""The first screen for a model of one's own: name its folder or address and the data, and read whether it can be audited."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import ipywidgets as widgets

from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.answerable import Answerable
from ehrmem_widgets.probes.needs import Can
from ehrmem_widgets.registry import probes
from ehrmem_widgets.sources import SOURCES, Sources, sources_to_check
from ehrmem_widgets.views.check_list import check_bar, check_list, check_tables
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.runner import LatestWins, Runner, Synchronous
from ehrmem_widgets.widgets.screen_frame import ScreenFrame

_EXAMPLES = {
    "data": "folder, such as /data/my_meds",
    "model": "folder, or http://127.0.0.1:8000",
    "reference": "folder or address (none)",
    "vocabulary": "file (looked for in the folder)",
    "token_scheme": "file or name (guessed)",
    "sequences": "file (data are read as MEDS)",
    "endpoint": "http://... (the folder answers)",
    "training_split": "name (training.json, else train)",
    "reference_training_split": "name (reference)",
    "attribute_file": "YAML file",
    "canaries": "Parquet file",
    "output_filter": "such as top_k=10 (none)",
}
_SHORT = {"training_split": "Trained on", "reference_training_split": "Ref. trained on"}


class CheckYourModel:
    """The checks of a model as a screen; shows itself as a cell's last expression.

    Parameters are those of ``sources_to_check``: None takes the environment's, else the samples. ``live``: True shows fields and a
    button, False checks at once and shows a static page.
    """

    def __init__(self, *, live: bool = True, **given: str | Sequence[str] | None) -> None:
        self.sources = sources_to_check(**given)
        self.checks: list[Check] = []
        self.tests: list[Answerable] = []
        self._live = live
        self._settled = False
        self._runner: Runner[Sources]
        if live:
            self._fields = {name: _field(name, words, getattr(self.sources, name)) for name, words in SOURCES.items()}
            check = widgets.Button(description="Check", button_style="primary", tooltip="Look at data and model")
            check.on_click(lambda _: self.check())
            self._bar, self._view, self._next = (widgets.HTML(layout=_wide()) for _ in range(3))
            sheet = widgets.HTML(style_tag(), layout=widgets.Layout(height="0", margin="0", min_height="0"))
            left = widgets.VBox([*self._fields.values(), check], layout=widgets.Layout(flex="0 0 380px"))
            right = widgets.VBox([self._view, self._next], layout=widgets.Layout(flex="1 1 480px", min_width="320px"))
            self.box = widgets.VBox(
                [
                    sheet,
                    ScreenFrame("Can this model be audited on these data?"),
                    self._bar,
                    widgets.HBox([left, right], layout=widgets.Layout(width="100%", flex_flow="row wrap")),
                ]
            )
            self.box.add_class("ehrmem-screen")
            self._runner = LatestWins(self._answers, self._show, self._fail)
        else:
            self._runner = Synchronous(self._answers, self._show)
        self._runner.submit(self.sources)

    def check(self) -> None:
        """Check what stands in the fields."""
        try:
            self.sources = sources_to_check(
                **{name: field.value.strip() or None for name, field in self._fields.items()}
            )
        except BadInput as error:
            self._view.value = f'<div class="ehrmem-error" role="alert">{escape(error)}</div>'
            return
        self._runner.submit(self.sources)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all checks are done; False when the time ran out."""
        return self._runner.wait(timeout)

    def close(self) -> None:
        """Stop."""
        self._runner.close()

    def results(self) -> dict[str, object]:
        """The checks and what can be done, test by test, as plain data; and what was named."""
        return {
            "sources": asdict(self.sources),
            "checks": [asdict(check) for check in self.checks],
            "tests": [asdict(test) for test in self.tests],
        }

    def page(self) -> str:
        """The checks as one piece of HTML."""
        return check_list(self.checks, self.tests, running=not self._settled)

    def _answers(self, sources: Sources) -> Iterator[_Found]:
        from ehrmem_widgets.probes.answerable import checked

        checks: list[Check] = []
        tests: list[Answerable] = []
        yield [], [], False
        for one in checked(sources):
            if isinstance(one, Answerable):
                tests.append(one)
            else:
                checks.append(one)
                yield list(checks), [], False
        yield checks, tests, True

    def _show(self, sources: Sources, answer: _Found) -> None:
        self.checks, self.tests, self._settled = answer
        if not self._live:
            return
        self._bar.value = check_bar(self.checks, self.tests, running=not self._settled)
        self._view.value = f'<div class="ehrmem">{check_tables(self.checks, self.tests)}</div>'
        possible = [one for one in self.tests if one.can is not Can.NO]
        named = bool(sources.model or sources.endpoint)
        self._next.value = _next_steps(sources, possible) if self._settled and possible and named else ""

    def _fail(self, error: Exception) -> None:
        self._view.value = f'<div class="ehrmem-error" role="alert">{escape(error)}</div>'

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self.box._repr_mimebundle_(**kwargs)
        return {"text/html": style_tag() + self.page(), "text/plain": f"CheckYourModel({len(self.checks)} checks)"}


def _field(name: str, words: str, value: str | tuple[str, ...] | None) -> widgets.Text:
    return widgets.Text(
        value=", ".join(value) if isinstance(value, tuple) else value or "",
        description=_SHORT.get(name, name.replace("_", " ").capitalize()),
        placeholder=_EXAMPLES[name],
        tooltip=words,
        continuous_update=False,
        layout=widgets.Layout(width="360px"),
        style={"description_width": "100px"},
    )


_Found = tuple[list[Check], list[Answerable], bool]
"""The checks, what can be done, and whether that is all."""


def _next_steps(sources: Sources, possible: Sequence[Answerable]) -> str:
    options = shlex.join(sources.options())
    commands = (
        ("the main screen", f"ehrmem explore {options}"),
        ("one patient's report", f"ehrmem report {options} --out report.html"),
        *(
            (probes()[one.probe].full_question, f"ehrmem probe {one.probe} {options} --out {one.probe}")
            for one in possible
        ),
    )
    items = "".join(
        f"<dt>{escape(words)}</dt><dd><code>{escape(command.strip())}</code></dd>" for words, command in commands
    )
    return f'<div class="ehrmem"><h3>What to do next</h3><dl>{items}</dl></div>'


def _wide() -> widgets.Layout:
    return widgets.Layout(width="100%")
