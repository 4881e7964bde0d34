"""Planted truth: the bound of epsilon by simulated mechanisms and on trained models, and true and phantom disclosures where nothing was learned,
where people were copied, and on the sample models."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import stats

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.outputs_file import OutputsFile
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.disclosures.judge import DIFFERENCE
from ehrmem_widgets.probes.disclosures.matching import VISIT
from ehrmem_widgets.probes.membership.scores import RATIO
from ehrmem_widgets.probes.one_run.ask import BOUND, CLAIMED, GAUSSIAN, Told, judge_bound, judge_claim
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.prompt_embeddings import continuations
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.build import PRIVATE_EPSILON, not_private_with_coins, with_coins
from ehrmem_widgets.samples.folders import (
    sample_data,
    sample_model,
    sample_moderate,
    sample_private,
    sample_private_coins,
    sample_reference,
)
from ehrmem_widgets.statistics.discrimination import auroc_p
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.matches import more_in_training
from ehrmem_widgets.statistics.privacy_loss import gaussian_mu
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict
from ehrmem_widgets.tokens.sequence import encode
from tests.benchmarks.lines import Lines
from tests.benchmarks.sample_pattern import words_of
from tests.probes.alone import ask_alone

DELTA = 1e-5
AUDITS, DIVISIONS, DEALT = 2_000, 200, 20_000
WRITTEN, COPIED = 500, 20  # synthetic patients in a file, and members copied into it


def share(lines: Lines, name: str, said: list[bool] | np.ndarray, goal: str) -> None:
    """How often something was said."""
    one = proportion(int(np.sum(said)), len(said))
    lines.add(name, one.value, words_of(one), one.n, goal)


# The bound of epsilon, simulated ----------------------------------------------------------------------------------------


def loss_simulated(lines: Lines) -> None:
    """Each canary seen through Gaussian noise, as far apart as epsilon at the delta allows, and through the steps of DP-SGD as the private sample
    model was trained: the bound is above the truth in at most 5 % of audits, and claims that are half of the truth are contradicted."""
    for canaries, epsilon in ((200, 2.0), (1000, 4.0)):
        mu = gaussian_mu(epsilon, DELTA)
        told = [_audit(seed, canaries, mu) for seed in range(AUDITS)]
        at = f"{canaries}_canaries_epsilon_{epsilon:g}"
        share(lines, f"one_run_gaussian_bound_above_truth_{at}", [one.gaussian > epsilon for one in told], "<= 0.05")
        share(lines, f"one_run_bound_above_truth_{at}", [one.epsilon > epsilon for one in told], "<= 0.05")
        medians = [float(np.median([getattr(one, name) for one in told])) for name in ("epsilon", "gaussian")]
        words = f"medians {medians[0]:.2f} whatever the training, {medians[1]:.2f} if noise is Gaussian"
        lines.add(f"one_run_gaussian_over_any_training_{at}", medians[1] / medians[0], words, AUDITS, ">= 1.2")
        false = [judge_claim(one, epsilon / 2, DELTA).verdict.verdict is Verdict.MEMORIZED for one in told]
        share(lines, f"one_run_half_the_truth_contradicted_{at}", false, ">= 0.9" if canaries == 1000 else ">= 0")
    facts = json.loads((sample_private() / "training.json").read_text())
    said = [_audit_of_dp_sgd(seed, facts, 400) for seed in range(AUDITS // 2)]
    share(lines, "one_run_true_claim_of_dp_sgd_contradicted_400_canaries", said, "<= 0.05")


def _audit(seed: int, canaries: int, mu: float) -> Told:
    rng = np.random.default_rng(seed)
    coins = rng.random(canaries) < 0.5
    return judge_bound(rng.normal(size=canaries) + mu * coins, coins, seed=seed, delta=DELTA)


def _audit_of_dp_sgd(seed: int, facts: dict[str, float], canaries: int) -> bool:
    """Whether the claim that the accountant makes is contradicted by whoever sees every step, each canary's gradient apart from all others."""
    rng = np.random.default_rng(seed)
    coins = rng.random(canaries) < 0.5
    noise, rate = facts["noise_multiplier"], facts["sampling_rate"]
    taken = (rng.random((canaries, int(facts["steps"]))) < rate) & coins[:, None]
    seen = taken + noise * rng.normal(size=taken.shape)
    likelier_in = np.log1p(rate * np.expm1((2 * seen - 1) / (2 * noise**2))).sum(axis=1)
    told = judge_bound(likelier_in, coins, seed=seed, delta=facts["delta"])
    return judge_claim(told, facts["epsilon"], facts["delta"]).verdict.verdict is Verdict.MEMORIZED


