"""Test whether a clinical foundation model has memorized individual patients, from a notebook.

Two names to start with; everything else lives in the subpackages::

    from ehrmem_widgets import ExplorePatient, MedsDataset

They are imported when first used, so that ``import ehrmem_widgets`` itself stays far below a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.widgets.explore_patient import ExplorePatient

__version__ = "0.1.0"

__all__ = ["ExplorePatient", "MedsDataset", "__version__"]

_HOME_OF = {
    "ExplorePatient": "ehrmem_widgets.widgets.explore_patient",
    "MedsDataset": "ehrmem_widgets.cohort.dataset",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(sorted(_HOME_OF))}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
