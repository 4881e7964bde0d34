"""What happens to the leak, on average over people, when one identifier is moved off its true value (seaborn, for static pages)."""

from __future__ import annotations

import io
import re
import textwrap

import pandas as pd

from ehrmem_widgets.probes.perturbation.ask import IDENTIFIERS
from ehrmem_widgets.views.markup import BLUE, FONT, GREY, INK, PAPER, RULE, escape

AUDITED, NEVER_SEEN = "members", "people never seen"
_STYLE = {AUDITED: (BLUE, "-", "o"), NEVER_SEEN: (GREY, "--", "s")}


def moved_identifiers(curves: pd.DataFrame) -> str:
    """An SVG, one panel an identifier: the mean leak at each step off the truth, less each person's own median off it, with 95 %
    intervals. ``curves`` has one row per point: ``identifier``, ``who`` (``AUDITED`` or ``NEVER_SEEN``), ``step`` (0: the truth),
    ``value``, ``low``, ``high``, ``n`` (people).
    """
    import seaborn as sns
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if curves.empty:
        return "<p>No curve rests on enough people to be shown.</p>"
    identifiers = [name for name in IDENTIFIERS if name in set(curves["identifier"])]
    plain = rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "ehrmem"}
    )  # text stays text, and the same figure the same bytes
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85), plain:
        figure = Figure(figsize=(9.2, 2.9), layout="constrained")
        axes = figure.subplots(1, len(identifiers), sharey=True, squeeze=False)[0]
        for ax, identifier in zip(axes, identifiers, strict=True):
            for who, points in curves[curves["identifier"] == identifier].groupby("who", sort=False):
                colour, line, mark = _STYLE[str(who)]
                points = points.sort_values("step")
                sns.lineplot(
                    points,
                    x="step",
                    y="value",
                    ax=ax,
                    color=colour,
                    linestyle=line,
                    marker=mark,
                    label=str(who),
                    errorbar=None,
                )
                ax.fill_between(points["step"], points["low"], points["high"], color=colour, alpha=0.2, linewidth=0)
            ax.axvline(0, color="black", linewidth=0.8, linestyle=":")
            ax.set(
                title=textwrap.fill(IDENTIFIERS[identifier].removeprefix("the "), 24),
                xlabel="steps off the truth",
                ylabel="mean leak, less\nits own level off the truth",
            )
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.get_legend().remove()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
        sns.despine(figure)
        FigureCanvasSVG(figure)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _themed(out.getvalue(), _sentence(curves, identifiers))


def _themed(drawn: str, label: str) -> str:
    """Matplotlib's SVG as one element of a page: scalable, named, in the ink of the page's theme."""
    body = drawn[drawn.index("<svg") :]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL
    )  # its style would rule the whole page
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*", f"font-family: {FONT}", body)
    body = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg role="img" aria-label="{escape(label)}" viewBox="\1" '
        r'width="100%" '
                  f'style="display:block;color:{INK}">', body, count=1, flags=re.DOTALL)  # fmt: skip
    return (
        body.replace("#000000", "currentColor")
        .replace("#262626", "currentColor")
        .replace("#cccccc", RULE)
        .replace("#ffffff", PAPER)
    )


def _sentence(curves: pd.DataFrame, identifiers: list[str]) -> str:
    said = []
    for identifier in identifiers:
        for one in curves[(curves["identifier"] == identifier) & (curves["step"] == 0)].to_dict("records"):
            said.append(
                f"{IDENTIFIERS[identifier]}, {one['who']}: {one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f}, "
                f"n = {one['n']:,})"
            )
    return f"Mean leak at the true value, minus that at other values. {'; '.join(said)}."