# The bound of epsilon on models -----------------------------------------------------------------------------------------


def loss_of_models(lines: Lines) -> None:
    """Coin-flipped canaries of the sample cohort: a model that never saw them, one trained on them without noise, and one with."""
    reference = FolderModel(sample_reference())
    with TemporaryDirectory() as folder:
        dataset = with_coins(sample_data(), Path(folder) / "planted")
        _untouched(lines, dataset, reference)
        not_private_with_coins(dataset, Path(folder) / "model", report=lambda _: None)
        found = _found(dataset, FolderModel(Path(folder) / "model"), reference, 1.0)
        for figure, goal in ((BOUND, ">= 0.5"), (GAUSSIAN, ">= 1")):
            one = found.about("figures", figure=figure, attribute="").iloc[0]
            lines.add(f"one_run_{figure}_trained_without_noise", one["value"], "at least", one["n"], goal)
        claim = found.about("figures", figure=CLAIMED).iloc[0]
        contradicted = claim["verdict"] == Verdict.MEMORIZED
        lines.add(
            "one_run_claim_of_1_contradicted_trained_without_noise", contradicted, claim["reason"], claim["n"], ">= 1"
        )
        private_model = FolderModel(sample_private_coins())
        spent, delta = (float(private_model.training[name]) for name in ("epsilon", "delta"))
        private = _found(dataset, private_model, reference, spent, delta)
    for figure in (BOUND, GAUSSIAN):
        one = private.about("figures", figure=figure, attribute="").iloc[0]
        lines.add(f"one_run_{figure}_private_coins", one["value"], "at least", one["n"], f"<= {PRIVATE_EPSILON:g}")
    claim = private.about("figures", figure=CLAIMED).iloc[0]
    consistent = claim["reason"] == "consistent"
    lines.add("one_run_claim_consistent_private_coins", consistent, claim["reason"], claim["n"], ">= 1")


def _found(dataset: MedsDataset, model: BlackBox, reference: BlackBox, claimed: float, delta: float = DELTA) -> Finding:
    return run("one_run", dataset, model, reference, most=4, claimed_epsilon=claimed, claimed_delta=delta)


def _untouched(lines: Lines, dataset: MedsDataset, reference: BlackBox) -> None:
    """The memorizing model, which never saw these canaries, with coins thrown anew."""
    model = FolderModel(sample_model())
    canaries = choose_people(dataset, model, reference, most=4)
    scores = ask_alone("membership", model, dataset, reference=reference, people=canaries).about(
        "patients", figure="score", attribute=RATIO
    )
    its = scores[scores["group"].str.startswith(CANARY)]["value"].to_numpy()
    p, above = [], []
    for seed in range(DIVISIONS):
        coins = np.random.default_rng(seed).random(len(its)) < 0.5
        p.append(auroc_p(its[coins], its[~coins]))
        above.append(judge_bound(its, coins, seed=seed).epsilon > 0)
    uniform = stats.kstest(p, "uniform")
    lines.add("one_run_untouched_ks_p", uniform.pvalue, f"KS distance {uniform.statistic:.3f}", len(p), ">= 0.01")
    share(lines, "one_run_untouched_bound_above_0", above, "<= 0.05")


# True and phantom disclosures -------------------------------------------------------------------------------------------


