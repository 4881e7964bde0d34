"""What the screens of notebooks 02 to 05 share: data and models opened, controls beside one view, live or as a static page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import ipywidgets as widgets

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import members_in_words, trained_on
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.people import about_model
from ehrmem_widgets.sources import Sources, sources_of
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.keep_keys import KeepKeys
from ehrmem_widgets.widgets.number_field import LastValid, NumberField
from ehrmem_widgets.widgets.runner import OLD, LatestWins, Runner, Synchronous, in_words

State = TypeVar("State")
Shown = TypeVar("Shown")


class ProbeScreen(ABC, Generic[State, Shown]):
    """One probe as a screen; shows itself as a cell's last expression.

    A subclass sets ``title`` and implements ``first_state`` (a frozen dataclass from the keyword arguments), ``answers`` (ever
    better answers to a state; None where it may be interrupted), ``view`` (an answer as HTML, the same live and static),
    ``controls`` (widgets that call ``set``) and ``numbers`` (an answer as plain data for JSON).

    Parameters
    ----------
    data, model, reference, vocabulary, token_scheme, sequences, endpoint, training_split, reference_training_split, attribute_file, canaries
        As for ``ExplorePatient``; None: the environment's, else the samples.
    live
        True shows widgets; False answers in full at once and shows a static page.
    options
        The state's own settings. An unknown one is a TypeError that names it.

    """

    title: str

    def __init__(
        self,
        data: str | Path | MedsDataset | None = None,
        *,
        model: str | Path | BlackBox | None = None,
        reference: str | Path | BlackBox | Sequence[str | Path | BlackBox] | None = None,
        vocabulary: str | Path | None = None,
        token_scheme: str | Path | None = None,
        sequences: str | Path | None = None,
        endpoint: str | None = None,
        training_split: str | None = None,
        reference_training_split: str | None = None,
        attribute_file: str | Path | None = None,
        canaries: str | Path | None = None,
        live: bool = True,
        **options: object,
    ) -> None:
        from ehrmem_widgets.blackbox.opening import open_sources, open_with

        named = sources_of(
            data, model, reference, vocabulary=vocabulary, token_scheme=token_scheme, sequences=sequences, endpoint=endpoint,
            training_split=training_split, reference_training_split=reference_training_split,
            attribute_file=attribute_file, canaries=canaries,
        )  # fmt: skip
        self.sources = named or Sources(data=str(data.root if isinstance(data, MedsDataset) else data))
        self.dataset: MedsDataset
        self.model: BlackBox
        self.reference: BlackBox | None
        self.dataset, self.model, self.reference = open_sources(named) if named else open_with(data, model, reference)
        self.members = trained_on(self.model)
        self._live = live
        self.state: State = self.first_state(**options)
        self.answer: Shown | None = None
        self.error: str | None = None
        self._runner: Runner[State]
        if live:
            self._status, self._error, self._view = (widgets.HTML(layout=_full()) for _ in range(3))
            self._error.layout.display = "none"
            head = widgets.HTML(f'{style_tag()}{_STYLE}<h2 class="ehrmem-head">{escape(self.title)}</h2>')
            self._last_valid = LastValid((self._view,))
            left = widgets.VBox(list(self.controls()), layout=widgets.Layout(width="360px", flex="0 0 360px"))
            right = widgets.VBox(
                [self._error, self._status, self._last_valid.note, self._view],
                layout=widgets.Layout(flex="1 1 480px", min_width="320px"),
            )
            below = widgets.HBox([left, right], layout=widgets.Layout(width="100%", flex_flow="row wrap"))
            self.box = widgets.VBox([head, below, KeepKeys()])
            self.box.add_class("ehrmem-screen")
            self._runner = LatestWins(self._answers, self._show, self._fail)
        else:
            self._runner = Synchronous(self._answers, self._show)
        self._runner.submit(self.state)

    @abstractmethod
    def first_state(self, **options: object) -> State:
        """The state to begin with; raises BadInput for what does not fit and TypeError for an unknown option."""

    @abstractmethod
    def answers(self, state: State) -> Iterator[Shown | None]:
        """Ever better answers to a state."""

    @abstractmethod
    def view(self, state: State, answer: Shown) -> str:
        """An answer as HTML."""

    @abstractmethod
    def controls(self) -> Sequence[widgets.Widget]:
        """The widgets on the left; each calls ``set`` through ``guarded``."""

    @abstractmethod
    def numbers(self, state: State, answer: Shown) -> dict[str, object]:
        """An answer as plain data, every figure with its interval and n, patients by pseudonym."""

    def settled(self, answer: Shown) -> bool:
        """Whether an answer is the last one to its state."""
        return True

    def arrived(self, state: State, answer: Shown) -> None:
        """Called by the worker after an answer was painted: for widgets beside the view (a map, options)."""

    def set(self, **changes: object) -> None:
        """Change parts of the state; the view follows."""
        self.state = replace(self.state, **changes)  # type: ignore[type-var]
        self._runner.submit(self.state)

    def guarded(self, act: Callable[[], object]) -> None:
        """Do what a control asks for; what goes wrong is said in the error strip."""
        try:
            self._say(None)
            act()
        except Exception as error:
            self._fail(error)

    def mark_last_valid(self, *fields: NumberField) -> None:
        """While one of these fields holds text that it refuses, say for which setting the view is, and grey it."""
        self._last_valid.track(*fields)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the shown answer is complete; False when the time ran out."""
        return self._runner.wait(timeout)

    def close(self) -> None:
        """Stop the live answers."""
        self._runner.close()

    def progress(self, progress: Progress) -> None:
        """Show how far a probe over many patients is. Pass it to the probe as ``progress``."""
        if not self._live:
            return
        left = "" if progress.seconds_left is None else f", about {max(1, round(progress.seconds_left))} s left"
        self._status.value = (
            f'<div class="ehrmem-status" role="status" data-state="working">{escape(progress.what.capitalize())}: '
            f"{progress.done:,} of {progress.total:,} patients{left} ...</div>"
        )

    def results(self) -> dict[str, object]:
        """The last answer as plain data for JSON."""
        if self.answer is None:
            raise BadInput("There is no answer yet.")
        about = {
            "data": self.dataset.name,
            "model": about_model(self.model),
            "reference": self.reference and {"name": self.reference.name, "fingerprint": self.reference.fingerprint},
        }
        return {**about, **self.numbers(self.state, self.answer)}

    def page(self) -> str:
        """The last answer as one static piece of HTML."""
        if self.answer is None:
            raise BadInput("There is no answer yet.")
        names = [self.dataset.name, f"audited model {self.model.name}"]
        names.append(f"reference model {self.reference.name}" if self.reference else "no reference model")
        names.append(f"members: {members_in_words(self.model.training_split)}")
        return (
            f'{style_tag()}<div class="ehrmem"><h2>{escape(self.title)}</h2><p class="ehrmem-small">'
            f"{escape(', '.join(names))}.</p>{self.view(self.state, self.answer)}</div>"
        )

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self.box._repr_mimebundle_(**kwargs)
        return {"text/html": self.page(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset.name}, {self.model.name})"

    def _answers(self, state: State) -> Iterator[Shown | None]:
        if self._live:
            self._status.value = '<div class="ehrmem-status" role="status" data-state="working">Working ...</div>'
        yield from self.answers(state)

    def _show(self, state: State, answer: Shown) -> None:
        self.answer, self.error = answer, None
        if not self._live:
            return
        done = self.settled(answer)
        words = "Settled." if done else "Working ..."
        self._view.value = f'<div class="ehrmem-probe">{self.view(state, answer)}</div>'
        self._view.remove_class(OLD)
        self._status.value = (
            f'<div class="ehrmem-status" role="status" data-state="{"settled" if done else "working"}">{words}</div>'
        )
        self.arrived(state, answer)

    def _fail(self, error: Exception) -> None:
        if not self._live:
            raise error
        self._say(in_words(error, answered=self.answer is not None))
        if isinstance(error, Unavailable | Damaged):
            self._view.add_class(OLD)
        self._status.value = '<div class="ehrmem-status" role="status" data-state="failed">Stopped.</div>'

    def _say(self, sentence: str | None) -> None:
        self.error = sentence
        self._error.value = f'<div class="ehrmem-error" role="alert">{escape(sentence)}</div>' if sentence else ""
        self._error.layout.display = None if sentence else "none"


