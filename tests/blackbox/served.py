"""A model folder behind an address, by this kit's own server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.serve import serve_model


@contextmanager
def running_server(folder: Path) -> Iterator[tuple[str, str]]:
    """(address, token) of a server of the model in this folder."""
    with serve_model(FolderModel(folder)) as served:
        yield served.address, served.token
