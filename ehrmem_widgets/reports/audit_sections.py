"""The sections of an audit's report, one a test: what was asked, the verdicts, a figure, what it is held against, how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ehrmem_widgets.attacker.facts import RUNGS as RUNG_WORDS
from ehrmem_widgets.findings.finding import Finding, estimate_of
from ehrmem_widgets.probes.attribute import ALL
from ehrmem_widgets.probes.membership_slices import SCORES, Part
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation import IDENTIFIERS
from ehrmem_widgets.probes.questions import QUESTIONS
from ehrmem_widgets.reports.audit_texts import ASKED, NULL, READ
from ehrmem_widgets.reports.headlines import TESTS, compared, judged
from ehrmem_widgets.reports.results_summary import NO_CODE, AuditResults, knows
from ehrmem_widgets.statistics.discrimination import controls_needed
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_ranking import attack_ranking, attack_shares
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.markup import escape, icon, known
from ehrmem_widgets.views.membership_parts import membership_parts
from ehrmem_widgets.views.moved_identifiers import moved_identifiers
from ehrmem_widgets.views.rank_ladder import rung_words
from ehrmem_widgets.views.rung_curve import by_rung, rung_curve
from ehrmem_widgets.views.subgroup_gaps import CLAIMS, subgroup_gaps
from ehrmem_widgets.views.subgroup_page import FIGURES as SUBGROUP_FIGURES
from ehrmem_widgets.views.subgroup_page import summary_sentences
from ehrmem_widgets.views.tables import Markup, figure, inline, items, table

_NAMES = {
    MEMBER: "Members",
    NON_MEMBER: "People never seen",
    CANARY: "Planted canaries, trained on",
    NULL_CANARY: "Canaries never trained on",
}


def section(name: str, audit: AuditResults) -> str:
    """The section of a test that was run."""
    found = audit.findings[name]
    parts = [
        f"<p>{escape(ASKED[name])}</p>",
        _verdicts(name, found),
        *_PICTURES[name](audit, found),
        f"<h3>Held against</h3><p>{escape(NULL[name])}</p>",
        f"<h3>How to read it</h3><p>{escape(READ[name])}</p>",
        _settings(found, audit.exclusions.get(name, ())),
    ]
    return wrapped(name, f"{TESTS[name]}: {QUESTIONS[name].partition(': ')[2] or QUESTIONS[name]}", "".join(parts))


def wrapped(name: str, title: str, body: str) -> str:
    """A section with its heading, as a landmark."""
    return (
        f'<section id="{escape(name)}" aria-labelledby="h-{escape(name)}"><h2 '
        f'id="h-{escape(name)}">{escape(title[:1].upper() + title[1:])}</h2>{body}</section>'
    )


def picture(markup: str, caption: str) -> str:
    """A figure with its caption."""
    return f"<figure>{markup}<figcaption>{escape(caption)}</figcaption></figure>"


def _verdicts(name: str, found: Finding) -> str:
    rows = judged(name, found) if name not in ("subgroups", "ranking", "preflight") else found.figures.iloc[:0]
    if not len(rows):
        return ""
    cells: list[tuple[object, ...]] = []
    for one in rows.to_dict("records"):
        verdict = Verdict(one["verdict"])
        shown = Markup(f"{icon(verdict, 16)} {escape(verdict)}")
        corrected = _p(one["p_adjusted"])
        note = one["note"] if verdict is Verdict.CANNOT_CONCLUDE else ""
        cells.append(
            (compared(name, one), figure(estimate_of(one), signed=name != "membership"), corrected, shown, note)
        )
    heads: tuple[str, ...] = (
        "Compared",
        "Members against people never seen",
        "p, corrected",
        "Verdict",
        "Why it cannot be decided",
    )
    if not any(cell[-1] for cell in cells):
        heads, cells = heads[:-1], [cell[:-1] for cell in cells]
    return table(heads, cells, caption="Verdicts, with 95 % interval and n (people)")


def _p(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.3f}" if value >= 0.001 else "under 0.001"


def _of_membership(audit: AuditResults, found: Finding) -> list[str]:
    rows = []
    for group, heading in (
        ("all", "Members against people never seen"),
        ("canaries", "Planted canaries, trained on against never trained on"),
    ):
        here = found.about("figures", figure="auroc", group=group)
        for one in here.to_dict("records"):
            by = ", by the reference model (negative control)" if one["model"] == "reference" else ""
            rows.append(
                IntervalRow(f"{one['attribute']}{by}", estimate_of(one), heading=heading, marked=bool(one["verdict"]))
            )
    parts = [
        picture(
            interval_rows(rows, title="AUROC of each score", ends=(0.0, 1.0), level=(0.5, "guessing")),
            "How well each score tells members from people never seen. The diamond is the score declared beforehand.",
        )
    ]
    rates = {
        f: found.about("figures", figure=f, group="all").set_index("attribute")
        for f in found.figures["figure"].unique()
        if f.startswith(("tpr_", "ppv_"))
    }
    heads = ["Score", *(_rate_words(name) for name in rates)]
    cells = [
        [score, *(figure(estimate_of(of.loc[score]), n=False) if score in of.index else "" for of in rates.values())]
        for score in SCORES
        if any(score in of.index for of in rates.values())
    ]
    if cells:
        parts.append(
            table(
                heads,
                cells,
                caption="At few false alarms, with 95 % intervals. What is found at 1 % is shown from "
                f"{controls_needed(0.01):,} people never seen on, at 0.1 % from {controls_needed(0.001):,}",
            )
        )
    places = (
        found.figures[found.figures["figure"].isin(["auroc_by_kind", "auroc_by_quarter"])]
        .sort_values("figure", kind="stable")
        .to_dict("records")
    )
    shown = [
        Part(one["attribute"], one["figure"] == "auroc_by_quarter", estimate_of(one), float(one["p_adjusted"]))
        for one in places
        if known(estimate_of(one))
    ]
    if shown:
        parts.append(
            picture(
                membership_parts(shown, "the score"),
                "Which part of the record gives membership away, each part by itself.",
            )
        )
    exposure = found.about("figures", figure="mean_exposure").to_dict("records")
    if exposure:
        cells = [[_group_words(one["group"]), f"{one['model']} model", figure(estimate_of(one))] for one in exposure]
        parts.append(
            table(
                ("Canaries", "Asked", "Mean exposure, bits"),
                cells,
                caption="Exposure of planted canaries; about 1.4 bits is what chance gives",
            )
        )
    return parts


def _rate_words(name: str) -> str:
    kind, _, value = name.rpartition("_")
    share = f"{100 * float(value):g} %"
    return (
        f"Members found at {share} false alarms"
        if kind.startswith("tpr")
        else f"Called a member and is one, if {share} are"
    )


def _of_attribute(audit: AuditResults, found: Finding) -> list[str]:
    rungs = list(found.settings.get("rungs", ()))
    groups = [
        group
        for group in (MEMBER, NON_MEMBER, CANARY, NULL_CANARY)
        if len(found.about("figures", figure="excess_risk", group=group))
    ]
    rows = [
        IntervalRow(_NAMES[group], one, heading=rung_words(rung), marked=group == MEMBER)
        for rung in rungs
        for group in groups
        if (one := by_rung(found, "excess_risk", group=group).get(rung)) is not None
    ]
    parts = []
    if rows:
        parts.append(
            picture(
                interval_rows(
                    rows,
                    title="Mean excess risk of those who hold a sensitive attribute, by what the attacker knows",
                    ends=(-1.0, 1.0),
                    level=(0.0, "no more than the reference"),
                    signed=True,
                ),
                "Excess risk: the largest over the attributes that a person holds. Diamonds: members.",
            )
        )
    if audit.likelihoods:
        cells = []
        for likely in audit.likelihoods:
            if likely.rung == audit.worst_rung:
                cells.append(
                    [
                        likely.title,
                        figure(likely.excess) if likely.excess else likely.why,
                        figure(likely.never_seen) if likely.why != NO_CODE else "—",
                        figure(likely.memorized) if likely.why != NO_CODE else "—",
                    ]
                )
        heads = (
            "Attribute",
            "Mean excess, members who hold it",
            "The same, people never seen",
            "Share of these members called memorized",
        )
        parts.append(table(heads, cells, caption=f"By attribute, where the attacker knows {knows(audit.worst_rung)}"))
        if audit.holders:
            parts.append(
                f"<p>Where fewer than {audit.holders} of the members asked about hold an attribute, more of those who do were drawn at "
                "random, likewise of people never seen. They count in the figures by attribute and in no other.</p>"
            )
        several = [one for one in audit.likelihoods if one.excess is not None]
        names = list(dict.fromkeys(one.title for one in several))
        if len(rungs) > 1 and names:
            at = {(one.title, one.rung): one.excess for one in several}
            cells = [[name, *(figure(at.get((name, rung)), n=False) for rung in rungs)] for name in names]
            parts.append(
                table(
                    ["Mean excess, members", *map(rung_words, rungs)],
                    cells,
                    caption="By attribute and what the attacker knows",
                )
            )
    lines = {
        "Members, audited model": by_rung(found, "auroc", group=MEMBER, attribute=ALL, model="audited"),
        "People never seen, audited model": by_rung(found, "auroc", group=NON_MEMBER, attribute=ALL, model="audited"),
        "Members, reference model": by_rung(found, "auroc", group=MEMBER, attribute=ALL, model="reference"),
    }
    if any(known(e) for line in lines.values() for e in line.values()):
        curve = rung_curve(
            lines,
            rungs,
            title="Does it say an attribute of those who have it, rather than of others?",
            axis="mean AUROC over the attributes",
            level=(0.5, "guessing"),
        )
        parts.append(
            picture(
                curve,
                "AUROC of the leak probability against what the records hold. Where the first line stands above the "
                "second by more than the intervals explain, that is memory; the height of both is medicine.",
            )
        )
    return parts


def _of_reconstruction(audit: AuditResults, found: Finding) -> list[str]:
    lines = {
        "Members, audited model": by_rung(found, "timed_distance", group=MEMBER, model="audited"),
        "People never seen, audited model": by_rung(found, "timed_distance", group=NON_MEMBER, model="audited"),
        "Members, reference model": by_rung(found, "timed_distance", group=MEMBER, model="reference"),
        "Planted canaries, audited model": by_rung(found, "timed_distance", group=CANARY, model="audited"),
    }
    curve = rung_curve(
        lines,
        list(found.settings.get("rungs", ())),
        title="Distance of what is generated from what really followed",
        axis="distance (0: the record itself, 1: nothing alike)",
    )
    parts = [picture(curve, "Mean distance with order and time, by what the attacker knows.")]
    cells = []
    for name, words in (
        ("timed_distance", "Distance with order and time"),
        ("demd", "Published distance (dEMD)"),
        ("rare_overlap_1", "Rare codes that come back"),
        ("routine_share", "Share of the match that is routine"),
    ):
        for rung in found.settings.get("rungs", ()):
            of = [
                by_rung(found, name, group=g, model=m).get(rung)
                for g, m in ((MEMBER, "audited"), (NON_MEMBER, "audited"), (MEMBER, "reference"))
            ]
            if any(of):
                cells.append([f"{words}, {knows(rung)}", *(figure(one, n=False) for one in of)])
    if cells:
        parts.append(
            table(
                ("Figure", "Members", "People never seen", "Members, reference model"),
                cells,
                caption="Means over people, with 95 % intervals",
            )
        )
    return parts


def _of_embedding(audit: AuditResults, found: Finding) -> list[str]:
    rows = []
    for group, heading in (
        ("all", "Members less people never seen"),
        ("canaries", "Planted canaries, trained on less never trained on"),
    ):
        for one in found.about("figures", figure="excess_gain_logistic", group=group, model="audited").to_dict(
            "records"
        ):
            words = audit.title(one["attribute"]) if one["attribute"] else "All attributes together"
            if known(estimate_of(one)):
                rows.append(IntervalRow(words, estimate_of(one), heading=heading, marked=not one["attribute"]))
        for one in found.about("figures", figure="excess_beyond_reference_logistic", group=group, attribute="").to_dict(
            "records"
        ):
            rows.append(IntervalRow("All together, beyond the reference's", estimate_of(one), heading=heading))
    if not rows:
        return ["<p>No figure: the model gives no embeddings, or too few people hold an attribute.</p>"]
    drawn = interval_rows(
        rows,
        title="AUROC that the embedding adds to the known codes: how much more for those trained on",
        ends=(-1.0, 1.0),
        level=(0.0, "no more"),
        signed=True,
    )
    return [
        picture(
            drawn,
            "Logistic classifiers on the embedding, cross-validated over people, less the same on the known codes.",
        )
    ]


def _of_neighbours(audit: AuditResults, found: Finding) -> list[str]:
    lines = {
        "Members, audited model": by_rung(found, "hit@10", group=MEMBER, model="audited"),
        "People never seen, audited model": by_rung(found, "hit@10", group=NON_MEMBER, model="audited"),
        "Members, plain code search": by_rung(found, "code_hit@10", group=MEMBER, model=""),
        "Members, reference model": by_rung(found, "hit@10", group=MEMBER, model="reference"),
        "Planted canaries, audited model": by_rung(found, "hit@10", group=CANARY, model="audited"),
    }
    rungs = list(found.settings.get("rungs", ()))
    searched = int(found.settings.get("searched", 0))
    drawn = rung_curve(
        lines, rungs, title=f"Own record among the ten nearest of {searched:,}", axis="share of people found"
    )
    cells = [[name, *(figure(line.get(rung), n=False) for rung in rungs)] for name, line in lines.items() if line]
    return [
        picture(drawn, "Shares that rest on fewer than 11 people found are not drawn."),
        table(
            ["Share found among the ten nearest", *map(rung_words, rungs)],
            cells,
            caption="With 95 % intervals (Wilson)",
        ),
    ]


def _of_perturbation(audit: AuditResults, found: Finding) -> list[str]:
    parts = []
    if len(audit.moved):
        parts.append(
            picture(
                moved_identifiers(audit.moved),
                "The leak of the gravest attribute that the record holds, while one identifier moves off its true "
                "value.",
            )
        )
    rows = []
    groups = dict.fromkeys(found.figures["group"])
    for identifier, words in IDENTIFIERS.items():
        for group in groups:
            for one in found.about("figures", figure=f"spike:{identifier}", group=group, model="audited").to_dict(
                "records"
            ):
                if known(estimate_of(one)):
                    rows.append(
                        IntervalRow(
                            _group_words(group), estimate_of(one), heading=f"Moving {words}", marked=group == MEMBER
                        )
                    )
    if rows:
        drawn = interval_rows(
            rows,
            title="Mean spike: leak at the truth less the median off it",
            ends=(-1.0, 1.0),
            level=(0.0, "no spike"),
            signed=True,
        )
        parts.append(picture(drawn, "Means over people, with 95 % intervals. Diamonds: members."))
    cells = [
        [_group_words(one["group"]), figure(estimate_of(one))]
        for one in found.about("figures", figure="stands_out").to_dict("records")
    ]
    if cells:
        parts.append(
            table(
                ("Group", "Share of people who stand out from the null"),
                cells,
                caption="Corrected for a person's several identifiers; among people never seen at most 0.05 is expected",
            )
        )
    return parts


def _of_subgroups(audit: AuditResults, found: Finding) -> list[str]:
    parts = []
    for name, rows in audit.subgroups.items():
        words, meaning = SUBGROUP_FIGURES[name]
        parts.append(f"<h3>By {escape(words)}</h3><p>{escape(meaning)}</p>{items(summary_sentences(rows, CLAIMS))}")
        parts.append(
            picture(
                subgroup_gaps(rows, words, correction=CLAIMS),
                f"Gaps in {words} between members in each subgroup and all other members.",
            )
        )
    return parts


def _of_ranking(audit: AuditResults, found: Finding) -> list[str]:
    attacks = audit.attacks
    if attacks is None:
        return ["<p>Cannot conclude: without a reference model nothing can be called a leak.</p>"]
    drawn = attack_shares(attacks)
    said = [f"{escape(one['verdict'])}: {escape(one['note'])}" for one in judged("ranking", found).to_dict("records")]
    return [
        *(f"<p><b>Members against people never seen.</b> {one}</p>" for one in said),
        *(
            [picture(drawn, "By kind of attack, the cheapest first; the diamond is all of them together.")]
            if drawn
            else []
        ),
        attack_ranking(attacks),
    ]


def _of_preflight(audit: AuditResults, found: Finding) -> list[str]:
    rows = []
    words = {
        "difference_length": "Length of the record",
        "difference_era": "Year of the first event",
        "difference_age": "Age",
        "difference_female": "Sex",
    }
    for name, trait in words.items():
        for one in found.about("figures", figure=name, group="all").to_dict("records"):
            rows.append(IntervalRow(trait, estimate_of(one), marked=one["p_adjusted"] <= 0.05))
    said = []
    for one in found.about("figures", figure="model_free_auroc", group="all").to_dict("records"):
        said.append(
            f"Members told from people never seen without the model: AUROC {inline(estimate_of(one))}, permutation p "
            f"{one['p']:.3f}; 0.5 is guessing."
        )
    for one in found.about("figures", figure="codes_that_differ", group="all").to_dict("records"):
        said.append(
            f"{one['value']:.0f} of {int(one['n']):,} codes are used differently by the two groups "
            "(Benjamini-Hochberg at 5 %)."
        )
    for name, kind in (
        ("duplicates", "the very same codes"),
        ("near_duplicates", "at least 90 % of the codes in common"),
    ):
        for one in found.about("figures", figure=name).to_dict("records"):
            whom = "people never seen" if one["group"].endswith(NON_MEMBER) else "the reference model's patients"
            said.append(f"Share of {whom} whose record has {kind} as one of a member: {figure(estimate_of(one))}.")
    for one in found.about("figures", figure="near_duplicates_across").to_dict("records"):
        said.append(
            f"Share of {'members' if one['group'] == MEMBER else 'people never seen'} with a near-duplicate on the other side of the "
            f"split, who are left out: {figure(estimate_of(one))}."
        )
    parts = [items(said)] if said else []
    if rows:
        reach = max(
            1.0, *(abs(end) for one in rows for end in (one.estimate.low, one.estimate.high) if math.isfinite(end))
        )
        ends = (-math.ceil(reach), math.ceil(reach))
        parts.insert(
            0,
            picture(
                interval_rows(
                    rows,
                    title="Members less people never seen, in standard deviations",
                    ends=ends,
                    level=(0.0, "alike"),
                    signed=True,
                ),
                "Standardised differences. Diamonds: beyond chance, corrected (Holm).",
            ),
        )
    return parts


_PICTURES: Mapping[str, Callable[[AuditResults, Finding], list[str]]] = {
    "membership": _of_membership,
    "attribute": _of_attribute,
    "reconstruction": _of_reconstruction,
    "embedding": _of_embedding,
    "neighbours": _of_neighbours,
    "perturbation": _of_perturbation,
    "subgroups": _of_subgroups,
    "ranking": _of_ranking,
    "preflight": _of_preflight,
}


def _group_words(group: str) -> str:
    if group.startswith(f"{CANARY} x"):
        return f"Planted canaries, seen {group.removeprefix(f'{CANARY} x')} times an epoch"
    return _NAMES.get(group, group)


def _settings(found: Finding, left_out: Sequence[str]) -> str:
    said = []
    settings = found.settings
    rungs = settings.get("rungs") or settings.get("ladder") or ([settings["rung"]] if settings.get("rung") else [])
    if rungs:
        said.append(f"The attacker knows: {'; '.join(RUNG_WORDS.get(rung, rung_words(rung)) for rung in rungs)}.")
    numbers = [
        f"{name} {settings[name]}" for name in ("samples", "horizon", "threshold", "folds", "seed") if name in settings
    ]
    if numbers:
        said.append(f"Settings: {', '.join(numbers)}.")
    if left_out:
        said.append(f"Left out: {'; '.join(left_out)}.")
    return f'<div class="small">{items(said)}</div>' if said else ""
