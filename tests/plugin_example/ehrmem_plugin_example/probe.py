"""A probe: are the records of members longer? It asks the model nothing, so it should find nothing."""

import numpy as np

from ehrmem_widgets.findings.disclosure_control import mean, of_whole_groups
from ehrmem_widgets.findings.finding import Finding, finding, patient_row, row
from ehrmem_widgets.probes.base import Probe, ProbeRun
from ehrmem_widgets.probes.people import ALL, MEMBER, NON_MEMBER
from ehrmem_widgets.probes.view import ProbeView
from ehrmem_widgets.statistics.discrimination import auroc_p, difference_of_means, mean_with_interval
from ehrmem_widgets.statistics.verdicts import ProbeKind, judge_cohort


class RecordLength(ProbeRun):
    """``length`` of every record; ``length_gap``: members minus people never seen."""

    doing = "Measuring records"

    def ask(self, records):
        """Plain data, one row per record: it is kept as JSON, so that a run that was interrupted goes on."""
        return [{"patient": record.pseudonym, "length": len(record.events)} for record in records]

    def judge(self, answers) -> Finding:
        """Rows about patients, figures about the cohort, and the verdict by the one rule."""
        group_of = self.task.people.group_of_pseudonym
        rows = [
            patient_row(a["patient"], "length", value=a["length"], n=1, group=group_of[a["patient"]]) for a in answers
        ]
        sides = {g: np.array([r["value"] for r in rows if r["group"] == g], float) for g in (MEMBER, NON_MEMBER)}
        rows += [row("length", mean_with_interval(values), group=group) for group, values in sides.items()]
        gap, p = difference_of_means(*sides.values()), auroc_p(*sides.values())
        sizes = {"members": len(sides[MEMBER]), "non_members": len(sides[NON_MEMBER])}
        about = {"what": "the difference in length,", "confounded": self.task.confounded, **sizes}
        judged = judge_cohort(gap, p, margin=5.0, kind=ProbeKind.DETECTOR, **about)
        rows.append(row("length_gap", gap, group=ALL, p=p, p_adjusted=p, judgement=judged))
        return finding(self.probe.name, rows, self.settings, [f"{judged.verdict}: {judged.sentence}"])


class RecordLengthView(ProbeView):
    """``rules`` say which figures may leave; without a rule a figure is withheld."""

    rules = (("length", mean), ("length_gap", of_whole_groups))
    judged_figure = "length_gap"
    asked = "Are the records of people whom the model was trained on longer than those of others?"
    memorized = "Records of people it was trained on are longer: by {figure}."
    population = "Records of people it was trained on are as long as others: difference {figure}."


PROBE = Probe(
    name="record_length",
    title="Record length",
    question="are the records of members longer?",
    run=RecordLength,
    view=RecordLengthView,
    order=85,
    bears_on=("singling_out",),
)
