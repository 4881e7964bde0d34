"""A kernel that runs one notebook after another: what it has imported and opened stays, what a notebook has named is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from ehrmem_widgets.errors import kind_named
from ehrmem_widgets.reports.patient_report import DIED, PatientResults, ReportFailure, kernel_options, run_notebook

_ENGINE = "ehrmem warm kernel"
_FORGET = "get_ipython().reset()"  # names, history and the count of cells; imported modules stay


class WarmKernel:
    """A running kernel, for the one thread that started it."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.alive = True

    def run(self, code: str) -> None:
        """Run code that belongs to no notebook. Raises the four kinds of errors as the code does, and ReportFailure for all else."""
        cell = nbformat.v4.new_code_cell(code)
        self._client.nb.cells = [cell]
        try:
            self._client.execute_cell(cell, 0, store_history=False)
        except CellExecutionError as error:
            if known := kind_named(error.ename, error.evalue):
                raise known from None
            raise ReportFailure(f"{error.ename}: {error.evalue}") from error
        except DeadKernelError as error:
            self.alive = False
            raise ReportFailure(DIED) from error

    def run_notebook(
        self, folder: Path, parameters: Mapping[str, object]
    ) -> tuple[nbformat.NotebookNode, PatientResults]:
        """As ``patient_report.run_notebook``, in this kernel."""
        self.run(_FORGET)
        try:
            return run_notebook(folder, parameters, engine_name=_ENGINE, warm=self._client)
        except ReportFailure as error:
            self.alive = not isinstance(error.__cause__, DeadKernelError)
            raise

    def kill(self) -> None:
        """End the kernel at once; whoever waits for it gets a ReportFailure. The one method for other threads."""
        manager = self._client.km
        process = getattr(manager.provisioner, "process", None) if manager else None
        if process is not None:
            process.kill()


@contextmanager
def warm_kernel(folder: Path) -> Iterator[WarmKernel]:
    """A kernel that ends with the context. It talks through ``folder`` (see ``private_folder``) and works in the caller's folder."""
    client = NotebookClient(
        nbformat.v4.new_notebook(), kernel_name="python3", shutdown_kernel="immediate", **kernel_options(folder)
    )
    with client.setup_kernel():
        yield WarmKernel(client)


class _InWarmKernel(NBClientEngine):
    """papermill's own engine, in a kernel that was there before and stays."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: papermill.engines.NotebookExecutionManager,
        kernel_name: str,
        *,
        warm: NotebookClient,
        **_: object,
    ) -> None:
        client = PapermillNotebookClient(nb_man, km=warm.km, log=warm.log)
        client.kc = warm.kc
        client.execute()


papermill_engines.register(_ENGINE, _InWarmKernel)
