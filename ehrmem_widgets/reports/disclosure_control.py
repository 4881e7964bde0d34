"""The one gate between an audit's findings and its report: figures about the cohort, with small counts withheld.

Patients' rows, the probes' own sentences and settings that name patients do not pass. Of the cohort's rows only the figures
listed in ``FIGURES`` pass, each by its rule; a figure that rests on 1 to 10 people, or that would let such a count be
computed, loses its value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ehrmem_widgets.findings.finding import Finding, estimate_of, finding, judgement_of, told
from ehrmem_widgets.probes.attribute import ALL, FEWEST_HOLDERS
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    as_shown,
    coarse_share,
    is_small,
    rounded_n,
    shown_judgement,
)
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate

SETTINGS = (
    "rungs", "rung", "ladder", "attributes", "without_code", "samples", "horizon", "temperature", "top_p", "threshold", "priors", "folds",
    "searched", "identifiers", "embedding", "k", "gamma", "seed", "population",
)  # fmt: skip
_SIDES = {"all": (MEMBER, NON_MEMBER), "canaries": (CANARY, NULL_CANARY)}
Row = Mapping[str, Any]
Rule = Callable[[Row, "_Table"], Estimate]
"""A row and the whole table: the estimate as it may be shown."""


def disclosed(probe: str, found: Finding, people: Mapping[str, int]) -> Finding:
    """A finding of ``probe`` as a report may show it. ``people``: how many of each group were asked about.

    The rows are about the cohort; where a value is nan and the bounds are numbers, the bounds are those of all counts that are
    withheld in the same way. ``n`` is rounded down to tens.
    """
    table = _Table(found, people)
    rows = []
    for one in found.figures.to_dict("records"):
        rule = next((rule for name, rule in FIGURES[probe] if re.fullmatch(name, one["figure"])), None)
        if rule is None:
            continue
        shown = rule(one, table)
        numbers = {"value": shown.value, "low": shown.low, "high": shown.high, "n": shown.n}
        tested = (
            {} if math.isfinite(shown.value) else {"p": math.nan, "p_adjusted": math.nan}
        )  # a p tells of counts too
        judgement = judgement_of(one)
        said = told(judgement and shown_judgement(judgement, estimate_of(one), shown))
        where = {name: one[name] for name in ("figure", "group", "model", "attribute", "rung", "p", "p_adjusted")}
        rows.append({"table": "figures", **where, **numbers, **tested, **said})
    settings = {name: found.settings[name] for name in SETTINGS if name in found.settings}
    return finding(found.probe, rows, settings, ())


class _Table:
    """The cohort's rows, to look up what a figure rests on."""

    def __init__(self, found: Finding, people: Mapping[str, int]) -> None:
        self.people = people
        self._n = {
            (r["figure"], r["group"], r["attribute"], r["rung"], r["model"]): (int(r["n"]), float(r["value"]))
            for r in found.figures.to_dict("records")
        }

    def at(self, one: Row, figure: str, **other: str) -> tuple[int, float]:
        """n and value of another figure of the same group, attribute, rung and model, or of those given."""
        where = {name: str(one[name]) for name in ("group", "attribute", "rung", "model")} | other
        key = (figure, where["group"], where["attribute"], where["rung"], where["model"])
        return self._n.get(key, (0, math.nan))

    def holders(self, one: Row, attribute: str) -> tuple[int, int]:
        """Who holds an attribute in the row's group at its rung, and who does not."""
        n, share = self.at(one, "prevalence", attribute=attribute, model="")
        held = round(n * share) if n else 0
        return held, n - held

    @property
    def attributes(self) -> list[str]:
        """All attributes with a prevalence."""
        return sorted({attribute for figure, _, attribute, _, _ in self._n if figure == "prevalence"})


def sides(group: str) -> tuple[str, ...]:
    """The groups that a contrast compares.

    >>> sides("all"), sides("canary x16 - canary never trained")
    (('member', 'non-member'), ('canary x16', 'canary never trained'))
    """
    return _SIDES.get(group) or tuple(group.split(" - "))


# Rules ----------------------------------------------------------------------------------------------------------------


