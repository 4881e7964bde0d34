"""A model folder answers exactly as its weights say, or is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from scipy import stats

from ehrmem_widgets.blackbox.checks import check_has_learned, check_vocabulary_fits
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.vocabulary import Vocabulary
from ehrmem_widgets.errors import InputError
from tests.cohort.meds import at, write

CODES = ("[PAD]", "[BOS]", "[EOS]", *(f"CODE//{i}" for i in range(17)))
SIZE, CONTEXT = len(CODES), 24


def make(folder: Path, kind: str = "llama", *, head: int = SIZE, codes: tuple[str, ...] = CODES) -> Path:
    """A model folder of random weights, drawn wide so that the answers differ from code to code."""
    torch.manual_seed(5)
    config: transformers.PretrainedConfig
    if kind == "llama":
        config = transformers.LlamaConfig(
            vocab_size=head,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CONTEXT,
        )
    else:
        config = transformers.GPT2Config(vocab_size=head, n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(10)
    model.save_pretrained(folder)
    Vocabulary(codes).save(folder / "vocabulary.json")
    return folder


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp("plain")))


def single(*ids: int) -> list[list[int]]:
    return [[code] for code in ids]


def next_code(model: FolderModel, *ids: int) -> np.ndarray:
    """The exact distribution of the next code, by transformers' own forward."""
    library = transformers.AutoModelForCausalLM.from_pretrained(model.folder).eval()
    with torch.inference_mode():
        return library(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1).double().numpy()


def too_far(counts: np.ndarray, exact: np.ndarray) -> bool:
    """Chi-square at 1 in 10,000, rare codes together."""
    n = counts.sum()
    common = exact * n >= 5
    found, expected = counts[common].astype(float), exact[common] * n
    if not common.all():
        found, expected = np.append(found, counts[~common].sum()), np.append(expected, exact[~common].sum() * n)
    keep = expected > 0
    return stats.chisquare(found[keep], expected[keep] * found[keep].sum() / expected[keep].sum()).pvalue < 1e-4


# Sampling -------------------------------------------------------------------------------------------------------------


def test_samples_follow_the_exact_distribution_of_the_next_code(model: FolderModel) -> None:
    exact = next_code(model, 1, 5, 9)
    [step] = model.continue_([single(1, 5, 9)], 1, 20_000, seed=3)
    counts = np.bincount(step.codes[0], minlength=SIZE)
    assert counts.sum() == 20_000
    assert not too_far(counts, exact)
    assert too_far(counts, np.roll(exact, 1))  # the test can tell


def test_the_second_step_follows_what_was_drawn_at_the_first(model: FolderModel) -> None:
    first, second = model.continue_([single(1, 5)], 2, 20_000, seed=4)
    drawn = int(np.bincount(first.codes[0][first.codes[0] != 2]).argmax())
    counts = np.bincount(second.codes[0][first.codes[0] == drawn], minlength=SIZE)
    assert counts.sum() > 1000
    assert not too_far(counts, next_code(model, 1, 5, drawn))


def test_watched_mass_is_the_exact_probability_of_the_group(model: FolderModel) -> None:
    exact = next_code(model, 1, 7)
    watch = np.zeros((SIZE, 2), dtype=bool)
    watch[[4, 9], 0] = watch[3:, 1] = True
    avoid = np.arange(SIZE) == 4
    [step] = model.continue_([single(1, 7)], 1, 8, watch=watch, avoid=avoid, seed=0)
    assert step.mass is not None
    mass = np.broadcast_to(step.mass, (1, 8, 2))
    np.testing.assert_allclose(mass, np.broadcast_to([exact[[4, 9]].sum(), exact[3:].sum()], (1, 8, 2)), atol=1e-5)


def test_avoided_codes_never_come_and_the_rest_keeps_its_proportions(model: FolderModel) -> None:
    exact = next_code(model, 1, 5, 9)
    avoid = np.zeros(SIZE, dtype=bool)
    avoid[[int(exact.argmax()), SIZE - 1, 2]] = True
    [step] = model.continue_([single(1, 5, 9)], 1, 20_000, avoid=avoid, seed=5)
    counts = np.bincount(step.codes[0], minlength=SIZE)
    assert not counts[avoid].any()
    assert not too_far(counts, np.where(avoid, 0, exact) / exact[~avoid].sum())


