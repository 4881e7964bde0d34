"""Notebook 03: can those whom the model was trained on be told from those whom it never saw? (T4)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import ipywidgets as widgets

from ehrmem_widgets import settings
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import percent
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.membership.judge import CONTROL
from ehrmem_widgets.probes.membership.page import membership_bar, membership_page
from ehrmem_widgets.probes.membership.scores import LIRA, RATIO, SAMIA, SCORES
from ehrmem_widgets.probes.membership.slices import GROUPS, MembershipSlice, MembershipSlices
from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
from ehrmem_widgets.probes.people import ALL, CANARIES, CANARY, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.registry import alternatives_for
from ehrmem_widgets.settings import check_screen, shown
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.widgets.probe_screen import ProbeScreen
from ehrmem_widgets.widgets.share_dial import ShareDial

FPRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PRIORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.99)
GROUP_WORDS = {"ordinary": "Ordinary patients", "canaries": "Planted canaries (a check of the method)"}
_ALTERNATIVES = 63  # to each canary: exposure up to 6 bits, in seconds


@dataclass(frozen=True)
class MembershipState:
    """What is chosen: a score of ``SCORES``, the tolerated share of false alarms, the prior share of members, a group of
    ``GROUPS``; how the curve is drawn; whom it is about."""

    score: str
    fpr: float
    prior: float
    group: str
    log_scale: bool
    patients: int
    seed: int

    def __post_init__(self) -> None:
        check_screen(fpr=self.fpr, prior=self.prior, patients=self.patients, seed=self.seed)


@dataclass(frozen=True)
class MembershipShown:
    """The slice of the finding at a state, and the canaries' exposure once it is there."""

    slice: MembershipSlice
    exposure: tuple[str, ...] | None
    complete: bool


