"""Pseudonyms: what is shown in place of a patient id (keyed, so that they cannot be undone by trying every id)."""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_bytes

if TYPE_CHECKING:
    from _hashlib import HASH

SAMPLE_KEY = b"synthetic patients have nothing to hide, and every laptop of a class shows the same names"
"""For the sample cohort alone: a data set that merely says it is synthetic may not be."""
SAMPLE_FINGERPRINT = "1219ec9ad861b068"
"""Of the sample cohort (``fingerprints.fingerprint``): ``make samples`` gives the same."""


_SHORTEST_KEY, _LONGEST_KEY = 16, 10_000  # bytes
_BEING_FILLED = 0.2  # seconds

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_COMPARED = 1000  # pseudonyms that are compared letter by letter with a misspelt one


def pseudonym(patient_id: int, key: bytes) -> str:
    """The pseudonym of a patient: 40 bits of HMAC-SHA256.

    >>> pseudonym(17, b"key")
    'P-UEVO-AKCR'
    """
    return _shown(_digest(patient_id, key))


def is_pseudonym(text: str) -> bool:
    """Whether a text, in capitals or not, could be a pseudonym.

    >>> is_pseudonym("p-uevo-akcr"), is_pseudonym("17")
    (True, False)
    """
    return re.fullmatch(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", text.upper()) is not None


class Pseudonyms:
    """The pseudonyms of many patients, to search among: 16 bytes and about 2 microseconds a patient. Nothing is written."""

    def __init__(self, patient_ids: Sequence[int], key: bytes) -> None:
        found = (int.from_bytes(_digest(patient, key)) for patient in patient_ids)
        numbers = np.fromiter(found, dtype=np.int64, count=len(patient_ids))
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._ids = numbers[order], np.asarray(patient_ids, dtype=np.int64)[order]

    def ids_of(self, text: str) -> list[int]:
        """The ids of the patients with this pseudonym: nobody, one, or by a rare chance several."""
        if not is_pseudonym(text):
            return []
        number = int.from_bytes(base64.b32decode(text.upper().replace("-", "")[1:]))
        first, last = np.searchsorted(self._numbers, [number, number + 1])
        return [int(patient) for patient in self._ids[first:last]]

    def nearest(self, text: str, n: int = 3) -> list[str]:
        """The pseudonyms that are written most like a text."""
        letters = text.upper().removeprefix("P-").replace("-", "")
        agree = np.zeros(len(self._numbers), dtype=np.int8)
        for place, letter in enumerate(letters[:8]):
            agree += (self._numbers >> 5 * (7 - place)) & 31 == _ALPHABET.find(letter)
        some = np.argsort(-agree, kind="stable")[:_COMPARED]
        names = [_shown(int(number).to_bytes(5)) for number in self._numbers[some]]
        return difflib.get_close_matches(text.upper(), names, n=n, cutoff=0.0)


def user_key() -> bytes:
    """This user's secret key, made on first use and readable by this user only.

    ``EHRMEM_PSEUDONYM_KEY`` names another file, for a team that must share pseudonyms. Raises BadInput where it can be neither read nor made, and
    for one so short that it could be guessed.
    """
    given = os.environ.get("EHRMEM_PSEUDONYM_KEY")
    path = Path(given) if given else platformdirs.user_state_path("ehrmem") / "pseudonym.key"
    try:
        key = _read_or_make(path)
    except OSError as error:
        raise BadInput(
            f"The key of the pseudonyms {str(path)!r} can be neither read nor made: {error.strerror}. Name a file of your own in "
            "EHRMEM_PSEUDONYM_KEY."
        ) from None
    if len(key) < _SHORTEST_KEY:
        raise BadInput(
            f"The key of the pseudonyms {str(path)!r} has {len(key)} bytes, and could be guessed: {_SHORTEST_KEY} or more are needed. "
            "Remove it and a new one is made, with other pseudonyms."
        )
    return key


def _read_or_make(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process made it in this very moment, and is about to fill it
            time.sleep(_BEING_FILLED)
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
    return read_bytes(path, f"The key of the pseudonyms {str(path)!r}", most=_LONGEST_KEY)


def _digest(patient_id: int, key: bytes) -> bytes:
    """40 bits of HMAC-SHA256 (RFC 2104), twice as fast as the library's ``hmac``: a hospital has a million patients."""
    inner, outer = (started.copy() for started in _started(key))
    inner.update(b"%d" % patient_id)
    outer.update(inner.digest())
    return outer.digest()[:5]


@lru_cache(maxsize=2)
def _started(key: bytes) -> tuple[HASH, ...]:
    padded = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return tuple(hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))


def _shown(digest: bytes) -> str:
    letters = base64.b32encode(digest).decode()
    return f"P-{letters[:4]}-{letters[4:]}"