def test_an_open_slot_is_filled_by_the_models_own_proportions_and_weighs_its_mass(model: FolderModel) -> None:
    slot = [3, 8, 12]
    exact = next_code(model, 1, 5)
    [step] = model.continue_([[[1], [5], slot]], 1, 50, seed=6)
    np.testing.assert_allclose(step.log_weight, np.log(exact[slot].sum()), atol=1e-4)
    # A single code behind the open slot weighs each filling by how likely it makes that code.
    [step] = model.continue_([[[1], [5], slot, [10]]], 1, 4000, seed=6)
    possible = {code: np.log(exact[slot].sum() * next_code(model, 1, 5, code)[10]) for code in slot}
    weights = step.log_weight[0]
    nearest = np.array([min(possible, key=lambda code: abs(possible[code] - w)) for w in weights])
    np.testing.assert_allclose(weights, [possible[code] for code in nearest], atol=1e-4)
    counts = np.array([(nearest == code).sum() for code in slot])
    assert not too_far(counts, exact[slot] / exact[slot].sum())


def test_the_same_seed_repeats_and_another_does_not(model: FolderModel) -> None:
    def run(seed: int) -> np.ndarray:
        return np.stack([step.codes for step in model.continue_([single(1, 5), single(1, 6)], 10, 30, seed=seed)])

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


def test_a_continuation_ends_at_the_stop_code_and_stays_ended(model: FolderModel) -> None:
    watch = np.ones((SIZE, 1), dtype=bool)
    steps = list(model.continue_([single(1, 5)], 20, 200, watch=watch, seed=1))
    codes = np.stack([step.codes[0] for step in steps])  # (steps, samples)
    ended = (codes == 2).any(axis=0)
    assert ended.any()
    for column in codes[:, ended].T:
        stop = int(np.flatnonzero(column == 2)[0])
        assert (column[:stop] >= 0).all() and (column[stop + 1 :] == -1).all()
    assert (codes[:, ~ended] >= 0).all()
    mass = np.stack([np.broadcast_to(s.mass, (1, 200, 1))[0, :, 0] for s in steps if s.mass is not None])
    np.testing.assert_allclose(mass, codes != -1, atol=1e-5)  # all codes watched: 1 while alive, 0 once ended


def test_sampling_stops_when_all_have_ended(model: FolderModel) -> None:
    only_the_end = np.arange(SIZE) != 2
    steps = list(model.continue_([single(1, 5)], 10, 20, avoid=only_the_end))
    assert [step.codes.tolist() for step in steps] == [[[2] * 20]]


def test_the_horizon_ends_where_the_context_does(model: FolderModel) -> None:
    no_end = np.arange(SIZE) == 2
    steps = list(model.continue_([single(*[1] * (CONTEXT - 3))], 100, 4, avoid=no_end))
    assert len(steps) == 3


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 5])
def test_a_prompt_that_fills_the_context_is_refused(model: FolderModel, length: int) -> None:
    with pytest.raises(InputError, match=r"The prompt fills the model's context of 24 codes. Give the attacker fewer"):
        next(model.continue_([single(*[1] * length)], 5, 2))


