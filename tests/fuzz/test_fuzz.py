"""A part of the fuzz suite, in every run of the tests; all of it: ``make fuzz``."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.cases import SERVER, every_case
from tests.fuzz.mutate import OF, mutate
from tests.fuzz.run import fuzz
from tests.fuzz.valid import make_valid
from tests.once import made_once

INPUTS = 40
SECONDS = 300
"""Of processor time: this test runs on slow machines as well. ``make fuzz`` allows 30."""


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "fuzz_valid", make_valid)


def test_every_command_and_every_kind_of_file_is_tried(valid: Path) -> None:
    cases = every_case(valid)
    assert {case.name for case in cases} >= {
        "audit", "probe", "report", "patients", "check", "serve", "explore", "app", "train", "explorable", "letter", "compare", "audit-report",
        "export", "attributes", "forget", "workshop-results",
    }  # fmt: skip
    assert {Path(case.what).suffix for case in cases} >= {
        ".parquet",
        ".json",
        ".jsonl",
        ".yaml",
        ".safetensors",
        ".txt",
        ".csv",
        ".tsv",
        ".key",
    }
    assert sum(case.what == SERVER for case in cases) >= 20 and len(cases) > 200


@pytest.mark.parametrize(
    "name",
    [
        "meds/data/0.parquet",
        "model/config.json",
        "plan.yaml",
        "model/model.safetensors",
        "people.txt",
        "sequences.jsonl",
    ],
)
def test_a_seed_gives_the_same_damage(name: str, valid: Path, tmp_path: Path) -> None:
    seen = []
    for place in "ab":
        for seed in range(8):
            path = tmp_path / place / str(seed) / name
            path.parent.mkdir(parents=True)
            path.write_bytes((valid / name).read_bytes())
            mutate(path, Random(seed))
            content = (
                path.read_bytes() if path.is_file() and path.stat().st_size < 10**7 else str(path.is_dir()).encode()
            )
            seen.append(content)
    assert seen[:8] == seen[8:] and len(set(seen)) > 4 and path.suffix.removeprefix(".") in OF


@pytest.mark.slow
def test_no_damaged_input_ends_in_a_traceback_or_takes_for_ever(valid: Path) -> None:
    ended = list(fuzz(valid, range(INPUTS), seed=1, seconds=SECONDS))
    assert len(ended) == INPUTS and [one for one in ended if one["wrong"]] == []
    assert {one["code"] for one in ended} >= {0, 2}
