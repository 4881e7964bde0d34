"""All probes over the sample cohort's 400 test patients (and its canaries), in a process of their own: minutes and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from ehrmem_widgets.findings.finding import Finding
from tests.benchmarks.lines import Lines


def main(lines: Lines) -> None:
    """Two lines."""
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-m", __name__], check=True, stdout=subprocess.PIPE, text=True).stdout
    minutes = (time.perf_counter() - began) / 60
    print(out, file=sys.stderr)
    lines.add("all_probes_over_400_patients_minutes", minutes, "one run", 400, "<= 15")
    lines.add("all_probes_memory_gb", float(out.split()[-1]), "one run", 400, "<= 3")


def run() -> None:
    """Run every probe, as the command does."""
    from ehrmem_widgets.audit.run import in_order
    from ehrmem_widgets.blackbox.opening import open_sources
    from ehrmem_widgets.probes import run as probe_runs
    from ehrmem_widgets.probes.people import choose_people
    from ehrmem_widgets.registry import alternatives_for, probes
    from ehrmem_widgets.sources import sample_sources

    dataset, model, reference = open_sources(sample_sources())
    people = choose_people(dataset, model, reference)
    found: dict[str, Finding] = {}
    for name in (name for level in in_order(list(probes())) for name in level):
        began = time.perf_counter()
        found[name] = probe_runs.run(
            name, dataset, model, reference, people=people, earlier=found, alternatives_of=alternatives_for(dataset)
        )
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.3f}")


if __name__ == "__main__":
    run()