def test_an_answer_about_a_prompt_does_not_depend_on_the_others(model: FolderModel) -> None:
    prompts = [
        [*single(1, 5), [3, 4, 8], [7]],
        [*single(1, 6, 9, 11, 4, 4, 3), [3, 9], [8, 12]],
        [*single(1, 10, 3), [4, 5], [6]],
    ]
    avoid = np.arange(SIZE) == 13

    def ask(chosen: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        watch = np.eye(SIZE)[:, [4, 9]]
        steps = list(model.continue_([prompts[i] for i in chosen], 8, 40, watch=watch, avoid=avoid, seed=2))
        answers = []
        for row in range(len(chosen)):
            codes = [np.full(40, -1)] * 8
            mass = [np.zeros((40, 2))] * 8
            for place, step in enumerate(steps):
                assert step.mass is not None
                codes[place] = step.codes[row]
                mass[place] = np.broadcast_to(step.mass[row], (40, 2))
            answers.append((np.stack(codes), np.stack(mass), steps[0].log_weight[row]))
        return answers

    together = ask([0, 1, 2])
    for i in range(3):
        [alone] = ask([i])
        np.testing.assert_array_equal(alone[0], together[i][0])
        np.testing.assert_allclose(alone[1], together[i][1], atol=1e-5)
        np.testing.assert_allclose(alone[2], together[i][2], atol=1e-4)


def test_a_vocabulary_without_stop_codes_never_ends(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    Vocabulary(CODES, stops=frozenset()).save(folder / "vocabulary.json")
    codes = np.stack([step.codes for step in FolderModel(folder).continue_([single(1)], 10, 50)])
    assert len(codes) == 10 and (codes >= 0).all()


def test_a_head_wider_than_the_vocabulary_is_fine(tmp_path: Path) -> None:
    model = FolderModel(make(tmp_path / "m", head=32))
    avoid, watch = np.arange(SIZE) == 4, np.ones((SIZE, 1))
    [step] = model.continue_([single(1, 5)], 1, 10, avoid=avoid, watch=watch)
    assert step.mass is not None
    assert step.mass.max() == pytest.approx(next_code(model, 1, 5)[:SIZE].sum(), abs=1e-5)


# Scores and embeddings ------------------------------------------------------------------------------------------------


def some_sequences(n: int, longest: int) -> list[list[int]]:
    rng = np.random.default_rng(8)
    return [rng.integers(0, SIZE, rng.integers(2, longest + 1)).tolist() for _ in range(n)]


def test_scores_are_those_of_transformers_whatever_stands_in_the_batch(model: FolderModel) -> None:
    library = transformers.AutoModelForCausalLM.from_pretrained(model.folder).eval()
    sequences = [*some_sequences(300, CONTEXT), [4]]  # more than one batch
    found = model.score(sequences)
    assert [len(scores) for scores in found] == [len(s) - 1 for s in sequences]
    for sequence, scores in list(zip(sequences, found, strict=True))[::7]:
        ids = torch.tensor([sequence])
        with torch.inference_mode():
            logits = library(input_ids=ids).logits[0, :-1].log_softmax(-1)
        np.testing.assert_allclose(scores, logits.gather(-1, ids[0, 1:, None])[:, 0], atol=1e-5)


def test_of_a_sequence_beyond_the_context_the_first_part_is_scored(model: FolderModel) -> None:
    long = some_sequences(1, CONTEXT)[0] * CONTEXT
    [found] = model.score([long])
    assert len(found) == CONTEXT - 1
    np.testing.assert_allclose(found, model.score([long[:CONTEXT]])[0], atol=1e-5)
    np.testing.assert_allclose(model.embed([long]), model.embed([long[:CONTEXT]]), atol=1e-5)


def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(model: FolderModel) -> None:
    sequences = some_sequences(250, CONTEXT)
    together = model.embed(sequences)
    assert together.shape == (250, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for place in range(0, 250, 25):
        np.testing.assert_allclose(model.embed([sequences[place]])[0], together[place], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01
    assert model.embed([]).shape == (0, 0)


def test_a_record_without_codes_is_refused(llama: FolderModel) -> None:
    for ask in (llama.score, llama.embed):
        with pytest.raises(InputError, match="A record without any code"):
            ask([[1, 2], []])


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(llama: FolderModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama.folder, tmp_path / "model"))


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return edit


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})

    return edit


def as_a_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncated(keep: float) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    return cut


NORM, EXTRA = "model.layers.1.input_layernorm.weight", "model.layers.1.self_attn.extra.weight"
BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (shutil.rmtree, "There is no model folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "is no Hugging Face model folder: it has no config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), r"config.json of .* is no JSON"),
    "config of a list": (lambda f: (f / "config.json").write_text("[]"), r"config.json of .* is no JSON object"),
    "binary config": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config.json of .* is no JSON"),
    "unknown architecture": (edit_config(model_type="no-such"), "cannot be opened: .*no-such"),
    "impossible config": (edit_config(hidden_size="wide"), "cannot be opened"),
    "code of its own": (edit_config(auto_map={"AutoModel": "x.Y"}), "wants to run code of its own"),
    "a pickle": (as_a_pickle, "are a pickle, which can run any code.*this kit reads safetensors only"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"holds no weights \(\*.safetensors\)"),
    "cut short": (truncated(0.5), r"are broken: .*Copy the file again\."),
    "cut to nothing": (truncated(0), r"are broken: .*Copy the file again\."),
    "a weight missing": (edit_weights(lambda t: t.pop(NORM)), f"1 missing \\(such as {NORM}\\).*partly random"),
    "a weight too many": (
        edit_weights(lambda t: t.update({EXTRA: torch.ones(2)})),
        f"1 unexpected \\(such as {EXTRA}\\)",
    ),
    "a weight of another shape": (edit_weights(lambda t: t.update({NORM: torch.ones(3)})), "The (weights|model) in"),
    "no vocabulary": (lambda f: (f / "vocabulary.json").unlink(), "has no list of the codes that its numbers stand for"),
    "broken vocabulary": (lambda f: (f / "vocabulary.json").write_text("{"), "vocabulary.json is no vocabulary"),
    "vocabulary too large": (
        lambda f: Vocabulary((*CODES, "ONE//more")).save(f / "vocabulary.json"),
        "The vocabulary does not fit the model: it lists 21 codes and the model knows 20",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_in_one_sentence(folder: Path, spoil: Callable[[Path], object], told: str) -> None:
    FolderModel(folder)  # before, it opens
    spoil(folder)
    with pytest.raises(InputError, match=told) as caught:
        FolderModel(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    marker = folder / "was opened"
    # A pickle that makes a file when it is loaded.
    (folder / "pytorch_model.bin").write_bytes(
        b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(marker).encode() + b"\ntRtR."
    )
    with pytest.raises(InputError, match="are a pickle"):
        FolderModel(folder)
    assert not marker.exists()


def test_the_fingerprint_is_that_of_weights_vocabulary_and_config(folder: Path) -> None:
    first = FolderModel(folder).fingerprint
    assert FolderModel(folder).fingerprint == first
    seen = {first}
    edit_config(rms_norm_eps=0.1)(folder)
    seen.add(FolderModel(folder).fingerprint)
    Vocabulary((*CODES[:-1], "another")).save(folder / "vocabulary.json")
    seen.add(FolderModel(folder).fingerprint)
    edit_weights(lambda t: t.update({NORM: torch.zeros(16)}))(folder)
    seen.add(FolderModel(folder).fingerprint)
    assert len(seen) == 4


# Is it worth auditing -------------------------------------------------------------------------------------------------


def cycling(rng: np.random.Generator, n: int) -> list[list[int]]:
    """Records that mostly count upwards."""
    found = []
    for _ in range(n):
        sequence = [1, int(rng.integers(3, SIZE))]
        while len(sequence) < 15:
            step = 1 if rng.random() < 0.9 else int(rng.integers(17))
            sequence.append(3 + (sequence[-1] - 3 + step) % 17)
        found.append(sequence)
    return found


def test_random_weights_are_refused(model: FolderModel) -> None:
    with pytest.raises(
        InputError, match=r"finds real records no likelier than shuffled ones .* an audit of it would mean"
    ):
        check_has_learned(model, cycling(np.random.default_rng(0), 60))


def test_a_trained_model_is_accepted_and_with_a_wrong_vocabulary_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    torch.manual_seed(0)
    trained = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder))
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2)
    rng = np.random.default_rng(1)
    for _ in range(60):
        batch = torch.tensor(cycling(rng, 32))
        trained(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained.save_pretrained(folder)
    model = FolderModel(folder)
    records = cycling(np.random.default_rng(2), 60)
    assert check_has_learned(model, records) > 0.3
    mixed = np.concatenate([[0, 1, 2], 3 + np.random.default_rng(3).permutation(17)])
    with pytest.raises(InputError, match="Its weights or its vocabulary are wrong"):
        check_has_learned(model, [mixed[record].tolist() for record in records])


def test_a_chain_is_accepted_on_its_own_records_only() -> None:
    transitions = np.full((SIZE, SIZE), 0.1 / SIZE)
    for code in range(SIZE):
        transitions[code, 3 + (code - 2) % 17] += 0.9
    chain = MarkovChain(transitions)
    records = cycling(np.random.default_rng(2), 40)
    assert check_has_learned(chain, records) > 1
    with pytest.raises(InputError, match="no likelier than shuffled"):
        check_has_learned(chain, [record[::-1] for record in records])
    with pytest.raises(InputError, match="No record is long enough to see whether the model"):
        check_has_learned(chain, [[1, 2], []])


def test_a_vocabulary_of_another_data_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))
    rows = [(i, at("2020-01-01"), f"CODE//{code}", None) for i in range(10) for code in range(4)]
    rows += [(i, at("2020-01-01"), "LAB//binned", 1.0) for i in range(10)]
    rows += [(i, at("1990-01-01"), "MEDS_BIRTH", None) for i in range(10)]
    dataset = MedsDataset(write(tmp_path / "cohort", {"0.parquet": rows}))
    codes = ("CODE//0", "CODE//1", "LAB//binned//0")
    assert check_vocabulary_fits(Vocabulary(codes, bins={"LAB//binned": (0.5,)}), dataset) == pytest.approx(0.6)
    assert check_vocabulary_fits(Vocabulary((*codes, "CODE//2")), dataset) == pytest.approx(0.6)  # no bins, no lab
    with pytest.raises(InputError, match=r"it knows 40% of the events of cohort \(unknown are CODE//2, CODE//3, LAB"):
        check_vocabulary_fits(Vocabulary(codes), dataset)
