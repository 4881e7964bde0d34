"""Two models asked at the same time, each in a thread of its own: while one waits for a server or computes, the other goes on."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

_Found = TypeVar("_Found")
_PAUSE = 0.005  # seconds between two points at which the work can be interrupted


def interleave(*works: Iterable[None]) -> Iterator[None]:
    """Run works to their ends at the same time; yields now and then, and once at least.

    Closing this iterator stops each work after its current step. An error in one stops all and is raised here.
    """
    stop = threading.Event()

    def run(work: Iterable[None]) -> None:
        try:
            for _ in work:
                if stop.is_set():
                    return
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(max(1, len(works)), thread_name_prefix="ehrmem") as pool:
        running = [pool.submit(run, work) for work in works]
        try:
            while True:
                yield
                if not wait(running, timeout=_PAUSE).not_done:
                    break
        finally:
            stop.set()
        for done in running:
            done.result()


def to_the_end(work: Generator[None, None, _Found]) -> _Found:
    """What a work that can be interrupted finds, without interrupting it.

    >>> def work():
    ...     yield
    ...     return "found"
    >>> to_the_end(work())
    'found'
    """
    try:
        while True:
            next(work)
    except StopIteration as end:
        found: _Found = end.value
        return found
