"""Do its outputs hold more of the people it was trained on than of people it never saw?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="disclosures",
    title="True and phantom disclosures",
    question="do its outputs hold more of the people it was trained on than of people it never saw?",
    run="ehrmem_widgets.probes.disclosures.ask:Disclosures",
    view="ehrmem_widgets.probes.disclosures.show:DisclosuresView",
    order=35,
    knowledge_levels=("nothing", "first_10"),
    options={"samples": Option(4, SAMPLES_EACH.check), "horizon": Option(64, HORIZON.check)},
    bears_on=("extraction", "singling_out"),
    takes_outputs=True,
)
