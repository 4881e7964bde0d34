"""On the main screen: the smallest facts that make the model give away the attribute in focus, and the same search about people never seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ehrmem_widgets.charts.markup import escape, interval, plural
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.exploration import NO_ATTRIBUTES, Exploration, State
from ehrmem_widgets.probes.live_part import LivePart, PartAnswer
from ehrmem_widgets.probes.ranking import PROBE
from ehrmem_widgets.probes.ranking.ask import NO_REFERENCE, SEARCH, THRESHOLD, Attack, AttackSearch, facts_in_words
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.statistics.verdicts import Peers
from ehrmem_widgets.views.answer_bar import in_100
from ehrmem_widgets.views.attack_cost import questions

PEOPLE = 19
"""How many people never seen are searched: with so many, a p of 0.05 is possible."""


class SmallestFacts(LivePart):
    """The search of the attack ranking, for this patient and attribute alone (methods, sections 5 and 8.6)."""

    title = "Smallest facts"
    term = "smallest"
    start = "Find the smallest facts that leak"

    def answers(self, exploration: Exploration, state: State, choice: str) -> Iterator[PartAnswer | None]:
        """The patient's facts first; then, person by person, what the same search finds about people whom no model saw."""
        if not state.focus:
            raise CannotAnswer(NO_ATTRIBUTES)
        record, focus = exploration.record(state.patient_id), state.focus
        codes = exploration.attributes
        title = codes.attributes[focus].title
        if not codes.held(focus, record):
            raise BadInput(
                f"The record does not hold {title}: there is nothing of this patient to give away. Choose an attribute that it holds (◆)."
            )
        if codes.attributes[focus].own_value is not None:
            raise BadInput(
                f"{title} differs from patient to patient: the search asks about named groups of codes only."
            )
        names = [name for name in state.attributes if codes.attributes[name].own_value is None]
        search = AttackSearch(
            exploration.model, exploration.reference, exploration.dataset, codes, names, horizon=state.horizon, seed=state.seed,
            population=state.population,
        )  # fmt: skip
        searching = f"<p>Searching for the smallest facts that make the model name {escape(title)} ...</p>"
        yield PartAnswer(searching, asked=len(PROBE.knowledge_levels))
        attack = yield from search.cheapest(record, focus, PROBE.knowledge_levels, THRESHOLD)
        facts, tried = attack.facts if attack is not None else None, search.tried
        effort = f"{plural(tried, 'set')} of facts ({plural(search.asked, 'question')} to the model)"
        others = [
            one
            for one in exploration.controls.similar(record, state.facts, len(exploration.controls.records))
            if codes.held(focus, one)
        ][:PEOPLE]
        found: list[float] = []
        for place, other in enumerate(others):
            yield PartAnswer(
                _said(exploration, record, attack, title, found, len(others), effort),
                facts,
                (1 + place) / (1 + len(others)),
                asked=tried,
            )
            theirs = yield from search.cheapest(other, focus, PROBE.knowledge_levels, THRESHOLD)
            found.append(-np.inf if theirs is None else -theirs.known.bits)
        yield PartAnswer(
            _said(exploration, record, attack, title, found, len(others), effort, settled=True),
            facts,
            1.0,
            settled=True,
            asked=tried,
        )


def _said(
    exploration: Exploration,
    record: Record,
    attack: Attack | None,
    title: str,
    found: list[float],
    wanted: int,
    effort: str,
    *,
    settled: bool = False,
) -> str:
    leaks = sum(bits > -np.inf for bits in found)
    count = f" The search tried {effort} about this patient; this session counts the sets."
    asked = plural(len(found), "similar person never seen who has it", "similar people never seen who have it")
    progress = "" if settled else f" ({len(found)} of {wanted} so far)"
    if attack is None:
        more_often = "" if exploration.reference is None else ", and more often than the reference"
        return (
            f"<p><b>No set of facts that was tried makes the model give {escape(title)} away</b> (in at least {100 * THRESHOLD:.0f} of 100 answers{more_often}). "
            f"Tried: ready-made sets of facts, and up to six facts chosen one by one.</p><p>Among {asked}{progress}, the same search finds facts about {leaks or 'none of them'}.{count}</p>"
        )
    how = "chosen one by one" if attack.way == SEARCH else "a ready-made set"
    facts = "".join(
        f"<li>{escape(words)}</li>" for words in facts_in_words(attack.facts, record, exploration.dataset).split("; ")
    )
    known = attack.known
    fits = "only this patient of the data set fits" if known.k == 1 else f"{known.k:,} of {known.n:,} patients fit"
    null = f"Among {asked}{progress}, the same search finds facts as cheap about {sum(bits >= -known.bits for bits in found) or 'none of them'}"
    p = f": p = {Peers.of(-known.bits, np.array(found)).p:.2f}" if settled and found else ""
    against = (
        f". {NO_REFERENCE}"
        if attack.reference is None
        else f", a model that never saw the patient in {in_100(attack.reference)} ({escape(interval(attack.reference))})."
    )
    nobody = (
        " Nobody never seen has it, so that nothing says how often chance would find such facts."
        if settled and not wanted
        else ""
    )
    cost = questions(for_even_chance(attack.audited))
    return (
        f"<p><b>{plural(known.facts, 'fact')} suffice</b> ({how}; {known.bits:.1f} bits; {fits}):</p><ul>{facts}</ul>"
        f"<p>With them the model names {escape(title)} in <b>{in_100(attack.audited)}</b> answers ({escape(interval(attack.audited))}){against} "
        f"An attacker who knows them needs {cost} for an even chance.</p>"
        f"<p>{null}{p}.{nobody}{count}</p>"
    )
