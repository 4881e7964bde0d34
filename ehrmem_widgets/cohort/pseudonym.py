"""Pseudonyms: what is shown in place of a patient id (keyed, so that they cannot be undone by trying every id)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

import platformdirs

SYNTHETIC_KEY = b"synthetic patients have nothing to hide, and every laptop of a class shows the same names"


def pseudonym(patient_id: int, key: bytes) -> str:
    """The pseudonym of a patient: 40 bits of HMAC-SHA256.

    >>> pseudonym(17, b"key")
    'P-UEVO-AKCR'
    """
    digest = hmac.new(key, str(patient_id).encode(), hashlib.sha256).digest()
    letters = base64.b32encode(digest[:5]).decode()
    return f"P-{letters[:4]}-{letters[4:]}"


def user_key() -> bytes:
    """This user's secret key, made on first use and readable by this user only.

    ``EHRMEM_PSEUDONYM_KEY`` names another file, for a team that must share pseudonyms.
    """
    given = os.environ.get("EHRMEM_PSEUDONYM_KEY")
    path = Path(given) if given else platformdirs.user_state_path("ehrmem") / "pseudonym.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process made it in this very moment
            return path.read_bytes()
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