class ExploreMembership(ProbeScreen[MembershipState, MembershipShown]):
    """Membership inference over a cohort; the scores are computed once, the controls cut them anew.

    Options: ``score`` (of ``SCORES``; empty: the first that there is), ``shadow`` (folder of shadow models), ``fpr`` (tolerated share of false alarms),
    ``prior`` (share of members among those asked about), ``group`` (of ``GROUPS``), ``log_scale``, ``patients`` (how many
    ordinary patients, half of them members), ``seed``.
    """

    title = "Membership: who was in the training data?"

    def first_state(  # type: ignore[override]  # the options by name
        self,
        *,
        score: str = "",
        shadow: str = "",
        fpr: float = 0.02,
        prior: float = 0.1,
        group: str = "ordinary",
        log_scale: bool = True,
        patients: int = 400,
        seed: int = 0,
    ) -> MembershipState:
        """The state to begin with; what does not fit is an BadInput with the values that do."""
        self._slices: MembershipSlices | None = None
        self._exposure: tuple[str, ...] | None = None
        self._people: People | None = None
        self.shadow = shadow or None
        self.offered = self._offered()
        planted = bool(canary_repetitions(self.dataset))
        self.groups = tuple(name for name in GROUPS if name == "ordinary" or planted)
        score = score or self.offered[0]
        if score not in self.offered:
            more = "" if self.reference else " (Ratio needs a reference model)"
            more += " (LiRA needs shadow models)" if score == LIRA else ""
            raise BadInput(f"The score must be one of {', '.join(self.offered)}{more}; got {shown(score)}.")
        if group not in self.groups:
            more = "" if planted else " (this data set has no planted canaries)"
            raise BadInput(f"The group must be one of {', '.join(self.groups)}{more}; got {shown(group)}.")
        return MembershipState(score, fpr, prior, group, bool(log_scale), patients, seed)

    def _offered(self) -> tuple[str, ...]:
        if Query.SCORES not in self.model.answers:
            return (SAMIA,)
        lacking = {SAMIA} | ({RATIO} if self.reference is None else set()) | (set() if self.shadow else {LIRA})
        return tuple(name for name in SCORES if name not in lacking)

    def answers(self, state: MembershipState) -> Iterator[MembershipShown | None]:
        """The slice at a state; for canaries then their exposure too, measured when first asked for."""
        slices = self._slices or self._measure(state)
        cut = slices.at(score=state.score, group=state.group, fpr=state.fpr, prior=state.prior)
        if state.group != "canaries" or self._exposure is not None:
            yield MembershipShown(cut, self._exposure if state.group == "canaries" else None, complete=True)
            return
        yield MembershipShown(cut, None, complete=False)
        self._exposure = self._measure_exposure(state)
        yield MembershipShown(cut, self._exposure, complete=True)

    def settled(self, answer: MembershipShown) -> bool:
        """Whether an answer is the last one to its state."""
        return answer.complete

    def bar(self, state: MembershipState, answer: MembershipShown) -> str:
        """The verdict, and how many are found."""
        return membership_bar(answer.slice)

    def view(self, state: MembershipState, answer: MembershipShown) -> str:
        """The curve, all scores, the parts, and what speaks for or against them."""
        assert self._slices is not None
        found, free = self._slices.found, self._slices.confounding
        canaries = state.group == "canaries"
        exposure = answer.exposure or ()
        if canaries and not answer.complete:
            exposure = ("Their exposure is being measured ...",)
        return membership_page(
            answer.slice, log_scale=state.log_scale, confounding=free.said("", CANARIES if canaries else ALL) if free else (), exposure=exposure,
            controls=found.said(CONTROL), exclusions=found.exclusions,
        )  # fmt: skip

    def controls(self) -> Sequence[widgets.Widget]:
        """Score, tolerated false alarms, prior, group, and how the curve is drawn."""
        state, full = self.state, {"width": "calc(100% - 6px)"}
        named = {"description_width": "60px"}
        score = widgets.Dropdown(options=self.offered, value=state.score, description="Score", layout=full, style=named)
        group = widgets.Dropdown(
            options=[(GROUP_WORDS[name], name) for name in self.groups], value=state.group, description="People",
            layout=full, style=named,
        )  # fmt: skip
        log_scale = widgets.Checkbox(
            value=state.log_scale, description="Enlarge small shares of false alarms", indent=False, layout=full
        )
        self.fpr = ShareDial(
            "False alarms that are tolerated",
            "False alarms",
            state.fpr,
            settings.FPR,
            steps=FPRS,
            words=_of_fpr,
            changed=self._hand_on("fpr"),
        )
        self.prior = ShareDial(
            "How likely is membership before any model is asked?", "Members before", state.prior, settings.PRIOR, steps=PRIORS, words=_of_prior,
            changed=self._hand_on("prior"),
        )  # fmt: skip
        for name, control in (("score", score), ("group", group), ("log_scale", log_scale)):
            control.observe(lambda change, name=name: self._hand_on(name)(change["new"]), "value")
        self.score, self.group, self.log_scale = score, group, log_scale
        self.mark_last_valid(self.fpr.number, self.prior.number)
        return [widgets.HTML(_STYLE), score, group, self.fpr.box, self.prior.box, log_scale]

    def numbers(self, state: MembershipState, answer: MembershipShown) -> dict[str, object]:
        """The slice and the canaries' exposure as plain data."""
        assert self._slices is not None
        cut, free = answer.slice, self._slices.confounding
        return {
            "settings": asdict(state),
            "people": self._people.counts() if self._people else {},
            "verdict": str(cut.judgement.verdict),
            "sentence": cut.judgement.sentence,
            "scores": [
                {"name": one.name, **{k: plain(getattr(one, k)) for k in ("auroc", "tpr", "ppv")}} for one in cut.scores
            ],
            "parts": [
                {
                    "part": part.name,
                    "auroc": plain(part.auroc),
                    "p_adjusted": finite(part.p_adjusted),
                    "note": part.note,
                }
                for part in cut.parts
            ],
            "non_members_needed": cut.needed,
            "confounding": list(free.sentences) if free else [],
            "sentences": list(self._slices.found.sentences),
            "exposure": list(answer.exposure) if answer.exposure else None,
            "exclusions": self._slices.found.exclusions,
        }

    def _measure(self, state: MembershipState) -> MembershipSlices:
        people = choose_people(self.dataset, self.model, self.reference, most=state.patients, seed=state.seed)
        people = without_near_duplicates(people, self.dataset, self.model, self.reference, seed=state.seed)
        asked = len(people.records)
        self.progress(Progress("comparing members with people never seen, without the model", 0, asked))
        free = run("confounding", self.dataset, self.model, self.reference, people=people, seed=state.seed)
        found = run(
            "membership", self.dataset, self.model, self.reference, people=people, seed=state.seed,
            earlier={"confounding": free}, progress=self.progress, shadow=self.shadow,
        )  # fmt: skip
        self._people, self._slices = people, MembershipSlices(found, free)
        return self._slices

    def _measure_exposure(self, state: MembershipState) -> tuple[str, ...] | None:
        alternatives_of = alternatives_for(self.dataset)
        assert self._people is not None
        if alternatives_of is None or not self._people.of(CANARY, NULL_CANARY):
            return None
        try:
            found = run(
                "exposure", self.dataset, self.model, self.reference, alternatives_of=alternatives_of, people=self._people,
                alternatives=_ALTERNATIVES, seed=state.seed, progress=self.progress,
            )  # fmt: skip
        except CannotAnswer as error:
            return (str(error),)
        return found.sentences

    def _hand_on(self, name: str) -> Callable[[object], None]:
        return lambda value: self.guarded(lambda: self.set(**{name: value}))


def plain(estimate: Estimate) -> dict[str, float | None] | None:
    """An estimate for JSON; None where there is no figure, and for a bound that is not finite."""
    if not math.isfinite(estimate.value):
        return None
    return {name: finite(value) for name, value in asdict(estimate).items()}


def finite(value: float) -> float | None:
    """A number for JSON; None where it is not finite."""
    return value if math.isfinite(value) else None


def _of_fpr(share: float) -> str:
    return f"{percent(share)}: of 1,000 people never in the training data, {1000 * share:g} are wrongly called members."


def _of_prior(share: float) -> str:
    return f"{percent(share)}: of 1,000 people whom an attacker might ask about, {1000 * share:g} are in the training data."


_STYLE = """<style>
.ehrmem-control { font-size: 13px; font-weight: 600; color: var(--jp-ui-font-color1, #111); line-height: 1.4; }
.ehrmem-words { font-size: 12px; line-height: 1.4; color: var(--jp-ui-font-color1, #111); }
</style>"""
