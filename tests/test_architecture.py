"""The house: a room knows the rooms below it and none above, and no room but its own knows a probe by name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ehrmem_widgets.registry import probes

PACKAGE = Path(__file__).parents[1] / "ehrmem_widgets"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
ROOMS = [path for path in FILES if path.parent.parent == PACKAGE / "probes"]
"""The files of the probes' own folders."""

ALSO_ELSE = {
    "attribute": "a column of the tables",
    "embedding": "a field of the protocol of OpenAI-compatible servers",
    "reconstruction": "a key of a patient report's JSON",
    "neighbours": "a key of a patient report's JSON",
    "membership": "what subgroups are split by",
}
"""Names of probes that are ordinary words, too."""

ROOMS_BELOW = {
    "statistics": "",
    "charts": "statistics",
    "cohort": "statistics findings",
    "tokens": "cohort",
    "attacker": "statistics cohort tokens findings",
    "blackbox": "statistics cohort tokens attacker samples",
    "training": "cohort tokens blackbox",
    "findings": "statistics cohort attacker",
    "probes": "statistics cohort tokens attacker blackbox findings charts views",
    "views": "statistics cohort tokens attacker blackbox findings charts probes",
    "audit": "statistics cohort tokens attacker blackbox findings charts probes views",
    "reports": "statistics cohort tokens attacker blackbox findings charts probes views audit",
    "workshop": "statistics cohort tokens attacker blackbox findings charts probes views reports training samples",
    "explorable": "statistics cohort tokens attacker blackbox findings charts probes views samples workshop",
}
"""By room: the rooms that it may use."""
EVERY_ROOM = {*ROOMS_BELOW, "widgets", "samples"}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, but for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for part in block.body
        for node in ast.walk(part)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            found.add(node.module)
        if isinstance(node, ast.Import) and id(node) not in skipped:
            found |= {name.name for name in node.names}
    return {name for name in found if name.startswith("ehrmem_widgets.")}


@pytest.mark.parametrize("room", ROOMS_BELOW)
def test_no_import_goes_up(room: str) -> None:
    up = []
    for path in (PACKAGE / room).rglob("*.py"):
        if path.name == "screen.py":  # a probe's own screen stands in its room
            continue
        above = {f"ehrmem_widgets.{other}" for other in EVERY_ROOM - {room, *ROOMS_BELOW[room].split()}}
        up += [
            f"{path.relative_to(PACKAGE)}: {name}" for name in imported(path) if ".".join(name.split(".")[:2]) in above
        ]
    assert up == []


def test_only_black_boxes_and_training_touch_torch() -> None:
    touching = []
    for path in FILES:
        names = {
            (node.module if isinstance(node, ast.ImportFrom) else name.name) or ""
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        }
        if any(name.split(".")[0] in ("torch", "transformers") for name in names):
            touching.append(path.relative_to(PACKAGE).parts[0])
    assert set(touching) <= {"blackbox", "training"}


def test_a_page_about_results_needs_no_torch() -> None:
    script = "import sys; from ehrmem_widgets.registry import probes; [p.view_type for p in probes().values()]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_probes_and_views_import_no_widgets() -> None:
    for room in ("charts", "probes", "views"):
        for path in (PACKAGE / room).rglob("*.py"):
            if path.name != "screen.py":
                assert not any(name.split(".")[0] == "ipywidgets" for name in imported(path)), path


def test_no_file_but_its_own_names_a_probe() -> None:
    """In a text, or by importing its room; a probe's room may name others that it builds on."""
    names = set(probes())
    for path in FILES:
        if path in ROOMS or path.is_relative_to(PACKAGE / "samples"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert texts & names <= set(ALSO_ELSE), path
        rooms = {
            name for name in imported(path) if name.startswith("ehrmem_widgets.probes.") and name.split(".")[2] in names
        }
        assert rooms == set(), path


def test_every_verdict_on_members_hears_of_confounding() -> None:
    """Only what was planted is compared like with like whatever the groups are."""
    calls = [
        (path.name, call.lineno, {word.arg: word.value for word in call.keywords})
        for path in (PACKAGE / "probes").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "judge_cohort"
    ]
    deaf = [
        (name, line)
        for name, line, given in calls
        if "confounded" not in given and ast.dump(given["planted"]) != ast.dump(ast.Constant(True))
    ]
    assert len(calls) > 8 and not deaf


def test_no_template_names_a_probe() -> None:
    templates = list(PACKAGE.rglob("*.j2"))
    assert templates
    for path in templates:
        texts = set(re.findall(r"""["'](\w+)["']""", path.read_text(encoding="utf-8")))
        assert texts & set(probes()) == set(), path
