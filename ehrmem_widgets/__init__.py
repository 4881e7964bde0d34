"""Test whether a clinical foundation model has memorized individual patients.

A dozen names are all that most need; everything else lives in the subpackages::

    import ehrmem_widgets as em

    cohort, model, reference = em.open_cohort("my_meds"), em.open_model("their_model"), em.open_model("other_model")
    finding = em.run("membership", cohort, model, reference)       # finding.figures, .verdicts, .show()
    em.ExplorePatient(cohort, model=model, reference=reference)

They are imported when first used, so that ``import ehrmem_widgets`` itself stays far below a second.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ehrmem_widgets.api import open_cohort, open_model
    from ehrmem_widgets.audit.plan import read_plan
    from ehrmem_widgets.audit.run import run_audit
    from ehrmem_widgets.blackbox.callable import CallableModel
    from ehrmem_widgets.blackbox.protocol import BlackBox
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.findings.finding import Finding
    from ehrmem_widgets.probes.people import choose_people
    from ehrmem_widgets.probes.run import run
    from ehrmem_widgets.registry import probes as installed_probes
    from ehrmem_widgets.widgets.audit_cohort import AuditCohort
    from ehrmem_widgets.widgets.explore_patient import ExplorePatient

__version__ = "0.2.0"

__all__ = [
    "AuditCohort",
    "BlackBox",
    "CallableModel",
    "ExplorePatient",
    "Finding",
    "MedsDataset",
    "__version__",
    "choose_people",
    "installed_probes",
    "open_cohort",
    "open_model",
    "read_plan",
    "run",
    "run_audit",
]

_HOME_OF = {
    "AuditCohort": "ehrmem_widgets.widgets.audit_cohort",
    "BlackBox": "ehrmem_widgets.blackbox.protocol",
    "CallableModel": "ehrmem_widgets.blackbox.callable",
    "ExplorePatient": "ehrmem_widgets.widgets.explore_patient",
    "Finding": "ehrmem_widgets.findings.finding",
    "MedsDataset": "ehrmem_widgets.cohort.dataset",
    "choose_people": "ehrmem_widgets.probes.people",
    "open_cohort": "ehrmem_widgets.api",
    "open_model": "ehrmem_widgets.api",
    "installed_probes": "ehrmem_widgets.registry:probes",
    "read_plan": "ehrmem_widgets.audit.plan",
    "run": "ehrmem_widgets.probes.run",
    "run_audit": "ehrmem_widgets.audit.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or the screen of a probe by its class, on first use (PEP 562)."""
    if name in _HOME_OF:
        module, _, other = _HOME_OF[name].partition(":")
        value = getattr(import_module(module), other or name)
    else:
        value = _screen(name)
    globals()[name] = value
    return value


def _screen(name: str) -> Any:
    if not name[:1].isupper():  # a submodule that is asked for, perhaps by a plug-in that is being imported
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ehrmem_widgets.probes.base import loaded
    from ehrmem_widgets.registry import probes

    screens = {probe.screen.rpartition(":")[2]: probe.screen for probe in probes().values() if probe.screen}
    if name not in screens:
        offered = ", ".join(sorted({*_HOME_OF, *screens}))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {offered}")
    return loaded(screens[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
