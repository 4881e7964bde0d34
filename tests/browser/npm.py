"""Files of npm packages that browser tests read: fetched once a session; where that cannot be done, the test is skipped, loudly."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import pytest


def from_npm(package: str, file: str) -> str:
    """The text of a file of a package, such as ("axe-core@4", "axe.min.js")."""
    text = _fetched(package, file)
    if text is None:
        pytest.skip(f"npm could not fetch {package}")
    return text


@cache
def _fetched(package: str, file: str) -> str | None:
    if shutil.which("npm") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, capture_output=True, timeout=120)
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            return None
        with tarfile.open(packed) as archive:
            member = archive.extractfile(f"package/{file}")
            return member.read().decode() if member else None
