"""The report of a cohort audit: one page for whoever decides, then a section a test, what was not run, how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehrmem_widgets.attacker.facts import knows
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.probes.people import several
from ehrmem_widgets.probes.view import MISSED, Headline
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_annex import annex, limitations, not_run, reproducibility
from ehrmem_widgets.reports.audit_sections import section, wrapped
from ehrmem_widgets.reports.sheet import sheet
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_ranking import attack_ranking
from ehrmem_widgets.views.markup import escape, icon, known, plural
from ehrmem_widgets.views.risk_matrix import HOW_TO_READ as READ_MATRIX
from ehrmem_widgets.views.risk_matrix import NOT_ONE_SCORE, risk_matrix
from ehrmem_widgets.views.tables import Markup, inline, items, table

UNFINISHED = "UNFINISHED AUDIT: {done} of {all} tests are done. What is missing may change every conclusion."
IDENTIFYING = (
    "IDENTIFYING: internal use. This report names patients by pseudonym; keep it where patient records are kept."
)
NO_CLEARANCE = (
    "This is evidence about the attacks that were run, on this model, these data and these people. It is not a "
    "clearance: no result here "
    "says that the model is safe, or anonymous."
)


@dataclass(frozen=True)
class AuditParts:
    """The parts of an audit's report as markup: the summary's (``threat``, ``verdicts``, ``matrix``, ``attacks``, ``groups``), and the
    sections by id, in order, with their titles in ``titles``."""

    threat: str
    verdicts: str
    matrix: str
    attacks: str
    groups: str
    sections: Mapping[str, str]
    titles: Mapping[str, str]


def audit_page(folder: Path) -> str:
    """The report of an audit's folder as one HTML file that opens offline.

    It works with any test missing; an unfinished audit and an identifying one say so at the head of every page. The same results give the
    same bytes. Raises BadInput for a folder that holds no audit.
    """
    audit = AuditResults(folder)
    parts = audit_parts(audit)
    model = (audit.results.get("model") or {}).get("name", "the model")
    data = (audit.results.get("data") or {}).get("name", "the data")
    when = str(audit.results.get("finished_at") or audit.results.get("started_at") or "")[:10]
    summary = (
        '<section id="summary" class="page" aria-labelledby="h-summary"><h2 id="h-summary">In one '
        f"page</h2>{parts.threat}{parts.verdicts}"
        f"<h3>Risk matrix</h3>{parts.matrix}<h3>Which attacks, by what the attacker must know</h3>{parts.attacks}"
        f"<h3>Vulnerable groups</h3>{parts.groups}<p><b>{escape(NO_CLEARANCE)}</b></p></section>"
    )
    return sheet(
        summary + "".join(parts.sections.values()),
        title=f"Does the model “{model}” remember patients?",
        running=f"ehrmem cohort audit · model {model} · {data} · {when}",
        marks=marks(audit),
        contents={"summary": "In one page", **parts.titles},
    )


def marks(audit: AuditResults) -> list[str]:
    """What every page must say of an audit."""
    found = [IDENTIFYING] if audit.identifying else []
    if not audit.finished:
        done = sum(run.get("state") == "done" for run in audit.runs.values())
        planned = (audit.results.get("plan") or {}).get("probes") or ()
        found.append(UNFINISHED.format(done=done, all=max(len(audit.runs), len(planned))))
    return found


def audit_parts(audit: AuditResults) -> AuditParts:
    """All parts of the report, for a page or for a notebook."""
    lines = {name: view.headline() for name, view in audit.views.items()}
    sections = {name: section(view) for name, view in audit.views.items()}
    titles = {name: view.probe.full_title for name, view in audit.views.items()}
    more = {
        "severities": ("Declared severities, by whom and why", _severities(audit)),
        "patients": ("Patients (identifying)", _patients(audit)),
        "limitations": ("Limitations", limitations(audit, lines)),
        "not-run": ("What was not run, and why", not_run(audit)),
        "reproducibility": ("How to reproduce this", reproducibility(audit)),
        "annex": ("Annex: what data-protection guidance asks", annex(audit, lines)),
    }
    for name, (title, body) in more.items():
        if body:
            sections[name], titles[name] = wrapped(name, title, body), title
    return AuditParts(
        _threat(audit), _verdicts(lines, audit), matrix_of(audit), _attacks(audit), _groups(audit), sections, titles
    )


def matrix_of(audit: AuditResults, *, rung: str | None = None, severities: Mapping[str, int] | None = None) -> str:
    """The risk matrix at a rung (None: where members' mean excess is largest), with the severities as last declared or as given."""
    rung = rung or audit.worst_rung
    at = [one for one in audit.likelihoods if one.rung == rung]
    if not at:
        return (
            "<p>No likelihood was measured: no test of sensitive attributes was run. What was not "
            "measured is not thereby unlikely.</p>"
        )
    given = severities if severities is not None else audit.severities[-1].severity
    together, asked = _together(audit, rung), len({one.rung for one in audit.likelihoods})
    chosen = f" (the setting with the largest mean excess of {asked})" if together and rung == audit.worst_rung else ""
    drawn = risk_matrix(at, given, knows=f"{knows(rung)}{chosen}")
    return f"{drawn}<p>{escape(together)}{escape(NOT_ONE_SCORE)}</p>"


def _together(audit: AuditResults, rung: str) -> str:
    """The likelihood over all attributes: it can be measured where few hold each of them."""
    found = (view.over_all_attributes(rung) for view in audit.views.values())
    one = next((estimate for estimate in found if known(estimate)), None)
    return f"Over all attributes together (of each member the largest): {inline(one)}. " if one else ""


def _threat(audit: AuditResults) -> str:
    rungs = list(dict.fromkeys(rung for run in audit.runs.values() for rung in run.get("rungs") or ()))
    facts = (
        f"from {knows(rungs[0])} to {knows(rungs[-1])}" if len(rungs) > 1 else knows(rungs[0]) if rungs else "nothing"
    )
    reference = (audit.results.get("reference") or {}).get("name")
    asked = audit.people_shown
    held = (
        f"a reference model ({reference}) that never saw these people, and about people whom neither model saw"
        if reference
        else "people whom the model never saw; there is no reference model, so nothing can be called memorized"
    )
    others = ", ".join(f"{n} {several(group)}" for group, n in asked.items())
    others = "; ".join([others, *filter(None, (view.asked_besides() for view in audit.views.values()))])
    return (
        '<div class="box"><p><b>Threat model.</b> Somebody can ask the model anything and reads its answers, but sees '
        "neither its weights nor "
        f"its training data. They know facts about a person ({escape(facts)}) and want to learn more, or whether the "
        "person was trained on "
        f"(a member). Each question is also put to {escape(held)}. Asked about: {escape(others or 'nobody')}.</p></div>"
    )


def _verdicts(lines: Mapping[str, Headline], audit: AuditResults) -> str:
    rows = []
    for name, line in lines.items():
        view = audit.views[name]
        shown = f"{icon(line.verdict, 14)} {escape(line.verdict)}" if line.verdict else view.no_verdict
        rows.append((view.probe.full_title, Markup(shown), line.words, line.control))
    missing = [probe.full_title for name, probe in probes().items() if name not in lines]
    if missing:
        words = f"{', '.join(missing)}: see what was not run, and why."
        rows.append(("Not run", Markup("no verdict"), words, ""))
    heads = ("Test", "Verdict", "In plain words", "Planted canaries")
    found = table(heads, rows, caption="What each test found", name="verdicts")
    return f"<p><b>{escape(_overall(lines))}</b></p>{found}"


def _overall(lines: Mapping[str, Headline]) -> str:
    """One sentence over the tests that compare members with people never seen."""
    told = Counter(line.verdict for name, line in lines.items() if probes()[name].compares and line.verdict)
    n = sum(told.values())
    if not n:
        return "Nothing can be concluded: no test that compares members with people never seen was run."
    words = [f"{str(verdict).lower()} in {told[verdict]}" for verdict in Verdict if told[verdict]]
    first = (
        f"Of {plural(n, 'test')} that compare people the model was trained on with people it never saw: "
        f"{', '.join(words)}."
    )
    if told[Verdict.MEMORIZED]:
        return f"{first} This model remembers some of the people it was trained on."
    if told[Verdict.CANNOT_CONCLUDE] == n:
        return f"{first} Nothing can be concluded: neither that this model remembers people, nor that it does not."
    missed = any(line.control == MISSED for name, line in lines.items() if probes()[name].compares)
    return (
        f"{first} No memory of individuals was "
        f"shown{'; but not in every test do the planted canaries stand out' if missed else ''}."
    )


def _attacks(audit: AuditResults) -> str:
    attacks = audit.attacks
    if attacks is None:
        return "<p>Not ranked: the attack ranking was not run, or there is no reference model.</p>"
    return attack_ranking(attacks)


def _groups(audit: AuditResults) -> str:
    found = "".join(view.vulnerable() for view in audit.views.values())
    return found or "<p>Not known: no test of subgroups was run.</p>"


def _severities(audit: AuditResults) -> str:
    asked = dict.fromkeys(one.attribute for one in audit.likelihoods) or audit.severities[-1].severity
    first, last = audit.severities[0], audit.severities[-1]
    rows = []
    for name in asked:
        if name in last.severity:
            before = (
                f" (first declared: {first.severity[name]})"
                if first.severity.get(name) not in (None, last.severity[name])
                else ""
            )
            rows.append((audit.title(name), f"{last.severity[name]}{before}", last.reason.get(name, "")))
    versions = items(
        f"Version {place}, by {one.by}{f', {one.at}' if one.at else ''}"
        for place, one in enumerate(audit.severities, start=1)
    )
    caption = f"Severity from 1 (hardly severe) to 5 (most severe), as last declared (version {len(audit.severities)})"
    words = (
        "<p>Severity is a judgement of people and no measurement. All versions are kept with the audit; the risk "
        "matrix shows the last.</p>"
        f"<p>{escape(READ_MATRIX)}</p>"
    )
    return words + table(("Attribute", "Severity", "Reason"), rows, caption=caption) + versions


def _patients(audit: AuditResults) -> str:
    found = "".join(view.patients() for view in audit.views.values()) if audit.identifying else ""
    return f"<p><b>{escape(IDENTIFYING)}</b></p>{found}" if found else ""
