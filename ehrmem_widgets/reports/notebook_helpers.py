"""What a notebook's cells need around the one call that matters: errors in plain words, and the results file."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.errors import EhrmemError
from ehrmem_widgets.files import write_whole

APP = "EHRMEM_APP"
"""In the environment: the process of the app, whose kernels show pages to people."""


class _HasResults(Protocol):
    def wait(self, timeout: float | None = None) -> bool: ...
    def results(self) -> Mapping[str, object]: ...


@contextmanager
def plain_errors() -> Iterator[None]:
    """Where a person is watching, show an error as one plain sentence in place; headless, let it fail the run."""
    try:
        yield
    except KeyboardInterrupt:
        if not person_is_watching():
            raise
        _show(error_strip("Stopped. Run the cell again to start over."))
    except EhrmemError as error:
        if not person_is_watching():
            raise
        _show(error_strip(str(error)))
    except Exception as error:
        if not person_is_watching():
            raise
        details = "" if _is_a_page() else traceback.format_exc()
        _show(error_strip(f"Internal error ({type(error).__name__}).", details))


def error_strip(sentence: str, details: str = "") -> str:
    """An error as markup: one sentence, with details to unfold for whoever is asked to help."""
    more = f"<details><summary>Details for the developers</summary><pre>{escape(details)}</pre></details>"
    return (
        '<div class="ehrmem-error" role="alert" style="padding:8px 12px;border:2px solid #D55E00;font-size:14px;'
        'color:var(--jp-ui-font-color1,#111);background:var(--jp-layout-color1,#fff)">'
        f"{escape(sentence)}{more if details else ''}</div>"
    )


def person_is_watching() -> bool:
    """Whether a person sits at the front end that started this cell: papermill and nbclient accept no typed input. A page of ``ehrmem app`` has no input
    either."""
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return _is_a_page() or bool(getattr(kernel, "_allow_stdin", False))


def _is_a_page() -> bool:
    """Whether the app itself started this process; those that make its reports are started by one of its kernels."""
    return os.environ.get(APP) == str(os.getppid())


def write_results(shown: _HasResults, results_file: str) -> None:
    """Write the results once they are settled, as JSON, if a file is named: whole or not at all."""
    if results_file:
        shown.wait()
        write_whole({Path(results_file): json.dumps(shown.results(), indent=1, allow_nan=False) + "\n"})


def _show(markup: str) -> None:
    from IPython.display import HTML, display

    display(HTML(markup))
