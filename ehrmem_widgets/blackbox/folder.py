"""A Hugging Face folder as a black box: config.json, safetensors weights and this kit's vocabulary.json."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ehrmem_widgets.blackbox.attention_decoding import (
    EmbeddingDecoder,
    SharedPromptDecoder,
    Transformer,
    transformer_parts,
)
from ehrmem_widgets.blackbox.decoding import Decoder, best_decoder, context_length
from ehrmem_widgets.blackbox.delphi import Delphi, open_delphi
from ehrmem_widgets.blackbox.layers import pack_linears
from ehrmem_widgets.blackbox.llama import Llama, open_llama
from ehrmem_widgets.blackbox.protocol import EmbedContinuations, Query, SlotIds, Step
from ehrmem_widgets.blackbox.race import Race
from ehrmem_widgets.blackbox.sampling import NotANumber, sample
from ehrmem_widgets.blackbox.state_space_decoding import read_without_filling
from ehrmem_widgets.blackbox.weight_shapes import Shapes, check_config_fits, no_larger_than, read_config, read_shapes
from ehrmem_widgets.cohort.fingerprints import fingerprint
from ehrmem_widgets.cores import threads
from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import read_json
from ehrmem_widgets.tokens.token_scheme import TokenScheme, token_scheme_in
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.tokens.vocabulary_files import find_vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY_FILE = "vocabulary.json"
_ROWS_OF_LOGITS = 64
_CODES_AT_ONCE = 4096  # in one forward pass of score and embed: fits any laptop, with
_NUMBERS_AT_ONCE = 2**26  # in its largest tensor
_FAULTS = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, ImportError, OSError, RuntimeError, MemoryError,
)  # fmt: skip
"""By which a library says that a config is none."""
_LEAST_SHARE = 2**-20  # of the room that a stream or a batch takes at first
_NUMBER_FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_Answer = TypeVar("_Answer")
log = logging.getLogger(__name__)

torch.set_num_threads(threads())


def use_threads(n: int) -> None:
    """How many threads torch uses from now on in this process."""
    torch.set_num_threads(n)


class FolderModel:
    """A causal language model of transformers, read from a folder. Weights are never shown, only its answers (but for ``transformer``).

    ``vocabulary``: the file of its codes (any form of ``read_codes``), or the one found in the folder. ``token_scheme``: how it writes
    records (``tokens/token_scheme.py``); the file in the folder, else guessed. ``device``: "cpu", "cuda" or "cuda:1"; if not given,
    what EHRMEM_DEVICE names, else a CUDA device where there is one. ``dtype``: "float32", or "bfloat16" for twice the speed on
    a CUDA device at some loss of exactness; whatever the weights were saved as. Even in "float32", continuations of a wide model
    are computed in bfloat16 on a processor that does it faster, unless EHRMEM_PRECISION is "float32" (``number_format`` says which).

    Raises
    ------
    BadInput
        For a folder without config or safetensors, a pickle, code of the model's own, missing or unexpected or misshapen
        weights, a vocabulary that does not fit the head, a training.json that cannot be read, and a device that is not there. A
        model that only half loads would be audited as a random one and found to remember nobody.

    """

    answers = frozenset(Query)

    def __init__(
        self,
        folder: str | Path,
        *,
        vocabulary: str | Path | Vocabulary | None = None,
        token_scheme: str | Path | TokenScheme | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> None:
        self.folder = Path(folder)
        self.name = self.folder.name
        self._sixteen_bits = _sixteen_bits()
        self._overflowed = False  # in 16 bits
        shapes = _check_folder(self.folder, 2 if dtype == "bfloat16" else 4)
        listed = folder_vocabulary(self.folder, vocabulary, token_scheme)
        self._dtype = dtype
        with no_larger_than(self.folder, shapes):
            self._open(_device(device))
        _check_ages(listed, told=self._race is not None)
        head = int(self._model.get_output_embeddings().weight.shape[0])
        if head < len(listed):
            raise BadInput(
                f"The vocabulary does not fit the model: it lists {len(listed):,} codes and the model knows "
                f"{head:,}. Give the vocabulary that the model was trained with."
            )
        self.vocabulary = listed.widened(head)
        self.codes_in_head = head
        self.fingerprint = _fingerprint(self.folder, listed)
        self.context_length = context_length(self._model) or 2**20
        _check_runs(self._model, self.folder)
        self._stops = [self.vocabulary.id(code) for code in sorted(self.vocabulary.stops)]
        split = self.training.get("split")
        self.training_split = split if isinstance(split, str) else None

    def _open(self, device: torch.device) -> None:
        self._model = _load(self.folder, device, self._dtype)
        pack_linears(self._model)
        self._race: Race | None = getattr(self._model, "race", None)
        self._share = 1.0  # of what a stream may take of the free memory
        self.__dict__.pop("new_decoder", None)

    def __repr__(self) -> str:
        return f"FolderModel({self.name!r}: {len(self.vocabulary):,} codes, context {self.context_length:,})"

    def generate(
        self,
        prompts: Sequence[SlotIds],
        horizon: int,
        samples: int,
        *,
        track: np.ndarray | None = None,
        banned: np.ndarray | None = None,
        seed: int = 0,
    ) -> Iterator[Step]:
        """As ``BlackBox.generate``; stops early when the context is full or every continuation has ended."""
        if (now := torch.get_num_threads()) != (wanted := threads(now)):
            torch.set_num_threads(wanted)
        given = 0
        while True:
            steps = sample(
                self.new_decoder,
                prompts,
                horizon,
                samples,
                size=self.codes_in_head,
                context_length=self.context_length,
                stops=self._stops,
                track=track,
                banned=banned,
                seed=seed,
                device=self._model.device,
                race=self._race,
                share=self._share,
            )
            try:
                for step in islice(steps, given, None):
                    yield step
                    given += 1
                return
            except (RuntimeError, NotANumber) as error:
                self._give_way(error)

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``; of a sequence longer than the context, its first part."""

        def of_one(logits: Tensor, ids: Tensor) -> Tensor:
            return _log_probabilities(logits, ids[1:]) if self._race is None else self._race.scores(logits, ids)[:, 0]

        return self._where_there_is_room(lambda: self._of_each(sequences, of_one))

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``; of a sequence longer than the context, its first part."""

        def of_one(logits: Tensor, ids: Tensor) -> Tensor:
            return moments(logits, ids[1:]) if self._race is None else self._race.scores(logits, ids)

        return self._where_there_is_room(lambda: self._of_each(sequences, of_one))

    @torch.inference_mode()
    def _of_each(
        self, sequences: Sequence[Sequence[int]], of_one: Callable[[Tensor, Tensor], Tensor]
    ) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(sequences)
        for place, logits, ids in self.logits(sequences):
            found[place] = of_one(logits, ids).cpu().numpy().astype(float)
        return found

    @torch.inference_mode()
    def logits(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Of each sequence its place, (n - 1, codes) logits behind each code but the last, and its (n,) ids; like lengths together. Of a sequence
        longer than the context, its first part."""
        for places, ids in self._batches(sequences):
            logits = self._model(input_ids=ids).logits
            for row, place in enumerate(places):
                length = min(len(sequences[place]), self.context_length)
                yield place, logits[row, : length - 1], ids[row, :length]

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """The last layer's states, averaged over the codes and scaled to unit length; the first part of a sequence
        longer than the context."""
        return self._where_there_is_room(lambda: self._embed(sequences))

    def _embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        embeddings: list[np.ndarray] = [np.empty(0)] * len(sequences)
        for places, ids in self._batches(sequences):
            with torch.inference_mode():
                states = self._model.base_model(input_ids=ids).last_hidden_state.float()
                lengths = torch.tensor([min(len(sequences[p]), self.context_length) for p in places], device=ids.device)
                inside = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).float()[..., None]
                mean = (states * inside).sum(dim=1) / lengths[:, None]
                found = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
            for row, place in enumerate(places):
                embeddings[place] = found[row]
        return np.stack(embeddings) if embeddings else np.empty((0, 0))

    @property
    def embed_continuations(self) -> EmbedContinuations | None:
        """As ``EmbedContinuations``, from the states that come by while generating; None where the layers are the library's."""
        decoder = self.new_decoder()
        if self._race is not None or not isinstance(decoder, SharedPromptDecoder):
            return None
        return lambda *question: self._where_there_is_room(lambda: self._embed_continuations(*question))

    def _embed_continuations(self, prompts: Sequence[SlotIds], horizon: int, samples: int, seed: int) -> np.ndarray:
        totals: list[Tensor] = []
        parts = cast("SharedPromptDecoder", self.new_decoder()).parts
        goes_on = torch.ones(self.codes_in_head, dtype=torch.bool, device=self._model.device)
        goes_on[self._stops] = False
        steps = sample(
            lambda: EmbeddingDecoder(parts, goes_on, totals),
            prompts,
            horizon + 1,  # one more, so that the last code is read, too
            samples,
            size=self.codes_in_head,
            context_length=self.context_length + 1,
            stops=(),
            seed=seed,
            device=self._model.device,
            share=self._share,
        )
        deque(steps, maxlen=0)
        found = torch.nn.functional.normalize(torch.cat(totals), dim=-1)
        return found.view(len(prompts), samples, -1).cpu().numpy()

    def _where_there_is_room(self, act: Callable[[], _Answer]) -> _Answer:
        while True:
            try:
                return act()
            except (RuntimeError, NotANumber) as error:
                self._give_way(error)

    def _give_way(self, error: RuntimeError | NotANumber) -> None:
        """Where 16-bit products overflow: go on in float32. On a CUDA device that is full: take less of it; where little does not help either, or the
        device is gone: go on with the processor. Says so. Raises ``error`` where it is neither."""
        if isinstance(error, NotANumber):
            if self._overflowed or self.number_format == _in_words(self._model.dtype):
                raise error
            self._overflowed, self._sixteen_bits = True, False
            self.__dict__.pop("new_decoder", None)
            log.warning(
                "Numbers of %s became too large for 16 bits. Its continuations go on in float32, more slowly.",
                self.name,
            )
            return
        if self.device.type == "cpu":
            raise error
        if isinstance(error, torch.OutOfMemoryError) and self._share > _LEAST_SHARE:
            self._share /= 16
            torch.cuda.empty_cache()
            return
        _say_it_goes_on_without(self.device, error)
        self._sixteen_bits = False  # what was begun in float32 goes on in it
        self._open(torch.device("cpu"))

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._model.device

    @property
    def configured_start(self) -> int | None:
        """The start code's id that the config names, which may be a default that means nothing."""
        number = getattr(self._model.config, "bos_token_id", None)
        return number if isinstance(number, int) else None

    @cached_property
    def training(self) -> dict[str, object]:
        """What ``training.json`` says of how the model was trained; empty where there is none."""
        path = self.folder / "training.json"
        try:
            found = read_json(path, path.name) if path.exists() else {}
        except BadInput:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("split"), str | None):
            raise BadInput(
                f"training.json of {str(self.folder)!r} must be a JSON object that names the split the model was trained on, such as "
                '{"split": "train"}. Correct or remove it.'
            )
        return found

    @property
    def transformer(self) -> Transformer | None:
        """The layers as the fast decoder computes them, for a file that carries the model itself; None where it does not know them."""
        return None if self.embed_continuations is None else transformer_parts(self._model)

    @cached_property
    def new_decoder(self) -> Callable[[], Decoder]:
        """Makes a decoder for one stream, so that two streams never share a cache."""
        return best_decoder(self._model, sixteen_bits=self._sixteen_bits)

    @property
    def number_format(self) -> str:
        """Which numbers continuations are computed in: "float32" or "bfloat16"; where these overflowed, still the latter, in which some were."""
        if self._overflowed:
            return "bfloat16"
        decoder = self.new_decoder()
        return _in_words(decoder.parts.number_format if isinstance(decoder, SharedPromptDecoder) else self._model.dtype)

    def _batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Sequences of like length together, padded on the right (harmless to what stands before it)."""
        config = self._model.config
        # Mamba has them at each code; a config may name a size without a number (GPT-Neo)
        states = (getattr(config, "state_size", 0) or 0) * (getattr(config, "intermediate_size", 0) or 0)
        at_once = self._share * min(_CODES_AT_ONCE, _NUMBERS_AT_ONCE // max(self.codes_in_head, states))
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        batch: list[int] = []
        for place in order:
            if len(sequences[place]) == 0:
                raise BadInput("A record without any code cannot be read by a model.")
            length = min(len(sequences[place]), self.context_length)
            if batch and length * (len(batch) + 1) > at_once:
                yield batch, self._right_padded([sequences[p] for p in batch])
                batch = []
            batch.append(place)
        if batch:
            yield batch, self._right_padded([sequences[p] for p in batch])

    def _right_padded(self, sequences: list[Sequence[int]]) -> Tensor:
        longest = min(max(len(s) for s in sequences), self.context_length)
        rows = [[*s[:longest], *[0] * (longest - len(s))] for s in sequences]
        return torch.tensor(rows, device=self._model.device)


def _log_probabilities(logits: Tensor, following: Tensor) -> Tensor:
    """(n, codes) logits, (n,) ids -> (n,); few rows at a time, so that the logits are not held twice."""
    found = following.new_empty(len(logits), dtype=torch.float32)
    for rows, ids, out in zip(*(x.split(_ROWS_OF_LOGITS) for x in (logits, following, found)), strict=True):
        out[:] = rows.float().log_softmax(dim=-1).gather(-1, ids[:, None])[:, 0]
    return found


def moments(logits: Tensor, following: Tensor) -> Tensor:
    """(n, codes) logits, (n,) ids -> (n, 3), as ``BlackBox.score_moments``. One exponential a logit, and few rows at a time,
    so that all the sums over the codes are taken in the processor's cache."""
    found = logits.new_empty(len(logits), 3, dtype=torch.float32)
    for rows, ids, out in zip(*(x.split(_ROWS_OF_LOGITS) for x in (logits, following, found)), strict=True):
        below = rows.float() - rows.amax(dim=-1, keepdim=True)
        actual = below.gather(-1, ids[:, None])[:, 0]
        weights = below.clamp_(min=-80).exp()  # beneath, a code adds nothing, and -inf times 0 would be no number
        total = weights.sum(dim=-1)
        mean = torch.linalg.vecdot(weights, below) / total
        below -= mean[:, None]
        spread = torch.linalg.vecdot(weights.mul_(below), below) / total
        out[:, 0], out[:, 1], out[:, 2] = actual - total.log(), mean - total.log(), spread.sqrt()
    return found


