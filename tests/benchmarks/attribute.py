"""T2 over 200 patients, 5 knowledge levels and all attributes, against Hugging Face ``generate`` and counting to the same interval width."""

from __future__ import annotations

import time
from statistics import NormalDist

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.leak import leaks_of_many, slot_ids
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from tests.benchmarks.hf import hf_generate
from tests.benchmarks.lines import Lines

KNOWLEDGE_LEVELS = ("demographics", "one_lab", "first_10", "first_20", "first_50")
PATIENTS, SAMPLES, HORIZON = 200, 16, 64
PLAIN_PROMPTS, PLAIN_SAMPLES = 5, 128  # the plain way is timed on so many prompts a knowledge level, and scaled


def main(lines: Lines) -> None:
    """One line a model: seconds of counting over ours."""
    dataset = MedsDataset(sample_data())
    models = [FolderModel(sample_model()), FolderModel(sample_reference())]
    records = choose_people(dataset, *models, most=PATIENTS, canaries=False).records
    for model in models:
        codes = AttributeCodes(
            model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions
        )
        names = codes.default_names()
        track = codes.track(names, records[0])
        ours = plain = 0.0
        widths, leaks = [], []
        for knowledge in KNOWLEDGE_LEVELS:
            began = time.perf_counter()
            prompts = []
            for record in records:
                facts = facts_of_level(knowledge, record, model.vocabulary)
                prompt = build_prompt(record, facts, model.vocabulary, strip=codes.strip(names, record))
                prompts.append(slot_ids(prompt, model.vocabulary))
            *_, asked = leaks_of_many(model, prompts, track, HORIZON, SAMPLES, 1)
            assert asked is not None
            found = asked.intervals()
            ours += time.perf_counter() - began
            widths.append(found[..., 2] - found[..., 1])
            leaks.append(found[..., 0])
            chosen = np.random.default_rng(0).choice(len(prompts), PLAIN_PROMPTS, replace=False)
            began = time.perf_counter()
            for place in chosen:
                generated = hf_generate(model, [[slot[0]] for slot in prompts[place]], HORIZON, PLAIN_SAMPLES)
                np.array([track[row[row < len(track)]].any(axis=0) for row in generated])
            plain += (time.perf_counter() - began) / PLAIN_PROMPTS / PLAIN_SAMPLES * len(prompts)  # a sample of each
        needed = samples_of_counting(np.array(leaks).ravel(), float(np.mean(widths)))
        lines.add(
            f"t2_vs_hf_generate_and_counting_{model.name}", plain * needed / ours,
            f"one run; {needed} counted samples for the width {np.mean(widths):.3f} of {SAMPLES}", PATIENTS, ">= 20",
        )  # fmt: skip


def samples_of_counting(leaks: np.ndarray, width: float) -> int:
    """How many samples a prompt make the mean Wilson interval over all questions as narrow."""
    z, low, high = NormalDist().inv_cdf(0.975), 1, 1_000_000
    while low < high:
        n = (low + high) // 2
        wide = 2 * z * np.sqrt(leaks * (1 - leaks) / n + (z / n) ** 2 / 4) / (1 + z**2 / n)
        low, high = (n + 1, high) if float(np.mean(wide)) > width else (low, n)
    return low
