"""Codes as vectors, so that a nearly right code costs less than a wrong one: from their labels, offline by default.

The paper embeds labels with PubMedBERT (arXiv 2510.12950, section 4.1); whoever has such a model as a folder gives it to
``sentence_transformer``. Nothing is ever downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ehrmem_widgets.cohort.time_codes import TIME_CODES, gap_days
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.vocabulary import Vocabulary

TextEmbedder = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors, (texts, d). The same text always gets the same vector."""

_DIMENSIONS = 128
_LONGEST_GAP = max(map(gap_days, TIME_CODES))


def label_embedder(vocabulary: Vocabulary) -> TextEmbedder:
    """The default: character n-grams (2 to 4 within words) of the vocabulary's labels, TF-IDF, truncated SVD to 128 dimensions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    labels = [vocabulary.label(code) for code in vocabulary.codes]
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    counted = grams.fit_transform(labels)
    if min(counted.shape) <= _DIMENSIONS:  # so few labels need no reduction
        return lambda texts: np.asarray(grams.transform(texts).toarray())
    reduction = TruncatedSVD(_DIMENSIONS, random_state=0).fit(counted)
    return lambda texts: np.asarray(reduction.transform(grams.transform(texts)))


def sentence_transformer(folder: str | Path) -> TextEmbedder:
    """A sentence-transformers model of the user's own, read from a folder; never downloaded.

    Raises BadInput when the folder holds none or the package is missing.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        raise BadInput(
            f"{str(folder)!r} is not a folder of a sentence-transformers model (it has neither modules.json nor config.json). "
            "Give the folder that the model's save() wrote, or leave the embedding out to use the labels' own characters."
        )
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise BadInput(
            "Embedding labels with a model of your own needs the package sentence-transformers, which is not installed. "
            "Install it, or leave the embedding out to use the labels' own characters."
        ) from None
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"The sentence-transformers model in {str(folder)!r} cannot be opened: {said}") from None
    return lambda texts: np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=float)


def embed_codes(codes: Sequence[str], vocabulary: Vocabulary, embedder: TextEmbedder) -> np.ndarray:
    """(codes, d) vectors of unit length.

    A code is embedded by its label, value range included, so that two bins of one lab test are near and not equal. Gap codes
    are apart from all others, on a quarter circle by the logarithm of their length: ten minutes and two years are at right
    angles. Start, end and padding codes are at right angles to everything.
    """
    special = [
        *dict.fromkeys(c for c in (*vocabulary.opening, vocabulary.pad, *sorted(vocabulary.stops)) if c is not None)
    ]
    gaps = np.array([vocabulary.is_gap(code) for code in codes], dtype=bool)
    specials = np.array([code in special for code in codes], dtype=bool)
    texts = np.asarray(embedder([vocabulary.label(code) for code in codes]), dtype=float)
    if not np.isfinite(texts).all():
        raise BadInput("The label embedding gave values that are no finite numbers. Use another embedding.")
    length = np.linalg.norm(texts, axis=1, keepdims=True)
    texts = np.divide(texts, length, out=np.zeros_like(texts), where=length > 0)
    texts[gaps | specials] = 0.0
    extra = np.zeros((len(codes), 2 + len(special)))
    days = [min(vocabulary.gap_days(code), _LONGEST_GAP) for code in codes]
    angle = np.log1p(days) / np.log1p(_LONGEST_GAP) * np.pi / 2
    extra[gaps, 0], extra[gaps, 1] = np.cos(angle)[gaps], np.sin(angle)[gaps]
    for place in np.flatnonzero(specials):
        extra[place, 2 + special.index(codes[int(place)])] = 1.0
    return np.hstack([texts, extra])