def folder_vocabulary(
    folder: Path,
    vocabulary: str | Path | Vocabulary | None = None,
    token_scheme: str | Path | TokenScheme | None = None,
) -> Vocabulary:
    """A model folder's vocabulary: as given, else the file found in it; the token scheme as given, else the file in it."""
    if isinstance(vocabulary, Vocabulary):
        return vocabulary
    if token_scheme is None:
        token_scheme = token_scheme_in(folder)
    return Vocabulary.load(Path(vocabulary) if vocabulary else find_vocabulary(folder), token_scheme)


def _fingerprint(folder: Path, vocabulary: Vocabulary) -> str:
    """Changes with any byte of the weights and the configuration, and with the vocabulary in use, wherever it was read from."""
    files = fingerprint(folder, [*folder.glob("*.safetensors"), folder / "config.json"])
    return hashlib.sha256(f"{files} {vocabulary.identity}".encode()).hexdigest()[:16]


def _check_ages(vocabulary: Vocabulary, *, told: bool) -> None:
    """Raise BadInput where the token scheme and the model disagree about whether ages are told."""
    if vocabulary.timed and not told:
        raise BadInput(
            "The token scheme says that the model is told ages (time: ages), and this model reads codes alone. Name its own token scheme."
        )
    if told and not vocabulary.timed:
        raise BadInput(
            f"This model is told the age beside each code, and the token scheme {vocabulary.token_scheme.name!r} does not write it. Name one that "
            "says 'time: ages', such as 'delphi' (--token-scheme delphi)."
        )


