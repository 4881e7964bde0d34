"""Statistical evidence: coverage of the intervals, power on planted canaries, false alarms on people never seen, the pattern of all
probes over the sample models, and null runs. ``make evidence``; ``--write`` puts the table into docs/evidence.md.

The parts run in two processes with a thread each. A goal is never changed after its figure was seen; a short line is printed as short.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks import (
    evidence_confounding,
    evidence_filters,
    evidence_frontier,
    evidence_intervals,
    evidence_near_verbatim,
    evidence_planted,
    evidence_population,
    evidence_shadow,
    evidence_sixteen_bits,
    evidence_t4,
    evidence_verdicts,
    evidence_vulnerable,
    null_run,
    sample_pattern,
)
from tests.benchmarks.lines import Line, Lines, on_this_machine, put_between

Part = Callable[[Lines], None]
PARTS: dict[str, Part] = {  # the longest first
    "Power and false alarms, memorizing model": evidence_verdicts.power_memorizing,
    "A live session on people never seen": evidence_verdicts.live_session,
    "All probes, memorizing model": sample_pattern.memorizing,
    "Intervals on the sample models": evidence_intervals.on_sample_models,
    "Leaks found among people never seen; how many fit in a population": evidence_population.main,
    "Power by repetitions, moderate model": evidence_verdicts.power_moderate,
    "All probes, moderate model": sample_pattern.moderate,
    "All probes, private model": sample_pattern.private,
    "All probes, reference model": sample_pattern.reference,
    "The list of vulnerable patients": evidence_vulnerable.main,
    "True and phantom disclosures": evidence_planted.disclosed,
    "Privacy loss in one run, simulated": evidence_planted.loss_simulated,
    "Privacy loss in one run, trained models": evidence_planted.loss_of_models,
    "Membership from samples alone": evidence_shadow.from_samples,
    "A null run": null_run.main,
    "Near-verbatim bounds against samples": evidence_near_verbatim.main,
    "Output filters": evidence_filters.main,
    "The price of a defence": evidence_frontier.main,
    "16-bit numbers against float32": evidence_sixteen_bits.main,
    "Telling groups apart without a model": evidence_confounding.main,
    "Verdicts, simulated": evidence_verdicts.simulated,
    "Intervals, simulated": evidence_intervals.simulated,
    "T4, simulated": evidence_t4.main,
    "Shadow models, simulated": evidence_shadow.simulated,
}
DOCS = Path(__file__).parents[2] / "docs" / "evidence.md"
BEGIN, END = "<!-- figures: written by make evidence -->", "<!-- end of figures -->"


def main() -> None:
    """Print the lines; exit non-zero when one is short."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put the table into docs/evidence.md")
    parser.add_argument("--only", metavar="WORDS", default="", help="the parts whose name holds these words")
    arguments = parser.parse_args()
    began = time.monotonic()
    parts = [name for name in PARTS if arguments.only.lower() in name.lower()]
    found: dict[str, list[Line]] = {}
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes share two cores
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_run, name): name for name in parts}
        for done in as_completed(running):
            name = running[done]
            found[name], seconds = done.result()
            print(f"# {name} ({seconds:.0f} s)", *found[name], sep="\n", flush=True)
    print(f"# in all {(time.monotonic() - began) / 60:.1f} minutes")
    if arguments.write:
        write({name: found[name] for name in parts})
    sys.exit(0 if all(line.met for lines in found.values() for line in lines) else 1)


def write(found: dict[str, list[Line]]) -> None:
    """Put the figures into the docs, between the marks, with date, commit and machine."""
    short = sum(not line.met for lines in found.values() for line in lines)
    total = sum(map(len, found.values()))
    sections = [f"{on_this_machine()} {total} figures, {short} short of their goal."]
    for name, lines in found.items():
        sections.append(
            f"### {name}\n\n| figure | value | interval | n | goal | |\n| --- | --- | --- | --- | --- | --- |"
        )
        sections[-1] += "".join(f"\n| {' | '.join(str(line).split(chr(9)))} |" for line in lines)
    put_between(DOCS, BEGIN, END, "\n\n".join(sections))


def _run(name: str) -> tuple[list[Line], float]:
    began, lines = time.monotonic(), Lines(quiet=True)
    PARTS[name](lines)
    return lines.lines, time.monotonic() - began


if __name__ == "__main__":
    main()
