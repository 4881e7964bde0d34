"""What an audit's report says of its limits: limitations, what was not run, how to reproduce it, and what guidance asks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.blackbox.training_splits import members_in_words
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.charts.table import items, table
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, several
from ehrmem_widgets.probes.view import MISSED, NONE, Headline
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.discrimination import controls_needed
from ehrmem_widgets.statistics.verdicts import Verdict

NEVER_RUN = (
    "attacks that read the model's weights or gradients, or that train or change the model",
    "attacks by somebody who could put records into the training data",
    "linking the model's answers with registers, news or other data outside of this data set",
    "attacks that choose each question by the answer to the one before, over many sessions",
    "free text, images, and anything that is not in the coded events",
)
"""What this kit does not do, whatever the plan."""

GUIDANCE: Mapping[str, tuple[str, str, str]] = {
    "singling_out": (
        "Singling out: can a person be isolated?",
        "Article 29 Working Party, Opinion 05/2014; ICO, anonymisation guidance",
        "Whether other data outside of this data set would single the person out.",
    ),
    "linkability": (
        "Linkability: can pieces about the same person be joined?",
        "Article 29 Working Party, Opinion 05/2014; ICO, anonymisation guidance",
        "Links to registers or other holders' data, which were not available here.",
    ),
    "inference": (
        "Inference: can something be learned about a person?",
        "Article 29 Working Party, Opinion 05/2014; ICO, anonymisation guidance",
        "Attributes that were not declared, and people who were not asked about.",
    ),
    "extraction": (
        "Likelihood that personal data are extracted from the model, also with some probability only",
        "EDPB, Opinion 28/2024: should be insignificant for any data subject, for a model to be considered anonymous",
        "A mean over people is no bound for any one of them; see the shares and the subgroups. Extraction from the "
        "weights was not tried.",
    ),
    "queries": (
        "Likelihood that personal data come out of queries, meant or not, by means reasonably likely to be used",
        "EDPB, Opinion 28/2024; GDPR, recital 26; ICO, motivated intruder",
        "Which facts a likely attacker really holds, and at what cost: people must judge that. The ranking says what "
        "would suffice.",
    ),
    "identification": (
        "Risk that an anticipated recipient, with other reasonably available information, could identify a person: "
        "very small",
        "HIPAA, 45 CFR 164.514(b)(1), expert determination",
        "Who the recipients are and what else they have. The determination is the expert's, who documents methods and "
        "results.",
    ),
}
"""By the key that a probe names in ``bears_on``: what guidance asks, where it stands, and what the findings leave open."""


def limitations(audit: AuditResults, lines: Mapping[str, Headline]) -> str:
    """What weakens this audit, and what no audit of this kind can say."""
    said = []
    if not audit.finished:
        said.append("The audit is unfinished: conclusions may change when the rest is done.")
    model = audit.results.get("model") or {}
    if "training_split" in model and not model["training_split"]:
        said.append(f"Members are the {members_in_words(None)}; if that is wrong, so is every comparison with them.")
    if not audit.results.get("reference"):
        said.append(
            "There is no reference model that never saw these people: nothing can be told from knowledge of a "
            "population."
        )
    every = probes()
    free = [line for name, line in lines.items() if every[name].confounding]
    if not free:
        said.append(
            "Whether members and non-members are alike was not checked: a difference between them may come from the "
            "data."
        )
    said += [line.words for line in free if line.verdict is Verdict.CANNOT_CONCLUDE]
    compared = {every[name].full_title: line for name, line in lines.items() if every[name].compares}
    missed = [title for title, line in compared.items() if line.control == MISSED]
    if missed:
        said.append(
            f"The planted canaries do not stand out in {', '.join(missed)}: either they too were not remembered, or "
            "these tests cannot see it."
        )
    if compared and all(line.control in (NONE, "") for line in compared.values()):
        said.append(
            "The training data hold no planted canaries: whether these tests would have found memory here is not "
            "shown by this audit itself."
        )
    others = audit.people.get(NON_MEMBER, 0)
    if others < controls_needed(0.01):
        said.append(
            f"{audit.people_shown.get(NON_MEMBER, 'No')} people never seen were asked about; {controls_needed(0.01)} "
            "are needed to bound false alarms at 1 %."
        )
    if audit.people.get(MEMBER, 0) < (audit.results.get("data") or {}).get("patients", 0):
        said.append("A sample of the patients was asked about. A person who was not asked about may be remembered.")
    said += [
        "Verdicts rest on people never seen being like the members in all but membership.",
        "Each test is corrected for its own comparisons and calls what is not there in at most about 1 of 20 audits; "
        "over six tests, one "
        "such alarm alone may be chance.",
        "A mean over people can hide a few who are remembered well: read the shares and the subgroups beside it.",
        "Whoever knows other facts, asks in another way, or samples longer may learn more.",
        f"Privacy of this report: counts of fewer than {FEWEST} people are withheld, with others from which they "
        "would follow; every n is rounded "
        "down to tens (11 to 19 are given as 11); figures that rest on fewer people are not shown. Exact figures are "
        "in the results folder, which names patients "
        "by pseudonym and is to be kept like patient data.",
    ]
    return items(said)


def not_run(audit: AuditResults) -> str:
    """Each test that has no result, with the reason, and what the kit never does."""
    rows = []
    for name, probe in probes().items():
        run = audit.runs.get(name)
        if name in audit.findings and (run is None or run.get("state") == "done"):
            continue
        reason = "it is not in the plan"
        if run is not None:
            reason = _why_not_run(run)
        rows.append((probe.full_title, probe.question, reason))
    listed = (
        table(("Test", "Question", "Why it was not run"), rows, caption="Tests without a result")
        if rows
        else "<p>All tests of this kit were run.</p>"
    )
    listed += "".join(f"<p>{escape(words)}</p>" for view in audit.views.values() if (words := view.not_asked()))
    return f"{listed}<h3>Never part of such an audit</h3>{items(NEVER_RUN)}"


def _why_not_run(run: Mapping[str, object]) -> str:
    """What the model cannot be asked is said; any other reason may hold something from the data, and is not."""
    if run.get("of_the_model"):
        return str(run["reason"])
    if run.get("state") == "pending":
        return "its turn has not come yet"
    return "it could not be asked; results.json says why" if run.get("reason") else "its findings are missing"


def reproducibility(audit: AuditResults) -> str:
    """Versions, seeds, hashes and the exact command."""
    results, seal = audit.results, audit.seal
    sealed = all(seal.get(name) == given for name, given in _sealed(audit).items()) if seal else None
    agrees = {
        True: "made before the first question; plan, data and models of these results agree with it",
        False: "DOES NOT AGREE with these results: plan, data or models were changed. Do not rely on this report",
        None: "missing: it cannot be shown that the plan was made before the first answer",
    }[sealed]
    plan = results.get("plan") or {}
    rows = [
        ("Audit", results.get("name", "")),
        ("Command", str(results.get("command", ""))),
        ("Report", shlex.join(["ehrmem", "audit-report", str(audit.folder), "--out", "report.html"])),
        ("Plan's hash", results.get("plan_hash", "")),
        ("Seal", agrees),
        (
            "Started, finished",
            f"{results.get('started_at') or 'not known'}, {results.get('finished_at') or 'not finished'}",
        ),
        *(
            (words, _named(results.get(name)))
            for name, words in (("data", "Data"), ("model", "Audited model"), ("reference", "Reference model"))
        ),
        ("Members", _members(results.get("model") or {})),
        ("Asked about", ", ".join(f"{n} {several(group)}" for group, n in audit.people_shown.items())),
        ("Seed", results.get("seed", "")),
        ("Rungs", ", ".join(map(str, plan.get("rungs") or ()))),
        ("Priors", ", ".join(map(str, plan.get("priors") or ()))),
        ("Versions", ", ".join(f"{name} {number}" for name, number in (results.get("versions") or {}).items())),
    ]
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
        if value not in ("", None)
    )
    made = f'<table class="made"><caption>How it was made</caption><tbody>{body}</tbody></table>'
    times = {name: run.get("seconds") for name, run in audit.runs.items()}
    hashes = [
        (probes()[name].full_title, f"{times.get(name) or 0:.0f} s", digest) for name, digest in audit.hashes().items()
    ]
    return made + (
        table(
            ("Test", "Time", "SHA-256 of its findings"),
            hashes,
            caption="The results that this report shows",
            name="made",
        )
        if hashes
        else ""
    )


def annex(audit: AuditResults, lines: Mapping[str, Headline]) -> str:
    """Evidence by what guidance asks; never a clearance."""
    rows = []
    for key, (question, source, leaves) in GUIDANCE.items():
        told = [
            f"{probe.full_title}: {_verdict(lines[name]) if name in lines else 'not run'}"
            for name, probe in probes().items()
            if key in probe.bears_on
        ]
        rows.append((f"{question} ({source})", "; ".join(told), leaves))
    words = (
        "The table says which findings bear on which question that data-protection guidance asks. It is evidence for "
        "those who must judge, and "
        "no legal advice: whether a model counts as anonymous, or a risk as small enough, is decided by the "
        "controller, the expert or the authority, with "
        "more than what stands here. Guidance is named for orientation; read it in its current wording."
    )
    return f"<p>{escape(words)}</p>" + table(
        ("What guidance asks", "Evidence in this report", "What it leaves open"),
        rows,
        caption="Findings by what guidance asks",
    )


def _verdict(line: Headline) -> str:
    return str(line.verdict).lower() if line.verdict else line.words.rstrip(".")


def _sealed(audit: AuditResults) -> dict[str, object]:
    results = audit.results
    return {
        "plan_hash": results.get("plan_hash"),
        **{name: (results.get(name) or {}).get("fingerprint") for name in ("data", "model", "reference")},
    }


def _members(model: Mapping[str, str | None]) -> str:
    words = members_in_words(model["training_split"]) if "training_split" in model else ""
    return f"{words[:1].upper()}{words[1:]}"


def _named(one: Mapping[str, object] | None) -> str:
    if not one:
        return "none"
    patients = f", {one['patients']:,} patients" if isinstance(one.get("patients"), int) else ""
    return f"{one.get('name', '')}{patients}, fingerprint {one.get('fingerprint', '')}"
