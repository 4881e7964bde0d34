"""T1 in one paragraph: how near the generated continuations come to what really followed."""

from __future__ import annotations

from ehrmem_widgets.charts.markup import escape, interval, known
from ehrmem_widgets.probes.findings import ReconstructionFinding
from ehrmem_widgets.statistics.intervals import Estimate


def reconstruction_sentence(finding: ReconstructionFinding | None) -> str:
    """The distances to what really followed and the rare codes that came back, by both models; a place holder before."""
    if finding is None:
        words = ["Not yet compared with what really followed, or nothing follows the last known event."]
    else:
        words = [
            "How near the continuations come to what really followed (reconstruction, T1; 0: the same, 1: nothing alike): "
            f"{_both(finding.distance, finding.reference_distance)}."
        ]
        if finding.rare is not None:
            words.append(
                f"Of the rare codes that followed, the share that came back: {_both(finding.rare, finding.reference_rare)}."
            )
        words.append(
            f"The published distance (dEMD), blind to shifts in time where codes agree: "
            f"{_both(finding.demd, finding.reference_demd)}."
        )
    return f'<div class="ehrmem-small" style="min-height:56px" role="note">{escape(" ".join(words))}</div>'


def _both(audited: Estimate, reference: Estimate | None) -> str:
    said = f"audited model {interval(audited)}"
    return f"{said}; reference model {interval(reference)}" if known(reference) else said
