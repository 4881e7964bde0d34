"""The live runner: the last state wins, and a view is painted before it is given up (design of the main screen).

A widget's callback does one thing: hand a frozen state to a runner. One worker owns the model and every write to the view.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from ehrmem_widgets.errors import Damaged, EhrmemError, Unavailable

State = TypeVar("State")
State_contra = TypeVar("State_contra", contravariant=True)
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

OLD = "ehrmem-old"
"""The class of a view whose answer still stands although nothing newer can be had."""


def in_words(error: Exception, *, answered: bool) -> str:
    """What a screen says of an error; ``answered``: whether it shows an answer, which still stands where asking failed."""
    stands = " The last answer still stands." if answered else ""
    if isinstance(error, Unavailable | Damaged):
        return f"{error}{stands}"
    if isinstance(error, EhrmemError):
        return str(error)
    log.error("a screen failed", exc_info=error)  # for who turns logging on: the screen says it in words
    return f"Internal error ({type(error).__name__}).{stands}"


class Runner(Protocol[State_contra]):
    """Takes states; the view follows."""

    def submit(self, state: State_contra) -> None:
        """Answer this state instead of any earlier one."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last state is answered in full; False when the time ran out."""
        ...

    def close(self) -> None:
        """Stop working."""
        ...


class LatestWins(Generic[State, Answer]):
    """Answers the latest state on one worker thread.

    ``answers`` yields ever better answers, and None where it may be interrupted; ``show`` paints one; ``fail`` shows an
    error. A state is given up for a newer one only once something of it has been shown: giving up earlier starves the view
    under a held key, and a thread for each state ends on the wrong one (both measured).
    """

    def __init__(
        self,
        answers: Callable[[State], Iterator[Answer | None]],
        show: Callable[[State, Answer], None],
        fail: Callable[[Exception], None],
        *,
        pause: float = 0.0,
    ) -> None:
        self._answers, self._show, self._fail, self._pause = answers, show, fail, pause
        self._changed = threading.Condition()
        self._wanted: State | None = None
        self._generation = 0
        self._answered = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ehrmem live answers", daemon=True)
        self._thread.start()

    def submit(self, state: State) -> None:
        """Answer this state instead of any earlier one."""
        with self._changed:
            self._wanted = state
            self._generation += 1
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last state is answered in full; False when the time ran out or the runner was closed before."""
        with self._changed:
            self._changed.wait_for(lambda: self._answered == self._generation or self._closed, timeout)
            return self._answered == self._generation

    def close(self) -> None:
        """Stop working; what is under way is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._answered != self._generation)
                if self._closed:
                    return
                state, generation = self._wanted, self._generation
            assert state is not None
            finished = self._answer(state, generation)
            with self._changed:
                if finished:
                    self._answered = generation
                self._changed.notify_all()

    def _answer(self, state: State, generation: int) -> bool:
        shown = False
        try:
            for answer in self._answers(state):
                if self._closed:
                    return False
                if answer is not None:
                    self._show(state, answer)
                    shown = True
                    time.sleep(self._pause)  # lets the kernel's own thread send what was painted
                if shown and self._generation != generation:
                    return False
        except Exception as error:
            self._report(error)
        return True

    def _report(self, error: Exception) -> None:
        try:
            self._fail(error)
        except Exception:
            log.exception("an error could not be shown")


class Synchronous(Generic[State, Answer]):
    """Answers at once and in full, and shows only the last answer: for headless runs and tests. Errors are raised."""

    def __init__(
        self, answers: Callable[[State], Iterator[Answer | None]], show: Callable[[State, Answer], None]
    ) -> None:
        self._answers, self._show = answers, show

    def submit(self, state: State) -> None:
        """Answer this state."""
        last = None
        for answer in self._answers(state):
            last = answer if answer is not None else last
        if last is not None:
            self._show(state, last)

    def wait(self, timeout: float | None = None) -> bool:
        """There is never anything to wait for."""
        return True

    def close(self) -> None:
        """There is nothing to stop."""
