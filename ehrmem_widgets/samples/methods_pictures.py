"""The pictures of the methods page (notebooks/methods.md), one a test, drawn from findings on the sample cohort.

``python -m ehrmem_widgets.samples.methods_pictures`` runs every probe on the samples and draws them anew;
``--findings DIR`` keeps the findings in a folder, and takes from there what an earlier run (or ``ehrmem probe``) left.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.attribute import ALL
from ehrmem_widgets.probes.exposure import expected_by_chance
from ehrmem_widgets.probes.membership_scores import LOSS, RATIO
from ehrmem_widgets.probes.membership_slices import MembershipSlices
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation import curve_of
from ehrmem_widgets.probes.questions import QUESTIONS
from ehrmem_widgets.probes.subgroup_findings import subgroup_rows
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_list import attack_list
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.perturbation_curve import perturbation_curve
from ehrmem_widgets.views.roc_curve import roc_curve
from ehrmem_widgets.views.rung_curve import by_rung, rung_curve
from ehrmem_widgets.views.subgroup_gaps import CLAIMS, subgroup_gaps

PICTURES = Path(__file__).parents[2] / "notebooks" / "pictures"
GROUPS = {
    MEMBER: "trained on (members)",
    NON_MEMBER: "never seen (non-members)",
    CANARY: "canaries, trained on 16 times",
    NULL_CANARY: "canaries, never trained on",
}
"""Whom the pictures show, in words that fit on them."""


def draw_pictures(out: Path, findings: Mapping[str, Finding]) -> None:
    """Draw into the folder ``out`` one SVG for each finding, by the probe's name (of ``QUESTIONS``), and for membership
    also ``exposure.svg``. Each file stands alone: its own size, a white ground, no theme."""
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in _DRAWN.items():
        needed = "membership" if name == "exposure" else name
        if needed in findings:
            (out / f"{name}.svg").write_text(_standing_alone(draw(findings)), encoding="utf-8")


def sample_findings(kept: Path | None = None) -> dict[str, Finding]:
    """Every probe on the sample cohort and the memorizing sample model (about 25 minutes on two cores). With a folder
    ``kept``, what lies there is read instead of run, and what is run is written there."""
    found: dict[str, Finding] = {}
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        found = {name: Finding.load(file) for name in QUESTIONS if (file := kept / name).exists()}
    if len(found) == len(QUESTIONS):
        return found
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.probes.all_probes import run_probe
    from ehrmem_widgets.probes.people import choose_people
    from ehrmem_widgets.samples.canary_alternatives import alternatives_for
    from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference

    dataset, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference)
    for name in ("preflight", *(name for name in QUESTIONS if name != "preflight")):
        if name not in found:
            print(f"Running {name} ...", flush=True)
            found[name] = run_probe(
                name, dataset, model, reference, people=people, preflight=found.get("preflight"),
                alternatives_of=alternatives_for(dataset),
            )  # fmt: skip
            if kept is not None:
                found[name].save(kept / name)
    return found


def _reconstruction(findings: Mapping[str, Finding]) -> str:
    found = findings["reconstruction"]
    lines = {words: by_rung(found, "timed_distance", group=group, model="audited") for group, words in GROUPS.items()}
    return rung_curve(
        lines,
        found.settings["rungs"],
        title="T1: how far the model's continuations are from what really followed",
        axis="distance: 0 the record itself, 1 nothing alike",
    )


def _attribute(findings: Mapping[str, Finding]) -> str:
    found = findings["attribute"]
    of = {"attribute": ALL, "figure": "auroc"}
    lines = {words: by_rung(found, group=group, model="audited", **of) for group, words in GROUPS.items()}
    lines["members, by the reference model"] = by_rung(found, group=MEMBER, model="reference", **of)
    return rung_curve(
        lines,
        found.settings["rungs"],
        title="T2: do the model's answers tell those who hold a sensitive attribute from those who do not?",
        axis="AUROC: 1 always right, 0.5 no better than a coin",
        level=(0.5, "coin toss"),
    )


def _embedding(findings: Mapping[str, Finding]) -> str:
    found = findings["embedding"]
    rows = [
        IntervalRow(words, _first(found, "gain_logistic", group=group, model=model, attribute=""), heading)
        for model, heading in (
            ("audited", "In the audited model"),
            ("reference", "In the reference model, which saw none of them"),
        )
        for group, words in GROUPS.items()
    ]
    rows += [
        IntervalRow(
            words, _first(found, "excess_gain_logistic", group=group, model="audited", attribute=""), heading, True
        )
        for group, words, heading in (
            ("all", "members less non-members", "What is tested (audited model)"),
            ("canaries", "canaries trained on less those never trained on", "What is tested (audited model)"),
        )
    ]
    return interval_rows(
        rows,
        title="T3: AUROC gained by reading the embedding instead of the plain list of codes",
        ends=(-0.4, 0.4),
        level=(0.0, "no gain"),
        signed=True,
    )


def _neighbours(findings: Mapping[str, Finding]) -> str:
    found = findings["neighbours"]
    lines = {
        "members, by the embedding": by_rung(found, "hit@10", group=MEMBER, model="audited"),
        "non-members, by the embedding": by_rung(found, "hit@10", group=NON_MEMBER, model="audited"),
        "members, by a plain code search": by_rung(found, "code_hit@10", group=MEMBER),
        "non-members, by a code search": by_rung(found, "code_hit@10", group=NON_MEMBER),
    }
    return rung_curve(
        lines,
        found.settings["rungs"],
        title=f"Whose own record is among the ten nearest of {int(found.settings.get('searched', 0)):,}?",
        axis="hit@10: share of people whose record is found",
    )


def _membership(findings: Mapping[str, Finding]) -> str:
    slices = MembershipSlices(findings["membership"], findings.get("preflight"))
    at = slices.at(score=_headline(findings["membership"]), group="ordinary", fpr=0.02, prior=0.01)
    return roc_curve(at.roc, at.chosen, at.fpr, log_scale=True)


def _perturbation(findings: Mapping[str, Finding]) -> str:
    """The canary whose spike is the middle one, so that the picture is no hand-picked extreme."""
    found = findings["perturbation"]
    spikes = found.about("patients", figure="spike:age", model="audited")
    trained = spikes[spikes["group"].str.startswith(CANARY) & (spikes["group"] != NULL_CANARY)]
    spikes = (trained if len(trained) else spikes).sort_values(["value", "patient"])
    if spikes.empty:
        return perturbation_curve(None, title="T5")
    one = spikes.iloc[len(spikes) // 2]
    null = found.about("curves", figure="age", model="audited", patient=one["patient"])
    title = f"{_titles().get(one['attribute'], one['attribute'])}, {one['patient']}"
    return perturbation_curve(curve_of(found, one["patient"], "age"), title=title, people=int(null["n"].max()))


def _subgroups(findings: Mapping[str, Finding]) -> str:
    found = findings["subgroups"]
    score = _headline(found, "figures")
    rows = subgroup_rows(replace(found, figures=found.about("figures", attribute=score)))
    rows = tuple(row for row in rows if row.members or row.kind in ("code", "labs"))
    return subgroup_gaps(rows, f"T4's score ({score})", correction=CLAIMS)


def _ranking(findings: Mapping[str, Finding]) -> str:
    return attack_list(findings["ranking"], titles=_titles())


def _exposure(findings: Mapping[str, Finding]) -> str:
    found = findings["membership"]
    rows = [
        IntervalRow(
            _canaries(str(one["group"])), _estimate(one), heading, one["group"] != NULL_CANARY and model == "audited"
        )
        for model, heading in (
            ("audited", "In the audited model"),
            ("reference", "In the reference model, which saw none of them"),
        )
        for one in found.about("figures", figure="mean_exposure", model=model).to_dict("records")
    ]
    chance = expected_by_chance(255)
    return interval_rows(
        rows,
        title="Mean exposure of planted canaries, in bits (8: always the first of 256)",
        ends=(0, 8),
        level=(chance, "chance"),
    )


def _preflight(findings: Mapping[str, Finding]) -> str:
    found = findings["preflight"]
    heading = "Without asking any model"
    rows = [
        IntervalRow(words, _first(found, "model_free_auroc", group=group), heading)
        for group, words in (
            ("all", "members against non-members"),
            ("canaries", "canaries trained on against never trained on"),
        )
    ]
    if scored := findings.get("membership"):
        heading = "For comparison: members against non-members by T4"
        score = _headline(scored)
        model = "" if score == RATIO else "audited"
        asked = {"figure": "auroc", "group": "all"}
        rows += [
            IntervalRow(
                f"the reference model ({LOSS})", _first(scored, attribute=LOSS, model="reference", **asked), heading
            ),
            IntervalRow(
                f"the audited model ({score})", _first(scored, attribute=score, model=model, **asked), heading, True
            ),
        ]
    return interval_rows(
        [row for row in rows if row.estimate.n],
        title="Can the two groups be told apart before the model is asked? (AUROC)",
        ends=(0, 1),
        level=(0.5, "coin toss"),
    )


_DRAWN: Mapping[str, Callable[[Mapping[str, Finding]], str]] = {
    "reconstruction": _reconstruction,
    "attribute": _attribute,
    "embedding": _embedding,
    "neighbours": _neighbours,
    "membership": _membership,
    "exposure": _exposure,
    "perturbation": _perturbation,
    "subgroups": _subgroups,
    "ranking": _ranking,
    "preflight": _preflight,
}


def _first(found: Finding, figure: str, **where: str) -> Estimate:
    """The cohort figure; nothing (n = 0) where the finding has none."""
    rows = found.about("figures", figure=figure, **where).to_dict("records")
    return _estimate(rows[0]) if rows else Estimate(float("nan"), float("nan"), float("nan"), 0)


def _estimate(one: Mapping[Any, Any]) -> Estimate:
    return Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"]))


def _canaries(group: str) -> str:
    """A group of the exposure rows in words.

    >>> _canaries("canary x4")
    'canaries, trained on 4 times'
    """
    return GROUPS[NULL_CANARY] if group == NULL_CANARY else f"canaries, trained on {group.partition(' x')[2]} times"


def _headline(found: Finding, table: str = "patients") -> str:
    return RATIO if (found.about(table)["attribute"] == RATIO).any() else LOSS


def _titles() -> dict[str, str]:
    return {name: attribute.title for name, attribute in load_attributes().items()}


def _standing_alone(drawn: str) -> str:
    """A view's SVG as a file of its own: namespace, size, white ground, the fallbacks in place of theme variables."""
    while (plain := re.sub(r"var\(--[\w-]+,([^()]*)\)", r"\1", drawn)) != drawn:
        drawn = plain
    found = re.match(r'<svg ([^>]*)viewBox="0 0 (\d+) (\d+)" width="100%"([^>]*)>', drawn)
    assert found, "a view's SVG begins as views.markup.svg writes it"
    before, width, height, after = found.groups()
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {before}viewBox="-12 -8 {int(width) + 24} {int(height) + 16}"'
    after = after.replace(f'height="{height}"', f'height="{int(height) + 16}"')
    ground = f'<rect x="-12" y="-8" width="{int(width) + 24}" height="{int(height) + 16}" fill="#fff"/>'
    return f'{head} width="{int(width) + 24}"{after}>{ground}{drawn[found.end() :]}\n'


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the probes (or read their findings) and draw."""
    parser = argparse.ArgumentParser(
        description="Draw the pictures of the methods page from findings on the sample cohort."
    )
    parser.add_argument(
        "--findings", type=Path, metavar="DIR", help="keep the findings here; those that are here are not run again"
    )
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="DIR", help="where to draw (notebooks/pictures)")
    given = parser.parse_args(arguments)
    draw_pictures(given.out, sample_findings(given.findings))
    print(f"Wrote {len(_DRAWN)} pictures to {given.out}.")


if __name__ == "__main__":
    main()
