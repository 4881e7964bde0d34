"""A config that asks for more than its weights are is refused before anything is built; so are headers without end."""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.weight_shapes import no_larger_than, read_shapes
from ehrmem_widgets.errors import BadInput
from tests.blackbox.contract import make


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make(tmp_path_factory.mktemp(kind) / "m", kind) for kind in ("llama", "gpt2", "mamba2")}


def configured(models: dict[str, Path], tmp_path: Path, kind: str, **changes: object) -> Path:
    folder = Path(shutil.copytree(models[kind], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


NOT_BORNE_OUT: dict[str, tuple[str, dict[str, object]]] = {
    "layers": ("llama", {"num_hidden_layers": 10**5}),
    "layers of GPT-2": ("gpt2", {"n_layer": 10**5}),
    "codes": ("llama", {"vocab_size": 10**12}),
    "codes of GPT-2": ("gpt2", {"vocab_size": 10**12}),
    "context": ("llama", {"max_position_embeddings": 10**9}),
    "context of GPT-2": ("gpt2", {"n_positions": 10**9}),
    "width": ("mamba2", {"hidden_size": 10**9}),
    "labels": ("llama", {"num_labels": 10**9}),
    "inside": ("llama", {"text_config": {"layers": [[10**9]]}}),
    "attention": ("gpt2", {"model_type": "gpt_neo", "attention_types": [[["global"], 10**9]]}),
    "heads below 0": ("gpt2", {"n_head": -1}),
    "context below 0": ("llama", {"max_position_embeddings": -1}),
}


@pytest.mark.parametrize(("kind", "changes"), NOT_BORNE_OUT.values(), ids=NOT_BORNE_OUT)
def test_a_number_that_no_weight_bears_out_is_refused(
    models: dict[str, Path], tmp_path: Path, kind: str, changes: dict[str, object]
) -> None:
    with pytest.raises(BadInput, match=r"config.json of .* says '\w+': -?\d+, which its \d+ weights do not bear out"):
        FolderModel(configured(models, tmp_path, kind, **changes))


BUILT: dict[str, tuple[str, dict[str, object]]] = {
    "llama": ("llama", {"intermediate_size": 2**24}),
    "gpt2": ("gpt2", {"n_inner": 2**24}),
    "mamba2": ("mamba2", {"state_size": 2**20}),
    "experts": ("llama", {"model_type": "mixtral", "num_local_experts": 2**24, "num_experts_per_tok": 1}),
}


@pytest.mark.parametrize(("kind", "changes"), BUILT.values(), ids=BUILT)
def test_a_model_far_larger_than_its_weights_is_not_built(
    models: dict[str, Path], tmp_path: Path, kind: str, changes: dict[str, object]
) -> None:
    with pytest.raises(BadInput, match=r"do not belong to its config.json, which describes a far larger model"):
        FolderModel(configured(models, tmp_path, kind, **changes))


def test_tables_of_the_librarys_own_count_too(tmp_path: Path) -> None:
    config = transformers.GPTNeoConfig(
        vocab_size=20, hidden_size=2, num_layers=1, num_heads=1, attention_types=[[["global"], 1]],
        max_position_embeddings=2**17, intermediate_size=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.GPTNeoForCausalLM(config)
    weights = {name: torch.zeros(one.shape) for name, one in model.named_parameters() if name != "lm_head.weight"}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps([f"C//{n}" for n in range(20)]))
    with pytest.raises(BadInput, match="describes a far larger model"):  # a mask of 131,072 x 131,072
        FolderModel(tmp_path)


def test_another_thread_may_build_what_it_likes(tmp_path: Path) -> None:
    def build() -> None:
        with torch.device("meta"):
            torch.nn.Linear(2**20, 2**10)

    with no_larger_than(tmp_path, {"a": (2, 2)}):
        other = threading.Thread(target=build)
        other.start()
        other.join()
        with pytest.raises(BadInput, match="a far larger model"):
            build()
    build()


def header(content: object, data: bytes = b"", length: int | None = None) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        head = struct.pack("<Q", len(text) if length is None else length)
        (folder / "model.safetensors").write_bytes(head + text + data)

    return write


def one(shape: list[int], end: int) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


def many(folder: Path) -> None:
    rows = {f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(40_001)}
    header(rows, b"1234" * 40_001)(folder)


def sparse(folder: Path) -> None:
    """10 TB, of which nothing is on the disk."""
    header(one([10**13 // 4], 10**13))(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.truncate(file.tell() + 10**13)


def replaced(name: str, put: Callable[[Path], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        put(folder / name)

    return edit


def hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


FILES = ("config.json", "generation_config.json", "model.safetensors.index.json")
HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header of brackets": (header(b"[" * 100_000), "are broken: "),
    "a header without end": (header(b"{}", length=2**63), "header of model.safetensors is larger than 20 MB"),
    "a shape of 5,000 digits": (header(f'{{"a": {{"dtype": "F32", "shape": [{"9" * 5_000}]}}}}'.encode()), "are broken: "),
    "a shape below 0": (header(one([-1], 4), b"1234"), "are broken: "),
    "a shape beyond the file": (header(one([2**62, 2**62], 4), b"1234"), "are broken: "),
    "empty weights": (header(one([10**12, 0], 0)), "are broken: 'a' holds no numbers"),
    "too many weights": (many, "are 40,001 pieces, and this kit reads 40,000 at most"),
    "10 TB": (sparse, r"needs 10,000 GB of memory, and this computer has"),
    "a pipe of weights": (replaced("model.safetensors", os.mkfifo), "is not a regular file"),
    "a device of weights": (replaced("model.safetensors", lambda path: path.symlink_to("/dev/zero")), "is not a regular file"),
    "an adapter": (replaced("adapter_config.json", text("{}")), "holds an adapter beside or instead of a model"),
    "files elsewhere": (
        replaced(FILES[2], text('{"weight_map": {"a": "../other/model.safetensors"}}')), "must name files of this folder only",
    ),
    "an index of another form": (replaced(FILES[2], text('{"weight_map": [1]}')), "must name files of this folder only"),
    **{f"{name}, a pipe": (replaced(name, os.mkfifo), "not a regular file") for name in FILES},
    **{f"{name}, a device": (replaced(name, lambda path: path.symlink_to("/dev/zero")), "not a regular file") for name in FILES},
    **{f"{name}, deep": (replaced(name, text('{"a":' + "[" * 100_000)), "nested too deeply") for name in FILES},
    **{f"{name}, digits": (replaced(name, text('{"a":' + "9" * 5_000 + "}")), "cannot be read as JSON") for name in FILES},
    **{f"{name}, large": (replaced(name, hole), "larger than") for name in FILES},
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_folder_is_refused_in_a_short_sentence(
    models: dict[str, Path], tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    folder = configured(models, tmp_path, "llama")
    spoil(folder)
    with pytest.raises(BadInput, match=told) as refused:
        FolderModel(folder)
    assert len(str(refused.value).replace(str(tmp_path), "")) < 400


def test_kernels_of_its_own_are_code_of_its_own(models: dict[str, Path], tmp_path: Path) -> None:
    folder = configured(models, tmp_path, "llama", attn_implementation="somebody/kernel")
    with pytest.raises(BadInput, match=r"wants to run code of its own \('attn_implementation'"):
        FolderModel(folder)


def test_what_cannot_be_computed_is_said_at_opening(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot be (run|opened): "):
        FolderModel(configured(models, tmp_path, "mamba2", chunk_size=0, n_groups=3))


def test_shapes_are_those_of_the_weights(models: dict[str, Path]) -> None:
    shapes = read_shapes(models["llama"])
    built = FolderModel(models["llama"])._model.state_dict()
    assert all(tuple(built[name].shape) == shape for name, shape in shapes.items()) and len(shapes) > 10
