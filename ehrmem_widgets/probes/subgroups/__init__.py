"""T6: which groups are memorized more?"""

from __future__ import annotations

from ehrmem_widgets.probes.base import Option, Probe

PROBE = Probe(
    name="subgroups",
    test="T6",
    title="Subgroups",
    question="which groups are memorized more?",
    run="ehrmem_widgets.probes.subgroups.ask:Subgroups",
    view="ehrmem_widgets.probes.subgroups.show:SubgroupsView",
    order=70,
    knowledge_levels=("one_lab",),
    one_level=True,
    options={"group_by": Option(None)},
    builds_on=("membership", "attribute"),
    compares=False,
    bears_on=("inference", "identification"),
    screen="ehrmem_widgets.probes.subgroups.screen:ExploreSubgroups",
)