def disclosed(lines: Lines) -> None:
    """Nothing among people never seen, copies in a file, and the sample models."""
    dataset, reference = MedsDataset(sample_data()), FolderModel(sample_reference())
    memorizing = FolderModel(sample_model())
    _null_disclosures(lines, dataset, memorizing, reference)
    _copies(lines, dataset, reference)
    people = choose_people(dataset, memorizing, reference)
    goals = {"memorizing": ">= 1", "moderate": ">= 0", "private": "<= 0", "reference": "<= 0"}
    folders = (sample_model, sample_moderate, sample_private, sample_reference)
    for (name, goal), folder in zip(goals.items(), folders, strict=True):
        found = ask_alone("disclosures", FolderModel(folder()), dataset, people=people)
        rows = found.about("figures", figure=DIFFERENCE, group="all")
        called = rows[rows["verdict"] == Verdict.MEMORIZED]
        words = ", ".join(f"{one.attribute} {one.knowledge}" for one in called.itertuples()) or "none"
        lines.add(f"disclosures_called_memorized_{name}", len(called), words, len(rows), goal)
        planted = found.about("figures", figure=DIFFERENCE, group="canaries", attribute=VISIT, knowledge="first_10")
        one = planted.iloc[0]
        at_least = {"memorizing": ">= 0.3", "moderate": ">= -1"}.get(name)
        lines.add(
            f"disclosures_canaries_visit_first_10_{name}_low", one["low"],
            f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})", one["n"], at_least or "<= 0",
        )  # fmt: skip


def _null_disclosures(lines: Lines, dataset: MedsDataset, model: BlackBox, reference: BlackBox) -> None:
    """Outputs of the memorizing model against people never seen, divided at random into two sides."""
    never = choose_people(dataset, model, reference, most=100_000, canaries=False).of(NON_MEMBER)
    halves = {record.patient_id: (MEMBER, NON_MEMBER)[place % 2] for place, record in enumerate(never)}
    found = ask_alone("disclosures", model, dataset, people=People(tuple(never), halves)).about(
        "patients", figure="matching_outputs"
    )
    for (kind, knowledge), rows in found.groupby(["attribute", "knowledge"]):
        matched = rows["value"].to_numpy() > 0
        alarms, p = _dealt(matched, np.random.default_rng(0))
        uniform = stats.kstest(p, "uniform")
        words = f"KS distance {uniform.statistic:.3f}; {int(matched.sum())} of {len(matched)} people matched"
        lines.add(f"disclosures_null_{kind}_{knowledge}_ks_p", uniform.pvalue, words, len(p), ">= 0.01")
        share(lines, f"disclosures_null_{kind}_{knowledge}_alarms", alarms, "<= 0.05")


def _dealt(matched: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of people dealt at random to two sides, many times: whether the test gives an alarm, and its p with the atoms of a discrete p spread."""
    half = len(matched) // 2
    dealt = rng.permuted(np.tile(matched, (DEALT, 1)), axis=1)
    sides = np.stack([dealt[:, :half].sum(axis=1), dealt[:, half : 2 * half].sum(axis=1)], axis=1)
    pairs, which = np.unique(sides, axis=0, return_inverse=True)
    own = np.array([more_in_training(int(hits), half, int(others), half) for hits, others in pairs])
    next_ = stats.hypergeom.sf(pairs[:, 0], 2 * half, half, pairs.sum(axis=1))
    which = which.ravel()
    return own[which] <= ALARM_RATE, next_[which] + rng.random(DEALT) * (own - next_)[which]


def _copies(lines: Lines, dataset: MedsDataset, reference: FolderModel) -> None:
    """A file of synthetic patients by a model that never saw the members, with some of them copied into it."""
    vocabulary = reference.vocabulary
    codes, _ = continuations(reference, [[vocabulary.ids(vocabulary.opening)[:1]]], 64, WRITTEN, 0)[0]
    written = [[int(code) for code in one if code >= 0] for one in codes]
    people = choose_people(dataset, FolderModel(sample_model()), reference)
    members = [vocabulary.ids(encode(record, vocabulary).codes) for record in people.of(MEMBER)[:COPIED]]
    for copied, goal in ((0, "<= 0"), (COPIED, ">= 1")):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "synthetic.jsonl"
            path.write_text("".join(json.dumps({"ids": list(one)}) + "\n" for one in [*written, *members[:copied]]))
            outputs = OutputsFile(path, vocabulary, training_split="train")
            found = ask_alone("disclosures", outputs, dataset, people=people)
        rows = found.about("figures", figure=DIFFERENCE, group="all")
        called = int((rows["verdict"] == Verdict.MEMORIZED).sum())
        counts = found.about("figures", figure="people_matched", attribute="any").set_index("group")
        words = f"matched: {counts.loc[MEMBER, 'value']:.3f} of members, {counts.loc[NON_MEMBER, 'value']:.3f} of people never seen"
        lines.add(f"disclosures_file_with_{copied}_members_called_memorized", called, words, len(rows), goal)
