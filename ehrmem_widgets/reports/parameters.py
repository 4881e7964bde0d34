"""A notebook's parameters: what its tagged cell declares, and a clear error for anything else.

papermill itself only warns of a parameter that the notebook does not have, and never looks at types. So the first line
of a parameters cell is ``declare_parameters()``, and the next cell starts with ``check_parameters()``: what papermill
has put between the two is compared with what was declared, and that is read from the cell itself: nothing is written
twice.
"""

from __future__ import annotations

import ast
import io
import json
import linecache
import sys
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ehrmem_widgets.checked import meant
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import OF_NOTEBOOKS, shown

TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
ALSO: Mapping[str, tuple[type, ...]] = {
    "patient": (int,),
    "attributes": (list, tuple),
    "reference": (list, tuple),
}  # besides the declared type
_KEPT_AS = "_ehrmem_parameters"  # in the notebook's own namespace: no state of ours outlives it


@dataclass(frozen=True)
class Parameter:
    """One annotated line of the parameters cell: ``name: type = default  # words``."""

    name: str
    type: str
    default: object
    words: str = ""

    def accepts(self, value: object) -> bool:
        """Whether a value has the declared type; True and False are no whole numbers here."""
        allowed = (TYPES[self.type], *ALSO.get(self.name, ()))
        if isinstance(value, bool):
            return bool in allowed
        if self.type == "float" and isinstance(value, int):
            return True
        return isinstance(value, allowed)


@dataclass
class _Declared:
    """What a parameters cell declared, and what the notebook's namespace held at that moment."""

    parameters: dict[str, Parameter]
    names_before: frozenset[str]
    injection_checked: bool = False


def read_parameters(source: str) -> dict[str, Parameter]:
    """The parameters that a cell declares, by name.

    >>> read_parameters('seed: int = 0  # same seed, same numbers')["seed"]
    Parameter(name='seed', type='int', default=0, words='same seed, same numbers')
    """
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            name, kind = line.target.id, ast.unparse(line.annotation)
            if kind not in TYPES:
                raise TypeError(f"parameter {name} has the type {kind}; a parameter is one of {', '.join(TYPES)}")
            default = ast.literal_eval(line.value)
            found[name] = Parameter(name, kind, default, comments.get(line.end_lineno or line.lineno, ""))
    return found


def notebook_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook: those of its cell tagged ``parameters``."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
    return read_parameters("".join(tagged["source"]))


def check_given(given: Mapping[str, object], declared: Mapping[str, Parameter]) -> None:
    """Raise BadInput for the first name that is not declared (listing those that are), value of a wrong type or number out of
    bounds.

    >>> check_given({"sed": 1}, {"seed": Parameter("seed", "int", 0)})
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: There is no parameter 'sed'. Is 'seed' meant? The parameters are seed (int).
    """
    for name, value in given.items():
        if name not in declared:
            raise BadInput(f"There is no parameter {shown(name)}.{meant(name, declared)} {_in_words(declared)}")
        if name in OF_NOTEBOOKS:
            OF_NOTEBOOKS[name].check(value, f"The parameter {name}")
        elif not declared[name].accepts(value):
            raise BadInput(
                f"The parameter {name} must be {_type_in_words(declared[name])}; got {shown(value)} ({type(value).__name__})."
            )


def declare_parameters() -> None:
    """First line of a parameters cell: keep what this very cell declares, for ``check_parameters`` to compare with."""
    frame = sys._getframe(1)
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    frame.f_globals[_KEPT_AS] = _Declared(read_parameters(source), frozenset(frame.f_globals))


def check_parameters() -> None:
    """First line of the cell that uses the parameters: raise BadInput for an unknown or wrongly typed one.

    Only names that appeared since the parameters cell ran can have been injected. They are looked at once, so that a
    cell run again in a live notebook does not take a person's own variables for parameters.
    """
    frame = sys._getframe(1)
    names = frame.f_globals
    declared: _Declared = names[_KEPT_AS]
    used_here = set(frame.f_code.co_names)
    given = {name: names[name] for name in declared.parameters}
    if not declared.injection_checked:
        declared.injection_checked = True
        new = [name for name in names if name not in declared.names_before and name not in used_here]
        given |= {name: names[name] for name in new if _may_be_parameter(name, names[name])}
    unknown_first = sorted(given, key=lambda name: name in declared.parameters)
    check_given({name: given[name] for name in unknown_first}, declared.parameters)


def _may_be_parameter(name: str, value: object) -> bool:
    return not name.startswith("_") and not isinstance(value, ModuleType | Callable)


def _type_in_words(parameter: Parameter) -> str:
    return " or ".join([parameter.type, *(kind.__name__ for kind in ALSO.get(parameter.name, ()) if kind is not tuple)])


def _in_words(declared: Mapping[str, Parameter]) -> str:
    return f"The parameters are {', '.join(f'{name} ({_type_in_words(p)})' for name, p in declared.items())}."
