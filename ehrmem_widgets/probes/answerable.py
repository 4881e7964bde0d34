"""Which tests can be done with the data and the models at hand, test by test, and what to do for those that cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ehrmem_widgets.blackbox.model_checks import every_check
from ehrmem_widgets.charts.markup import plural
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.probes.base import Probe, ProbeRun, loaded
from ehrmem_widgets.probes.needs import PEOPLE, AtHand, Can, Lack, Need, failed, failure
from ehrmem_widgets.registry import probes
from ehrmem_widgets.sources import Sources


@dataclass(frozen=True)
class Answerable:
    """Whether a test can be done (``can``), why not or not in full (``why``), what to do (``todo``), and what it asks of a model (``of_model``,
    told where none was named)."""

    probe: str
    title: str
    can: Can
    why: tuple[str, ...] = ()
    todo: tuple[str, ...] = ()
    of_model: tuple[str, ...] = ()


def checked(sources: Sources) -> Iterator[Check | Answerable]:
    """Every check, and then for every test whether it can be done."""
    found: list[Check] = []
    opened = every_check(sources)
    while True:
        try:
            check = next(opened)
        except StopIteration as end:
            if end.value is None:
                yield from none_of_them(found)
            else:
                stopped = tuple(one for one in found if one.level == "fail")
                dataset, model, reference = end.value
                yield from answerable(AtHand(dataset, model, reference, stopped))
            return
        found.append(check)
        yield check


def answerable(at_hand: AtHand) -> list[Answerable]:
    """For every test, in the order of reports, whether it can be done."""
    found: dict[str, Answerable] = {}
    for name in probes():
        _add(name, at_hand, found)
    return [found[name] for name in probes()]


def none_of_them(checks: Sequence[Check]) -> list[Answerable]:
    """Of data or a model that could not even be opened."""
    stopped = next(one for one in checks if one.level == "fail" and one.stops == "everything")
    return [Answerable(name, one.full_title, Can.NO, (failure(stopped).words,)) for name, one in probes().items()]


def in_lines(tests: Sequence[Answerable]) -> list[str]:
    """A short table as text: each test, and below it what to do, each thing once."""
    about = "What can be done, test by test:" if not any(one.of_model for one in tests) else _DATA_ALONE
    lines = ["", about]
    if len({(one.can, one.why) for one in tests}) == 1 and tests[0].can is Can.NO:
        return [*lines, f"  no       every test: {' '.join(tests[0].why)}", ""]
    for one in tests:
        asked = (f"It asks a model for {', '.join(one.of_model)}.",) if one.of_model else ()
        lines.append(f"  {one.can:<8} {one.title}{': ' if one.why or asked else ''}{' '.join((*one.why, *asked))}")
    return lines + [f"  To do for {', '.join(names)}: {todo}" for todo, names in things_to_do(tests).items()] + [""]


def things_to_do(tests: Sequence[Answerable]) -> dict[str, list[str]]:
    """What to do, and for which tests."""
    found: dict[str, list[str]] = {}
    for one in tests:
        for todo in one.todo:
            found.setdefault(todo, []).append(probes()[one.probe].test or one.title)
    return found


def in_sum(checks: Sequence[Check], tests: Sequence[Answerable]) -> tuple[bool, str]:
    """Whether any test can be done, and all of it in a sentence or two."""
    levels = [one.level for one in checks]
    counts = {can: sum(one.can is can for one in tests) for can in Can}
    said = f"{plural(len(levels), 'check')}: {levels.count('fail') or 'none'} failed, {levels.count('warn')} with a warning."
    if counts[Can.NO] == len(tests):
        return False, f"{said} No test can be done: read what to do."
    rest = "".join(
        f", {counts[can]} {words}" for can, words in ((Can.IN_PART, "in part"), (Can.NO, "not")) if counts[can]
    )
    return True, f"{said} Of {len(tests)} tests {counts[Can.YES]} can be done{rest}."


_DATA_ALONE = "What these data allow, test by test (no model was named):"


def _add(name: str, at_hand: AtHand, found: dict[str, Answerable]) -> Answerable:
    if name not in found:
        probe = probes()[name]
        found[name] = _answerable(probe, at_hand, [_add(one, at_hand, found) for one in probe.builds_on])
    return found[name]


def _answerable(probe: Probe, at_hand: AtHand, below: Sequence[Answerable]) -> Answerable:
    kind: type[ProbeRun] = loaded(probe.run)
    needs: list[Need] = [failed("everything"), *([PEOPLE] if probe.compares else ()), *kind.needs]
    lacks = [lack for need in needs if (lack := need.lack(at_hand))]
    if lacks and lacks[0].leaves is Can.NO and at_hand.failure("everything"):
        lacks = lacks[:1]  # the rest would only say again that nothing fits
    lacks += _built_on(below) if not lacks else []
    can = min((lack.leaves for lack in lacks), key=list(Can).index, default=Can.YES)
    said = [lack for lack in lacks if lack.leaves is can or can is not Can.NO]
    return Answerable(
        probe.name,
        probe.full_title,
        can,
        tuple(dict.fromkeys(lack.words for lack in said)),
        tuple(dict.fromkeys(lack.todo for lack in said if lack.todo)),
        tuple(need.of_model for need in needs if need.of_model) if at_hand.model is None else (),
    )


def _built_on(below: Sequence[Answerable]) -> Iterator[Lack]:
    """What the tests lack whose findings one takes: all of them, or some."""
    missing = [one for one in below if one.can is not Can.YES]
    without = len(missing) == len(below) and all(one.can is Can.NO for one in missing)
    for one in missing:
        yield Lack(f"It builds on {one.title}: {one.can}.", leaves=Can.NO if without else Can.IN_PART)
