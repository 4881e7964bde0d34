"""How well does it predict people whom it never saw?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Probe

PROBE = Probe(
    name="utility",
    title="Utility",
    question="how well does it predict people whom it never saw?",
    run="ehrmem_widgets.probes.utility.ask:Utility",
    view="ehrmem_widgets.probes.utility.show:UtilityView",
    order=95,
    compares=False,
    guarded=False,
)
