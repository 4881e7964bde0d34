"""Runs cases in a process of their own, watched from outside: what ends it, fills the memory or never comes back is found and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import psutil

from tests.fuzz.cases import every_case

MEMORY = 4 * 10**9
_RESTARTED_ABOVE = 1.5e9  # bytes: what one command keeps must not be counted for the next
WALL = 4
"""So many times its processor time may a command take by the clock, on a machine that others use as well."""


class Ended(TypedDict):
    """How a case ended: ``wrong`` is empty where all is well; ``code`` is None where the process died or was ended."""

    number: int
    command: str
    what: str
    how: str
    code: int | str | None
    seconds: float
    memory: float
    wrong: str
    words: list[str]
    said: str


class Worker:
    """One process, and a thread that measures its memory."""

    def __init__(self, valid: Path, seed: int, seconds: int) -> None:
        words = [sys.executable, "-m", "tests.fuzz.worker", str(valid), str(seed), str(seconds)]
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the worker)
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True
        )
        self._wall = seconds * WALL
        self._ended_for = ""
        self.memory = 0
        self._begun = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()
        self._read()

    def run(self, number: int) -> dict[str, Any] | str:
        """What the process answers, or why it does not."""
        assert self._process.stdin
        self.memory, self._begun = 0, time.monotonic()
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
            return self._read()
        except (BrokenPipeError, EOFError):
            code = self._process.wait()
            self._said.seek(0)
            return self._ended_for or f"the process died ({code}): {self._said.read()[-2000:]}"

    @property
    def tired(self) -> bool:
        """Whether another process should go on."""
        return self._process.poll() is not None or self.memory > _RESTARTED_ABOVE

    def end(self) -> None:
        """End it, and what it started."""
        for one in self._family():
            with _gone():
                one.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found

    def _watch(self) -> None:
        while self._process.poll() is None:
            held = 0
            for one in self._family():
                with _gone():
                    held += one.memory_info().rss
            self.memory = max(self.memory, held)
            if held > MEMORY:
                self._ended_for = f"took {held / 1e9:.1f} GB"
            elif time.monotonic() - self._begun > self._wall:
                self._ended_for = f"did not come back within {self._wall} s"
            if self._ended_for:
                return self.end()
            time.sleep(0.05)

    def _family(self) -> list[psutil.Process]:
        with _gone():
            own = psutil.Process(self._process.pid)
            return [*own.children(recursive=True), own]
        return []


class _gone:
    """A process may end while it is looked at."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, psutil.Error)


def fuzz(valid: Path, numbers: Iterable[int], *, seed: int, seconds: int = 30) -> Iterator[Ended]:
    """Run the cases of these numbers. ``seconds``: of processor time that each may take."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    worker, cases = Worker(valid, seed, seconds), every_case(valid)
    try:
        for number in numbers:
            if worker.tired:
                worker.end()
                worker = Worker(valid, seed, seconds)
            found = worker.run(number)
            if isinstance(found, str):
                case = cases[number % len(cases)]
                found = {
                    "number": number, "command": case.name, "what": case.what, "how": "", "code": None, "seconds": 0.0, "wrong": found,
                    "words": case.command.split(), "said": "",
                }  # fmt: skip
            yield Ended(**found, memory=round(worker.memory / 1e9, 2))  # type: ignore[typeddict-item]
    finally:
        worker.end()
