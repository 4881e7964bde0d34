"""One patient's report: the main notebook run headless, one HTML file that opens offline, and the numbers beside it."""

from __future__ import annotations

import errno
import getpass
import json
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, NotRequired, TypedDict

import ehrmem_widgets
from ehrmem_widgets.attacker.facts import check_knowledge
from ehrmem_widgets.bundled import bundled, explore_notebook
from ehrmem_widgets.errors import BadInput, EhrmemError, Unavailable, kind_named
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.reports.parameters import Parameter, check_given, notebook_parameters
from ehrmem_widgets.sources import SOURCES, option

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from traitlets.config import Config

    from ehrmem_widgets.probes.people import Named

NOTEBOOKS = bundled("notebooks")
PARTIAL = "partial.ipynb"
DIED = "the process that asks the model was ended, perhaps because the memory was full"
_NOT_THE_USERS = ("live", "results_file")  # set here, whatever the caller wants


class Numbers(TypedDict):
    """An ``Estimate`` in JSON."""

    value: float
    low: float
    high: float
    n: int


class Leak(TypedDict):
    """An attribute that is memorized; without a reference model it has no excess."""

    name: str
    title: str
    severity: int
    audited: Numbers
    reference: Numbers | None
    excess: Numbers | None


class AttributeResults(Leak):
    in_record: bool
    verdict: str | None


class MembershipResults(TypedDict):
    """What stands in the place of attributes where there is none to ask about."""

    verdict: str
    sentence: str


class PatientResults(TypedDict):
    """What the notebook writes (``results_of`` of the main screen), as far as it is read here."""

    patient: str
    data: str
    model: Named
    reference: Named | None
    attributes: list[AttributeResults]
    membership: NotRequired[MembershipResults | None]


class Report(PatientResults):
    """What the JSON file of a report holds."""

    run: dict[str, object]


class KernelOptions(TypedDict):
    config: Config
    extra_arguments: list[str]


class ReportFailure(RuntimeError):
    """A report failed through a fault of ours; the message says where the partial notebook lies."""


def make_report(out: str | Path, **parameters: object) -> Report:
    """Run the main notebook headless and write ``out`` (HTML) and, beside it, the same name with ``.json``.

    ``parameters`` are the notebook's own (patient, knowledge or facts, attributes, focus, horizon, samples, seed, data,
    model, reference). Returns what the JSON file holds. Both files appear at the end or not at all; older ones stand
    till then.

    Raises
    ------
    BadInput
        For wrong parameters, data or models, in one sentence; CannotAnswer for a question that the model cannot be asked.
    Unavailable
        When a server stops answering or the report cannot be written.
    ReportFailure
        For a fault of ours; the partial notebook is kept in a folder that only this user can read.

    """
    out = checked_out(Path(out))
    declared = checked_parameters(parameters)
    with private_folder() as folder, full_disk_in_words(out):
        executed, results = run_notebook(folder, parameters, **kernel_options(folder))
        return write_report(out, executed, results, parameters, declared)


def checked_parameters(parameters: Mapping[str, object]) -> dict[str, Parameter]:
    """What may be given for a report, once what was given is seen to fit; BadInput if not."""
    declared = {k: p for k, p in notebook_parameters(explore_notebook()).items() if k not in _NOT_THE_USERS}
    check_given(parameters, declared)
    if parameters.get("knowledge"):
        check_knowledge(parameters["knowledge"])
    if parameters.get("knowledge") and parameters.get("facts"):
        raise BadInput("Give what the attacker knows as a knowledge level or as facts, not both.")
    return declared


