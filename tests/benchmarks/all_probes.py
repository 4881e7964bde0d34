"""All probes over 400 patients of the sample cohort (and its canaries), in a process of their own: minutes and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from tests.benchmarks.lines import Lines, peak_gb

PATIENTS = 400


def main(lines: Lines) -> None:
    """Two lines."""
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-m", __name__], check=True, stdout=subprocess.PIPE, text=True).stdout
    minutes = (time.perf_counter() - began) / 60
    print(out, file=sys.stderr)
    lines.add(f"all_probes_over_{PATIENTS}_minutes", minutes, "one run", PATIENTS, "<= 20")
    lines.add("all_probes_memory_gb", float(out.split()[-1]), "one run", PATIENTS, "<= 3")


def run() -> None:
    """Run every probe, as the command does."""
    from ehrmem_widgets.audit.run import in_order
    from ehrmem_widgets.blackbox.opening import open_sources
    from ehrmem_widgets.cores import keep_few_kernels
    from ehrmem_widgets.probes import run as probe_runs
    from ehrmem_widgets.probes.people import choose_people
    from ehrmem_widgets.registry import alternatives_for, probes
    from ehrmem_widgets.sources import sample_sources

    keep_few_kernels()
    dataset, model, reference = open_sources(sample_sources())
    people = choose_people(dataset, model, reference, most=PATIENTS)
    found: dict[str, Finding] = {}
    for name in (name for level in in_order(list(probes())) for name in level):
        began = time.perf_counter()
        with suppress(CannotAnswer):  # nobody tossed coins over the sample canaries
            found[name] = probe_runs.run(
                name, dataset, model, reference, people=people, earlier=found, alternatives_of=alternatives_for(dataset)
            )
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{peak_gb():.3f}")


if __name__ == "__main__":
    run()
