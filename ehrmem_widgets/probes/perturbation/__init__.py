"""T5: does the leak disappear when the age, the sex, a value or a date is changed?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.probes.perturbation.identifiers import IDENTIFIERS, check_identifiers
from ehrmem_widgets.settings import HORIZON, SAMPLES_EACH

PROBE = Probe(
    name="perturbation",
    test="T5",
    title="Moved identifiers",
    question="does the leak disappear when the age, the sex, a value or a date is changed?",
    run="ehrmem_widgets.probes.perturbation.ask:Perturbation",
    view="ehrmem_widgets.probes.perturbation.show:PerturbationView",
    order=60,
    knowledge_levels=("one_lab",),
    one_level=True,
    options={
        "identifiers": Option(tuple(IDENTIFIERS), check_identifiers),
        "attributes": Option(None),
        "samples": Option(4, SAMPLES_EACH.check),
        "horizon": Option(48, HORIZON.check),
    },
    bears_on=("inference", "queries"),
    screen="ehrmem_widgets.probes.perturbation.screen:ExplorePerturbation",
    part="ehrmem_widgets.probes.perturbation.live:MoveAFact",
)
