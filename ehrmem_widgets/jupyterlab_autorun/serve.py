"""Start JupyterLab on one notebook: this machine only, always with a token, silent towards the outside."""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.terminal import say

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

ADDRESS = "127.0.0.1"
WORKSPACE = "ehrmem"  # a layout of its own: a person's other JupyterLab windows stay as they are
_OPEN_AHEAD = "from ehrmem_widgets.probes.opened import open_ahead; open_ahead(); del open_ahead"
_EXTENSIONS, _SETTINGS = Path(__file__).parent / "labextensions", Path(__file__).parent / "settings"


def serve(notebook: Path, *, port: int | None = None, browser: bool = True) -> None:
    """Serve the notebook's folder until Ctrl-C, and say where. Raises BadInput when the port is taken."""
    # jsonschema takes this package along if it can be imported, which costs 3 of 8 seconds; nothing here checks an IRI.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    from jupyterlab.labapp import LabApp

    if port is not None and not free(port):
        raise BadInput(f"Port {port} is taken. Give another one, or leave --port out and a free one is found.")
    os.environ.setdefault(
        "OPENBLAS_NUM_THREADS", "1"
    )  # NumPy's threads would spin beside torch's (measured: .65 CPU-s an answer)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this very environment, not one of the user's others
    token = secrets.token_hex(24)
    server = LabApp.initialize_server(options(notebook, port, browser, token=token))
    if server.ip != ADDRESS or server.identity_provider.token != token:
        raise RuntimeError("the server would not be private: a configuration of yours overrides address or token")
    _put_skeleton(server.web_app.settings["lab_jinja2_env"])
    address = f"{server.connection_url.rstrip('/')}{_page(notebook)}?token={token}"
    server.io_loop.add_callback(_say, address)  # once it answers, and not a moment before
    server.io_loop.add_callback(_start_kernel, server, notebook)
    server.start()


def _put_skeleton(pages: Environment) -> None:
    """Have JupyterLab's page show at once what is to come: it is white for some seconds while its programs are read."""
    before = pages.loader
    assert before is not None

    def with_skeleton(name: str) -> str:
        source = before.get_source(pages, name)[0]
        if name != "index.html":
            return source
        skeleton = (Path(__file__).parent / "skeleton.html").read_text(encoding="utf-8")
        return re.sub(r"<body[^>]*>", lambda body: f"{body[0]}{{% raw %}}{skeleton}{{% endraw %}}", source, count=1)

    pages.loader = FunctionLoader(with_skeleton)


def _say(address: str) -> None:
    say(
        f"The main screen opens in your browser, at\n\n    {address}\n\n"
        "It runs on this computer only. Keep this window open while you work; Ctrl-C here ends it.",
    )


async def _start_kernel(server: ServerApp, notebook: Path) -> None:
    """Start the notebook's kernel and open data and models in it while the page still loads; JupyterLab takes over the
    session that it finds for the notebook's path. What goes wrong here is shown when the notebook runs."""
    session = await server.session_manager.create_session(
        path=notebook.name, name=notebook.name, type="notebook", kernel_name="python3"
    )
    client = server.kernel_manager.get_kernel(session["kernel"]["id"]).client()
    client.start_channels()
    try:
        await client.execute(_OPEN_AHEAD, silent=True, store_history=False, reply=True)
    finally:
        client.stop_channels()


def options(notebook: Path, port: int | None, browser: bool, *, token: str) -> list[str]:
    """JupyterLab's command line, in this process, so that no list of processes shows the token. It wins over
    the person's own configuration files."""
    from jupyter_core.paths import jupyter_runtime_dir

    given: dict[str, object] = {
        "ServerApp.ip": ADDRESS,
        "ServerApp.allow_remote_access": False,
        "ServerApp.allow_origin": "",
        "ServerApp.allow_origin_pat": "",
        "ServerApp.open_browser": browser,
        "ServerApp.root_dir": notebook.parent,
        "ServerApp.preferred_dir": notebook.parent,
        "ServerApp.answer_yes": True,  # Ctrl-C once is enough
        "ServerApp.terminals_enabled": False,
        "ServerApp.log_level": "ERROR",
        "IdentityProvider.token": token,
        "ContentsManager.pre_save_hook": f"{__name__}.without_outputs",
        "LabApp.default_url": _page(notebook),
        "LabApp.extra_labextensions_path": _EXTENSIONS,
        "LabApp.app_settings_dir": _SETTINGS,  # no subshells: remoteEntry.js says why
        "LabApp.extension_manager": "readonly",  # the other one lists packages from the outside
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.news_url": None,
        "LabApp.collaborative": False,
        "LabApp.log_level": "ERROR",
        "LanguageServerManager.autodetect": False,  # no helpers for writing code, which start programs such as npm
    }
    if os.name == "posix" and len(jupyter_runtime_dir()) < 50:  # a Unix socket's path has about 100 characters
        given["KernelManager.transport"] = "ipc"  # no port that others on this computer could listen at
    if port is not None:
        given |= {"ServerApp.port": port, "ServerApp.port_retries": 0}
    if getattr(os, "geteuid", lambda: 1)() == 0:
        given["ServerApp.allow_root"] = True
    return [f"--{name}={value}" for name, value in given.items()]


def without_outputs(model: dict[str, Any], **_: object) -> None:
    """Called by JupyterLab before it saves: what was shown about a patient stays out of the file of our notebooks."""
    content = model.get("content")
    if model.get("type") != "notebook" or not content or "ehrmem" not in content["metadata"]:
        return
    content["metadata"].pop("widgets", None)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


def _page(notebook: Path) -> str:
    return f"/doc/workspaces/{WORKSPACE}/tree/{quote(notebook.name)}"  # one document, without the bars around it


def free(port: int, address: str = ADDRESS) -> bool:
    """Whether a server can listen there; port 0: whether the address is one of this computer at all."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
