"""How cost grows with each thing that an audit's size is made of, each against the order that is expected of it. ``make growth``; ``--write`` puts the
figures, the picture and the worked example into docs/cost.md.

Every curve is measured at sizes 1, 2, 4 ... times its smallest, with one thread, and its exponent is the slope of log seconds over log size: processor seconds, which
other processes change little, but for workers. What is expected was fixed before any figure was seen.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import numpy as np
import yaml
from scipy import stats

from ehrmem_widgets.audit.run import one_thread_each
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.charts.markup import duration
from ehrmem_widgets.cohort import dataset as datasets
from ehrmem_widgets.cohort.fingerprints import read_anew
from ehrmem_widgets.samples.folders import sample_model, sample_reference
from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
from ehrmem_widgets.statistics.intervals import Estimate
from tests.benchmarks.audit import audit
from tests.benchmarks.hf import opened, our_stream
from tests.benchmarks.hospital import make_hospital
from tests.benchmarks.lines import Lines, on_this_machine, put_between

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- figures: written by make growth -->", "<!-- end of figures -->"
ROUNDS = 5
COHORT, FEW, PEOPLE = 2000, 20, 400  # patients of the synthetic data sets, people asked about
BATCH = 20  # people whom one worker asks about at a time
START = 2  # people of the audit whose time is taken for the start
READ, EVENTS = 25_000, 100  # patients and events a patient, where data are read
PROMPT, HORIZON, SAMPLES, CODES, WIDTH, LAYERS = 32, 32, 16, 2000, 256, 6

Points = Mapping[int, float]
"""Seconds by size."""


@dataclass(frozen=True)
class Curve:
    """``measure``: seconds at these sizes, in an empty folder; the sizes are ``smallest`` times each of ``times``; ``expected``: between what its exponent
    should lie."""

    title: str
    smallest: int
    times: Sequence[int]
    expected: tuple[float, float]
    measure: Callable[[Path, Sequence[int]], Points]

    def points(self, folder: Path, divide: int = 1) -> Points:
        """What was measured, at sizes that are smaller by ``divide`` where they can be."""
        return self.measure(folder, [max(1, self.smallest // divide) * times for times in self.times])


def exponent(points: Points) -> Estimate:
    """The slope of log seconds over log size by least squares, with its 95 % interval (Student's t; of two points there is none)."""
    found = stats.linregress(np.log(list(points)), np.log(list(points.values())))
    half = found.stderr * stats.t.ppf(0.975, len(points) - 2) if len(points) > 2 else math.nan
    return Estimate(float(found.slope), found.slope - half, found.slope + half, len(points))


def people_audited(folder: Path, sizes: Sequence[int]) -> Points:
    """Of an audit, beyond its start: the processor's."""
    start = audit_of(folder, START, COHORT, 1).processor
    return {people: audit_of(folder, people, COHORT, 1).processor - start for people in sizes}


def workers_of_audit(folder: Path, sizes: Sequence[int]) -> Points:
    """Of the same audit by several processes, beyond the start of as many."""
    return {n: audit_of(folder, PEOPLE, COHORT, n).clock - audit_of(folder, START, COHORT, n).clock for n in sizes}


def patients_beside(folder: Path, sizes: Sequence[int]) -> Points:
    """Of a whole audit of the same number of people, in data sets of several sizes: the processor's."""
    return {patients: audit_of(folder, FEW, patients, 1).processor for patients in sizes}


class Took(NamedTuple):
    """Seconds by the clock, and of all cores together."""

    clock: float
    processor: float


@cache
def audit_of(folder: Path, people: int, patients: int, workers: int) -> Took:
    """One audit with two tests at two knowledge levels, in processes of its own: the sample models, people of a synthetic data set."""
    data = folder / f"cohort_{patients}"
    if not data.exists():
        split = {"members": patients * 2 // 5, "non_members": patients * 2 // 5, "reference": patients // 5}
        generate_cohort(data, **split, canaries=0, null_canaries=0, rare=0)
    plan = {
        "data": str(data), "model": str(sample_model()), "reference": str(sample_reference()), "patients": people, "holders": 0,
        "probes": ["membership", "attribute"], "knowledge_levels": ["one_lab", "first_20"],
    }  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock = audit(folder, f"{people}_of_{patients}_by_{workers}", "--workers", str(workers))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def patients_read(folder: Path, sizes: Sequence[int], *, again: bool = False) -> Points:
    """Of opening a data set of so many patients for the first time; ``again``: as every audit opens it, each byte read anew for its fingerprint."""
    return {patients: read(folder, patients, EVENTS)[again] for patients in sizes}


def events_read(folder: Path, sizes: Sequence[int]) -> Points:
    """Of opening a data set for the first time whose patients have so many events each."""
    return {events: read(folder, READ, events)[0] for events in sizes}


@cache
def read(folder: Path, patients: int, events: int) -> tuple[float, float]:
    """Processor seconds of the first and of a later opening. Small data sets are indexed, too, as large ones are."""
    with TemporaryDirectory(dir=folder) as place:
        data = Path(place) / "data_set"
        make_hospital(data, patients * events, shuffled=False, per_patient=events)
        own = {"EHRMEM_INDEX": f"{place}/index", "XDG_CACHE_HOME": f"{place}/cache"}
        with patch.object(datasets, "INDEX_FROM", 0), patch.dict(os.environ, own), read_anew():
            return opening(data), opening(data)


def opening(data: Path) -> float:
    """Processor seconds to the list of patients."""
    began = time.process_time()
    datasets.MedsDataset(data).ids()
    return time.process_time() - began


def events_scored(folder: Path, sizes: Sequence[int]) -> Points:
    """Of scoring 16 records, as T4 does."""
    model = untrained()
    acts = {n: partial(model.score, [[1 + (i + j) % 900 for i in range(n)] for j in range(16)]) for n in sizes}
    return in_turn(acts)


def events_prompted(folder: Path, sizes: Sequence[int]) -> Points:
    """Of continuing a prompt of so many codes."""
    return in_turn({n: asked(untrained(), prompt=n) for n in sizes})


def codes_of_vocabulary(folder: Path, sizes: Sequence[int]) -> Points:
    """Of continuing a prompt with models that know so many codes."""
    return in_turn({codes: asked(untrained(codes=codes)) for codes in sizes})


def codes_ahead(folder: Path, sizes: Sequence[int]) -> Points:
    """Of continuations of so many codes."""
    return in_turn({horizon: asked(untrained(), horizon=horizon) for horizon in sizes})


def samples_of_a_prompt(folder: Path, sizes: Sequence[int]) -> Points:
    """Of so many continuations."""
    return in_turn({samples: asked(untrained(), samples=samples) for samples in sizes})


def parameters(folder: Path, sizes: Sequence[int]) -> Points:
    """Of continuing a prompt with models of such widths; the points are at their numbers of parameters."""
    models = [untrained(width=width) for width in sizes]
    return in_turn({sum(one.numel() for one in model._model.parameters()): asked(model) for model in models})


def untrained(*, codes: int = CODES, width: int = WIDTH) -> FolderModel:
    """A GPT-2 of random weights, in which nothing ends."""
    import transformers

    config = transformers.GPT2Config(
        vocab_size=codes, hidden_size=width, num_hidden_layers=LAYERS, num_attention_heads=max(1, width // 32),
        max_position_embeddings=512, bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return opened(config, device="cpu")


def asked(
    model: FolderModel, *, prompt: int = PROMPT, horizon: int = HORIZON, samples: int = SAMPLES
) -> Callable[[], None]:
    """What continues one prompt."""
    return partial(our_stream, model, [[i % len(model.vocabulary)] for i in range(prompt)], horizon, samples)


def in_turn(acts: Mapping[int, Callable[[], object]]) -> Points:
    """The median processor seconds of each, all in turn, after a first time that does not count."""
    spent: dict[int, list[float]] = {size: [] for size in acts}
    for _ in range(ROUNDS + 1):
        for size, act in acts.items():
            began = time.process_time()
            act()
            spent[size].append(time.process_time() - began)
    return {size: statistics.median(every[1:]) for size, every in spent.items()}


DOUBLED = (1, 2, 4, 8, 16)
AUDITED = Curve("people audited", 50, DOUBLED[:4], (0.85, 1.15), people_audited)
FIRST = Curve("patients, read for the first time", READ, DOUBLED, (0.85, 1.15), patients_read)
AGAIN = Curve("patients, opened again", READ, DOUBLED, (0, 1.1), partial(patients_read, again=True))
SIZED = Curve("parameters", 128, (1, 2, 3, 4), (0.7, 1.15), parameters)
CURVES = (
    AUDITED,
    Curve("workers, on two cores", 1, (1, 2), (-1.05, -0.678), workers_of_audit),  # 1.6 times as fast, of 2
    Curve("patients, 20 of them audited", 1000, DOUBLED[:4], (-0.05, 0.25), patients_beside),
    FIRST,
    AGAIN,
    Curve("events a patient, read for the first time", EVENTS, DOUBLED[:4], (0.85, 1.15), events_read),
    Curve("events a patient, scored", 32, DOUBLED, (0.85, 1.3), events_scored),  # attention adds to the straight line
    Curve("events a patient, in the prompt", 16, DOUBLED, (-0.05, 1), events_prompted),
    Curve("codes of the vocabulary", 1000, DOUBLED, (-0.05, 1), codes_of_vocabulary),
    Curve("horizon, codes", 16, DOUBLED, (0.9, 2), codes_ahead),  # less than 1 where reading the prompt still counts
    Curve("samples", 8, DOUBLED, (0, 1.1), samples_of_a_prompt),
    SIZED,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line a curve; exit non-zero when one is short."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put all of it into docs/cost.md")
    parser.add_argument("--only", metavar="WORDS", default="", help="the curves whose name holds these words")
    parser.add_argument("--divide", metavar="N", type=int, default=1, help="smaller sizes, to try the command (1)")
    given = parser.parse_args(arguments)
    curves = [curve for curve in CURVES if given.only in curve.title]
    if given.write and (len(curves) < len(CURVES) or given.divide > 1):
        parser.error("only a whole run is written into the docs")
    one_thread_each()  # as every worker of an audit
    busy, began, lines = os.getloadavg()[0], time.monotonic(), Lines()
    found: dict[Curve, Points] = {}
    with TemporaryDirectory() as place:
        for curve in curves:
            found[curve] = curve.points(Path(place), given.divide)
            told(lines, curve, found[curve])
    print(f"# {(time.monotonic() - began) / 60:.1f} minutes; processes that ran beside, before it began: {busy:.1f}")
    if given.write:
        write(found, f"{on_this_machine()} Processes that ran beside, in the minute before it began: {busy:.1f}.")
    lines.finish()


def told(lines: Lines, curve: Curve, points: Points) -> None:
    """The points of one curve, and its line."""
    print(f"# {curve.title}: {in_words(points)}", file=sys.stderr)
    found = exponent(points)
    lines.add(f"exponent_of_{curve.title.replace(',', '').replace(' ', '_')}", found.value, between(found), found.n, "{}..{}".format(*curve.expected))  # fmt: skip


def in_words(points: Points) -> str:
    """Sizes with their seconds."""
    return ", ".join(f"{size:,}: {spent:.3g}" for size, spent in points.items())


def shortened(size: float) -> str:
    """A size as an axis has room for it."""
    return next((f"{size / unit:.3g}{name}" for unit, name in ((1e6, "M"), (1e3, "k")) if size >= unit), f"{size:g}")


def between(found: Estimate) -> str:
    """An interval in words."""
    return "two points" if math.isnan(found.low) else f"{found.low:.2f} to {found.high:.2f}"


def write(found: Mapping[Curve, Points], about: str) -> None:
    """Put table, picture and worked example into the docs."""
    picture(found).savefig(DOCS / "cost.png", dpi=75, metadata={"Software": None})
    rows = [
        f"| {curve.title} | {in_words(points)} "
        f"| {exponent(points).value:.2f} ({between(exponent(points))}) | {curve.expected[0]:g} to {curve.expected[1]:g} |"
        for curve, points in found.items()
    ]
    table = ["| what grows | size: seconds | exponent (95 % interval) | expected |", "| --- | --- | --- | --- |", *rows]
    planned = ["| for ten million patients of 100 events | |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in planning(found))]  # fmt: skip
    put_between(DOCS / "cost.md", BEGIN, END, "\n\n".join([about, "\n".join(table), "\n".join(planned)]))


def planning(found: Mapping[Curve, Points], patients: int = 10_000_000, cores: int = 100) -> list[tuple[str, str]]:
    """What the measured curves say of a large data set and a cluster."""
    people = list(found[AUDITED].items())
    person = (people[-1][1] - people[0][1]) / (people[-1][0] - people[0][0])
    open_again = beyond(found[AGAIN], patients)
    small, seconds = min(found[SIZED].items())
    rows = [
        ("read for the first time, once, one core", duration(beyond(found[FIRST], patients))),
        ("opened again by each audit, one core", duration(open_again)),
        ("one person, one core, two tests at two knowledge levels", f"{person:.2g} seconds"),
    ]
    for n in (400, 2000, 10_000, patients):
        busy = min(cores, n // BATCH)
        spread = duration(n * person / busy + open_again)
        spent = f"{duration(n * person)} of one core; {spread} on {busy} cores, the opening included"
        rows.append((f"{n:,} people", spent))
    more = f"{beyond(found[SIZED], 100_000_000) / seconds:.0f} times as long"
    return [*rows, (f"a model of 100 million parameters instead of {small / 1e6:.1f} million", more)]


def beyond(points: Points, size: float) -> float:
    """Seconds at a larger size, from the largest that was measured on: by the exponent, but at least in proportion, as what is constant at small sizes counts less."""
    largest = max(points)
    return points[largest] * (size / largest) ** max(1.0, exponent(points).value)


def picture(found: Mapping[Curve, Points]) -> Figure:
    """A panel a curve: what was measured, the fitted line, and in grey what was expected, from the first point on."""
    import matplotlib

    matplotlib.use("Agg")
    import seaborn as sns
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator

    sns.set_theme(style="whitegrid", font_scale=0.8)
    figure, axes = plt.subplots(3, 4, figsize=(12, 7.5), layout="constrained")
    for axis, (curve, points) in zip(axes.flat, found.items(), strict=True):
        sizes, spent = np.array(list(points), dtype=float), np.array(list(points.values()))
        fitted = exponent(points)
        centre = np.exp(np.log(spent).mean() + fitted.value * (np.log(sizes) - np.log(sizes).mean()))
        low, high = (spent[0] * (sizes / sizes[0]) ** order for order in curve.expected)
        axis.fill_between(sizes, low, high, color="0.85", linewidth=0)
        axis.plot(sizes, centre, color="#0072B2", linewidth=1)
        axis.plot(sizes, spent, "o", color="#0072B2")
        axis.set(xscale="log", yscale="log", ylabel="seconds")
        axis.set_xticks(sizes, [shortened(size) for size in sizes])
        axis.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}")
        axis.minorticks_off()
        axis.set_title(f"{curve.title}\nexponent {fitted.value:.2f} ({between(fitted)})", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
