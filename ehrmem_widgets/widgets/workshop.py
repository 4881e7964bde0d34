"""The workshop in Jupyter: one step a screen, with the main screen's dial and answer, and questions that check themselves. Nothing leaves this computer
but the code that a participant reads out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import ipywidgets as widgets

from ehrmem_widgets.attacker.facts import DatePrecision, KnownFact, KnownFacts, ValuePrecision, facts_of_level
from ehrmem_widgets.charts.markup import escape, plural
from ehrmem_widgets.charts.table import table
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.probes.opened import taken
from ehrmem_widgets.sources import sample_sources
from ehrmem_widgets.views.answer_bar import Said, answer_bar
from ehrmem_widgets.views.styles import style_tag
from ehrmem_widgets.widgets.explore_patient import dial_rows
from ehrmem_widgets.widgets.known_facts_dial import KnownFactsDial
from ehrmem_widgets.widgets.runner import LatestWins, in_words
from ehrmem_widgets.widgets.screen_frame import ScreenFrame
from ehrmem_widgets.workshop.asking import SEED, Figure, sensitive
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.leave_one_out import left_out
from ehrmem_widgets.workshop.lesson import BUDGET, Item, Step, figures, filled, is_memory, lesson, points
from ehrmem_widgets.workshop.results import Answers, Quiz, encode, right
from ehrmem_widgets.workshop.show import (
    STYLE,
    attack_key,
    by_model,
    card,
    head,
    key_to,
    left_out_picture,
    odds,
    roles,
    static_page,
    told,
    trained,
)

_WAYS = ("Person", "Population")
_FEW = 5  # rows of the score board


class Workshop:
    """The lesson; shows itself as a cell's last expression.

    ``teacher``: answers and what to say are shown beside each step. ``live`` False: one static page (with the answers, for the teacher).
    """

    def __init__(self, *, teacher: bool = False, live: bool = True) -> None:
        self._teacher, self._live = teacher, live
        self.place = 0
        if not live:
            return
        self._title, self._body = widgets.HTML(), widgets.VBox()
        self._back = _button("Back", "The step before", lambda: self.go(self.place - 1))
        self._next = _button("Next", "The next step", lambda: self.go(self.place + 1), primary=True)
        again = _button("Reset", "Start over: every answer and score on this screen is forgotten", self.reset)
        sheet = widgets.HTML(
            f"{style_tag()}<style>{STYLE}</style>", layout=widgets.Layout(height="0", margin="0", min_height="0")
        )
        bar = widgets.HBox([self._back, self._next, again])
        self.box = widgets.VBox([sheet, ScreenFrame(lesson().title), self._title, self._body, bar])
        self.box.add_class("ehrmem-screen")
        self._attack: _Attack | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything and begin again."""
        if self._attack is not None:
            self._attack.close()
        self.before, self.after = ([_Question(item) for item in lesson().quiz] for _ in range(2))
        self._attack = _Attack()
        self.cards = _Cards()
        self._screens: dict[str, Sequence[widgets.Widget]] = {}
        self.go(0)

    def go(self, place: int) -> None:
        """Show a step."""
        steps = lesson().steps
        self.place = min(max(place, 0), len(steps) - 1)
        step = steps[self.place]
        if step.key not in self._screens:
            self._screens[step.key] = self._screen(step)
        if step.key == "attack":
            self.attack.start()
        teacher = [_html(_for_the_teacher(step))] if self._teacher else []
        self._body.children = [*self._screens[step.key], *teacher]
        self._title.value = (
            f'<div class="ehrmem-lesson"><h3>{self.place + 1} of {len(steps)}: {escape(step.title)} ({step.minutes} minutes)</h3>'
            f"{head(step)}</div>"
        )
        self._back.disabled, self._next.disabled = self.place == 0, self.place == len(steps) - 1

    @property
    def attack(self) -> _Attack:
        """The step in which participants are the attacker."""
        assert self._attack is not None
        return self._attack

    def _screen(self, step: Step) -> Sequence[widgets.Widget]:
        found = chosen()
        shown: list[widgets.Widget] = []
        if step.key == "predict":
            shown = [one.box for one in self.before]
        elif step.key == "attack":
            shown = [self.attack.box]
        elif step.key == "cards":
            shown = [self.cards.box]
        elif step.key == "training":
            shown = [_html(trained(found)), _html(odds(found.odds))]
        elif step.key == "committee":
            shown = [_html(roles(step)), _Vote("Your vote before the report", step).box, _html(by_model(found, "moderate")),
                     _Vote("Your vote after it, and one reason", step, reason=True).box]  # fmt: skip
        elif step.key == "exit":
            self._code = _html("")
            done = _button("Show what is right, and my code", "Ends the quiz", self.finish, primary=True)
            shown = [*(one.box for one in self.after), done, self._code]
        return [*shown, *(_Question(item, checks=True).box for item in step.ask)]

    def finish(self) -> str:
        """End the exit quiz: what is right, and the results code."""
        for one in self.after:
            one.check()
        code = encode(self.quiz)
        picture = left_out_picture(left_out())
        self._code.value = (
            f'<div class="ehrmem ehrmem-lesson"><p>Your results code. Read it out or paste it:</p><p class="ehrmem-code">{code}</p>'
            f"<p>{_score(self.quiz.before)} before, {_score(self.quiz.after)} after.</p>{picture}</div>"
        )
        return code

    @property
    def quiz(self) -> Quiz:
        """The answers before and after."""
        before, after = (tuple(one.given for one in each) for each in (self.before, self.after))
        return Quiz(before, after)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the attack's answer is settled; False when the time ran out."""
        return self.attack.wait(timeout) if self._live else True

    def close(self) -> None:
        """Stop the live answers."""
        if self._live:
            self.attack.close()

    def results(self) -> dict[str, object]:
        """The lesson's figures and key; live also what this participant did."""
        key = {item.key: item.options[item.right].words for item in lesson().quiz}
        found: dict[str, object] = {"teacher": self._teacher, "figures": dict(figures()), "key": key}
        if self._live:
            found |= {"code": encode(self.quiz), "points": self.attack.best, "cards": self.cards.sorted_right}
        return found

    def page(self) -> str:
        """The whole lesson as one static piece of HTML."""
        return f"<style>{STYLE}</style>{static_page(teacher=self._teacher, left=left_out())}"

    def _repr_mimebundle_(self, **kwargs: object) -> object:
        if self._live:
            return self.box._repr_mimebundle_(**kwargs)
        return {"text/html": style_tag() + self.page(), "text/plain": f"Workshop({len(lesson().steps)} steps)"}


