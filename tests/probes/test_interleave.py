"""Works that run at the same time: to the end, interrupted, and when one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ehrmem_widgets.probes.interleave import interleave


def test_all_works_run_to_their_ends_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)  # neither passes before the other has come
    done = []

    def work(name: str) -> Iterator[None]:
        for _ in range(3):
            meeting.wait()
            yield
        done.append(name)

    assert all(step is None for step in interleave(work("a"), work("b")))
    assert sorted(done) == ["a", "b"]


def test_closing_stops_the_works() -> None:
    started, closed = threading.Event(), threading.Event()

    def endless() -> Iterator[None]:
        try:
            while True:
                started.set()
                yield
        finally:
            closed.set()

    works = interleave(endless())
    next(works)
    assert started.wait(10)
    works.close()  # type: ignore[attr-defined]
    assert closed.wait(10)


def test_an_error_in_one_stops_the_other_and_is_raised() -> None:
    def broken() -> Iterator[None]:
        yield
        raise ValueError("out of memory")

    def endless() -> Iterator[None]:
        while True:
            yield

    with pytest.raises(ValueError, match="out of memory"):
        list(interleave(broken(), endless()))


def test_nothing_to_do() -> None:
    assert list(interleave()) == [None]
