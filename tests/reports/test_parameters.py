"""Parameters of a notebook: what is accepted, what is refused, and with which words."""

from __future__ import annotations

import linecache
from typing import Any

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.reports.parameters import Parameter, check_given

DECLARED = {
    "patient": Parameter("patient", "str", ""),
    "seed": Parameter("seed", "int", 0),
    "live": Parameter("live", "bool", True),
    "attributes": Parameter("attributes", "str", ""),
}
CELL = "from ehrmem_widgets.reports.parameters import check_parameters, declare_parameters\n"
CELL += "declare_parameters()\nseed: int = 0  # seed"


@pytest.mark.parametrize(
    "given", [{"patient": "P-1"}, {"patient": 3}, {"seed": 2}, {"live": False}, {"attributes": ["hiv"]}]
)
def test_accepted(given: dict[str, object]) -> None:
    check_given(given, DECLARED)


@pytest.mark.parametrize(
    "given", [{"patient": True}, {"seed": "2"}, {"seed": 2.0}, {"seed": True}, {"live": "no"}, {"live": 1}]
)
def test_refused_with_what_is_expected(given: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"must be (str or int|a whole number from 0 to \d+, such as 0|bool); got "):
        check_given(given, DECLARED)


def run_cells(*cells: str) -> dict[str, Any]:
    """Run cells one after another in one namespace, as a kernel does."""
    names: dict[str, Any] = {}
    for number, source in enumerate(cells):
        name = f"<test cell {number} {hash(source)}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), names)
    return names


def test_what_is_injected_is_checked() -> None:
    run_cells(CELL, "seed = 3", "check_parameters()")
    run_cells(CELL, "import json\n_hidden = 1\ndef helper(): pass", "check_parameters()")
    with pytest.raises(BadInput, match=r"no parameter 'sede'\. Is 'seed' meant"):
        run_cells(CELL, "sede = 3", "check_parameters()")
    with pytest.raises(BadInput, match=r"seed must be a whole number from 0 to .*; got '3'"):
        run_cells(CELL, "seed = '3'", "check_parameters()")


def test_a_persons_own_variables_are_no_parameters_when_a_cell_is_run_again() -> None:
    run_cells(CELL, "found = 1\ncheck_parameters()", "mine = 1", "check_parameters()")
