"""``make fuzz``: every command over damaged files, options and answers, and a table of how it went. Ends with 1 where anything was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.fuzz.run import Ended, fuzz
from tests.fuzz.valid import make_valid


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same inputs (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (0)")
    parser.add_argument("--only", type=int, nargs="+", help="the inputs of these numbers alone, with what was said")
    parser.add_argument("--seconds", type=int, default=30, help="of processor time that one may take (30)")
    given = parser.parse_args()
    numbers: Sequence[int] = given.only or range(given.first, given.first + given.inputs)
    begun = time.monotonic()
    ended: list[Ended] = []
    with tempfile.TemporaryDirectory(prefix="ehrmem-fuzz-") as name:
        valid = Path(name) / "valid"
        make_valid(valid)
        with suppress(KeyboardInterrupt):  # what was tried so far is said
            for one in fuzz(valid, numbers, seed=given.seed, seconds=given.seconds):
                ended.append(one)
                print(f"\r{len(ended):,} of {len(numbers):,}", end="", file=sys.stderr, flush=True)
                if one["wrong"] or given.only:
                    print("\n" + in_full(one), flush=True)
    print(table(ended))
    print(f"{len(ended):,} inputs in {(time.monotonic() - begun) / 60:.1f} minutes, seed {given.seed}.")
    return 1 if any(one["wrong"] for one in ended) else 0


def in_full(one: Ended) -> str:
    """One input, and what became of it."""
    return f"{one['number']}: {one['command']}, {one['what']}, {one['how']}: {one['code']}. {one['wrong']}\n  {one['words']}\n  {one['said']!r}"


def table(ended: list[Ended]) -> str:
    """By command: how many inputs, how they ended, the longest (processor seconds) and the largest (GB)."""
    rows = [("command", "inputs", "0", "2", "3", "wrong", "most s", "most GB")]
    for name in [*sorted({one["command"] for one in ended}), "all"]:
        some = [one for one in ended if name in (one["command"], "all")]
        codes = Counter(one["code"] for one in some)
        wrong = sum(bool(one["wrong"]) for one in some)
        most = max((one["seconds"] for one in some), default=0.0), max((one["memory"] for one in some), default=0.0)
        rows.append((name or "?", *(str(n) for n in (len(some), codes[0], codes[2], codes[3], wrong, *most))))
    return "\n".join(
        "  ".join(f"{cell:>16}" if place == 0 else f"{cell:>8}" for place, cell in enumerate(row)) for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())
