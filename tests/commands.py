"""``ehrmem`` in a process of its own: several commands by one, because a process takes longer to start than most of them take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_MAIN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from ehrmem_widgets.cli import main

said = []
for words in json.load(sys.stdin):
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    said.append((code, out.getvalue(), errors.getvalue()))
print(json.dumps(said))
"""


class Said(NamedTuple):
    """How one command ended, and what it wrote."""

    code: int
    out: str
    errors: str


def ehrmem(*commands: Sequence[object], env: Mapping[str, str], cwd: Path | None = None) -> list[Said]:
    """Gives the commands, one after the other; ``env`` comes on top of this process's environment."""
    done = subprocess.run(
        [sys.executable, "-c", _MAIN], input=json.dumps([[str(word) for word in words] for words in commands]), cwd=cwd,
        env={**os.environ, **env}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [Said(*one) for one in json.loads(done.stdout)]
