"""The notebooks: without outputs, without code in sight, and strict about their parameters."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import papermill
import pytest

from ehrmem_widgets.reports.parameters import TYPES, notebook_parameters

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXPLORE = NOTEBOOKS[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_hides_its_code(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["ehrmem"] == {"autorun": True}
    for cell in notebook["cells"]:
        assert (not cell["id"].isdigit() and "-" in cell["id"]) or cell["id"] == "parameters"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert cell["metadata"]["jupyter"]["source_hidden"] is True


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_reads_the_same_parameters_as_we(path: Path) -> None:
    ours, theirs = notebook_parameters(path), papermill.inspect_notebook(str(path))
    assert list(ours) == list(theirs)
    for name, parameter in ours.items():
        assert parameter.type == theirs[name]["inferred_type_name"] and parameter.type in TYPES
        assert parameter.words == theirs[name]["help"] != ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pateint": 3}, "There is no parameter 'pateint'. Is 'patient' meant?"),
        ({"seed": "zero"}, "The parameter seed must be a whole number from 0 to 4294967295, such as 0; got 'zero'."),
    ],
)
def test_plain_papermill_fails_in_the_first_cell_in_words(
    given: dict[str, object], expected: str, tmp_path: Path
) -> None:
    with warnings.catch_warnings(), pytest.raises(papermill.PapermillExecutionError) as caught:
        warnings.simplefilter("ignore")
        papermill.execute_notebook(str(EXPLORE), str(tmp_path / "out.ipynb"), given, progress_bar=False)
    assert caught.value.ename == "BadInput"
    assert caught.value.evalue.startswith(expected)
    if "pateint" in given:
        assert all(f"{name} ({one.type}" in caught.value.evalue for name, one in notebook_parameters(EXPLORE).items())
    executed = json.loads((tmp_path / "out.ipynb").read_text())
    shown = [o for c in executed["cells"] for o in c.get("outputs", []) if o["output_type"] == "display_data"]
    assert not any("ehrmem-screen" in json.dumps(output) for output in shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "figures"), [("03_membership", "scores"), ("05_subgroups", "subgroups")], ids=lambda given: given
)
def test_it_runs_headless_and_writes_its_numbers(name: str, figures: str, tmp_path: Path) -> None:
    path = next(notebook for notebook in NOTEBOOKS if notebook.stem == name)
    given = {"live": False, "patients": 40, "results_file": str(tmp_path / "results.json")}
    papermill.execute_notebook(str(path), str(tmp_path / "out.ipynb"), given, progress_bar=False)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results[figures] and results["settings"]["patients"] == 40
    executed = json.loads((tmp_path / "out.ipynb").read_text())
    shown = [o for c in executed["cells"] for o in c.get("outputs", []) if o["output_type"] == "display_data"]
    page = "".join(shown[-1]["data"]["text/html"])
    assert results["sentence"].split("(")[0] in page and "://" not in page
