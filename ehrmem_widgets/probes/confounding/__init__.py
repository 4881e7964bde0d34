"""Are members and non-members alike to begin with?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Probe

PROBE = Probe(
    name="confounding",
    title="Confounding",
    question="are members and non-members alike to begin with?",
    run="ehrmem_widgets.probes.confounding.ask:Confounding",
    view="ehrmem_widgets.probes.confounding.show:ConfoundingView",
    order=90,
    compares=False,
    guarded=False,
    confounding="ehrmem_widgets.probes.confounding.ask:confounding",
    before=("preflight",),
)
