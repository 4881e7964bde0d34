"""What the screens of notebooks 02 to 05 share: data and models opened, the answer on top, controls beside one view, live or as a static page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import ipywidgets as widgets

from ehrmem_widgets.attacker.facts import knows
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import members_in_words, trained_on
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, CannotAnswer, Damaged, Unavailable
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.people import about_model
from ehrmem_widgets.sources import Sources, sources_of
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.carried import Carried, carried, carry
from ehrmem_widgets.widgets.number_field import LastValid, NumberField
from ehrmem_widgets.widgets.runner import OLD, LatestWins, Runner, Synchronous, in_words
from ehrmem_widgets.widgets.screen_frame import ScreenFrame

State = TypeVar("State")
Shown = TypeVar("Shown")


class ProbeScreen(ABC, Generic[State, Shown]):
    """One probe as a screen; shows itself as a cell's last expression.

    A subclass sets ``title`` and implements ``first_state`` (a frozen dataclass from the keyword arguments), ``answers`` (ever
    better answers to a state; None where it may be interrupted), ``bar`` (an answer in one glance) and ``view`` (the rest of it, both HTML, the same
    live and static), ``controls`` (widgets that call ``set``) and ``numbers`` (an answer as plain data for JSON). ``travels``: which of its options are
    taken from the screen before when nobody gave them; ``carries``: what the next screen takes from this one.

    Parameters
    ----------
    data, model, reference, vocabulary, token_scheme, sequences, endpoint, training_split, reference_training_split, attribute_file, canaries, output_filter
        As for ``ExplorePatient``; None: the environment's, else the samples.
    live
        True shows widgets; False answers in full at once and shows a static page.
    options
        The state's own settings. An unknown one is a TypeError that names it.

    """

    title: str
    travels: ClassVar[tuple[str, ...]] = ()

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
        output_filter: str | None = None,
        live: bool = True,
        **options: object,
    ) -> None:
        from ehrmem_widgets.blackbox.opening import open_sources, open_with

        named = sources_of(
            data, model, reference, vocabulary=vocabulary, token_scheme=token_scheme, sequences=sequences, endpoint=endpoint,
            training_split=training_split, reference_training_split=reference_training_split,
            attribute_file=attribute_file, canaries=canaries, output_filter=output_filter,
        )  # fmt: skip
        self.sources = named or Sources(data=str(data.root if isinstance(data, MedsDataset) else data))
        self.dataset: MedsDataset
        self.model: BlackBox
        self.reference: BlackBox | None
        self.dataset, self.model, self.reference = open_sources(named) if named else open_with(data, model, reference)
        self.members = trained_on(self.model)
        self._live = live
        self._travelled = carried(self.dataset) if live else None
        self._touched = False
        self.state, said = self._begin(options)
        self.answer: Shown | None = None
        self.error: str | None = None
        self._runner: Runner[State]
        if live:
            self._bar, self._status, self._error, self._view = (widgets.HTML(layout=_full()) for _ in range(4))
            self._error.layout.display = "none"
            self._frame = ScreenFrame(self.title, said=said, link=self._travelled.link if self._travelled else "")
            self._last_valid = LastValid((self._bar, self._view))
            self._bar.layout.flex, self._status.layout.flex = "1 1 460px", "0 0 200px"
            top = widgets.HBox([self._bar, self._status], layout=widgets.Layout(width="100%", flex_flow="row wrap"))
            self.left = widgets.VBox(list(self.controls()), layout=widgets.Layout(width="330px", flex="0 0 330px"))
            self.right = widgets.VBox([self._view], layout=widgets.Layout(flex="1 1 480px", min_width="320px"))
            below = widgets.HBox([self.left, self.right], layout=widgets.Layout(width="100%", flex_flow="row wrap"))
            sheet = widgets.HTML(style_tag(), layout=widgets.Layout(height="0", margin="0", min_height="0"))
            self.box = widgets.VBox([sheet, self._frame, top, self._error, self._last_valid.note, below])
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
    def bar(self, state: State, answer: Shown) -> str:
        """An answer in one glance (``verdict_bar``)."""

    @abstractmethod
    def view(self, state: State, answer: Shown) -> str:
        """The rest of an answer as HTML."""

    @abstractmethod
    def controls(self) -> Sequence[widgets.Widget]:
        """The widgets on the left; each calls ``set`` through ``guarded``."""

    @abstractmethod
    def numbers(self, state: State, answer: Shown) -> dict[str, object]:
        """An answer as plain data, every figure with its interval and n, patients by pseudonym."""

    def carries(self, state: State) -> Carried | None:
        """What the next screen takes from this one; None for a screen that is about no single patient."""
        return None

    def settled(self, answer: Shown) -> bool:
        """Whether an answer is the last one to its state."""
        return True

    def arrived(self, state: State, answer: Shown) -> None:
        """Called by the worker after an answer was painted: for widgets beside the view (a map, options)."""

    def set(self, **changes: object) -> None:
        """Change parts of the state; the view follows."""
        self.state = replace(self.state, **changes)  # type: ignore[type-var]
        self._touched = True
        if self._live:
            self._frame.said = ""
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
            f"{escape(', '.join(names))}.</p>{self.bar(self.state, self.answer)}{self.view(self.state, self.answer)}</div>"
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
        self._bar.value = self.bar(state, answer)
        self._view.value = f'<div class="ehrmem-probe">{self.view(state, answer)}</div>'
        for shown in (self._bar, self._view):
            shown.remove_class(OLD)
        self._status.value = (
            f'<div class="ehrmem-status" role="status" data-state="{"settled" if done else "working"}">{words}</div>'
        )
        self.arrived(state, answer)
        if done:
            self._hand_to_next(state)

    def _begin(self, options: Mapping[str, object]) -> tuple[State, str]:
        """The first state, and what of it came along from the screen before, in words. What was given always wins."""
        came = self._travelled
        if came is not None:
            there = {"patient": came.patient, "knowledge": came.knowledge, "focus": came.focus}
            if "patient" in self.travels and came.knowledge == "nothing":  # such a screen needs a fact
                there["knowledge"] = ""
            taken = {name: there[name] for name in self.travels if there[name] and not options.get(name)}
            if "patient" not in taken:  # what was asked about there is another patient's
                taken.pop("focus", None)
            with suppress(BadInput, CannotAnswer):  # it does not fit this screen
                return self.first_state(**{**options, **taken}), self._taken_in_words(came, taken)
        return self.first_state(**options), ""

    def _taken_in_words(self, came: Carried, taken: Mapping[str, str]) -> str:
        words = [f"patient {came.patient}"] if "patient" in taken else []
        words += [f"the attacker knows {knows(came.knowledge)}"] if "knowledge" in taken else []
        words += [f"asked about {self.dataset.attributes[came.focus].title}"] if "focus" in taken else []
        if not words:
            return ""
        by_hand = (
            " The facts that were set by hand stay there: this screen takes ready-made sets."
            if not came.knowledge
            else ""
        )
        return f"Taken along from the screen before: {'; '.join(words)}.{by_hand}"

    def _hand_to_next(self, state: State) -> None:
        what, came = self.carries(state), self._travelled
        if what is None or (
            came is not None and not self._touched and not came.knowledge and came.patient == what.patient
        ):
            return  # facts set by hand are not lost by looking at another screen
        carry(self.dataset, what)
        self._frame.link = what.link

    def _fail(self, error: Exception) -> None:
        if not self._live:
            raise error
        self._say(in_words(error, answered=self.answer is not None))
        if isinstance(error, Unavailable | Damaged):
            for shown in (self._bar, self._view):
                shown.add_class(OLD)
        self._status.value = '<div class="ehrmem-status" role="status" data-state="failed">Stopped.</div>'

    def _say(self, sentence: str | None) -> None:
        self.error = sentence
        self._error.value = f'<div class="ehrmem-error" role="alert">{escape(sentence)}</div>' if sentence else ""
        self._error.layout.display = None if sentence else "none"


def _full() -> widgets.Layout:
    return widgets.Layout(width="calc(100% - 6px)")