def _shown(one: Row) -> Estimate:
    return as_shown(estimate_of(one))


def _if(condition: bool, one: Row) -> Estimate:
    return _shown(one) if condition else NOTHING


def _mean(one: Row, table: _Table) -> Estimate:
    return _if(one["n"] >= FEWEST, one)


def _share(one: Row, table: _Table) -> Estimate:
    return coarse_share(estimate_of(one))


def _of_codes(one: Row, table: _Table) -> Estimate:
    """A number of codes, not of people."""
    return estimate_of(one)


def _asked(one: Row, table: _Table) -> Estimate:
    """A comparison of groups that were asked as a whole."""
    return _if(all(table.people.get(side, 0) >= FEWEST for side in sides(one["group"])), one)


def _between(suffix: str, of_a_side: str) -> Rule:
    """A difference of two groups' means: each is of 11 people at least. The sides' own figure has ``of_a_side`` for ``suffix``."""

    def rule(one: Row, table: _Table) -> Estimate:
        figure = str(one["figure"]).replace(suffix, of_a_side)
        return _if(all(table.at(one, figure, group=side)[0] >= FEWEST for side in sides(one["group"])), one)

    return rule


def _between_shares(*of: tuple[str, str | None]) -> Rule:
    """A difference of shares: none of them is withheld, or it would follow from this and the other. ``of``: figure, with {} for
    the row's number, and model (None: the row's own)."""

    def rule(one: Row, table: _Table) -> Estimate:
        number = re.findall(r"\d+", one["figure"])[0]
        exact, coarse = [], []
        for group in sides(one["group"]):
            for figure, model in of:
                n, share = table.at(
                    one, figure.format(number), group=group, model=one["model"] if model is None else model
                )
                shown = coarse_share(Estimate(share, 0.0, 1.0, n)) if n else NOTHING
                if not math.isfinite(shown.value):
                    return NOTHING
                exact.append(share)
                coarse.append(shown.value)
        # Moved by as much as the shares are by being rounded: an exact difference would tell them.
        off = sum(sign * (c - e) for sign, c, e in zip(_signs(len(exact)), coarse, exact, strict=True))
        value, low, high = (float(one[name]) + off for name in ("value", "low", "high"))
        return as_shown(Estimate(value, low, high, int(one["n"])))

    return rule


def _signs(shares: int) -> tuple[int, ...]:
    """Of the shares in a difference, or in a difference of differences, first by group and then by what is compared."""
    return (1, -1) if shares <= 2 else (1, -1, -1, 1)


def _of_holders(one: Row, table: _Table) -> Estimate:
    """A figure that tells holders of an attribute from others; the mean over all attributes only where no single one that is
    withheld would follow from it."""
    if one["attribute"] != ALL:
        return _if(min(table.holders(one, one["attribute"])) >= FEWEST, one)
    smallest = [min(table.holders(one, name)) for name in table.attributes]
    used = [n for n in smallest if n >= FEWEST_HOLDERS]
    return _if(bool(used) and max(used) >= FEWEST and sum(n < FEWEST for n in used) != 1, one)


def _share_of_holders(one: Row, table: _Table) -> Estimate:
    return coarse_share(estimate_of(one)) if min(table.holders(one, one["attribute"])) >= FEWEST else NOTHING


def _of_readers(one: Row, table: _Table) -> Estimate:
    """A figure of the embedding probe about one attribute, or about all together."""
    if one["attribute"]:
        n, held = table.at(one, "holders", group="", rung="", model="")
        tested = not str(one["figure"]).startswith("excess") or math.isfinite(one["p"]) or one["model"] != "audited"
        if min(held, n - held) < FEWEST or not tested:
            return NOTHING
    return _asked(one, table) if one["group"] in _SIDES else _if(one["n"] >= FEWEST, one)


