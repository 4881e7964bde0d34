"""The live runner on its real thread: the last state wins, the view is never starved, and nothing ends the worker but close."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ehrmem_widgets.widgets.runner import LatestWins, Synchronous

LONG = 10.0  # seconds: never reached unless something is broken


class Screen:
    """What was painted, in order; waits for a condition on it."""

    def __init__(self) -> None:
        self.painted: list[tuple[int, int]] = []
        self.errors: list[Exception] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()

    def show(self, state: int, answer: int) -> None:
        with self._changed:
            self.painted.append((state, answer))
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, LONG), f"painted {self.painted}, errors {self.errors}"


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def start(screen: Screen) -> Iterator[Callable[..., LatestWins[int, int]]]:
    runners: list[LatestWins[int, int]] = []

    def make(answers: Callable[[int], Iterator[int | None]]) -> LatestWins[int, int]:
        runners.append(LatestWins(answers, screen.show, screen.fail))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


def three(state: int) -> Iterator[int | None]:
    for part in range(3):
        yield None
        yield part


def test_a_state_is_answered_in_full_and_in_order(screen: Screen, start) -> None:
    runner = start(three)
    assert runner.wait(LONG)  # nothing was asked
    runner.submit(7)
    assert runner.wait(LONG)
    assert screen.painted == [(7, 0), (7, 1), (7, 2)]
    assert screen.threads.isdisjoint({threading.get_ident()})


def test_the_last_state_always_wins_whoever_submits(screen: Screen, start) -> None:
    runner = start(three)
    for last in range(100, 2100, 100):
        for state in range(last - 20, last + 1):
            runner.submit(state)
        assert runner.wait(LONG)
        assert screen.painted[-3:] == [(last, 0), (last, 1), (last, 2)]


def test_states_from_several_threads_end_on_the_last_submitted(screen: Screen, start) -> None:
    runner = start(three)
    lock, order = threading.Lock(), []

    def hammer(base: int) -> None:
        for i in range(200):
            with lock:
                order.append(base + i)
                runner.submit(base + i)

    threads = [threading.Thread(target=hammer, args=(base,)) for base in (1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runner.wait(LONG)
    assert screen.painted[-1] == (order[-1], 2)
    assert len(screen.threads) == 1


def test_stale_answers_are_never_painted_after_newer_ones(screen: Screen, start) -> None:
    runner = start(three)
    for state in range(1, 400):
        runner.submit(state)
        if state % 40 == 0:
            screen.wait_for(lambda: bool(screen.painted))
    assert runner.wait(LONG)
    states = [state for state, _ in screen.painted]
    assert states == sorted(states)
    assert states[-3:] == [399] * 3


def test_a_held_key_does_not_starve_the_view(screen: Screen, start) -> None:
    """100 states a second, answers that need three times as long: every state that is begun is painted once."""
    stop = threading.Event()
    begun: list[int] = []

    def slow(state: int) -> Iterator[int | None]:
        begun.append(state)
        for _ in range(15):
            time.sleep(0.002)
            yield None
        yield 0
        for part in range(1, 1000):
            if not stop.wait(0.002):
                yield part
        yield -1

    runner = start(slow)
    for state in range(1, 61):
        runner.submit(state)
        time.sleep(0.01)
    while_held = len(screen.painted)
    stop.set()
    assert runner.wait(LONG)
    assert while_held >= 5  # a runner that gives up before the first paint shows nothing
    firsts = [state for state, part in screen.painted if part == 0]
    assert firsts == begun  # each begun state was shown before it was given up
    assert len(begun) < 60  # and most states were never begun
    assert screen.painted[-1] == (60, -1)


def test_after_its_first_paint_a_state_is_given_up_at_once(screen: Screen, start) -> None:
    go_on = threading.Event()
    closed = threading.Event()

    def endless(state: int) -> Iterator[int | None]:
        try:
            yield 0
            if state == 1:
                assert go_on.wait(LONG)
                while True:
                    yield None
        finally:
            if state == 1:
                closed.set()

    runner = start(endless)
    runner.submit(1)
    screen.wait_for(lambda: screen.painted == [(1, 0)])
    assert not runner.wait(0.005)  # still at work
    runner.submit(2)
    go_on.set()
    assert runner.wait(LONG)
    assert screen.painted == [(1, 0), (2, 0)]
    assert closed.wait(LONG)  # the model is told to stop


def test_before_its_first_paint_a_state_is_not_given_up(screen: Screen, start) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def answers(state: int) -> Iterator[int | None]:
        if state == 1:
            inside.set()
            assert go_on.wait(LONG)
        yield None
        yield None
        yield 0
        yield 1

    runner = start(answers)
    runner.submit(1)
    assert inside.wait(LONG)
    runner.submit(2)
    go_on.set()
    assert runner.wait(LONG)
    assert screen.painted == [(1, 0), (2, 0), (2, 1)]


def test_errors_are_shown_and_the_runner_lives_on(screen: Screen, start) -> None:
    def answers(state: int) -> Iterator[int | None]:
        yield 0
        if state < 0:
            raise ValueError(f"no {state}")
        yield 1

    runner = start(answers)
    runner.submit(-1)
    assert runner.wait(LONG)
    runner.submit(5)
    assert runner.wait(LONG)
    assert screen.painted == [(-1, 0), (5, 0), (5, 1)]
    assert [str(error) for error in screen.errors] == ["no -1"]


def test_a_view_that_breaks_is_an_error_too_and_even_showing_that_may_break(caplog: pytest.LogCaptureFixture) -> None:
    painted: list[int] = []

    def show(state: int, answer: int) -> None:
        if state < 0:
            raise RuntimeError("cannot paint")
        painted.append(state)

    def fail(error: Exception) -> None:
        raise RuntimeError("cannot show an error")

    runner = LatestWins(three, show, fail)
    runner.submit(-1)
    assert runner.wait(LONG)
    runner.submit(3)
    assert runner.wait(LONG)
    runner.close()
    assert painted == [3, 3, 3]
    assert "an error could not be shown" in caplog.text


def test_close_ends_the_thread_and_paints_no_more(screen: Screen, start) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def answers(state: int) -> Iterator[int | None]:
        inside.set()
        yield 0
        assert go_on.wait(LONG)
        yield 1

    runner = start(answers)
    runner.submit(1)
    screen.wait_for(lambda: screen.painted == [(1, 0)])
    closing = threading.Thread(target=runner.close)
    closing.start()
    screen_before = list(screen.painted)
    with runner._changed:
        assert runner._changed.wait_for(lambda: runner._closed, LONG)
    go_on.set()
    closing.join(LONG)
    assert not closing.is_alive()
    assert not runner._thread.is_alive()
    assert screen.painted == screen_before
    runner.submit(2)
    runner.close()  # again does no harm
    assert screen.painted == screen_before


def test_an_idle_runner_closes_at_once(screen: Screen, start) -> None:
    runner = start(three)
    begun = time.monotonic()
    runner.close()
    assert not runner._thread.is_alive()
    assert time.monotonic() - begun < 5


def test_a_view_may_close_its_own_runner(start) -> None:
    runners: list[LatestWins[int, int]] = []
    runner = LatestWins(three, lambda state, answer: runners[0].close(), pytest.fail)
    runners.append(runner)
    runner.submit(1)
    runner._thread.join(LONG)
    assert not runner._thread.is_alive()


def test_a_wait_that_runs_out_says_so(start) -> None:
    go_on = threading.Event()

    def answers(state: int) -> Iterator[int | None]:
        assert go_on.wait(LONG)
        yield 0

    runner = start(answers)
    runner.submit(1)
    assert runner.wait(0.005) is False
    go_on.set()
    assert runner.wait(LONG) is True


# Headless -------------------------------------------------------------------------------------------------------------


def test_headless_shows_the_last_answer_only(screen: Screen) -> None:
    runner = Synchronous(three, screen.show)
    runner.submit(4)
    assert screen.painted == [(4, 2)]
    assert screen.threads == {threading.get_ident()}
    assert runner.wait() is True
    runner.close()


def test_headless_without_an_answer_shows_nothing(screen: Screen) -> None:
    Synchronous(lambda state: iter([None, None]), screen.show).submit(1)
    assert screen.painted == []


def test_headless_raises_errors(screen: Screen) -> None:
    def answers(state: int) -> Iterator[int | None]:
        yield 0
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Synchronous(answers, screen.show).submit(1)
    assert screen.painted == []
