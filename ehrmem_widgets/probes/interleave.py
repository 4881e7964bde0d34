"""Two models asked at the same time, each in a thread of its own: torch lets go of Python while it computes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

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