class _Question:
    """One item with its options. With ``checks``, or after ``check``, it says whether the answer is right, and why not."""

    def __init__(self, item: Item, *, checks: bool = False) -> None:
        self._item = item
        options = [(filled(one.words), place) for place, one in enumerate(item.options)]
        self.choice = widgets.RadioButtons(options=options, value=None, layout=widgets.Layout(width="100%"))
        self.said = _html("")
        press = [_button("Check", "Is it right?", self.check)] if checks else []
        words = _html(f"<p><b>{escape(filled(item.words))}</b></p>")
        self.box = widgets.VBox([words, self.choice, *press, self.said])

    @property
    def given(self) -> int | None:
        """The place of the chosen option."""
        return self.choice.value

    def check(self) -> None:
        """Say whether it is right."""
        self.said.value = told(self._item, self.given)


@dataclass(frozen=True)
class _Try:
    facts: int
    leak: Figure
    points: int


class _Attack:
    """The dial, the answer, and the score board of this computer. The model is opened when the step is."""

    def __init__(self) -> None:
        self.dial = KnownFactsDial()
        self._bar, self._board = _html('<div class="ehrmem-bar"><p>The model is being opened.</p></div>'), _html("")
        self.box = widgets.VBox([self._bar, self._board, self.dial])
        self.tries: list[_Try] = []
        self._exploration: Exploration | None = None
        self._runner: LatestWins[KnownFacts, tuple[State, Answer]] | None = None
        self.dial.observe(lambda _: self._ask(), "facts")

    @property
    def best(self) -> int:
        """The most points so far."""
        return max((one.points for one in self.tries), default=0)

    def start(self) -> None:
        """Open the model, once, and ask what it says to somebody who knows age and sex."""
        if self._runner is None:
            self._runner = LatestWins(self._answers, self._show, self._fail)
            self._runner.submit(())

    def _ask(self) -> None:
        if self._runner is not None:
            facts = (KnownFact(int(p), ValuePrecision(str(v)), DatePrecision(str(d))) for p, v, d in self.dial.facts)
            self._runner.submit(tuple(facts))

    def _answers(self, facts: KnownFacts) -> Iterator[tuple[State, Answer] | None]:
        if self._exploration is None:
            exploration = taken(sample_sources())
            patient = exploration.dataset.find(chosen().attack[0].patient)
            record = exploration.record(patient)
            self._exploration = exploration
            self.dial.rows = [dict(row) for row in dial_rows(record, exploration)]
            first = facts_of_level("age_sex", record, exploration.model.vocabulary)
            self.dial.facts = [[one.place, str(one.value), str(one.date)] for one in first]
            facts = first
        exploration = self._exploration
        patient = exploration.dataset.find(chosen().attack[0].patient)
        state = State(patient, facts, None, sensitive(exploration), chosen().attack[0].attribute, seed=SEED)
        for answer in exploration.answers(state):
            yield None if answer is None else (state, answer)

    def _show(self, facts: KnownFacts, said: tuple[State, Answer]) -> None:
        state, answer = said
        counted = len(state.facts)
        name = self._exploration.model.name if self._exploration else ""
        self._bar.value = answer_bar([Said(name, answer)], knows=plural(counted, "fact"))
        finding = answer.attribute(state.focus)
        if answer.settled and finding is not None:
            leak = Figure.of(finding.audited)
            self.tries.append(_Try(counted, leak, points(leak, counted)))
        self._board.value = self._score_board(counted)

    def _score_board(self, counted: int) -> str:
        left = BUDGET - counted
        budget = (
            f"{plural(left, 'fact')} left of {BUDGET}."
            if left >= 0
            else f"Over the budget of {BUDGET} facts: no points."
        )
        best = sorted(set(self.tries), key=lambda one: -one.points)[:_FEW]
        rows = [(str(one.points), str(one.facts), f"{100 * one.leak.value:.0f} of 100") for one in best]
        board = table(("Points", "Facts", "The model names it"), rows, caption="Your best attacks") if rows else ""
        return f'<div class="ehrmem"><p role="status"><b>{escape(budget)}</b></p>{board}</div>'

    def _fail(self, error: Exception) -> None:
        self._bar.value = (
            f'<div class="ehrmem-error" role="alert">{escape(in_words(error, answered=bool(self.tries)))}</div>'
        )

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a settled answer."""
        return self._runner.wait(timeout) if self._runner is not None else True

    def close(self) -> None:
        """Stop asking."""
        if self._runner is not None:
            self._runner.close()


class _Cards:
    """Ten cards, one at a time: sorted first, turned over then."""

    def __init__(self) -> None:
        self._at = 0
        self.sorted: dict[int, bool] = {}
        self._shown, self._count = _html(""), _html("")
        self._ways = [
            _button(way, f"This is about: {way.lower()}", partial(self.sort, way == _WAYS[0])) for way in _WAYS
        ]
        self._on = _button("Next card", "Another card", lambda: self.turn_to(self._at + 1))
        self._before = _button("Card before", "The card before", lambda: self.turn_to(self._at - 1))
        self.box = widgets.VBox(
            [self._shown, widgets.HBox(self._ways), widgets.HBox([self._before, self._on]), self._count]
        )
        self.turn_to(0)

    @property
    def sorted_right(self) -> int:
        """How many were sorted as the verdict has them."""
        return sum(is_memory(chosen().cards[place]) == person for place, person in self.sorted.items())

    def sort(self, person: bool) -> None:
        """Put the card on a heap; it is turned over, and stays where it was put first."""
        self.sorted.setdefault(self._at, person)
        self.turn_to(self._at)

    def turn_to(self, place: int) -> None:
        """Show a card."""
        cards = chosen().cards
        self._at = min(max(place, 0), len(cards) - 1)
        turned = self._at in self.sorted
        self._shown.value = f'<div class="ehrmem-lesson">{card(cards[self._at], self._at + 1, turned=turned)}</div>'
        for one in self._ways:
            one.disabled = turned
        self._before.disabled, self._on.disabled = self._at == 0, self._at == len(cards) - 1
        mine = ""
        if turned:
            fits = is_memory(cards[self._at]) == self.sorted[self._at]
            mine = f"You said {_WAYS[0 if self.sorted[self._at] else 1].lower()}: {'right' if fits else 'not quite'}. "
        self._count.value = f'<p role="status">{mine}{self.sorted_right} of {len(self.sorted)} sorted rightly.</p>'


class _Vote:
    """A vote of the committee, which stays on this screen."""

    def __init__(self, words: str, step: Step, *, reason: bool = False) -> None:
        choice = widgets.RadioButtons(options=list(step.votes), value=None)
        text = widgets.Textarea(placeholder="Because ...", layout=widgets.Layout(width="620px"))
        self.box = widgets.VBox([_html(f"<p><b>{escape(words)}</b></p>"), choice, *([text] if reason else [])])


def _for_the_teacher(step: Step) -> str:
    items = lesson().quiz if step.key == "exit" else step.ask
    table_ = attack_key(chosen()) if step.key == "attack" else ""
    return (
        f'<details class="ehrmem ehrmem-lesson" open><summary>For the teacher</summary><p>{escape(filled(step.say))}</p><p>{escape(filled(step.answer))}</p>'
        f"{table_}{key_to(items)}</details>"
    )


def _score(answers: Answers) -> str:
    return f"{sum(bool(one) for one in right(answers))} of {len(answers)} right"


def _html(markup: str) -> widgets.HTML:
    return widgets.HTML(markup, layout=widgets.Layout(width="100%"))


def _button(words: str, tooltip: str, act: Callable[[], object], *, primary: bool = False) -> widgets.Button:
    button = widgets.Button(
        description=words,
        tooltip=tooltip,
        button_style="primary" if primary else "",
        layout=widgets.Layout(width="auto"),
    )
    button.on_click(lambda _: act())
    return button
