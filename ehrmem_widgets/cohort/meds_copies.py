"""A MEDS data set made from another one: where it may be written, and what of it is copied."""

from __future__ import annotations

import shutil
from pathlib import Path

from ehrmem_widgets.cohort.ground_truth import GROUND_TRUTH
from ehrmem_widgets.errors import BadInput


def refuse_taken(data: Path, out: Path, *more: Path) -> None:
    """Raise BadInput where the new data set, or a file that goes with it, would overwrite something, has no folder to lie in, or would lie inside the
    old data set."""
    for path in (out, *more):
        if path.is_symlink() or path.exists():
            raise BadInput(f"{str(path)!r} already exists and was not overwritten. Name another one.")
        if not path.absolute().parent.is_dir():
            raise BadInput(f"There is no folder {str(path.parent)!r} to write into.")
    if out.resolve().is_relative_to(data.resolve()):
        raise BadInput("The new data set cannot lie inside the old one: it would become part of it.")


def copy_files(root: Path, new: Path) -> None:
    """Events, metadata and the ground truth of a data set."""
    for name in ("data", "metadata"):
        if (root / name).is_dir():
            shutil.copytree(root / name, new / name)
    if (root / GROUND_TRUTH).is_file():
        shutil.copyfile(root / GROUND_TRUTH, new / GROUND_TRUTH)
