"""T2: does it name sensitive attributes, and only for members?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import HOLDERS, HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="attribute",
    test="T2",
    title="Sensitive attributes",
    question="does it name sensitive attributes, and only for members?",
    run="ehrmem_widgets.probes.attribute.ask:Attributes",
    view="ehrmem_widgets.probes.attribute.show:AttributeView",
    order=20,
    knowledge_levels=("nothing", "demographics", "first_10", "first_20", "first_50"),
    options={
        "attributes": Option(None),
        "samples": Option(16, SAMPLES_EACH.check),
        "horizon": Option(64, HORIZON.check),
        "holders": Option(0, HOLDERS.check),
    },
    bears_on=("inference", "extraction", "queries"),
)
