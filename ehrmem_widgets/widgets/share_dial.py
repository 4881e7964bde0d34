"""A share in per cent to be set: a slider over round figures, a box for any other, and a sentence that says what it means."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets

from ehrmem_widgets.charts.markup import escape, percent
from ehrmem_widgets.settings import Number
from ehrmem_widgets.widgets.number_field import NumberField


class ShareDial:
    """``changed`` is called with the new share (0 to 1) when a person sets another one; ``box`` is what to show.

    ``short`` names the box, which is what a screen reader finds (a slider has no name of its own). ``steps`` are the slider's
    shares, rising; the box takes anything within ``bounds``. ``words`` says what a share means, in a sentence.
    """

    def __init__(
        self,
        name: str,
        short: str,
        value: float,
        bounds: Number,
        *,
        steps: Sequence[float],
        words: Callable[[float], str],
        changed: Callable[[float], None],
    ) -> None:
        self._changed, self._words, self._steps = changed, words, tuple(steps)
        self._setting = threading.RLock()
        self._quiet = False
        title = widgets.HTML(f'<div class="ehrmem-control">{escape(name)}</div>')
        self.slider = widgets.SelectionSlider(
            options=[(percent(step), step) for step in steps], value=self._nearest(value), readout=False,
            layout=widgets.Layout(width="calc(100% - 6px)"),
        )  # fmt: skip
        self.number = NumberField(
            short.lower(), round(100 * value, 6), bounds.in_percent(), description=f"{short}, in %", unit="%", width="265px",
            description_width="165px",
        )  # fmt: skip
        self.said = widgets.HTML()
        self._say(value)
        self.box = widgets.VBox(
            [title, self.slider, self.number.text, self.number.message, self.said],
            layout=widgets.Layout(margin="8px 0 6px"),
        )
        self.slider.observe(lambda change: self._set(change, self.number, round(100 * change["new"], 6)), "value")
        self.number.observe(
            lambda change: self._set({"new": change["new"] / 100}, self.slider, self._nearest(change["new"] / 100)),
            "value",
        )

    def _set(self, change: Mapping[str, float], other: widgets.SelectionSlider | NumberField, follows: float) -> None:
        with self._setting:
            if self._quiet:
                return
            self._quiet = True
            try:
                other.value = follows
            finally:
                self._quiet = False
            self._say(change["new"])
            self._changed(float(change["new"]))

    def _say(self, share: float) -> None:
        self.said.value = f'<div class="ehrmem-words">{escape(self._words(share))}</div>'

    def _nearest(self, share: float) -> float:
        return min(self._steps, key=lambda step: abs(math.log(step) - math.log(max(share, 1e-9))))
