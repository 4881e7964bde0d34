"""A field for one number that never turns what was typed into another number, as ipywidgets' Bounded* fields do ("-5" became 1)."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets
import traitlets

from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import Number, Whole


class NumberField(traitlets.HasTraits):
    """A text field and, under or beside it, what is wrong with its text. Show ``text`` and ``message``.

    ``value`` is the last valid number: observe it, or set it (BadInput for one that does not fit). Text that is none stays as it
    was typed, ``refused`` says why in a sentence (else it is empty), and ``value`` does not change. ``name`` is what the number is
    called in that sentence, ``unit`` what stands after it ("%"), ``description`` what stands before the field and names it to a
    screen reader. ``value`` may be None (an empty field) where ``unset`` says what is then shown instead.

    >>> from ehrmem_widgets.settings import HORIZON
    >>> field = NumberField("horizon", 64, HORIZON, description="Horizon")
    >>> field.text.value = "-5"
    >>> field.value, field.text.value, field.refused
    (64, '-5', "horizon must be a whole number from 1 to 36525, such as 64; got '-5'.")
    >>> field.text.value = "32"
    >>> field.value, field.refused
    (32, '')
    """

    value: traitlets.Union = traitlets.Union([traitlets.Int(), traitlets.Float()], allow_none=True)
    refused = traitlets.Unicode()

    def __init__(
        self,
        name: str,
        value: float | None,
        bounds: Whole | Number,
        *,
        description: str,
        unit: str = "",
        unset: str = "",
        width: str = "200px",
        description_width: str = "100px",
    ) -> None:
        self.name, self.bounds, self.unit, self.unset = name, bounds, f" {unit}" if unit else "", unset
        self._called = f"{name} (in {unit})" if unit else name
        super().__init__(value=value)
        self.text = widgets.Text(
            value=_plain(value), description=description, tooltip=f"{self._called}: {bounds}", continuous_update=False,
            layout=widgets.Layout(width=width), style={"description_width": description_width},
        )  # fmt: skip
        self.message = widgets.HTML(layout=widgets.Layout(display="none", width="calc(100% - 6px)"))
        self.text.observe(lambda change: self._typed(change["new"]), "value")
        self.observe(lambda change: setattr(self.text, "value", _plain(change["new"])), "value")
        self.observe(lambda change: self._say(change["new"]), "refused")

    @property
    def setting(self) -> str:
        """The last valid setting in words, such as "horizon 64"."""
        return self.unset if self.value is None else f"{self.name} {_plain(self.value)}{self.unit}"

    def show(self, value: float | None) -> None:
        """Take a value that was chosen elsewhere, and drop refused text."""
        self.value = value
        self.text.value, self.refused = _plain(value), ""

    @traitlets.validate("value")
    def _check(self, proposal: traitlets.Bunch) -> float | None:
        if proposal["value"] is None and self.unset:
            return None
        return self.bounds.check(proposal["value"], self._called)

    def _typed(self, text: str) -> None:
        if text == _plain(self.value):
            self.refused = ""
            return
        try:
            number = self.bounds.read(text, self._called)
        except BadInput as error:
            self.refused = str(error)
            return
        self.refused = ""
        self.value = number

    def _say(self, sentence: str) -> None:
        said = f"{sentence[:1].upper()}{sentence[1:]} What is shown is for {self.setting}."
        self.message.value = (
            f'{_STYLE}<div class="ehrmem-refused" role="alert" aria-live="assertive">⚠ {escape(said)}</div>'
            if sentence
            else ""
        )
        self.message.layout.display = None if sentence else "none"
        (self.text.add_class if sentence else self.text.remove_class)("ehrmem-wrong")


class LastValid:
    """Marks answers that stand beside refused text as what they are: those of the last valid setting.

    ``note`` says so, and is shown above the answers; while any of the fields that are watched refuses its text, ``answers`` are
    greyed.
    """

    def __init__(self, answers: Sequence[widgets.DOMWidget]) -> None:
        self.note = widgets.HTML(layout=widgets.Layout(display="none", width="calc(100% - 6px)"))
        self._answers, self._fields = tuple(answers), list[NumberField]()

    def track(self, *fields: NumberField) -> None:
        """Watch these fields too."""
        self._fields += fields
        for field in fields:
            field.observe(lambda change: self._mark(), ["refused", "value"])

    def _mark(self) -> None:
        kept = [field.setting for field in self._fields if field.refused]
        words = f"Shown for {' and '.join(kept)}, the last valid setting{'s' if len(kept) > 1 else ''}."
        self.note.value = f'{_STYLE}<div class="ehrmem-last-valid">{escape(words)}</div>' if kept else ""
        self.note.layout.display = None if kept else "none"
        for answer in self._answers:
            (answer.add_class if kept else answer.remove_class)("ehrmem-kept")


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.10g}"  # what can be typed again: no exponent for any setting


_STYLE = """<style>
.ehrmem-refused, .ehrmem-last-valid { font-size: 12px; line-height: 1.4; color: var(--jp-ui-font-color1, #111); }
.ehrmem-refused { border-left: 3px solid #D55E00; padding: 1px 0 1px 8px; margin: 2px 0 4px; }
.ehrmem-last-valid { border: 1px dashed #D55E00; border-bottom: 0; padding: 2px 10px; font-weight: 600; }
.ehrmem-wrong input { box-shadow: inset 0 0 0 2px #D55E00 !important; }
.ehrmem-kept { opacity: .72; filter: grayscale(1); }
</style>"""