def _check_folder(folder: Path, bytes_a_number: int) -> Shapes:
    """The shapes of its weights, which its config fits as far as can be told before it is built."""
    if not folder.is_dir():
        raise BadInput(f"There is no model folder {str(folder)!r}.")
    if not (folder / "config.json").exists():
        raise BadInput(f"{str(folder)!r} is not a Hugging Face model folder: it has no config.json.")
    config = read_config(folder)
    own_code = [
        name for name in config if name == "auto_map" or (name.endswith("_implementation") and "/" in str(config[name]))
    ]
    if own_code:
        raise BadInput(
            f"The model in {str(folder)!r} wants to run code of its own ({own_code[0]!r} in config.json), which this kit never "
            "does. Ask the vendor for a model of an architecture that transformers itself knows."
        )
    if (folder / "adapter_config.json").exists():
        raise BadInput(
            f"{str(folder)!r} holds an adapter beside or instead of a model: which model is meant cannot be told. Merge the two where they were made "
            "(peft: merge_and_unload) and save them as one model."
        )
    if not any(folder.glob("*.safetensors")):
        if any(p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"} for p in folder.iterdir()):
            raise BadInput(
                f"The weights in {str(folder)!r} are a pickle, which can run any code when opened; this kit reads "
                "safetensors only. Convert them where they were made: model.save_pretrained(folder, "
                "safe_serialization=True)."
            )
        raise BadInput(f"{str(folder)!r} holds no weights (*.safetensors).")
    shapes = read_shapes(folder, bytes_a_number)
    check_config_fits(folder, config, shapes)
    return shapes


def _device(named: str | None) -> torch.device:
    named = named or os.environ.get("EHRMEM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = named.partition(":")
    if kind not in {"cpu", "cuda"} or not (number.isdecimal() or number == ""):
        raise BadInput(f"There is no device {named!r}. Give 'cpu', 'cuda' or 'cuda:1'.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise BadInput(
            f"torch finds {torch.cuda.device_count()} CUDA devices here, so there is no {named!r}. Give 'cpu', or leave "
            "device and EHRMEM_DEVICE out."
        )
    return torch.device(named)


def _in_words(number_format: torch.dtype) -> str:
    return str(number_format).removeprefix("torch.")


def _sixteen_bits() -> bool:
    """Whether continuations may be computed in 16 bits, as EHRMEM_PRECISION says. Raises BadInput for what it cannot say."""
    named = os.environ.get("EHRMEM_PRECISION") or "auto"
    if named not in ("auto", "float32"):
        raise BadInput(
            f"EHRMEM_PRECISION is {named!r}. Give 'auto' (16-bit numbers for continuations where that is faster and agrees) or 'float32'."
        )
    return named == "auto"


def _load(folder: Path, device: torch.device, dtype: str) -> PreTrainedModel:
    if dtype not in _NUMBER_FORMATS:
        raise BadInput(f"A model does not run in {dtype!r} here. Give 'float32' or 'bfloat16'.")
    ours: Delphi | Llama | None = open_delphi(folder, read_config(folder), _NUMBER_FORMATS[dtype])
    ours = ours or open_llama(folder, _NUMBER_FORMATS[dtype])
    if ours is not None:
        return _moved(cast("PreTrainedModel", ours), device)  # it answers as the library's does
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=_NUMBER_FORMATS[dtype],
            output_loading_info=True,
        )
        model, report = loaded
    except SafetensorError as error:
        raise BadInput(f"The weights in {str(folder)!r} are broken: {error}. Copy the file again.") from None
    except BadInput:
        raise
    except (*_FAULTS, StrictDataclassError) as error:
        raise BadInput(f"The model in {str(folder)!r} cannot be opened: {said_by(error)}") from None
    faults = [
        f"{len(report[kind])} {kind.split('_')[0]} (such as {_name(sorted(map(str, report[kind]))[0])})"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(kind)
    ]
    if faults:
        raise BadInput(
            f"The weights in {str(folder)!r} do not belong to its config.json: {', '.join(faults)}. A model that loads in "
            "part only is partly random, and would seem to remember nobody. Ask for the complete, matching files."
        )
    model.config.use_cache = False  # reading a record needs none; decoders ask for it
    model = _moved(model.eval(), device)
    if model.device.type == "cpu":
        read_without_filling(model)
    return model


def _moved(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """On that device; on the processor where it is full."""
    module: nn.Module = model
    try:
        module.to(device)
    except torch.OutOfMemoryError as error:
        _say_it_goes_on_without(device, error)
        module.to("cpu")
    return model


def _say_it_goes_on_without(device: torch.device, error: RuntimeError) -> None:
    fault = "is full" if isinstance(error, torch.OutOfMemoryError) else f"stopped answering ({said_by(error)})"
    log.warning(
        "The graphics card (%s) %s. The model goes on with the processor: more slowly, and with the same numbers but for rounding.",
        device,
        fault,
    )


def _check_runs(model: PreTrainedModel, folder: Path) -> None:
    """Raise BadInput for a model that cannot even read two codes: its config fits its weights and says what cannot be computed."""
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device))
    except _FAULTS as error:
        raise BadInput(f"The model in {str(folder)!r} cannot be run: {said_by(error)}") from None


def _name(key: str) -> str:
    return key.strip("()'\"").split("'")[0]
