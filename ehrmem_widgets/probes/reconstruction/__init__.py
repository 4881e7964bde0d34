"""T1: does it reproduce how a record really continued?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="reconstruction",
    test="T1",
    title="Reconstruction",
    question="does it reproduce how a record really continued?",
    run="ehrmem_widgets.probes.reconstruction.ask:Reconstruction",
    view="ehrmem_widgets.probes.reconstruction.show:ReconstructionView",
    order=30,
    knowledge_levels=("nothing", "demographics", "first_10", "first_20", "first_50"),
    options={
        "samples": Option(10, SAMPLES_EACH.check),
        "horizon": Option(64, HORIZON.check),
        "embedding": Option(None),
    },
    bears_on=("extraction",),
)
