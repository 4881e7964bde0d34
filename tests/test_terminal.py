"""One function prints, and what would act on a terminal does not get through it."""

from __future__ import annotations

import ast
import io
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets import cli, terminal
from tests.cohort.meds import Row, at, shard, write

PACKAGE = Path(terminal.__file__).parent
ACTS = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnorw\u2066\u200b\r\x08"
"""Clears the screen, names the window, colours, turns the writing round, hides, goes back."""


def prints(tree: ast.AST) -> list[int]:
    """The lines of a file that print, or hand something that prints on."""
    found = []
    for node in ast.walk(tree):
        named = isinstance(node, ast.Name) and node.id in ("print", "tqdm") and isinstance(node.ctx, ast.Load)
        stream = (
            isinstance(node, ast.Attribute)
            and node.attr in ("write", "writelines")
            and ast.unparse(node.value) in ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__")
        )
        asks = isinstance(node, ast.Call) and ast.unparse(node.func) == "input" and bool(node.args)
        library = isinstance(node, ast.Import | ast.ImportFrom) and "rich" in ast.unparse(node).split()
        if named or stream or asks or library:
            found.append(node.lineno)
    return found


def test_no_other_place_prints() -> None:
    """tqdm is named elsewhere as a type alone."""
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        printing = [lines[line - 1].strip() for line in prints(ast.parse("\n".join(lines)))]
        if path.name != "terminal.py":
            assert [line for line in printing if not line.endswith(("tqdm | None = None", "-> tqdm:"))] == [], path
    assert prints(ast.parse("print(1)")) and prints(ast.parse("import sys\nsys.stderr.write('x')"))
    assert prints(ast.parse("f(report=print)")) and prints(ast.parse("input('x')")) and not prints(ast.parse("input()"))


def test_what_acts_on_a_terminal_is_not_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(f"a{ACTS}b\tc\nd", errors=True)
    said = capsys.readouterr().err
    assert said.startswith("a\ufffd") and said.endswith("b\tc\nd\n") and "gnorw" in said
    assert not set(said) & set(ACTS.replace("gnorw", "").replace("[2J", "").replace("]0;title", "").replace("31m", ""))


def test_a_terminal_that_lacks_a_letter_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    terminal.say("é · 日本 \udcff")
    assert written.getvalue() == "é · ?? ?\n".encode("latin-1")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A data set whose name, codes, labels and splits all act."""
    rows: list[Row] = [
        (1, at("2020-01-01"), f"DIAGNOSIS//{ACTS}", None),
        (2, at("2020-01-02"), f"GENDER//{ACTS}F", 1.0),
    ]
    folder = write(
        tmp_path / "d", {"0.parquet": shard(rows)}, descriptions={f"DIAGNOSIS//{ACTS}": ACTS},
        information={"dataset_name": f"name{ACTS}\npass  Model: sound"},
    )  # fmt: skip
    splits = pa.table({"subject_id": [1, 2], "split": [f"train{ACTS}", f"x\npass  Model: sound{ACTS}"]})
    pq.write_table(splits, folder / "metadata" / "subject_splits.parquet")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["patients", "--data", "{folder}"],
        ["train", "--data", "{folder}", "--out", "{folder}/m", "--split", f"no{ACTS}"],
        ["report", "--facts", ACTS, "--out", "x.html", "--patient", "1", "--knowledge", "nothing"],
        [f"reprot{ACTS}"],
        ["patients", f"--data{ACTS}"],
        ["audit", f"no{ACTS}.yaml", "--out", "{folder}/out"],
        ["check", "--data", "{folder}", "--model", f"no{ACTS}"],
    ],
)
def test_no_command_passes_it_on(words: list[str], hostile: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        cli.main([word.format(folder=hostile) for word in words])
    said = "".join(capfd.readouterr())
    assert said and not set(said) & {"\x1b", "\x9b", "\u202e", "\u2066", "\u200b", "\x07", "\x08", "\r"}, ascii(said)
    assert not any(line.startswith("pass  Model: sound") for line in said.splitlines())
