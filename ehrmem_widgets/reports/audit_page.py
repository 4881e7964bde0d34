"""The report of a cohort audit: one page for whoever decides, then a section a test, what was not run, how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehrmem_widgets.attacker.facts import knows
from ehrmem_widgets.audit.releases import to_leave
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import FINDINGS
from ehrmem_widgets.audit.working_attacks import strongest_attack
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.probes.view import Headline
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_annex import Limits, Reproducibility
from ehrmem_widgets.reports.page_template import fragment, whole_page
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.intervals import rounded
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_ranking import attack_ranking
from ehrmem_widgets.views.risk_matrix import HOW_TO_READ as READ_MATRIX
from ehrmem_widgets.views.risk_matrix import NOT_ONE_SCORE, risk_matrix

UNFINISHED = "UNFINISHED AUDIT: {done} of {all} tests are done. What is missing may change every conclusion."
IDENTIFYING = (
    "IDENTIFYING: internal use. This report names patients by pseudonym; keep it where patient records are kept."
)


WITHHELD = "WITHHELD, since earlier reports are about nearly the same people, and the difference would tell of fewer than {fewest} of them: {what}."


def audit_page(folder: Path) -> str:
    """The report of an audit's folder as one HTML file that opens offline, as it may leave (``releases.to_leave``).

    It works with any test missing; an unfinished audit and an identifying one say so at the head of every page. The same results give the
    same bytes, beside the same earlier reports. Raises BadInput for a folder that holds no audit.
    """
    return page_of(to_leave(folder))


def page_of(audit: AuditResults) -> str:
    """The same of results that are open."""
    return whole_page(
        "audit.html.j2",
        audit=audit,
        model=audit.name_of("model") or "the model",
        data=audit.name_of("data") or "the data",
        reference=audit.name_of("reference"),
        date=str(audit.results.get("finished_at") or audit.results.get("started_at") or "")[:10],
        marks=marks(audit),
        tests=[(name, view.probe.full_title) for name, view in audit.views.items()],
        summary=summary(audit),
        evidence=evidence(audit),
        asked=audit.attributes_asked or list(audit.severities[-1].severity),
        read_matrix=READ_MATRIX,
        patients="".join(view.patients() for view in audit.views.values()) if audit.identifying else "",
        identifying=IDENTIFYING,
        limits=Limits.of(audit),
        fewest=FEWEST,
        without_result=[
            (probe, audit.runs.get(name)) for name, probe in probes().items() if not _has_result(audit, name)
        ],
        made=Reproducibility(audit),
        probes=probes(),
    )


def marks(audit: AuditResults) -> list[str]:
    """What every page must say of an audit."""
    found = [IDENTIFYING] if audit.identifying else []
    if not audit.finished:
        done = sum(run.get("state") == "done" for run in audit.runs.values())
        planned = (audit.results.get("plan") or {}).get("probes") or ()
        found.append(UNFINISHED.format(done=done, all=max(len(audit.runs), len(planned))))
    if audit.withheld:
        found.append(WITHHELD.format(what=_withheld(audit), fewest=FEWEST))
    return found


def _withheld(audit: AuditResults) -> str:
    """What is withheld beside earlier reports, in words."""
    held, done = audit.withheld, [name for name in audit.runs if (audit.folder / FINDINGS / name).is_dir()]
    said = [probes()[name].full_title for name in done if name not in audit.findings]
    said += sorted(map(audit.title, held.attributes))
    parts = "single attributes and subgroups in tests that keep no rows about people"
    return "; ".join([*said, *([parts] if held.parts else [])])


@dataclass(frozen=True)
class KeyFigure:
    """One of the three figures under the answer, in the words of its test."""

    number: str
    interval: str
    measures: str
    title: str
    verdict: Verdict


def summary(audit: AuditResults) -> str:
    """What the first page says, as markup: the answer, three figures, what to do, what would change it, what each test found."""
    compared = {name: line for name, line in audit.headlines.items() if probes()[name].compares}
    told = Counter(line.verdict for line in compared.values() if line.verdict)
    limits = Limits.of(audit)
    return fragment(
        "audit_summary.html.j2",
        audit=audit,
        reference=audit.name_of("reference"),
        compared=told.total(),
        told={verdict: told[verdict] for verdict in Verdict if told[verdict]},
        overall=overall(audit),
        remembers=told[Verdict.MEMORIZED] > 0,
        strongest=strongest_attack(audit),
        all_open=told[Verdict.CANNOT_CONCLUDE] == told.total(),
        everybody=[said for name in compared if (said := audit.views[name].everybody())],
        missed=bool(limits.missed),
        figures=_key_figures(audit, compared),
        decides=[(probes()[name].full_title, line.decides) for name, line in compared.items() if line.decides][:3],
        undecided=[one.title for one in audit.likelihoods if one.knowledge == audit.worst_level and one.excess is None],
        asked=len(audit.attributes_asked),
        planted=[line for line in compared.values() if line.planted is not None],
        limits=limits,
        not_run=[probe.full_title for name, probe in probes().items() if name not in audit.headlines],
    )


def overall(audit: AuditResults) -> Verdict | None:
    """The verdict of a whole audit: of its tests that compare members with people never seen, memorized where one says so, cannot conclude
    where none is decided; None: no such test was run."""
    told = {line.verdict for name, line in audit.headlines.items() if probes()[name].compares and line.verdict}
    order = (Verdict.MEMORIZED, Verdict.POPULATION, Verdict.CANNOT_CONCLUDE)
    return next((one for one in order if one in told), None)


def _key_figures(audit: AuditResults, compared: Mapping[str, Headline]) -> list[KeyFigure]:
    """Of the tests that compare, the first three with a figure: those that call it memorized before others."""
    order = list(Verdict)
    found = []
    for name, line in sorted(compared.items(), key=lambda one: order.index(one[1].verdict or Verdict.CANNOT_CONCLUDE)):
        if line.verdict and line.figure is not None and known(line.figure):
            view, of = audit.views[name], line.figure
            value, low, high = rounded(of.value, of.low, of.high, signed=view.signed)
            said = f"{low} to {high}, n = {of.n:,}"
            found.append(KeyFigure(value, said, view.measures, view.probe.full_title, line.verdict))
    return found[:3]


def evidence(audit: AuditResults, *, with_matrix: bool = True) -> str:
    """What the verdicts rest on in short, as markup: the threat model, the risk matrix, attacks, and groups."""
    return fragment(
        "audit_evidence.html.j2",
        audit=audit,
        knowledge_levels=list(
            dict.fromkeys(knowledge for run in audit.runs.values() for knowledge in run.get("knowledge_levels") or ())
        ),
        reference=audit.name_of("reference"),
        besides=[view.asked_besides() for view in audit.views.values()],
        matrix=matrix_of(audit) if with_matrix else "",
        attacks=attack_ranking(audit.attacks) if audit.attacks is not None else "",
        vulnerable="".join(view.vulnerable() for view in audit.views.values()),
    )


def matrix_of(audit: AuditResults, *, knowledge: str | None = None, severities: Mapping[str, int] | None = None) -> str:
    """The risk matrix at a knowledge level (None: where members' mean excess is largest), with the severities as last declared or as given."""
    knowledge = knowledge or audit.worst_level
    at = [one for one in audit.likelihoods if one.knowledge == knowledge]
    given = severities if severities is not None else audit.severities[-1].severity
    # Over all attributes it can be measured where few hold each of them.
    together = next((one for view in audit.views.values() if known(one := view.over_all_attributes(knowledge))), None)
    asked = len({one.knowledge for one in audit.likelihoods})
    chosen = (
        f" (the setting with the largest mean excess of {asked})" if together and knowledge == audit.worst_level else ""
    )
    return fragment(
        "risk_matrix.html.j2",
        drawn=risk_matrix(at, given, knows=f"{knows(knowledge)}{chosen}") if at else "",
        together=together,
        not_one_score=NOT_ONE_SCORE,
    )


def _has_result(audit: AuditResults, name: str) -> bool:
    run = audit.runs.get(name)
    return name in audit.findings and (run is None or run.get("state") == "done")
