"""A letter in plain language about a whole audit, for those who decide: from the figures of its report, as they may be shown."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import ehrmem_widgets
from ehrmem_widgets.attacker.facts import KNOWLEDGE_LEVELS
from ehrmem_widgets.audit.releases import to_leave
from ehrmem_widgets.charts.markup import BLUE, ORANGE, known
from ehrmem_widgets.charts.table import Markup
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.view import Frequency
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import overall
from ehrmem_widgets.reports.letter_texts import Texts, about, day, icons, of_100
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict


def audit_letter(folder: Path, texts: Texts) -> dict[str, object]:
    """What the template of letters fills in. Raises BadInput for a folder that holds no audit, and for an audit that is not finished."""
    audit = to_leave(folder)
    if not audit.finished:
        raise BadInput(
            f"The audit in {str(folder)!r} is not finished, and what is missing may change every conclusion: give the same 'ehrmem audit' "
            "again, then this command."
        )
    said = texts["audit"]
    verdict = overall(audit)
    told = Counter(line.verdict for name, line in audit.headlines.items() if probes()[name].compares and line.verdict)
    given = {
        "model": audit.name_of("model"), "fewest": FEWEST, "version": ehrmem_widgets.__version__, "chance": round(100 * ALARM_RATE),
        "members": about(texts, audit.people.get(MEMBER, 0)), "others": about(texts, audit.people.get(NON_MEMBER, 0)),
        "day": day(texts, datetime.now(UTC).date()), "all": told.total(), "memorized": told[Verdict.MEMORIZED],
        "population": told[Verdict.POPULATION], "open": told[Verdict.CANNOT_CONCLUDE],
    }  # fmt: skip
    pictures = [
        picture
        for view in audit.views.values()
        for one in view.frequencies()
        if one.key in said["found"] and known(one.figure)
        for picture in _pictures(one, texts, given)
    ]
    withheld = [said["withheld"].format_map(given)] if audit.withheld else []
    return {
        "language": texts["language"], "title": said["title"], "greeting": said["greeting"].format_map(given),
        "answer": said["answer"][str(verdict or "none")], "why": texts["why"].format_map(given), "what_title": texts["what_title"],
        "what": said["what"].format_map(given), "fits": said["tests"].format_map(given) if verdict else "", "found_title": texts["found_title"],
        "pictures": pictures, "besides": "" if pictures else said["no_figures"], "means": "",
        "limits_title": texts["limits_title"], "limits": [*withheld, *said["limits"]], "next_title": texts["next_title"],
        "next": said["next"].get(str(verdict), said["next"]["other"]), "made": said["made"].format_map(given),
    }  # fmt: skip


def _pictures(one: Frequency, texts: Texts, given: dict[str, object]) -> list[tuple[str, Markup]]:
    """The members' sentence with its icon array, and that of people never seen where there is one."""
    said = texts["audit"]
    more = {**given, "attribute": texts["attributes"].get(one.title, one.title), "knows": _knows(one.knowledge, texts)}
    sides = [(one.key, one.figure, BLUE)]
    if known(one.never_seen) and f"{one.key}_others" in said["found"]:
        assert one.never_seen is not None
        sides.append((f"{one.key}_others", one.never_seen, ORANGE))
    found = []
    for key, figure, colour in sides:
        words = said["found"][key].format_map({**more, **of_100(texts, figure.value, figure.low, figure.high)})
        decided = f" {said['decided'][str(one.verdict)]}" if colour == BLUE else ""
        found.append((f"{words}{decided}", icons(texts, figure.value, colour)))
    return found


def _knows(knowledge: str, texts: Texts) -> str:
    """What the attacker knows, in the letter's language."""
    words = texts["audit"]["knowledge"]
    kind, _, rest = knowledge.partition("_")
    if knowledge in words or kind not in words:
        return words.get(knowledge, KNOWLEDGE_LEVELS.get(knowledge, knowledge))
    return words[kind].format(rest=rest)
