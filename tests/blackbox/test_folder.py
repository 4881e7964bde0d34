"""A model folder answers exactly as its weights say, or is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from ehrmem_widgets.blackbox import folder as folder_module
from ehrmem_widgets.blackbox import sampling
from ehrmem_widgets.blackbox.attention_decoding import SharedPromptDecoder
from ehrmem_widgets.blackbox.checks import check_has_learned, check_vocabulary_fits
from ehrmem_widgets.blackbox.filtered import FilteredModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import model_in_words
from ehrmem_widgets.probes.prompt_embeddings import continued
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import (
    ARCHITECTURES,
    CODES,
    CONTEXT,
    SIZE,
    assert_alike,
    forward,
    make,
    next_code,
    random_model,
    single,
    some_sequences,
)
from tests.cohort.meds import at, write

SIXTEEN_BITS = torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
LOUD = 13  # no code that a model is compared by when it is opened


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp("plain")))


def test_a_vocabulary_without_stop_codes_never_ends(tmp_path: Path) -> None:
    folder = make(tmp_path / "m")
    Vocabulary(CODES, stops=frozenset()).save(folder / "vocabulary.json")
    codes = np.stack([step.codes for step in FolderModel(folder).generate([single(1)], 10, 50)])
    assert len(codes) == 10 and (codes >= 0).all()


def test_a_head_wider_than_the_vocabulary_is_fine(tmp_path: Path) -> None:
    model = FolderModel(make(tmp_path / "m", head=32))
    banned, track = np.arange(SIZE) == 4, np.ones((SIZE, 1))
    [step] = model.generate([single(1, 5)], 1, 10, banned=banned, track=track)
    assert step.mass is not None
    exact = next_code(random_model("llama", head=32), 1, 5)
    assert step.mass.max() == pytest.approx(exact[:SIZE].sum(), abs=1e-5)
    assert model.score([[1, 5, 9]])[0][1] == pytest.approx(np.log(exact[9]), abs=1e-5)


def test_a_model_with_states_has_no_context_to_fill(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", "mamba2")
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    model = FolderModel(folder)
    assert model.context_length == 2**20
    sequence = some_sequences(1, CONTEXT)[0] * CONTEXT
    assert len(model.score([sequence])[0]) == len(sequence) - 1
    banned = np.arange(SIZE) == 2
    assert len(list(model.generate([single(*sequence)], 5, 3, banned=banned))) == 5


def test_a_short_record_is_not_filled_up_to_a_chunk(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", "mamba2")
    edit_config(chunk_size=256)(folder)
    model = FolderModel(folder)
    for record in ([1, 5, 9], [1, 5, 9, 4, 4, 7]):
        exact = forward(random_model("mamba2"), record)[range(len(record) - 1), record[1:]]
        np.testing.assert_allclose(model.score([record])[0], exact, atol=1e-5)
        assert {layer.mixer.chunk_size for layer in model._model.backbone.layers} == {len(record)}


@pytest.mark.parametrize("saved", [torch.float16, torch.bfloat16])
def test_weights_saved_in_16_bit_are_run_in_32(tmp_path: Path, saved: torch.dtype) -> None:
    folder = make(tmp_path / "m")
    library = random_model("llama")
    for parameter in library.parameters():
        parameter.data = parameter.data.to(saved).float()
    exact = forward(library, [1, 5, 9, 4])
    library.to(saved).save_pretrained(folder)
    assert load_file(folder / "model.safetensors")[NORM].dtype == saved
    np.testing.assert_allclose(FolderModel(folder).score([[1, 5, 9, 4]])[0], exact[[0, 1, 2], [5, 9, 4]], atol=1e-5)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_in_16_bit_the_answers_are_nearly_the_same(tmp_path: Path, kind: str) -> None:
    folder = make(tmp_path / "m", kind)
    assert_alike(FolderModel(folder, dtype="bfloat16"), FolderModel(folder), within=0.05)


def test_a_device_or_number_format_that_is_not_there_is_refused(
    llama: FolderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match=r"There is no device 'tpu'. Give 'cpu', 'cuda' or 'cuda:1'."):
        FolderModel(llama.folder, device="tpu")
    with pytest.raises(BadInput, match=r"does not run in 'int8' here. Give 'float32' or 'bfloat16'."):
        FolderModel(llama.folder, dtype="int8")
    monkeypatch.setenv("EHRMEM_DEVICE", "cuda:99")
    with pytest.raises(BadInput, match=r"CUDA devices here, so there is no 'cuda:99'. Give 'cpu'"):
        FolderModel(llama.folder)
    assert FolderModel(llama.folder, device="cpu").score([[1, 5]])[0] == pytest.approx(llama.score([[1, 5]])[0])


def test_which_numbers_continuations_are_computed_in(
    llama: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = random_model("gpt2", width=256)
    for parameter in wide.parameters():
        if parameter.dim() > 1:  # what is drawn wide for few dimensions makes attention of many too sharp for 16 bits
            parameter.data.mul_(0.2)
    wide.save_pretrained(tmp_path)
    Vocabulary(CODES).save(tmp_path / "vocabulary.json")
    found = {}
    for precision in ("float32", "auto"):
        monkeypatch.setenv("EHRMEM_PRECISION", precision)
        found[precision] = FolderModel(tmp_path)
    assert found["float32"].number_format == "float32" == llama.number_format
    assert found["auto"].number_format == ("bfloat16" if SIXTEEN_BITS else "float32")
    assert FilteredModel(found["auto"], read_filter("top_k=3")).number_format == found["auto"].number_format
    assert model_in_words(found["float32"]) == found["float32"].name
    assert ("continuations computed in 16-bit numbers (bfloat16)" in model_in_words(found["auto"])) == SIXTEEN_BITS
    prompts, track = [single(1, 5), single(1, 6, 7, 8), single(1)], np.eye(SIZE)
    [exact], [step], [again] = (
        list(model.generate(prompts, 1, 5, track=track)) for model in (found["float32"], found["auto"], found["auto"])
    )
    assert exact.mass is not None and step.mass is not None and again.mass is not None
    np.testing.assert_array_equal(step.mass, again.mass)
    np.testing.assert_allclose(step.mass, exact.mass, atol=0.02)
    [alone] = found["auto"].generate(prompts[:1], 1, 5, track=track)
    np.testing.assert_allclose(alone.mass[0], step.mass[0], atol=0.02)
    monkeypatch.setenv("EHRMEM_PRECISION", "int8")
    with pytest.raises(BadInput, match=r"EHRMEM_PRECISION is 'int8'. Give 'auto' .* or 'float32'."):
        FolderModel(tmp_path)


@pytest.mark.skipif(not SIXTEEN_BITS, reason="no 16-bit products here")
def test_numbers_too_large_for_sixteen_bits_go_on_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that agrees on all codes but one, whose keys are larger than half precision can say."""
    wide = random_model("gpt2", width=256)
    for parameter in wide.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(0.2)
    body, first = wide.transformer, wide.transformer.h[0]
    body.wpe.weight.data.zero_()
    first.ln_1.weight.data.fill_(1)
    first.ln_1.bias.data.zero_()
    embedding = body.wte.weight.data
    embedding[:, :2] = 0
    embedding[:, 2:] -= embedding[:, 2:].mean(dim=1, keepdim=True)  # so that the first dimensions stay 0 in the norm
    embedding[LOUD, 0], embedding[LOUD, 1] = 1, -1
    first.attn.c_attn.weight.data[0, 256:512] = 2e4
    wide.save_pretrained(tmp_path)
    Vocabulary(CODES).save(tmp_path / "vocabulary.json")
    model, question = FolderModel(tmp_path), ([single(1, 5)], 6, 4)
    assert model.number_format == "bfloat16"
    banned = np.ones(SIZE, dtype=bool)
    banned[LOUD] = False
    calm = np.zeros(SIZE, dtype=bool)
    calm[LOUD] = True
    deque(model.generate(*question, banned=calm), maxlen=0)
    assert model.number_format == "bfloat16" and "16 bits" not in caplog.text
    track = np.eye(SIZE)
    steps = list(model.generate(*question, banned=banned, track=track))
    assert model.number_format == "bfloat16"  # some of its answers were
    decoder = model.new_decoder()
    assert isinstance(decoder, SharedPromptDecoder) and decoder.parts.number_format == torch.float32
    assert caplog.text.count("became too large for 16 bits. Its continuations go on in float32") == 1
    assert len(steps) == 6 and all(np.isfinite(step.mass).all() for step in steps)
    monkeypatch.setenv("EHRMEM_PRECISION", "float32")
    exact = list(FolderModel(tmp_path).generate(*question, banned=banned, track=track))
    np.testing.assert_array_equal(steps[-1].mass, exact[-1].mass)


