"""Any Python function as a black box: for a model that can be asked, but neither handed over nor served.

``CallableModel`` wraps a function that gives next-code probabilities, ``SamplingModel`` one that only generates.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ehrmem_widgets.blackbox.protocol import Query, SlotIds, Step, split_prompts, within_context
from ehrmem_widgets.blackbox.sampling import sample
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_TOLERANCE = 1e-3  # of the sum of a distribution: models that run in 16 bit


class CallableModel:
    """A black box made of a function that gives the probabilities of the next code.

    ``next_code_probabilities`` takes a list of sequences of code ids and returns an array (sequences, codes) of
    probabilities, or of their logarithms if ``logarithms`` is set; a code's id is its place in ``vocabulary.codes``. It is
    asked for at most ``at_once`` sequences of at most ``context_length`` codes at a time. ``embed``, where there is one, takes
    such a list too and returns an array (sequences, d). ``name`` stands for the model in results: give another one when what
    is behind the function changes. ``training_split``: the split of the data set whose patients the model was trained on.

    >>> import numpy as np
    >>> from ehrmem_widgets.tokens.vocabulary import Vocabulary
    >>> vocabulary = Vocabulary(("[PAD]", "[BOS]", "[EOS]", "LAB//SODIUM", "DIAGNOSIS//I10"))
    >>> def ask(sequences):  # here, whatever it takes to ask your model
    ...     return np.tile([0.0, 0.0, 0.25, 0.25, 0.5], (len(sequences), 1))
    >>> model = CallableModel(ask, vocabulary, context_length=512, name="my model")
    >>> [scores.round(2).tolist() for scores in model.score([[1, 3, 4, 2]])]
    [[-1.39, -0.69, -1.39]]
    >>> [step.codes.shape for step in model.generate([[[1], [3]]], horizon=2, samples=100, seed=1)]
    [(1, 100), (1, 100)]

    Raises
    ------
    BadInput
        From every method, when the function returns no distributions: another shape, NaN, negative numbers, or rows that do
        not add up to 1 (within 0.001).

    """

    def __init__(
        self,
        next_code_probabilities: Callable[[list[list[int]]], object],
        vocabulary: Vocabulary,
        *,
        context_length: int,
        name: str = "Python function",
        embed: Callable[[list[list[int]]], object] | None = None,
        logarithms: bool = False,
        at_once: int = 256,
        training_split: str | None = None,
    ) -> None:
        self.vocabulary, self.context_length, self.name = _of_codes_alone(vocabulary), _context(context_length), name
        self.training_split = training_split
        self.fingerprint = _fingerprint(self)
        self.answers = frozenset(Query) - ({Query.EMBEDDINGS} if embed is None else set())
        self._ask, self._embed, self._logarithms, self._at_once = next_code_probabilities, embed, logarithms, at_once

    def __repr__(self) -> str:
        return f"CallableModel({self.name!r}: {len(self.vocabulary):,} codes, context {self.context_length:,})"

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
        return sample(
            lambda: CallableDecoder(self._distributions, len(self.vocabulary)),
            prompts,
            horizon,
            samples,
            size=len(self.vocabulary),
            context_length=self.context_length,
            stops=_stops(self.vocabulary),
            track=track,
            banned=banned,
            seed=seed,
        )

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``; of a sequence longer than the context, its first part. Each code is a question of its own."""
        return [moments[:, 0] for moments in self.score_moments(sequences)]

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``; of a sequence longer than the context, its first part."""
        read = _read(sequences, self.context_length)
        places = [(row, end) for row, sequence in enumerate(read) for end in range(1, len(sequence))]
        found = [np.empty((len(sequence) - 1, 3)) for sequence in read]
        for start in range(0, len(places), self._at_once):
            some = places[start : start + self._at_once]
            for (row, end), p in zip(some, self._distributions([read[row][:end] for row, end in some]), strict=True):
                logs = np.log(p, where=p > 0, out=np.zeros_like(p))  # 0 log 0 = 0
                actual = logs[read[row][end]] if p[read[row][end]] > 0 else -np.inf
                mean = p @ logs
                found[row][end - 1] = actual, mean, np.sqrt(p @ (logs - mean) ** 2)
        return found

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """As ``BlackBox.embed``; the first part of a sequence longer than the context."""
        if self._embed is None:
            raise CannotAnswer(f"No function was given that makes embeddings of {self.name!r}.")
        parts: list[np.ndarray] = []
        for batch in self._batches(_read(sequences, self.context_length)):
            found = _numbers(self._embed(batch), "the embeddings")
            if found.ndim != 2 or len(found) != len(batch) or (parts and found.shape[1] != parts[0].shape[1]):
                raise BadInput(
                    f"The function that makes embeddings of {self.name!r} returned an array of shape {found.shape} for "
                    f"{len(batch)} sequences. A row for each sequence is expected, all of one length."
                )
            if not np.isfinite(found).all():
                raise BadInput(f"The function that makes embeddings of {self.name!r} returned NaN or infinite numbers.")
            parts.append(found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12))
        return np.concatenate(parts) if parts else np.empty((0, 0))

    def _distributions(self, sequences: list[list[int]]) -> np.ndarray:
        """(sequences, codes) probabilities of the next code, checked; what is asked twice is asked once."""
        unique = {tuple(sequence): None for sequence in sequences}
        parts = [self._checked(batch) for batch in self._batches([list(sequence) for sequence in unique])]
        row = {sequence: place for place, sequence in enumerate(unique)}
        return np.concatenate(parts)[[row[tuple(sequence)] for sequence in sequences]]

    def _checked(self, batch: list[list[int]]) -> np.ndarray:
        found = _numbers(self._ask(batch), "next-code probabilities")
        says, expected = f"The function behind {self.name!r} returned", (len(batch), len(self.vocabulary))
        if found.shape != expected:
            raise BadInput(
                f"{says} an array of shape {found.shape}; {expected} is expected: a row for each of the {len(batch)} "
                f"sequences, and in it the probability of each of the {len(self.vocabulary):,} codes of the vocabulary."
            )
        if self._logarithms:
            found = np.exp(found)
        after = f"after the codes {batch[int(np.argmin(np.isfinite(found).all(axis=1)))][-5:]}"
        if not np.isfinite(found).all():
            raise BadInput(f"{says} a probability that is not a number (NaN or infinite) {after}.")
        if found.min() < 0:
            raise BadInput(
                f"{says} a negative probability ({found.min():.3g}). If these are logarithms, give logarithms=True; if they are "
                "logits, pass them through a softmax."
            )
        total = found.sum(axis=1)
        worst = int(np.abs(total - 1).argmax())
        if abs(total[worst] - 1) > _TOLERANCE:
            raise BadInput(
                f"{says} probabilities that add up to {total[worst]:.4g} instead of 1 after the codes {batch[worst][-5:]}. Every "
                "code of the vocabulary needs its probability; logits have to be passed through a softmax."
            )
        return found / total[:, None]

    def _batches(self, sequences: list[list[int]]) -> Iterator[list[list[int]]]:
        return (sequences[start : start + self._at_once] for start in range(0, len(sequences), self._at_once))


class SamplingModel:
    """A black box made of a function that only generates: leaks are counted, and nothing is scored.

    ``generate`` takes the ids of a prompt, how many continuations are wanted, of at most how many codes, and a seed; it returns
    that many lists of ids, each ended by a stop code, by the model, or at that length. The same seed should give the same lists.
    ``name`` and ``training_split``: as of ``CallableModel``.

    >>> import random
    >>> from ehrmem_widgets.tokens.vocabulary import Vocabulary
    >>> vocabulary = Vocabulary(("[PAD]", "[BOS]", "[EOS]", "LAB//SODIUM", "DIAGNOSIS//I10"))
    >>> def generate(prompt, samples, longest, seed):  # here, whatever it takes to ask your model
    ...     return [random.Random(seed + i).choices([2, 3, 4], k=longest) for i in range(samples)]
    >>> model = SamplingModel(generate, vocabulary, context_length=512)
    >>> next(model.generate([[[1], [3]]], horizon=8, samples=100)).codes.shape
    (1, 100)

    Raises
    ------
    BadInput
        When the function returns something else.
    CannotAnswer
        When what is asked needs probabilities: scores, codes to be left out, a fact that leaves several codes open.

    """

    answers = frozenset({Query.SAMPLE})

    def __init__(
        self,
        generate: Callable[[list[int], int, int, int], Collection[Collection[int]]],
        vocabulary: Vocabulary,
        *,
        context_length: int,
        name: str = "Python function",
        training_split: str | None = None,
    ) -> None:
        self.vocabulary, self.context_length, self.name = _of_codes_alone(vocabulary), _context(context_length), name
        self.training_split = training_split
        self.fingerprint = _fingerprint(self)
        self._generate = generate

    def __repr__(self) -> str:
        return f"SamplingModel({self.name!r}: {len(self.vocabulary):,} codes, context {self.context_length:,})"

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
        """As ``BlackBox.generate``, with no mass of what is watched; the first step waits for all continuations."""
        for prompt in prompts:
            split_prompts([prompt])  # refuses an empty prompt or slot
        if any(len(slot) > 1 for prompt in prompts for slot in prompt):
            raise self._no_probabilities("a fact that leaves several codes open cannot be filled in. Give exact facts")
        if banned is not None and np.any(banned):
            raise self._no_probabilities("codes cannot be left out of its continuations")
        horizon = within_context(prompts, horizon, self.context_length)
        codes = np.full((horizon, len(prompts), samples), -1)
        stops = set(_stops(self.vocabulary))
        for row, prompt in enumerate(prompts):
            ids = [int(slot[0]) for slot in prompt]
            found = self._checked(self._generate(ids, samples, horizon, seed), samples, horizon)
            for column, one in enumerate(found):
                end = next((place + 1 for place, code in enumerate(one) if code in stops), len(one))
                codes[:end, row, column] = one[:end]
        for step in codes:
            if (step < 0).all():
                return
            yield Step(step, None, np.zeros(step.shape))

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """There are no scores."""
        raise self._no_probabilities("it cannot score a record")

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """There are no scores."""
        raise self._no_probabilities("it cannot score a record")

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """There are no embeddings."""
        raise self._no_probabilities("it gives no embeddings either")

    def _no_probabilities(self, so: str) -> CannotAnswer:
        return CannotAnswer(f"{self.name!r} only generates and gives no probabilities, so {so}.")

    def _checked(self, found: Collection[Collection[int]], samples: int, longest: int) -> list[list[int]]:
        says = f"The function behind {self.name!r} returned"
        try:
            lists = [[int(code) for code in one] for one in found]
            whole = all(a == b for one, ids in zip(found, lists, strict=True) for a, b in zip(one, ids, strict=True))
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise BadInput(f"{says} something else than lists of code ids.")
        if len(lists) != samples:
            raise BadInput(f"{says} {len(lists)} continuations where {samples} were asked for.")
        if (most := max(map(len, lists), default=0)) > longest:
            raise BadInput(f"{says} a continuation of {most} codes where at most {longest} were asked for.")
        size = len(self.vocabulary)
        wrong = next((code for one in lists for code in one if not 0 <= code < size), None)
        if wrong is not None:
            raise BadInput(f"{says} the code number {wrong}; the vocabulary has numbers 0 to {size - 1:,}.")
        return lists


class CallableDecoder:
    """As ``decoding.Decoder``: remembers each continuation, and asks for those that go on."""

    def __init__(self, distributions: Callable[[list[list[int]]], np.ndarray], size: int) -> None:
        self._distributions, self._size = distributions, size

    def bytes_a_sample(self, longest: int, room: int) -> int:
        return 8 * (longest + room + 2 * self._size)

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        self._read = [list(prompt) for prompt in prompts for _ in range(samples)]
        return _logits(self._distributions(prompts))

    def step(self, codes: Tensor) -> Tensor:
        going = (codes >= 0).nonzero()[:, 0]
        for row in going.tolist():
            self._read[row].append(int(codes[row]))
        logits = torch.zeros(len(codes), self._size)
        logits[going] = _logits(self._distributions([self._read[row] for row in going.tolist()]))
        return logits

    def keep(self, rows: Tensor) -> None:
        self._read = [self._read[row] for row in rows.tolist()]


def _logits(probabilities: np.ndarray) -> Tensor:
    return torch.from_numpy(probabilities).log().float()


def _numbers(found: object, of_what: str) -> np.ndarray:
    try:
        return np.asarray(found, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"The function that gives {of_what} returned no array of numbers: {said}.") from None


def _read(sequences: Sequence[Sequence[int]], longest: int) -> list[list[int]]:
    if any(len(sequence) == 0 for sequence in sequences):
        raise BadInput("A record without any code cannot be read by a model.")
    return [[int(code) for code in sequence[:longest]] for sequence in sequences]


def _stops(vocabulary: Vocabulary) -> list[int]:
    return vocabulary.ids(sorted(vocabulary.stops))


def _of_codes_alone(vocabulary: Vocabulary) -> Vocabulary:
    if vocabulary.timed:
        raise BadInput(
            "A Python function is given codes alone, and the token scheme says that the model is told the age beside each code (time: ages). Give "
            "the model as a folder."
        )
    return vocabulary


def _context(length: int) -> int:
    if length < 2:
        raise BadInput(
            f"A context of {length} codes leaves no room to continue. Give how many codes the model can read."
        )
    return length


def _fingerprint(model: CallableModel | SamplingModel) -> str:
    identity = [model.name, model.context_length, model.vocabulary.identity]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
