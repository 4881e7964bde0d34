"""The workshop's lesson as the page shows it: its words and pictures as markup that Python made and escaped."""

from __future__ import annotations

from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.leave_one_out import left_out
from ehrmem_widgets.workshop.lesson import BUDGET, PRICE, Item, Step, filled, is_memory, lesson
from ehrmem_widgets.workshop.pages import committee_report
from ehrmem_widgets.workshop.show import STYLE, by_model, card, head, left_out_picture, odds, roles, told, trained

CONTENT_STYLE = STYLE.replace(".ehrmem-lesson ", ".stage ")


def lesson_content() -> dict[str, object]:
    """What lesson.js reads, ready for JSON."""
    found, whole = chosen(), lesson()
    return {
        "title": whole.title,
        "version": whole.version,
        "budget": BUDGET,
        "price": PRICE,
        "models": [one.model for one in found.training],
        "steps": [_step(step) for step in whole.steps],
        "quiz": [_item(item) for item in whole.quiz],
        "cards": [
            {
                "front": card(one, place, turned=False),
                "back": card(one, place, turned=True),
                "memory": is_memory(one),
            }
            for place, one in enumerate(found.cards, start=1)
        ],
        "left": left_out_picture(left_out()),
        "report": committee_report(),
    }


def lesson_patients() -> list[str]:
    """The people whom the lesson is about, by pseudonym; the attacked one first."""
    found = chosen()
    return list(dict.fromkeys(one.patient for one in (*found.attack, *found.patients, *found.cards)))


def _step(step: Step) -> dict[str, object]:
    found = chosen()
    extra = {
        "attack": f"<p>Begin with patient <b>{escape(found.attack[0].patient)}</b>, asked about {escape(found.attack[0].title)}.</p>",
        "training": trained(found) + odds(found.odds),
        "committee": by_model(found, "moderate"),
    }
    return {
        "key": step.key,
        "title": step.title,
        "minutes": step.minutes,
        "question": step.question,
        "votes": list(step.votes),
        "head": head(step),
        "answer": escape(filled(step.answer)),
        "extra": extra.get(step.key, ""),
        "roles": roles(step),
        "ask": [_item(item) for item in step.ask],
    }


def _item(item: Item) -> dict[str, object]:
    options = [
        {"words": filled(one.words), "right": one.right, "told": told(item, place)}
        for place, one in enumerate(item.options)
    ]
    return {"key": item.key, "words": filled(item.words), "options": options}