def test_a_model_that_gives_no_numbers_in_the_middle_of_a_continuation(tmp_path: Path) -> None:
    broken = random_model("gpt2")
    broken.transformer.wpe.weight.data[6:] = float("nan")
    broken.save_pretrained(tmp_path)
    Vocabulary(CODES).save(tmp_path / "vocabulary.json")
    steps = FolderModel(tmp_path).generate([single(1, 5)], 8, 3)
    with pytest.raises(BadInput, match=r"not a number \(NaN\)"):
        deque(steps, maxlen=0)


def test_records_are_read_in_batches_that_fit(llama: FolderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = some_sequences(60, CONTEXT)
    monkeypatch.setattr(folder_module, "_NUMBERS_AT_ONCE", 100 * SIZE)
    batches = list(llama._batches(sequences))
    assert len(batches) > 5 and max(ids.numel() for _, ids in batches) <= 100
    assert sorted(place for places, _ in batches for place in places) == list(range(60))


@pytest.mark.parametrize("at_once", [10**9, 8, 3], ids=["together", "two prompts at a time", "few samples at a time"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_embeddings_while_generating_are_those_of_what_was_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at_once: int
) -> None:
    model = FolderModel(make(tmp_path / "m", kind))
    in_one_reading = model.embed_continuations
    assert in_one_reading is not None
    parts = sampling._parts
    monkeypatch.setattr(sampling, "_parts", lambda prompts, samples, _: parts(prompts, samples, at_once))
    prompts = [single(1, 5), single(1, 6, 7, 8, 3, 4), single(1)]
    room = CONTEXT - 6  # to the last code of the context
    steps = list(model.generate(prompts, room, 4, seed=2))
    codes = np.stack([step.codes for step in steps], axis=-1)
    assert (codes[..., -1] < 0).any() and (codes >= 0).all(axis=-1).any()  # some ended, some did not
    written = [row for prompt, rows in zip(prompts, codes, strict=True) for row in continued(prompt, rows)]
    found = in_one_reading(prompts, room, 4, 2)
    np.testing.assert_allclose(found.reshape(12, -1), model.embed(written), atol=2e-5)


def test_an_open_slot_is_embedded_as_the_model_filled_it(llama: FolderModel) -> None:
    in_one_reading = llama.embed_continuations
    assert in_one_reading is not None
    [found] = in_one_reading([[*single(1, 5), [3, 4], [6]]], 1, 30, 0)
    [step] = llama.generate([[*single(1, 5), [3, 4], [6]]], 1, 30, seed=0)
    by_hand = np.stack([llama.embed([[1, 5, fill, 6, int(code)] for code in step.codes[0]]) for fill in (3, 4)])
    away = np.abs(by_hand - found).max(axis=-1)
    np.testing.assert_allclose(away.min(axis=0), 0, atol=2e-5)
    assert set(away.argmin(axis=0)) == {0, 1}


def test_weights_that_make_no_numbers_are_refused(folder: Path) -> None:
    edit_weights(lambda t: t[NORM].fill_(float("nan")))(folder)
    with pytest.raises(BadInput, match=r"The model's answer is not a number \(NaN\): its weights are broken"):
        next(FolderModel(folder).generate([single(1, 5)], 3, 2))


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
    "no config": (lambda f: (f / "config.json").unlink(), "is not a Hugging Face model folder: it has no config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), r"config.json of .* is not JSON"),
    "config of a list": (lambda f: (f / "config.json").write_text("[]"), r"config.json of .* is not a JSON object"),
    "binary config": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config.json of .* is not JSON"),
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
    "no vocabulary": (
        lambda f: (f / "vocabulary.json").unlink(),
        "has no list of the codes that its numbers stand for",
    ),
    "broken vocabulary": (lambda f: (f / "vocabulary.json").write_text("{"), "vocabulary.json is not a vocabulary"),
    "vocabulary too large": (
        lambda f: Vocabulary((*CODES, "ONE//more")).save(f / "vocabulary.json"),
        "The vocabulary does not fit the model: it lists 21 codes and the model knows 20",
    ),
}


@pytest.mark.parametrize(("spoil", "told"), BROKEN.values(), ids=BROKEN)
def test_a_broken_folder_is_refused_in_one_sentence(folder: Path, spoil: Callable[[Path], object], told: str) -> None:
    FolderModel(folder)  # before, it opens
    spoil(folder)
    with pytest.raises(BadInput, match=told) as caught:
        FolderModel(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    marker = folder / "was opened"
    # A pickle that makes a file when it is loaded.
    (folder / "pytorch_model.bin").write_bytes(
        b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(marker).encode() + b"\ntRtR."
    )
    with pytest.raises(BadInput, match="are a pickle"):
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


def test_random_weights_are_refused(llama: FolderModel) -> None:
    with pytest.raises(
        BadInput, match=r"finds real records no likelier than shuffled ones .* an audit of it would mean"
    ):
        check_has_learned(llama, cycling(np.random.default_rng(0), 60))


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
    with pytest.raises(BadInput, match="Its weights or its vocabulary are wrong"):
        check_has_learned(model, [mixed[record].tolist() for record in records])


def test_a_chain_is_accepted_on_its_own_records_only() -> None:
    transitions = np.full((SIZE, SIZE), 0.1 / SIZE)
    for code in range(SIZE):
        transitions[code, 3 + (code - 2) % 17] += 0.9
    chain = MarkovChain(transitions)
    records = cycling(np.random.default_rng(2), 40)
    assert check_has_learned(chain, records) > 1
    with pytest.raises(BadInput, match="no likelier than shuffled"):
        check_has_learned(chain, [record[::-1] for record in records])
    with pytest.raises(BadInput, match="No record is long enough to see whether the model"):
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
    with pytest.raises(BadInput, match=r"it knows 40% of the events of cohort \(unknown are CODE//2, CODE//3, LAB"):
        check_vocabulary_fits(Vocabulary(codes), dataset)
