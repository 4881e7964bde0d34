"""A time-to-event model in a folder: its numbers are those of the public architecture, and its samples are those of the race that it scores."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from ehrmem_widgets.blackbox.attention_decoding import SharedPromptDecoder
from ehrmem_widgets.blackbox.checks import check_looks_back_only, check_scores_alone
from ehrmem_widgets.blackbox.delphi import Delphi, delphi_config
from ehrmem_widgets.blackbox.filtered import FilteredModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.opening import open_model
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.blackbox.serve import serve_model
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.explorable.pack import pack_model
from ehrmem_widgets.samples.folders import sample_model
from ehrmem_widgets.tokens.moments import days_of, ids_of, moment, moments
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CODES = ["Padding", "No event", "Female", "Male", *(f"D{i:02d}" for i in range(12)), "Death"]
CONFIG = {"model_type": "delphi", "n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": len(CODES), "block_size": 24,
          "bias": False, "dropout": 0.1, "ignore_tokens": [0, 2, 3], "t_min": 0.1, "mask_ties": True}  # fmt: skip
RECORD = moments([3, 5, 1, 9, 12], [0.0, 18_000.0, 18_262.0, 20_000.5, 20_000.5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As the public training code would leave it, once its checkpoint is safetensors: buffers and the tied head included."""
    path = tmp_path_factory.mktemp("delphi")
    torch.manual_seed(3)
    model = Delphi(delphi_config(CONFIG))
    for name, one in model.named_parameters():
        torch.nn.init.normal_(one, mean=float("ln_" in name), std=0.3)
    weights = {name: one.clone() for name, one in model.state_dict().items()}
    weights["transformer.wae.div_term"] = torch.exp(torch.arange(0, 16, 2) * (-math.log(10_000.0) / 16))
    weights |= {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 24, 24).tril() for i in range(2)}
    save_file(weights, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "labels.csv").write_text("\n".join(CODES) + "\n")
    return path


@pytest.fixture(scope="module")
def model(folder):
    return FolderModel(folder, vocabulary=folder / "labels.csv")


def test_a_page_refuses_a_model_that_tells_time(folder, model, tmp_path):
    """Its horizon is in days, and pages count codes."""
    shutil.copytree(folder, tmp_path / "delphi")
    model.vocabulary.save(tmp_path / "delphi" / "vocabulary.json")
    (tmp_path / "delphi" / "token_scheme.yaml").write_text(model.vocabulary.token_scheme.to_yaml())
    with pytest.raises(
        BadInput, match=r"\(delphi\) cannot run in a page: pages count codes, and it tells time in days"
    ):
        pack_model(tmp_path / "delphi")


def plain_logits(folder, ids, days):
    """The architecture written out anew, from the weights by name."""
    from safetensors.torch import load_file

    w = load_file(folder / "model.safetensors")
    t = {name.removeprefix("transformer."): one for name, one in w.items()}
    angle = torch.tensor(days, dtype=torch.float64)[:, None] / 365.25 * t["wae.div_term"].double()
    encoded = torch.zeros(len(ids), 16, dtype=torch.float64)
    encoded[:, 0::2], encoded[:, 1::2] = angle.sin(), angle.cos()
    x = t["wte.weight"][ids] + encoded.float() @ t["wae.linear.weight"].T
    causal = torch.ones(len(ids), len(ids)).tril() == 0
    for i in range(2):
        h = F.layer_norm(x, (16,), t[f"h.{i}.ln_1.weight"])
        q, k, v = (one.view(-1, 2, 8).transpose(0, 1) for one in (h @ t[f"h.{i}.attn.c_attn.weight"].T).split(16, -1))
        seen = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(causal, -torch.inf).softmax(-1) @ v
        x = x + seen.transpose(0, 1).flatten(1) @ t[f"h.{i}.attn.c_proj.weight"].T
        h = F.layer_norm(x, (16,), t[f"h.{i}.ln_2.weight"]) @ t[f"h.{i}.mlp.c_fc.weight"].T
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + h @ t[f"h.{i}.mlp.c_proj.weight"].T
    return (F.layer_norm(x, (16,), t["ln_f.weight"]) @ w["lm_head.weight"].T).double()


def race_after(folder, record, place):
    """The rates after a place of a record: earlier codes left out, but for "No event", and what is never predicted."""
    logits = plain_logits(folder, ids_of(record).tolist(), days_of(record).tolist())[place]
    out = {0, 2, 3} | (set(ids_of(record)[: place + 1].tolist()) - {1})
    logits[list(out)] = -torch.inf
    return logits.exp().numpy()


def test_its_own_token_scheme_is_found_by_its_codes(model):
    assert model.vocabulary.timed and model.vocabulary.token_scheme.no_event == "No event"
    assert model.vocabulary.stops == {"Death"} and model.vocabulary.end is None


def test_records_score_as_the_architecture_written_out(folder, model):
    [found] = model.score([RECORD])
    expected = []
    for place in range(4):
        rates, following = race_after(folder, RECORD, place), ids_of(RECORD)[place + 1]
        wait = days_of(RECORD)[place + 1] - days_of(RECORD)[place]
        expected.append(math.log(rates[following]) - wait * rates.sum())
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-4)
    moments_ = model.score_moments([RECORD])[0]
    assert moments_[:, 0] == pytest.approx(found)
    rates = race_after(folder, RECORD, 1)
    p, logs = rates / rates.sum(), np.log(np.where(rates > 0, rates, 1))
    assert moments_[1, 1] == pytest.approx((p * logs).sum() - 1, abs=1e-3)


