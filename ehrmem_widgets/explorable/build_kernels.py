"""Compile kernels.c to kernels.wasm, which is committed: ``python -m ehrmem_widgets.explorable.build_kernels``.

Needs PyPI's ziglang, a C compiler that makes the same bytes on every machine (``pip install -r tests/explorable/ziglang.lock``); nothing
else needs it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
_TARGET = ["-target", "wasm32-freestanding", "-O3", "-msimd128", "-nostdlib"]
_LINK = ["-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--strip-all"]


def build(out: Path) -> None:
    """Write the compiled kernels to ``out``."""
    command = [sys.executable, "-m", "ziglang", "cc", *_TARGET, *_LINK, "kernels.c", "-o", str(out.absolute())]
    subprocess.run(command, cwd=HERE, check=True)


if __name__ == "__main__":
    build(HERE / "kernels.wasm")
