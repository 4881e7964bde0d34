"""How much of the machine this process takes: it may share it with a browser, with other kernels, with a class."""

from __future__ import annotations

import os
import time
from pathlib import Path

_MOST_THREADS = 8


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_began() -> float:
    """When this process was started, before Python was, by ``time.monotonic``; where no Linux tells it, at least what it has computed since."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        seconds = time.process_time()
    return time.monotonic() - seconds


def threads(now: int | None = None) -> int:
    """How many threads a computation takes: half the cores, or OMP_NUM_THREADS. Where more runs than there are cores (several kernels, a
    class), ``now``, the threads taken so far, shrink by that much, and every process comes to its share: a thread that waits for a core
    that another holds makes a step up to a hundred times slower (measured: 13 ms for a product of .1 ms)."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    most = max(1, min(_MOST_THREADS, cores() // 2))
    if now is None or most == 1 or not hasattr(os, "getloadavg"):
        return most
    return max(1, min(most, int(max(1, now) * cores() / max(os.getloadavg()[0], 0.1))))


def keep_few_kernels() -> None:
    """Let torch and oneDNN keep the kernels of 256 shapes, not of 1,024, in this process and in those it starts, if it has not multiplied yet. An audit
    reads records of so many lengths that they took hundreds of MB. The screens keep all: their answers come back to the same shapes."""
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "256")
