"""Which known facts trigger a leak, cheapest first?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import HORIZON, POPULATION, SAMPLES_EACH, SHARE

PROBE = Probe(
    name="ranking",
    title="Attack ranking",
    question="which known facts trigger a leak, cheapest first?",
    run="ehrmem_widgets.probes.ranking.ask:Ranking",
    view="ehrmem_widgets.probes.ranking.show:RankingView",
    order=80,
    knowledge_levels=("demographics", "one_lab", "lab_dates", "lab_values", "first_10", "first_20"),
    options={
        "attributes": Option(None),
        "threshold": Option(0.25, SHARE.check),
        "samples": Option(16, SAMPLES_EACH.check),
        "horizon": Option(64, HORIZON.check),
        "population": Option(None, POPULATION.check),
    },
    bears_on=("singling_out", "queries", "identification"),
    part="ehrmem_widgets.probes.ranking.live:SmallestFacts",
)
