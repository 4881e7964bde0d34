"""What a model folder says of itself, held against the headers of its weights before anything is built: a config of a few bytes can ask for a model
that fills any computer."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch
from torch.nn.modules import module as torch_modules

from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import opened, read_json
from ehrmem_widgets.settings import shown

Shapes = Mapping[str, tuple[int, ...]]
"""By the name of a weight."""
_INDEX = "model.safetensors.index.json"
_LARGEST_CONFIG, _LARGEST_INDEX = 2_000_000, 20_000_000
_LARGEST_HEADER = 20_000_000
_MOST_WEIGHTS = 40_000  # the largest mixtures of experts have 36,000
_LARGEST_NUMBER = 2**24  # of a config: the longest contexts are of 10 million codes
_MOST_LABELS = 2**16
_LAYERS = {"num_hidden_layers", "num_layers", "n_layers", "n_layer"}
_COUNTS = re.compile(r"(num|n)_\w+|\w+_(size|heads|layers|embeddings|positions)")
_NO_SIZE = re.compile(r"\w*(theta|seed|tokens|flos|steps|samples|version|date)\w*")  # may be as large as they like
_READ_BY_TRANSFORMERS = ("config.json", "generation_config.json", _INDEX)
_TIMES, _PARTS, _MASKS = (
    4,
    1_000,
    2**30,
)  # how far what is built may go beyond what is kept: tied weights, the library's own tables


def read_config(folder: Path) -> dict[str, object]:
    """The config.json of a folder. Raises BadInput where it, or another file that transformers reads with it, is no JSON object within bounds."""
    contents = {}
    for name in _READ_BY_TRANSFORMERS:
        if name != "config.json" and not (folder / name).exists():
            continue
        try:
            contents[name] = read_json(folder / name, "it", most=_LARGEST_INDEX if name == _INDEX else _LARGEST_CONFIG)
        except BadInput as error:
            raise BadInput(f"{name} of {str(folder)!r} is not JSON that this kit reads: {error}") from None
        if not isinstance(contents[name], dict):
            raise BadInput(f"{name} of {str(folder)!r} is not a JSON object.")
    _check_index(folder, contents.get(_INDEX))
    config = contents["config.json"]
    assert isinstance(config, dict)
    return config


def read_shapes(folder: Path, bytes_a_number: int = 4) -> Shapes:
    """The shape of every weight, by the files' headers alone. Raises BadInput for a file that is broken, whose header is endless or that
    holds empty weights, and for weights that do not fit into this computer's memory as they are run."""
    files = sorted(folder.glob("*.safetensors"))
    _check_memory(folder, sum(path.stat().st_size for path in files))
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        found |= _shapes_in(path)
    if len(found) > _MOST_WEIGHTS:
        raise BadInput(
            f"The weights in {str(folder)!r} are {len(found):,} pieces, and this kit reads {_MOST_WEIGHTS:,} at most."
        )
    if empty := next((name for name, shape in found.items() if 0 in shape), None):
        raise BadInput(f"The weights in {str(folder)!r} are broken: {shown(empty)} holds no numbers.")
    _check_memory(folder, bytes_a_number * _numbers(found))
    return found


def check_config_fits(folder: Path, config: Mapping[str, object], shapes: Shapes) -> None:
    """Raise BadInput for a number in the config that no weight bears out, and that would be waited for: more layers than weights, or sizes and
    contexts beyond 16 million, and for a size or number of parts below 0."""
    sizes = {size for shape in shapes.values() for size in shape}
    for key, number in _whole_numbers(config):
        most = len(shapes) if key in _LAYERS else _MOST_LABELS if key == "num_labels" else _LARGEST_NUMBER
        beyond = number > most and number not in sizes and not _NO_SIZE.fullmatch(key)
        if beyond or (number < 0 and _COUNTS.fullmatch(key)):
            raise BadInput(
                f"config.json of {str(folder)!r} says {shown(key)}: {shown(number)}, which its {len(shapes):,} weights do not bear out. Ask for "
                "the complete, matching files."
            )


@contextmanager
def no_larger_than(folder: Path, shapes: Shapes) -> Iterator[None]:
    """Within, this thread builds no model (on torch's device "meta", as transformers does) far larger than the weights: BadInput is raised at
    the first part beyond, whatever the architecture."""
    thread, numbers = threading.get_ident(), _numbers(shapes)
    parts = _Limit(_TIMES * len(shapes) + _PARTS, folder)
    weights, tables = (_Limit(_TIMES * numbers + more, folder) for more in (_PARTS, _MASKS))

    def modules(parent: object, name: str, module: object) -> None:
        if threading.get_ident() == thread:
            parts.add(1)

    def tensors(limit: _Limit) -> Callable[[object, str, torch.Tensor | None], None]:
        def hook(parent: object, name: str, tensor: torch.Tensor | None) -> None:
            if tensor is not None and tensor.is_meta and threading.get_ident() == thread:
                limit.add(tensor.numel())

        return hook

    with ExitStack() as hooks:
        hooks.enter_context(torch_modules.register_module_module_registration_hook(modules))
        hooks.enter_context(torch_modules.register_module_parameter_registration_hook(tensors(weights)))
        hooks.enter_context(torch_modules.register_module_buffer_registration_hook(tensors(tables)))
        yield


class _Limit:
    def __init__(self, most: int, folder: Path) -> None:
        self._left, self._folder = most, folder

    def add(self, n: int) -> None:
        self._left -= n
        if self._left < 0:
            raise BadInput(
                f"The weights in {str(self._folder)!r} do not belong to its config.json, which describes a far larger model. Ask for the complete, "
                "matching files."
            )


def _check_memory(folder: Path, needed: int) -> None:
    there = psutil.virtual_memory().total
    if needed > there:
        raise BadInput(
            f"The model in {str(folder)!r} needs {needed / 1e9:,.0f} GB of memory, and this computer has {there / 1e9:,.0f} GB. Open it on a "
            "larger one, or serve it there and name its address."
        )


def _shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    broken = f"The weights in {str(path.parent)!r} are broken"
    with opened(path, f"{path.name} of {str(path.parent)!r}") as file:
        if int.from_bytes(file.read(8), "little") > _LARGEST_HEADER:
            raise BadInput(f"{broken}: the header of {path.name} is larger than {_LARGEST_HEADER // 10**6} MB.")
    try:
        with safe_open(path, framework="pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise BadInput(f"{broken}: {said_by(error)}. Copy the file again.") from None


def _check_index(folder: Path, index: object) -> None:
    """Files outside the folder are not its own."""
    if index is None:
        return
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(isinstance(one, str) and one == Path(one).name for one in files.values()):
        raise BadInput(f"{_INDEX} of {str(folder)!r} must name files of this folder only.")


def _whole_numbers(config: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Every whole number in a config with the key that it stands under, however deep."""
    waiting: list[tuple[str, object]] = list(config.items())
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, one) for one in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, value


def _numbers(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes.values()))
