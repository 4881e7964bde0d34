"""Whoever holds what was written, and a list of all ids, finds out about nobody: nothing in it is an id, or a hash or pseudonym that can be made of one without
this user's key."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.pseudonym import SAMPLE_KEY, pseudonym
from ehrmem_widgets.samples.folders import sample_model, sample_reference
from ehrmem_widgets.widgets.carried import Carried, carry
from tests.audit.small import write_plan

HASHES = ("sha256", "sha1", "md5", "sha512", "blake2b", "sha3_256")
PUBLIC_KEYS = (SAMPLE_KEY, b"", b"ehrmem", b"key")


@cache
def guessed(ids: tuple[int, ...]) -> tuple[str, ...]:
    """What anybody can make of these ids, and of one of them: hashes in the forms that come to mind, as hexadecimal digits."""
    joined = [mark.join(map(str, order)) for order in (ids, sorted(ids)) for mark in ("\n", ",", " ")]
    forms = [*(str(one).encode() for one in ids), *(one.encode() for one in joined)]
    forms += [json.dumps(list(ids)).encode(), *(one.to_bytes(8, order) for one in ids for order in ("little", "big"))]
    return tuple(hashlib.new(name, form + end).hexdigest() for form in forms for name in HASHES for end in (b"", b"\n"))


@cache
def pseudonyms(ids: tuple[int, ...]) -> set[str]:
    """Names that anybody can make."""
    plain = {base64.b32encode(hashlib.sha256(str(one).encode()).digest()[:5]).decode() for one in ids}
    return {pseudonym(one, key) for one in ids for key in PUBLIC_KEYS} | {f"P-{one[:4]}-{one[4:]}" for one in plain}


def given_away(text: str, *people: Sequence[int]) -> set[str]:
    """What in a text is an id of these people, a hash of one or of all, or a public pseudonym."""
    ids = set(people[0]).union(*people[1:])
    found = {word for word in re.findall(r"(?<![\d.])\d{5,}(?![\d.])", text) if int(word) in ids}
    digits = set(re.findall(r"(?<![0-9a-z])[0-9a-f]{8,128}(?![0-9a-z])", text.lower()))
    made = {one[:8]: one for some in people for one in guessed(tuple(some))}
    found |= {
        one for one in digits if (whole := made.get(one[:8])) and (whole.startswith(one) or one.startswith(whole))
    }
    return found | {name for name in re.findall(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", text) if name in pseudonyms(tuple(ids))}


def contents(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "pseudonym.key":
            text = path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                text += json.dumps(pq.read_table(path).to_pydict(), default=str)
            yield path, f"{path.name}\n{text}"


def test_what_would_be_found_is_found() -> None:
    """The test could fail."""
    ids = [770_001, 770_002]
    for text in (
        "patient 770001", f'"hash": "{hashlib.sha256(b"770001").hexdigest()[:16]}"', "x-" + hashlib.md5(b"770001\n770002").hexdigest(),
        pseudonym(770_002, SAMPLE_KEY), hashlib.sha1(b"770002").hexdigest().upper(),
    ):  # fmt: skip
        assert given_away(text, ids), text
    assert not given_away(
        f"770003 {pseudonym(770_001, b'a secret of 32 bytes ..........')} {hashlib.sha256(b'770003').hexdigest()}", ids
    )


@pytest.mark.slow
def test_no_file_of_an_audit_a_report_and_a_session_gives_an_id_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / "written" / name))
    monkeypatch.delenv("EHRMEM_PSEUDONYM_KEY", raising=False)
    plan = write_plan(tmp_path, probes="[confounding, membership]", more="")
    dataset = MedsDataset(tmp_path / "data")
    ids, named = dataset.ids(), [*dataset.ids("train")[:12], *dataset.ids("held_out")[:12]]
    (tmp_path / "who.txt").write_text("\n".join(map(str, named)))
    plan.write_text(plan.read_text().replace("patients: 14", "patients: who.txt"))
    written = tmp_path / "written"
    assert main(["audit", str(plan), "--out", str(written / "results")]) == 0
    assert json.loads((written / "results" / "plan.json").read_text())["patients"]["named"] == 24
    assert main(["audit-report", str(written / "results"), "--out", str(written / "audit.html")]) == 0
    assert main(["export", str(written / "results"), "--out", str(written / "leaves")]) == 0
    report = [
        "report",
        "--patient",
        str(named[0]),
        "--samples",
        "16",
        "--horizon",
        "4",
        "--attributes",
        "hiv",
        "--out",
        str(written / "report.html"),
    ]
    sources = ["--data", str(tmp_path / "data"), "--model", str(sample_model()), "--reference", str(sample_reference())]
    assert main([*report, *sources]) == 0
    assert (
        main(
            ["probe", "membership", *sources, "--patients", str(tmp_path / "who.txt"), "--out", str(written / "probe")]
        )
        == 0
    )
    carry(dataset, Carried(dataset.pseudonym(named[0]), "demographics", "age"))
    files = list(contents(written))
    assert len(files) > 20 and any(path.name == "last_screen.json" for path, _ in files)
    assert {str(path): found for path, text in files if (found := given_away(text, ids, named))} == {}
