"""A model folder as JSON that engine.js opens: its codes, and its weights in base64 as they leave the fast decoder.

Numbers are kept in float16 where that loses nothing, else in float32. The decoder's layers hold the weights of the norms before them and the
attention's scale, products that float16 would round: they are divided out again, and engine.js multiplies them in, to the same bits.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.attention_decoding import Transformer
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.layers import Linear, Norm
from ehrmem_widgets.errors import BadInput

MAX_BYTES = 12_000_000
ACTIVATIONS = ("silu", "gelu_new", "gelu", "relu")
"""What engine.js computes, by its name in transformers."""
_KERNELS = Path(__file__).parent / "kernels.wasm"
_BASE64 = 4 / 3  # letters a byte
_A_PARAMETER = 2.8  # letters: float16 in base64, and a twentieth for all that is not a weight


def pack_model(folder: Path, max_bytes: int = MAX_BYTES) -> dict[str, object]:
    """What ``openModel`` of engine.js takes, ready for ``json.dumps``.

    Raises
    ------
    BadInput
        For a folder that ``FolderModel`` refuses, an architecture that the engine does not know, a model that answers NaN, and a
        model that takes more than ``max_bytes`` as JSON.

    """
    on_disk = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if on_disk / 2 * _BASE64 > max_bytes:  # were it float32 that float16 can hold: do not even load it
        raise _too_large(folder, on_disk / 2 * _BASE64, max_bytes)
    model = FolderModel(folder, device="cpu")
    if model.vocabulary.timed:
        raise BadInput(
            f"The model in {str(folder)!r} ({_kind(folder)}) cannot run in a page: pages count codes, and it tells time in days. Use `ehrmem explore` "
            "for it."
        )
    if not np.isfinite(model.score([[0, 0]])[0]).all():
        raise BadInput(
            f"The model in {str(folder)!r} answers with what is not a number (NaN): its weights are broken. Get the files again, or choose "
            "another model."
        )
    parts = model.transformer
    if parts is None or parts.activation not in ACTIVATIONS:
        raise BadInput(
            f"The model in {str(folder)!r} ({_kind(folder)}) cannot run in a page: pages run Llama, GPT-2 and GPT-NeoX models in their usual "
            f"forms, with one of the activations {', '.join(ACTIVATIONS)}. Choose such a model, or use `ehrmem explore` for this one."
        )
    vocabulary = model.vocabulary
    packed = {
        "name": model.name,
        "codes": list(vocabulary.codes),
        "stops": sorted(vocabulary.ids(vocabulary.stops)),
        "contextLength": model.context_length,
        **_layers(parts),
        "kernels": base64.b64encode(_KERNELS.read_bytes()).decode(),
    }
    size = len(json.dumps(packed))
    if size > max_bytes:
        raise _too_large(folder, size, max_bytes)
    return packed


def _layers(parts: Transformer) -> dict[str, object]:
    embedding = parts.embedding.numpy()
    queries = parts.heads * parts.width

    def behind(norm: Norm, layer: Linear, *, queries: int = 0) -> dict[str, object]:
        return _linear(layer, _scale_of(norm), queries, parts.width)

    head = behind(parts.norm, parts.head)
    tied = np.array_equal(np.asarray(head["weight"]).T, embedding)
    found = {
        "heads": parts.heads,
        "keyHeads": parts.key_heads,
        "width": parts.width,
        "parallel": parts.parallel,
        "gated": parts.blocks[0].gated,
        "activation": parts.activation,
        "embedding": embedding,
        "positions": None if parts.positions is None else parts.positions.numpy(),
        "turn": None if parts.turn is None else parts.turn.numpy().view(np.float32),  # cosine and sine in turn
        "blocks": [
            {
                "normAttention": _norm(block.norm_attention),
                "queryKeyValue": behind(block.norm_attention, block.query_key_value, queries=queries),
                "attentionOut": _linear(block.attention_out),
                "normMlp": _norm(block.norm_mlp),
                "up": behind(block.norm_mlp, block.up),
                "down": _linear(block.down),
            }
            for block in parts.blocks
        ],
        "norm": _norm(parts.norm),
        "head": {**head, "weight": None} if tied else head,  # None: that of the embedding, turned round
    }
    return {name: _as_json(value) for name, value in found.items()}


def _norm(norm: Norm) -> dict[str, object]:
    return {
        "rootMeanSquare": norm.floor is not None,
        "epsilon": norm.epsilon,
        "weight": norm.weight.numpy(),
        "bias": None if norm.bias is None else norm.bias.numpy(),
    }


def _scale_of(norm: Norm) -> np.ndarray | None:
    """What ``layers.stacked`` multiplied into the layer behind this norm, one number a row."""
    weight = norm.weight.numpy()
    return None if norm.floor is None else weight * np.float32(math.sqrt(len(weight)))


def _linear(layer: Linear, rows: np.ndarray | None = None, queries: int = 0, width: int = 1) -> dict[str, object]:
    """``scaled``: the engine is to multiply in the norm's scale and that of the attention (the first ``queries`` columns)."""
    folded = layer.weight.numpy()
    bias = None if layer.bias is None else layer.bias.numpy()
    by_row = (np.ones(len(folded), np.float32) if rows is None else rows)[:, None]
    by_column = np.ones(folded.shape[1], np.float32)
    by_column[:queries] /= np.float32(math.sqrt(width))
    with np.errstate(all="ignore"):  # what does not come out again is kept as it is
        plain = (folded.astype(float) / by_row / by_column).astype(np.float16).astype(np.float32)
        scaled = np.array_equal(plain * by_row * by_column, folded)
    return {"weight": plain if scaled else folded, "scaled": scaled, "bias": bias}


def _as_json(value: object) -> object:
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return packed_array(value) if isinstance(value, np.ndarray) else value


def packed_array(value: np.ndarray) -> dict[str, object]:
    """Numbers as ``unpacker`` of engine.js reads them: in float16 where that loses nothing, else in float32."""
    with np.errstate(over="ignore"):
        half: np.ndarray = value.astype("<f2")
    kept = half if np.array_equal(half.astype(np.float32), value) else value.astype("<f4")
    return {
        "format": "float16" if kept is half else "float32",
        "shape": list(value.shape),
        "base64": base64.b64encode(kept.tobytes()).decode(),
    }


def _kind(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text()).get("model_type", "of no named type"))


def _too_large(folder: Path, size: float, max_bytes: int) -> BadInput:
    fits = int(max_bytes / _A_PARAMETER / 1000) * 1000
    return BadInput(
        f"The model in {str(folder)!r} takes {size / 1e6:.1f} MB in the page, and {max_bytes / 1e6:.1f} MB are left for it. A model of about "
        f"{fits:,} parameters, saved in float16, would fit. Choose a smaller model, fewer models, or a larger page."
    )
