"""The bound on near-verbatim extraction against many samples, and the comparison of people that rests on it where nothing is remembered."""

from __future__ import annotations

import numpy as np
from scipy import stats

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.probes.near_verbatim import CODES, EDITS, near_verbatim
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.reconstruction import recited
from ehrmem_widgets.probes.truth import true_continuation
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.multiple_testing import holm
from tests.benchmarks.lines import Lines

KNOWLEDGE = "first_10"
SAMPLES, AT_ONCE = 10_000, 2_500  # 100,000 of each take a quarter of an hour of one core
CANARIES = (16, 16, 16, 8, 8, 4, 4, 2, 1)  # how often training saw each
MEMBERS, NEVER = 6, 5
Asked = tuple[list[int], list[int]]


def main(lines: Lines) -> None:
    """20 people of the memorizing model, and simulated comparisons."""
    model = FolderModel(sample_model())
    asked = twenty(model)
    assert len(asked) == 20
    searched = near_verbatim(model, *zip(*asked, strict=True), floor=0)
    quick = near_verbatim(model, *zip(*asked, strict=True))
    hits = np.array([within(model, *one) for one in asked])
    over, tests = 0, len(asked) * len(EDITS)
    for found in (searched, quick):
        bounds = np.array([[one.bounds[edits] for edits in EDITS] for one in found])
        over += int((stats.binom.cdf(hits, SAMPLES, bounds.clip(0, 1)) < 0.05 / (2 * tests)).sum())
    lines.add(
        "near_verbatim_bounds_above_the_samples",
        over,
        f"{SAMPLES:,} samples of each of {len(asked)} people",
        2 * tests,
        "<= 0",
    )
    cost = max(one.asked for one in searched) / CODES
    lines.add("near_verbatim_most_samples_it_costs", cost, f"the quick form {np.mean([o.asked for o in quick]) / CODES:.1f} on average", len(asked), "<= 30")  # fmt: skip
    for place, edits in enumerate(EDITS):
        shares = hits[:, place] / SAMPLES
        for name, found in (("", searched), ("_quick", quick)):
            ratio = sum(one.bounds[edits] for one in found) / shares.sum()
            words = f"of {shares.sum():.2f} summed over people"
            goal = "0.97..1.03" if not edits else ">= 0.5"
            lines.add(f"near_verbatim_share_found_within_{edits}{name}", ratio, words, len(asked), goal)
    nobody_remembered(lines)


def twenty(model: FolderModel) -> list[Asked]:
    """Canaries by repetitions, members and people never seen, drawn at random among those whose record goes on for long enough."""
    dataset = MedsDataset(sample_data())
    repetitions = canary_repetitions(dataset)
    people = choose_people(dataset, model, FolderModel(sample_reference()), most=400, seed=17, canaries=False)
    rng, found = np.random.default_rng(17), []
    wanted: list[list[int]] = []
    for times in sorted(set(CANARIES)):
        some = rng.permutation([p for p, n in repetitions.items() if n == times]).tolist()
        wanted += [some] * CANARIES.count(times)
    for group, n in ((MEMBER, MEMBERS), (NON_MEMBER, NEVER)):
        wanted += [rng.permutation([record.patient_id for record in people.of(group)]).tolist()] * n
    for some in wanted:  # lists are shared: whoever was taken is gone
        while (asked := question(dataset, model, some.pop())) is None:
            pass
        found.append(asked)
    return found


def question(dataset: MedsDataset, model: FolderModel, patient: int) -> Asked | None:
    """A prompt and what followed it; None where the record ends sooner."""
    record, vocabulary = dataset.record(patient), model.vocabulary
    prompt = build_prompt(record, facts_of_level(KNOWLEDGE, record, vocabulary), vocabulary)
    truth = true_continuation(record, prompt, vocabulary, CODES)
    if len(truth.codes) < CODES or vocabulary.stops.intersection(truth.codes):
        return None
    return [vocabulary.id(slot[0]) for slot in prompt.slots], truth.ids(vocabulary)


def within(model: FolderModel, prompt: list[int], truth: list[int]) -> list[int]:
    """How many of so many samples come within each number of edits."""
    distances = np.concatenate(
        [
            distance(np.stack([step.codes[0] for step in model.generate([[[c] for c in prompt]], CODES, AT_ONCE, seed=seed)], axis=-1), truth)
            for seed in range(SAMPLES // AT_ONCE)
        ]
    )  # fmt: skip
    return [int((distances <= edits).sum()) for edits in EDITS]


def distance(codes: np.ndarray, truth: list[int]) -> np.ndarray:
    """(n,) Levenshtein distances of (n, T) codes, -1 where one has ended, from the truth: column by column, as in the textbook."""
    length, now = (codes >= 0).sum(axis=1), np.tile(np.arange(len(truth) + 1), (len(codes), 1))
    found = np.where(length == 0, len(truth), 0)
    for i in range(codes.shape[1]):
        before, now = now, np.empty_like(now)
        now[:, 0] = i + 1
        for j, code in enumerate(truth, 1):
            now[:, j] = np.minimum(
                np.minimum(before[:, j], now[:, j - 1]) + 1, before[:, j - 1] + (codes[:, i] != code)
            )
        found = np.where(length == i + 1, now[:, -1], found)
    return found


def nobody_remembered(lines: Lines, runs: int = 500, people: int = 100) -> None:
    """As many members and people never seen, of whom a share is recited whoever they are: is any comparison called memorized? And are the p-values
    uniform (smoothed: they are discrete)?"""
    groups = {f"p{i}": MEMBER if i < people else NON_MEMBER for i in range(2 * people)}
    chosen = People((), {}, {}, ())
    chosen.__dict__["group_of_pseudonym"] = groups
    asked = recited.Asked.within(64)
    levels = ("nothing", "demographics", "first_10", "first_20", "first_50")
    for share in (0.02, 0.3):
        called, smoothed = 0, []
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            ease = rng.normal(stats.norm.ppf(share), 1, 2 * people)
            measured = {
                (f"within_{edits}", level, "audited"): dict(zip(groups, np.where(ease + rng.normal(0, 0.3, 2 * people) + edits / 5 > 0, 0.5, 0.0), strict=True))
                for level in levels
                for edits in asked.edits
            }  # fmt: skip
            family = [one for level in levels for one in recited.compared(measured, chosen, asked, level)[1]]
            adjusted = holm([made["p"] for made, *_ in family])
            called += any(p <= 0.05 and made["low"] > 0 for (made, *_), p in zip(family, adjusted, strict=True))
            word_for_word = next(made for made, *_ in family if made["figure"] == "people_within_0_difference")
            values = [value > 0 for value in measured["within_0", word_for_word["knowledge"], "audited"].values()]
            tie = stats.hypergeom(2 * people, people, sum(values)).pmf(sum(values[:people]))
            smoothed.append(word_for_word["p"] - rng.random() * tie)
        rate = proportion(called, runs)
        lines.add(f"near_verbatim_null_share_{share:g}_memorized_upper", rate.high, f"{rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f})", runs, "<= 0.07")  # fmt: skip
        uniform = stats.kstest(smoothed, "uniform")
        lines.add(f"near_verbatim_null_share_{share:g}_ks_p", uniform.pvalue, f"KS distance {uniform.statistic:.3f}", runs, ">= 0.01")  # fmt: skip