def _full() -> widgets.Layout:
    return widgets.Layout(width="calc(100% - 6px)")


_STYLE = """<style>
.ehrmem-screen { max-width: 1500px; }
.ehrmem-head { font-size: 16px; font-weight: 600; margin: 6px 0 8px; color: var(--jp-ui-font-color1, #111); }
.ehrmem-status { padding: 4px 10px; border-left: 4px solid #0072B2; background: var(--jp-layout-color2, #eee);
  color: var(--jp-ui-font-color1, #111); font-size: 13px; }
.ehrmem-status[data-state="settled"] { border-left-color: #009E73; }
.ehrmem-status[data-state="failed"] { border-left-color: #D55E00; }
.ehrmem-error { padding: 8px 12px; border: 2px solid #D55E00; color: var(--jp-ui-font-color1, #111);
  background: var(--jp-layout-color1, #fff); font-size: 14px; }
.ehrmem-old { opacity: .6; }
.ehrmem-probe { color: var(--jp-ui-font-color1, #111); font-size: 13px; line-height: 1.5; min-height: 520px; }
.ehrmem-probe h3 { font-size: 15px; font-weight: 600; margin: 14px 0 6px; }
.ehrmem-probe p { margin: 4px 0; max-width: 880px; }
.ehrmem-probe table { border-collapse: collapse; font-size: 12px; font-variant-numeric: tabular-nums; margin: 6px 0; }
.ehrmem-probe th, .ehrmem-probe td { text-align: left; vertical-align: top; padding: 3px 12px 3px 0;
  border-bottom: 1px solid var(--jp-border-color2, #ccc); background: none; }
.ehrmem-picker select { font-size: 12px; width: 100%; }
.ehrmem-picker .widget-label { text-align: left; height: 20px; line-height: 20px; font-size: 12px; opacity: .82; }
</style>"""
