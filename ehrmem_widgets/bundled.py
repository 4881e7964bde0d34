"""The notebooks and the samples: beside the package in a clone, inside it where a wheel was installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from ehrmem_widgets import __version__

PACKAGE = Path(__file__).parent
IN_A_CLONE = (PACKAGE.parent / "pyproject.toml").is_file()


def bundled(name: str) -> Path:
    """A folder of the repository that a wheel carries inside the package: "notebooks" or "data_samples"."""
    return PACKAGE.parent / name if IN_A_CLONE else PACKAGE / "bundled" / name


def explore_notebook() -> Path:
    """The main notebook of this installation."""
    return bundled("notebooks") / "01_explore_patient.ipynb"


def notebooks_to_work_in() -> Path:
    """The notebooks where they may be changed: in a clone those themselves, else a copy in the user's data folder, one a version."""
    if IN_A_CLONE:
        return bundled("notebooks")
    import platformdirs

    folder = Path(platformdirs.user_data_dir("ehrmem")) / f"notebooks-{__version__}"
    if not folder.exists():
        shutil.copytree(bundled("notebooks"), folder)
    return folder
