"""The risk matrix: measured likelihood against declared severity, side by side and never blended into one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrmem_widgets.charts.markup import escape, interval, known
from ehrmem_widgets.charts.table import Markup, figure, table
from ehrmem_widgets.statistics.intervals import Estimate, difference
from ehrmem_widgets.statistics.verdicts import LEAK_MARGIN

BANDS: Sequence[tuple[float, str]] = (
    (LEAK_MARGIN, "under 1 in 20"),
    (0.25, "1 in 20 to 1 in 4"),
    (0.5, "1 in 4 to 1 in 2"),
    (1.01, "1 in 2 or more"),
)
"""The bands of likelihood: where each ends (not included), and its name."""

SEVERITIES = {5: "5, most severe", 4: "4", 3: "3", 2: "2", 1: "1, least"}
NOT_MEASURED = "could not be measured"
NO_MEMORY, DAGGER = "not shown to be memory", "†"
NOT_ONE_SCORE = (
    f"{DAGGER} {NO_MEMORY}: not clearly above that of people never seen. Likelihood: mean excess (without a reference model: leak "
    "probability) over the members who have it, measured. Severity: declared by people. The two are not made into one score. What could not be measured is not thereby unlikely."
)
HOW_TO_READ = (
    "Likelihood is measured: how much more often the model names the attribute, for people it was trained on who have "
    "it, than a model "
    "that never saw them (mean, 95 % interval, n); without a reference model, how often it names it at all, of which a part is general "
    f"knowledge. {DAGGER} {NO_MEMORY}: the same for people whom neither model saw is as high, or not clearly "
    "lower (95 % interval of the difference, each attribute by itself), or was not measured. Severity is declared by people. They are "
    "not multiplied and no "
    "cell has a colour: that "
    "would be one score. An arrow: the interval reaches into the next band. What could not be measured is not thereby "
    "unlikely."
)


NO_CODE = "the model has no code of it"


@dataclass(frozen=True)
class Likelihood:
    """How likely one sensitive attribute leaks when the attacker knows what ``knowledge`` says.

    ``excess``: the mean, over the members who hold it, of the leak probability beyond the reference model's (without one: of the leak
    probability itself; None: not measured, ``why`` says why); ``never_seen``: the same of people whom no model saw; ``memorized``: the share of these members whose
    verdict is "memorized".
    """

    attribute: str
    title: str
    knowledge: str
    excess: Estimate | None
    never_seen: Estimate | None = None
    memorized: Estimate | None = None
    why: str = ""

    @property
    def beyond_never_seen(self) -> bool:
        """Whether the excess is clearly above that of people never seen who hold it."""
        if self.excess is None or self.never_seen is None:
            return False
        return difference(self.excess, self.never_seen).low > 0


def risk_matrix(likelihoods: Sequence[Likelihood], severities: Mapping[str, int], *, knows: str) -> str:
    """An HTML table of one knowledge level: severities down, most severe first, bands of likelihood across. ``severities``: attribute to 1 to 5;
    ``knows``: what the attacker knows, in words."""
    heads = ("Severity", *(words for _, words in BANDS), NOT_MEASURED)

    def row(words: str, at: Sequence[Likelihood]) -> tuple[str, ...]:
        return (words, *(_cell([one for one in at if _place(one) == place]) for place in range(len(BANDS) + 1)))

    rows = [
        row(words, [one for one in likelihoods if severities.get(one.attribute) == severity])
        for severity, words in SEVERITIES.items()
    ]
    if undeclared := [one for one in likelihoods if one.attribute not in severities]:
        rows.append(row("not declared", undeclared))
    caption = f"Likelihood across, severity down. The attacker knows: {knows}."
    return table(heads, rows, caption=caption, name="ehrmem-matrix")


def _place(one: Likelihood) -> int:
    """The column: of the band that holds the value, or the last."""
    if one.excess is None or not known(one.excess):
        return len(BANDS)
    value = one.excess.value
    return next(place for place, (end, _) in enumerate(BANDS) if value < end)


def _cell(held: Sequence[Likelihood]) -> Markup:
    measured = [one for one in held if one.excess is not None and known(one.excess)]
    by_reason: dict[str, list[str]] = {}
    for one in held:
        if one not in measured:
            by_reason.setdefault(one.why or figure(one.excess), []).append(one.title)
    listed = "".join(
        f"<p><b>{escape('; '.join(titles))}</b><br/>{escape(why)}</p>" for why, titles in by_reason.items()
    )
    return Markup("".join(map(_chip, measured)) + listed)


def _chip(one: Likelihood) -> str:
    assert one.excess is not None
    reaches = [end for end, _ in BANDS if one.excess.value < end <= one.excess.high]
    arrow = ' <span role="img" aria-label="the interval reaches into the next band">&#8594;</span>' if reaches else ""
    doubt = "" if one.beyond_never_seen else f' <span role="img" aria-label="{NO_MEMORY}">{DAGGER}</span>'
    return f"<p><b>{escape(one.title)}</b>{doubt}{arrow} {escape(interval(one.excess))}</p>"
