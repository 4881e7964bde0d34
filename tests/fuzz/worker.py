"""The process in which the commands run: reads a number a line, answers how that case ended. ``run`` watches it from outside."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from tests.fuzz.cases import Case, every_case, made
from tests.fuzz.valid import home

DISK = 2 * 10**9
"""No file may grow larger, in bytes."""
_SERVERS = (
    "ehrmem_widgets.jupyterlab_autorun.serve.serve",
    "ehrmem_widgets.app.serve.serve_app",
    "ehrmem_widgets.blackbox.serve.serve",
)
"""Those that wait for a browser: a command that comes so far has accepted what it was given."""


def main(valid: Path, seed: int, seconds: int) -> None:
    """Answer until the input ends. ``seconds``: of processor time that a command may take."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _too_long)
    cases = every_case(valid)
    with ExitStack() as stack:
        backend = _serve(valid, stack)
        for server in _SERVERS:
            stack.enter_context(patch(server, lambda *_, **__: None))
        # drawn by a library that compiles itself anew in each process, half a minute long
        stack.enter_context(patch("ehrmem_widgets.explorable.page.pack_map", lambda *_: {}))
        stack.enter_context(
            patch("ehrmem_widgets.blackbox.transport.Server._pause", lambda *_: 0.0)
        )  # as often as always, without the waits
        print(json.dumps({"ready": len(cases)}), file=answers, flush=True)
        for line in sys.stdin:
            number = int(line)
            print(
                json.dumps(_run(cases[number % len(cases)], number, valid, seed, seconds, backend)),
                file=answers,
                flush=True,
            )


class TooLong(BaseException):
    """A command took its processor time."""


def _too_long(*_: object) -> None:
    raise TooLong


def _serve(valid: Path, stack: ExitStack) -> tuple[str, str]:
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.blackbox.serve import serve_model

    return stack.enter_context(serve_model(FolderModel(valid / "model")))


def _run(case: Case, number: int, valid: Path, seed: int, seconds: int, backend: tuple[str, str]) -> dict[str, Any]:
    rng = Random(f"{seed} {number}")
    with (
        tempfile.TemporaryDirectory(prefix="ehrmem-fuzz-") as name,
        made(case, valid, Path(name) / "at", rng, backend) as (words, how),
    ):
        out, errors = StringIO(), StringIO()
        before, where = dict(os.environ), os.getcwd()
        os.environ |= {**home(Path(name) / "at"), "EHRMEM_ENDPOINT_TOKEN": backend[1]}
        os.chdir(name)
        begun = time.process_time()
        try:
            with redirect_stdout(out), redirect_stderr(errors):
                code = _code(words, seconds)
        finally:
            os.chdir(where)
            os.environ.clear()
            os.environ |= before
        took = time.process_time() - begun
    said = out.getvalue() + errors.getvalue()
    wrong = "" if case.what == "an option" and "example" in said else _wrong(code, said, errors.getvalue())
    return {
        "number": number, "command": case.name, "what": case.what, "how": how, "code": code, "seconds": round(took, 1), "wrong": wrong,
        "words": [word[:200] for word in words], "said": errors.getvalue()[-3000:],
    }  # fmt: skip


def _code(words: list[str], seconds: int) -> int | str:
    from ehrmem_widgets.cli import main as ehrmem

    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, most[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return ehrmem(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TooLong:
        return "too long"
    except BaseException as error:
        return f"raised {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, most)


LONGEST = 1_000
"""Characters of an error's sentence."""


def _wrong(code: int | str, said: str, errors: str) -> str:
    """What must not be; empty where nothing is."""
    if code not in (0, 2, 3):
        return f"ended with {code}"
    if "Traceback" in said:
        return "a traceback"
    if any(sign in said for sign in "\x1b\x07\u202e\u2066\x9b"):
        return "what acts on a terminal was printed"
    last = errors.strip().rpartition("\n")[2].rpartition("\r")[2]  # behind a bar
    if code and not last.startswith("ehrmem"):
        return "no sentence"
    if code and len(last) > LONGEST:
        return f"a sentence of {len(last):,} characters"
    if "771" in said and any(
        word.startswith("771") and len(word) == 8 for word in said.replace(",", " ").replace("'", " ").split()
    ):
        return "an id was printed"
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