def run_notebook(
    folder: Path, parameters: Mapping[str, object], **engine: object
) -> tuple[NotebookNode, PatientResults]:
    """The executed notebook and its results; what there is of it is kept in ``folder`` as ``PARTIAL`` as it runs. ``engine`` says
    in which kernel (papermill's own arguments). The kernel works in the caller's folder, so that relative paths hold."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    results_file = folder / "results.json"
    try:
        executed = papermill.execute_notebook(
            str(explore_notebook()),
            str(folder / PARTIAL),
            {**parameters, "live": False, "results_file": str(results_file)},
            kernel_name="python3",
            progress_bar=False,
            **engine,
        )
    except papermill.PapermillExecutionError as error:
        if known := kind_named(error.ename, error.evalue):
            raise known from None
        raise ReportFailure(f"{error.ename}: {error.evalue}") from error
    except DeadKernelError as error:
        raise ReportFailure(DIED) from error
    return executed, json.loads(results_file.read_text(encoding="utf-8"))


def write_report(
    out: Path,
    executed: NotebookNode,
    results: PatientResults,
    parameters: Mapping[str, object],
    declared: Mapping[str, Parameter],
) -> Report:
    """Write both files of a report, and return what the JSON file holds."""
    whole: Report = {**results, "run": _how_it_was_made(parameters, results, declared, out)}
    page = whole_page(
        "patient.html.j2", patient=results["patient"], notebook=_notebook_body(executed), run=whole["run"]
    )
    write_whole({out.with_suffix(".json"): json.dumps(whole, indent=1, allow_nan=False) + "\n", out: page})
    return whole


def kernel_options(folder: Path) -> KernelOptions:
    """How a kernel is started and talked to: through files in the private folder, not through ports, wherever the system can (a
    Unix socket's path has at most about 100 characters)."""
    from traitlets.config import Config

    connection = {"connection_file": str(folder / f"{secrets.token_hex(4)}.json")}
    if os.name == "posix" and len(str(folder)) < 80:
        connection["transport"] = "ipc"  # the sockets lie beside the connection file
    return {
        "config": Config({"KernelManager": connection}),
        "extra_arguments": ["--IPKernelApp.log_level=50"],  # the kernel's own log is not for the terminal
    }


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for this user's eyes only. It is gone afterwards, except when a fault of ours must be looked into."""
    folder = Path(tempfile.mkdtemp(prefix="ehrmem-report-"))  # mode 700
    ours = {
        "IPYTHONDIR": str(folder / "ipython"),  # no patient in the person's IPython history
        "JUPYTER_RUNTIME_DIR": str(folder),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this very environment
        # One thread, unless somebody chose: with as many as a machine has cores, the last digits would depend on the machine.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or "1",
    }
    outside = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    keep = False
    try:
        yield folder
    except (EhrmemError, OSError):
        raise
    except Exception as error:
        keep = True
        raise ReportFailure(f"{error} (the partial notebook, which names the patient, is kept in {folder})") from error
    finally:
        for name, value in outside.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk_in_words(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        raise Unavailable(f"{out} could not be written: {error.strerror}. Nothing was changed.") from None


def checked_out(out: Path, *, kinds: Sequence[str] = (".html", ".htm")) -> Path:
    """A name that a report can be written to; BadInput, in words, for any other."""
    if out.suffix.lower() not in kinds:
        raise BadInput(f"The report is an HTML file: name it like report.html, not {out.name!r}.")
    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder" if out.is_dir() else f"lies in a folder that does not exist ({out.parent})"
        raise BadInput(f"The report cannot be written: {str(out)!r} {what}.")
    if not os.access(out.parent, os.W_OK):
        raise BadInput(f"The report cannot be written: you may not write in the folder {out.parent}.")
    return out


def _how_it_was_made(
    parameters: Mapping[str, object], results: PatientResults, declared: Mapping[str, Parameter], out: Path
) -> dict[str, object]:
    given = {**parameters, "patient": results["patient"]}  # the pseudonym, whatever was typed
    used = {name: given.get(name, parameter.default) for name, parameter in declared.items()}
    return {
        "made_by": who(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([*command_words(given, declared), "--out", str(out)]),
        "seed": used["seed"],
        "data": results["data"],
        "model": results["model"]["name"],
        "reference": results["reference"]["name"] if results["reference"] else None,
        "versions": {
            "ehrmem": ehrmem_widgets.__version__,
            "python": python_version(),
            "torch": version("torch"),
            "transformers": version("transformers"),
        },
        "handling": "identifying: internal use",
    }


def command_words(given: Mapping[str, object], declared: Mapping[str, Parameter]) -> list[str]:
    """The command that makes the same report again, but for --out, with all that is not a default."""
    given = {
        **{name: os.environ.get(f"EHRMEM_{name.upper()}", "") for name in (*SOURCES, "population", "price")},
        **given,
    }
    words = ["ehrmem", "report"]
    for name, parameter in declared.items():
        value = given.get(name, parameter.default)
        if parameter.type == "bool" and value:
            words.append(option(name))
        elif value not in ("", [], parameter.default):
            words += [option(name), ",".join(value) if isinstance(value, list | tuple) else str(value)]
    return words


def _notebook_body(notebook: NotebookNode) -> str:
    """What the notebook shows, without code, prompts, warnings, and words that are for the live screen only."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    settings = Config()
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_cell_tags = {"live-only"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if output.output_type in ("display_data", "execute_result")
            ]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=settings,
    )
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def who() -> str:
    """The name of whoever runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user name
        return "unknown"