def _found_members(one: Row, table: _Table) -> Estimate:
    """The share of members that an attack finds; its interval holds the uncertainty of the threshold, and stays as wide, in tenths."""
    members = table.people.get(MEMBER, 0)
    found = round(float(one["value"]) * members) if math.isfinite(one["value"]) else 0
    if min(members, table.people.get(NON_MEMBER, 0)) < FEWEST or not math.isfinite(one["value"]):
        return NOTHING
    if is_small(found) or is_small(members - found):
        low, high = math.floor(10 * one["low"]) / 10, math.ceil(10 * one["high"]) / 10
        share = coarse_share(Estimate(found / members, 0.0, 1.0, members))
        return Estimate(math.nan, min(low, share.low), max(high, share.high), rounded_n(int(one["n"])))
    return _shown(one)


def _called_members(one: Row, table: _Table) -> Estimate:
    """P(member | called one) follows from the share found: where that is withheld, so is this, but for its tenths."""
    found = _found_members({**one, "value": table.at(one, "tpr_at_fpr_0.01")[1], "low": 0.0, "high": 1.0}, table)
    if math.isfinite(found.value):
        return _shown(one)
    if not math.isfinite(found.low) or not math.isfinite(one["low"]):
        return NOTHING
    n = rounded_n(int(one["n"]))
    return Estimate(math.nan, math.floor(10 * one["low"]) / 10, math.ceil(10 * one["high"]) / 10, n)


def _given_away(one: Row, table: _Table) -> Estimate:
    """Of members only the table of attacks tells how many are given away: it withholds that number where its cells would follow."""
    return NOTHING if one["group"] == MEMBER else _share(one, table)


def _hidden(one: Row, table: _Table) -> Estimate:
    """A difference that would tell what is withheld elsewhere; its verdict stands."""
    return NOTHING


def _of_canaries(one: Row, table: _Table) -> Estimate:
    sides_ = (one["group"], NULL_CANARY)
    return _if(all(table.at(one, "mean_exposure", group=side, attribute="")[0] >= FEWEST for side in sides_), one)


FIGURES: Mapping[str, Sequence[tuple[str, Rule]]] = {
    "reconstruction": (
        (".*_gap", _between("_gap", "_excess")),
        ("demd|timed_distance|rare_overlap_.|routine_share|.*_excess|.*_fall", _mean),
    ),
    "attribute": (
        ("prevalence", _share),
        ("auroc|average_precision|auroc_gain", _of_holders),
        ("recall", _share_of_holders),
        ("precision", _share_of_holders),
        ("excess_risk", _mean),
        ("excess_gap", _between("excess_gap", "excess_risk")),
    ),
    "embedding": (("(bag_|shuffled_)?auroc_.*|gain_.*|excess_gain_.*|excess_beyond_reference_.*", _of_readers),
                  ("embeddings", _of_codes)),
    "neighbours": (
        (r"(code_)?hit@\d+", _share),
        ("(code_)?median_rank", _mean),
        (r"hit@\d+_difference", _between_shares(("hit@{}", None))),
        (r"hit@\d+_beyond_reference", _between_shares(("hit@{}", "audited"), ("hit@{}", "reference"))),
        (r"hit@\d+_over_codes", _between_shares(("hit@{}", "audited"), ("code_hit@{}", ""))),
        ("embeddings", _of_codes),
    ),
    "membership": (
        ("auroc", _asked),
        (r"tpr_at_fpr_.*", _found_members),
        (r"ppv_at_prior_.*", _called_members),
        ("auroc_by_kind|auroc_by_quarter", _mean),
        ("mean_exposure|median_queries_.*", _mean),
        ("auroc_exposure", _of_canaries),
    ),
    "perturbation": (
        ("spike:.*", _mean),
        ("gap:.*", _between("gap:", "spike:")),
        ("stands_out|stands_out_screening", _share),
    ),
    "subgroups": (("(mean|gap|difference|screening):.*", _mean),),  # small cells are withheld by the probe already
    "ranking": (("given_away", _given_away), ("given_away_gap", _hidden)),
    "preflight": (
        ("model_free_auroc|difference_.*", _asked),
        ("association_site", _mean),
        ("codes_that_differ", _of_codes),
        ("duplicates|near_duplicates|near_duplicates_across", _share),
    ),
}  # fmt: skip
"""By probe: the figures that a report may show, as patterns of their names, and the rule of each."""
