"""How often a person's own record is found by what the attacker holds: members against people never seen, and a code search."""

from __future__ import annotations

import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.markup import escape, icon, interval, plural
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.neighbours.ask import CONTINUED, FACTS, way_words
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict

FIGURES = (("hit@1", "The nearest"), ("hit@5", "Among 5 nearest"), ("hit@10", "Among 10 nearest"), ("median_rank", "Median place"))  # fmt: skip
_ROWS = tuple(
    (model, way, prefix, group, f"{who}, {how}")
    for model, way, prefix, how in (
        ("audited", CONTINUED, "", "by the audited model's continuations"),
        ("audited", FACTS, "", "by the audited model, facts alone"),
        ("reference", CONTINUED, "", "by the reference model's continuations"),
        ("reference", FACTS, "", "by the reference model, facts alone"),
        ("", FACTS, "code_", "by a plain code search"),
    )
    for group, who in ((MEMBER, "Trained on"), (NON_MEMBER, "Never seen"))
)


def neighbours_cohort(found: Finding | None) -> str:
    """The verdict of each knowledge level, then a table with every share and median, its 95 % interval and n; and who was left out."""
    if found is None:
        return '<p class="ehrmem-note">Nobody else has been asked about yet.</p>'
    rows = found.about("figures")
    knowledge_levels = list(dict.fromkeys(rows["knowledge"])) if len(rows) else []
    if not knowledge_levels or not len(rows[rows["figure"] == "hit@10"]):
        said = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.sentences)
        return f"<ul>{said}</ul>"
    verdicts = "".join(_verdict(rows, knowledge) for knowledge in knowledge_levels)
    heads = ("Who, and searched how", "n", *(name for _, name in FIGURES))
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(_knowledge(rows, knowledge) for knowledge in knowledge_levels)
    out = "; ".join(f"{plural(n, 'time')} {escape(reason)}" for reason, n in found.exclusions.items())
    searched = int(found.settings.get("searched", 0))
    return (
        f'<ul style="list-style:none;padding:0;margin:6px 0">{verdicts}</ul>'
        f"<table><thead><tr>{head}</tr></thead>{body}</table>"
        f'<p class="ehrmem-note">Shares are of the people asked about, with 95 % intervals (Wilson; the median\'s by '
        f"bootstrap over people) among n; a place is among {searched:,} records. The verdicts compare people trained on "
        f"with people never seen, and are corrected for the number of rows of knowledge and the two ways to search (Holm)."
        f"{f' Left out: {out}.' if out else ''}</p>"
    )


def _verdict(rows: pd.DataFrame, knowledge: str) -> str:
    made = rows[
        (rows["figure"] == "hit@10_difference") & (rows["knowledge"] == knowledge) & (rows["model"] == "audited")
    ]
    made = made[made["group"] == "all"]
    if made.empty:
        return f"<li><b>{escape(knowledge_words(knowledge))}</b>: nobody could be asked at this knowledge level.</li>"
    return "".join(
        f"<li>{icon(Verdict(one['verdict']) if one['verdict'] else None, 16)} <b>{escape(knowledge_words(knowledge) + way_words(one['attribute']))}: "
        f"{escape(one['verdict'])}</b>. {escape(_capital(str(one['note'])))}</li>"
        for one in made.to_dict("records")
    )


def _knowledge(rows: pd.DataFrame, knowledge: str) -> str:
    here = rows[rows["knowledge"] == knowledge]
    lines = []
    for model, way, prefix, group, words in _ROWS:
        some = here[(here["model"] == model) & (here["attribute"] == way) & (here["group"] == group)]
        cells = [some[some["figure"] == f"{prefix}{figure}"] for figure, _ in FIGURES]
        if all(cell.empty for cell in cells):
            continue
        shown = "".join(
            f"<td>{escape(_figure(cell, figure))}</td>" for cell, (figure, _) in zip(cells, FIGURES, strict=True)
        )
        n = next(int(cell.iloc[0]["n"]) for cell in cells if not cell.empty)
        lines.append(f"<td>{escape(words)}</td><td>{n:,}</td>{shown}</tr>")
    if not lines:
        return ""
    head = f'<tr><th scope="rowgroup" colspan="{len(FIGURES) + 2}">{escape(knowledge_words(knowledge))}</th></tr>'
    return f'<tbody style="white-space:nowrap">{head}{"".join(f"<tr>{line}" for line in lines)}</tbody>'


def _figure(cell: pd.DataFrame, figure: str) -> str:
    if cell.empty:
        return "—"
    one = cell.iloc[0]
    if figure == "median_rank":
        return f"{one['value']:,.0f} ({one['low']:,.0f} to {one['high']:,.0f})"
    return interval(Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"])), n=False)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
