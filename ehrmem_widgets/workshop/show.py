"""The lesson's parts as HTML: the same for the screen, the static page and the worksheets."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS
from ehrmem_widgets.charts.markup import BLUE, GREEN, GREY, ORANGE, RULE, SHADE, VERMILION, escape, icon, svg
from ehrmem_widgets.charts.table import Markup, table
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.workshop.asking import Asked
from ehrmem_widgets.workshop.chosen import Chosen, Odds, chosen
from ehrmem_widgets.workshop.leave_one_out import AllLeftOut
from ehrmem_widgets.workshop.lesson import Item, Step, decimals, filled, hundred, is_memory, lesson

STYLE = f"""
.ehrmem-lesson {{ max-width: 860px; font-size: 15px; line-height: 1.5; }}
.ehrmem-lesson .ehrmem-idea {{ font-size: 18px; border-left: 5px solid {BLUE}; padding-left: 12px; margin: 8px 0 12px; }}
.ehrmem-lesson .ehrmem-card {{ border: 1px solid {RULE}; border-radius: 4px; padding: 10px 16px; max-width: 620px; }}
.ehrmem-lesson .ehrmem-card b {{ font-size: 17px; }}
.ehrmem-lesson .ehrmem-told {{ background: {SHADE}; padding: 8px 12px; margin: 8px 0; border-left: 5px solid {GREY}; }}
.ehrmem-lesson .ehrmem-told[data-right="yes"] {{ border-left-color: {GREEN}; }}
.ehrmem-lesson .ehrmem-told[data-right="no"] {{ border-left-color: {VERMILION}; }}
.ehrmem-lesson .ehrmem-code {{ font: 600 26px/1.4 monospace; letter-spacing: 1px; }}
"""


def head(step: Step) -> str:
    """A step's one idea, and what to do."""
    return f'<p class="ehrmem-idea">{escape(step.idea)}</p><p>{escape(filled(step.do))}</p>'


def told(item: Item, given: int | None) -> str:
    """Whether an answer is right, and why not: with the misconception behind it."""
    if given is None:
        return '<div class="ehrmem-told" role="status">Choose an answer first.</div>'
    option = item.options[given]
    if option.right:
        return '<div class="ehrmem-told" data-right="yes" role="status">✓ Right.</div>'
    name = lesson().misconceptions.get(option.misconception, "")
    behind = f" A common mistake: {escape(name)}" if name else ""
    return f'<div class="ehrmem-told" data-right="no" role="status">✗ Not quite. {escape(filled(option.why))}{behind}</div>'


def key_to(items: Sequence[Item]) -> str:
    """Questions with their right answers, and what to say of the wrong ones."""
    parts = []
    for item in items:
        options = "".join(
            f"<li>{'<b>✓ ' if one.right else ''}{escape(filled(one.words))}{'</b>' if one.right else f' <i>{escape(filled(one.why))}</i>'}</li>"
            for one in item.options
        )
        parts.append(f"<p><b>{escape(filled(item.words))}</b></p><ol type='a'>{options}</ol>")
    return "".join(parts)


def card(one: Asked, number: int, *, turned: bool) -> str:
    """A card: what the attacker knew and what the model says; turned over also what tells memory from knowledge."""
    front = (
        f"<p>Card {number}. {escape(one.about)}. The attacker knows: {escape(_lower(KNOWLEDGE_LEVELS[one.knowledge]))}.</p>"
        f"<p>The model names <b>{escape(one.title)}</b> in <b>{escape(hundred(one.audited))}</b> of 100 answers.</p>"
    )
    return f'<div class="ehrmem-card">{front}{_back(one) if turned else ""}</div>'


def _back(one: Asked) -> str:
    memory = is_memory(one)
    seen = {0: "The model never saw this person", 1: "This person was in the training data once"}.get(
        one.times, f"This person's record stood in the training data {one.times} times"
    )
    asked = f"{one.as_high} of {one.controls} similar people whom no model saw show as much" if one.controls else ""
    return (
        f"<hr><p>{icon(Verdict.MEMORIZED if memory else Verdict.POPULATION)} <b>{'Person' if memory else 'Population'}</b>: "
        f"{escape(one.verdict.lower())}. {escape(seen)}.</p><p>A model that never saw this person says it in {escape(hundred(one.reference))} of 100; "
        f"{escape(asked)}.</p>"
    )


def trained(found: Chosen) -> str:
    """The three ways to train: what each gives away beside how well it predicts."""
    leaks = interval_rows(
        [IntervalRow(one.model, one.leak.estimate, marked=one.model == "memorizing") for one in found.training],
        title="Probability that the model names what a member holds (members chosen at random)",
        ends=(0, 1),
        level=(0, "nothing"),
    )
    rows = [(one.model, Markup(escape(hundred(one.leak))), decimals(one.loss)) for one in found.training]
    return leaks + table(
        ("Model", "Gives away, of 100 answers", "Loss on people never seen, nats a code (lower is better)"),
        rows,
        caption="Leak and accuracy, with 95 % interval and n people",
    )


