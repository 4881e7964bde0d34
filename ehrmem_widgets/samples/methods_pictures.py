"""The pictures of the methods page (notebooks/methods.md), one a test, drawn from findings on the sample cohort.

``python -m ehrmem_widgets.samples.methods_pictures`` runs every probe on the samples and draws them anew;
``--findings DIR`` keeps the findings in a folder, and takes from there what an earlier run (or ``ehrmem probe``) left.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.bundled import bundled
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.registry import alternatives_for, probes
from ehrmem_widgets.terminal import say

PICTURES = bundled("notebooks") / "pictures"


def draw_pictures(out: Path, findings: Mapping[str, Finding]) -> None:
    """Draw into the folder ``out`` one SVG for each finding, by the probe's name. Each file stands alone: its own size, a white ground, no theme."""
    out.mkdir(parents=True, exist_ok=True)
    for name, probe in probes().items():
        if name in findings and (drawn := probe.view_type.method_picture(findings)):
            (out / f"{name}.svg").write_text(_standing_alone(drawn), encoding="utf-8")


def sample_findings(kept: Path | None = None) -> dict[str, Finding]:
    """Every probe on the sample cohort and the memorizing sample model (about 25 minutes on two cores). With a folder
    ``kept``, what lies there is read instead of run, and what is run is written there."""
    found: dict[str, Finding] = {}
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        found = {name: Finding.load(file) for name in probes() if (file := kept / name).exists()}
    if len(found) == len(probes()):
        return found
    from ehrmem_widgets.audit.run import in_order
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.probes.people import choose_people
    from ehrmem_widgets.probes.run import run
    from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference

    dataset, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference)
    for name in (name for level in in_order(list(probes())) for name in level):
        if name not in found:
            say(f"Running {name} ...")
            try:
                found[name] = run(
                    name,
                    dataset,
                    model,
                    reference,
                    people=people,
                    earlier=found,
                    alternatives_of=alternatives_for(dataset),
                )
            except CannotAnswer as error:  # the canaries of the samples were planted by no coin
                say(str(error))
                found[name] = _with_coins(reference)
            if kept is not None:
                found[name].save(kept / name)
    return found


def _with_coins(reference: BlackBox) -> Finding:
    """The privacy loss of a model that hides nobody, beside what a private one would claim."""
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.probes.run import run
    from ehrmem_widgets.samples.build import PRIVATE_EPSILON, not_private_with_coins, with_coins
    from ehrmem_widgets.samples.folders import sample_data

    with TemporaryDirectory() as folder:
        dataset = with_coins(sample_data(), Path(folder) / "planted")
        not_private_with_coins(dataset, Path(folder) / "model")
        model = FolderModel(Path(folder) / "model")
        return run("one_run", dataset, model, reference, claimed_epsilon=PRIVATE_EPSILON, claimed_delta=1e-5)


def _standing_alone(drawn: str) -> str:
    """A view's SVG as a file of its own: namespace, size, white ground, the fallbacks in place of theme variables."""
    while (plain := re.sub(r"var\(--[\w-]+,([^()]*)\)", r"\1", drawn)) != drawn:
        drawn = plain
    found = re.match(r'<svg ([^>]*)viewBox="0 0 (\d+) (\d+)" width="100%"([^>]*)>', drawn)
    assert found, "a view's SVG begins as charts.markup.svg writes it"
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
    say(f"Wrote the pictures to {given.out}.")


if __name__ == "__main__":
    main()
