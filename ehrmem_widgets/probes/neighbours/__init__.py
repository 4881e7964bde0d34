"""Is the patient's own record among those nearest to the known facts?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import CONTINUATIONS, CONTINUED_BY, HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="neighbours",
    title="Nearest records",
    question="is the patient's own record among those nearest to the known facts?",
    run="ehrmem_widgets.probes.neighbours.ask:Neighbours",
    view="ehrmem_widgets.probes.neighbours.show:NeighboursView",
    order=50,
    knowledge_levels=("demographics", "one_lab", "lab_dates", "lab_values", "first_20"),
    options={"samples": Option(CONTINUATIONS, SAMPLES_EACH.check), "horizon": Option(CONTINUED_BY, HORIZON.check)},
    bears_on=("singling_out", "linkability", "identification"),
    screen="ehrmem_widgets.probes.neighbours.screen:ExploreNeighbours",
)
