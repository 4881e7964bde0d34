"""T4: can an attacker tell who was in the training data?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe
from ehrmem_widgets.settings import check_shares

PROBE = Probe(
    name="membership",
    test="T4",
    title="Membership",
    question="can an attacker tell who was in the training data?",
    run="ehrmem_widgets.probes.membership.ask:Membership",
    view="ehrmem_widgets.probes.membership.show:MembershipView",
    order=10,
    options={"priors": Option((0.01, 0.1), check_shares), "shadow": Option(None)},
    builds_on=("confounding",),
    guarded=False,  # it weighs confounding by how far its own AUROC goes beyond
    bears_on=("singling_out", "linkability", "extraction"),
    scan="ehrmem_widgets.probes.membership.live:MostExposed",
    screen="ehrmem_widgets.probes.membership.screen:ExploreMembership",
)