def test_a_code_that_is_given_is_not_predicted(folder, model):
    """Sex as a second code: scored is only that nothing came before it."""
    record = moments([3, 2, 5], [0.0, 7.0, 9.0])
    assert model.score([record])[0][0] == pytest.approx(-7 * race_after(folder, record, 0).sum(), rel=1e-4)


def test_the_fast_decoder_continues_it_with_ages(folder, model):
    assert isinstance(model.new_decoder(), SharedPromptDecoder)
    decoder = model.new_decoder()
    found = [decoder.begin([RECORD[:2], RECORD[:3]], 2, 2)[1]]
    for number in RECORD[3:]:
        found.append(decoder.step(torch.tensor([5, -1, number, number]))[2])
    expected = plain_logits(folder, ids_of(RECORD).tolist(), days_of(RECORD).tolist())[2:]
    assert torch.stack(found).double() == pytest.approx(expected, abs=2e-3)


def test_samples_are_those_of_the_race_that_is_scored(folder, model):
    rates = race_after(folder, RECORD, 4)
    n = 4000
    steps = list(model.generate([[[one] for one in RECORD]], 36_525, n, track=np.eye(len(CODES)), seed=2))
    first, wait = ids_of(steps[0].codes[0]), steps[0].days[0]
    share = np.bincount(first, minlength=len(CODES)) / n
    p = rates / rates.sum()
    assert np.abs(share - p).max() < 4 * np.sqrt(0.25 / n)
    assert wait.mean() == pytest.approx(1 / rates.sum(), rel=0.08)
    assert steps[0].rates[0, 0] == pytest.approx(rates, rel=1e-3, abs=1e-9)
    told = days_of(steps[0].codes[0]) - days_of(RECORD)[-1]
    assert told == pytest.approx(wait, abs=1 / 1440)
    followed = np.stack([step.codes[0] for step in steps], axis=-1)
    for row in followed[:200]:
        seen = ids_of(row[row >= 0]).tolist()
        others = [one for one in seen if one != 1]
        assert len(others) == len(set(others)) and not set(others) & set(ids_of(RECORD).tolist())
        assert CODES.index("Death") not in seen[:-1]


def test_a_continuation_ends_at_the_horizon(model):
    steps = list(model.generate([[[one] for one in RECORD]], 2, 500, seed=1))
    assert max(step.days.max() for step in steps) <= 2
    ages_ = np.concatenate([days_of(step.codes[step.codes >= 0]) for step in steps])
    assert ages_.size and ages_.max() <= days_of(RECORD)[-1] + 2 + 1 / 1440


def test_it_passes_the_checks_at_opening(model):
    records = [RECORD, moments([2, 1, 6, 7, 8], [0, 9000, 9001, 9500, 9800])]
    assert check_looks_back_only(model, records) < 1e-3
    assert check_scores_alone(model, records) < 1e-3


def test_states_are_embeddings(model):
    found = model.embed([RECORD, [*RECORD[:3], moment(9, 30_000)]])
    assert found.shape == (2, 16) and np.allclose(np.linalg.norm(found, axis=1), 1) and not np.allclose(*found)


def test_what_does_not_fit_is_refused_in_words(folder, tmp_path):
    with pytest.raises(BadInput, match="time: ages"):
        FolderModel(folder, vocabulary=Vocabulary.load(folder / "labels.csv", "ehrmamba2"))
    for name, value, words in (
        ("n_layer", 3, "do not belong"),
        ("n_head", 0, "n_head"),
        ("ignore_tokens", [99], "ids below"),
        ("may_repeat", "No event", "ids below"),
        ("dropout", "a half", "a number from 0 to 1"),
        ("no_repeat", 1, "true or false"),
        ("n_layer", 10**5, "do not bear out"),
        ("n_embd", 2**22, "a far larger model"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**CONFIG, name: value}))
        for file in ("model.safetensors", "labels.csv"):
            (tmp_path / file).write_bytes((folder / file).read_bytes())
        with pytest.raises(BadInput, match=words):
            FolderModel(tmp_path, vocabulary=tmp_path / "labels.csv")


def test_settings_that_are_not_computed_here_change_nothing(folder, model, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "get_text_config": 5, "t_min": 0.1}))
    other = FolderModel(tmp_path, vocabulary=tmp_path / "labels.csv")
    assert other.context_length == model.context_length and np.array_equal(
        other.score([RECORD])[0], model.score([RECORD])[0]
    )


def test_it_is_not_asked_over_a_protocol_without_ages(folder, model):
    with pytest.raises(BadInput, match="no output filter is known"):
        FilteredModel(model, read_filter("top_k=10"))
    with pytest.raises(BadInput, match="cannot be served"), serve_model(model):
        pass
    with pytest.raises(BadInput, match="carries codes alone"):
        open_model("http://127.0.0.1:9", vocabulary=model.vocabulary)


def test_a_model_of_codes_alone_takes_no_token_scheme_with_ages():
    with pytest.raises(BadInput, match="reads codes alone"):
        FolderModel(sample_model(), token_scheme="delphi")
