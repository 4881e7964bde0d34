"""How strongly does it prefer a planted canary to what could have been planted instead?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import ALTERNATIVES

PROBE = Probe(
    name="exposure",
    title="Exposure of canaries",
    question="how strongly does it prefer a planted canary to what could have been planted instead?",
    run="ehrmem_widgets.probes.exposure.ask:Exposure",
    view="ehrmem_widgets.probes.exposure.show:ExposureView",
    order=15,
    options={"alternatives": Option(255, ALTERNATIVES.check)},
    compares=False,
    guarded=False,
    bears_on=("extraction",),
)