def by_model(found: Chosen, model: str) -> str:
    """What one model says about each of the lesson's people."""
    rows = [
        (one.patient, one.about, one.title, hundred(one.audited), hundred(one.reference), one.verdict)
        for one in found.patients
        if one.model == model
    ]
    return table(
        ("Patient", "About", "Asked", "This model, of 100", "Never saw them, of 100", "Verdict"),
        rows,
        caption=f"The model {model!r} about the lesson's people; the attacker knows demographics and the labs of one day with their values",
    )


def odds(found: Odds) -> str:
    """Of 100 people like you: how many the best attacker tells rightly, by a coin and at most."""
    people = ""
    for place in range(found.of):
        x, y = 14 + 22 * (place % 20), 14 + 24 * (place // 20)
        by_coin, more = place < found.coin, place < found.by_noise
        fill = (
            f'fill="{BLUE}"'
            if by_coin
            else f'fill="{ORANGE}" stroke="#111"'
            if more
            else f'fill="none" stroke="{GREY}"'
        )
        shape = f'<rect x="{x - 6}" y="{y - 6}" width="12" height="12" {fill}/>' if more and not by_coin else ""
        people += shape or f'<circle cx="{x}" cy="{y}" r="6" {fill}/>'
    words = (
        f"Of {found.of} people like you, half of whom were in the training data, a coin tells {found.coin} rightly. The best attacker on the private "
        f"model tells at most {found.by_noise}: {found.by_noise - found.coin} more (squares)."
    )
    besides = (
        f"Epsilon {found.epsilon:g} and delta {found.delta:.1g} alone would allow {found.promised} of {found.of}; the noise that was added keeps it to {found.by_noise}. "
        "Both hold against an attacker who knows everything else."
    )
    return f"<figure>{svg(people, width=460, height=124, label=words)}<figcaption>{escape(words)}</figcaption></figure><p>{escape(besides)}</p>"


def roles(step: Step) -> str:
    """The seats of the committee."""
    return "<dl>" + "".join(f"<dt>{escape(one.name)}</dt><dd>{escape(one.words)}</dd>" for one in step.roles) + "</dl>"


def left_out_picture(found: AllLeftOut | None) -> str:
    """What the model says about ten people with and without their record; empty where it was not computed yet."""
    if found is None:
        return ""
    rows = [
        IntervalRow(words, figure.estimate, heading=f"{one.title} ({one.patient})", marked=words == "with the record")
        for one in found.people
        for words, figure in (("with the record", one.with_record), ("trained without it", one.without_record))
    ]
    title = "What the model says about you with and without your record"
    words = (
        "For each person the model was trained once more, with the same seed and everybody else, and then asked the same. The ten are the members of the "
        "cards and patients who were planted: they show what one record can do, and not how often it does."
    )
    return interval_rows(rows, title=title, ends=(0, 1), level=(0, "nothing")) + f"<p>{escape(words)}</p>"


def attack_key(found: Chosen) -> str:
    """What an attacker reaches by how much he knows: the key to "be the attacker"."""
    rows = [
        (KNOWLEDGE_LEVELS[one.knowledge], str(one.facts), hundred(one.audited), hundred(one.reference), one.verdict)
        for one in found.attack
    ]
    return table(
        ("Attacker knows", "Facts", "The model, of 100", "Never saw the patient, of 100", "Verdict"),
        rows,
        caption=f"{found.attack[0].title}, patient {found.attack[0].patient}",
    )


def static_page(*, teacher: bool, left: AllLeftOut | None) -> str:
    """The whole lesson on one page; for the teacher with its answers."""
    found = chosen()
    parts = []
    for number, step in enumerate(lesson().steps, start=1):
        shown = {
            "attack": attack_key(found) if teacher else "",
            "cards": "".join(card(one, place, turned=teacher) for place, one in enumerate(found.cards, start=1)),
            "training": trained(found) + odds(found.odds) if teacher else "",
            "committee": roles(step) + by_model(found, "moderate"),
            "exit": left_out_picture(left) if teacher else "",
        }.get(step.key, "")
        items = (*step.ask, *(lesson().quiz if step.quiz and step.key == "exit" else ()))
        answers = f"<p>{escape(filled(step.answer))}</p>{key_to(items)}" if teacher else ""
        parts.append(
            f"<section><h3>{number}. {escape(step.title)} ({step.minutes} minutes)</h3>{head(step)}{shown}{answers}</section>"
        )
    return f'<div class="ehrmem ehrmem-lesson"><h2>{escape(lesson().title)}</h2>{"".join(parts)}</div>'


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
