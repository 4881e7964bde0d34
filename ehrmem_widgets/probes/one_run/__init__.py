"""What epsilon do its answers about coin-flipped canaries prove?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import DELTA, EPSILON

PROBE = Probe(
    name="one_run",
    title="Privacy loss in one run",
    question="which epsilon do its answers about canaries prove, and does that contradict a claimed one?",
    run="ehrmem_widgets.probes.one_run.ask:OneRun",
    view="ehrmem_widgets.probes.one_run.show:OneRunView",
    order=16,
    options={
        "claimed_epsilon": Option(None, EPSILON.check),
        "claimed_delta": Option(None, DELTA.check),
        "shadow": Option(None),
    },
    builds_on=("membership",),
    compares=False,
    guarded=False,
    bears_on=("singling_out", "linkability"),
)
