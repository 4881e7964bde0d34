"""``ehrmem app``: the notebooks as pages without code, by Voila: on this computer only and with a token, or for a class and with a password."""

from __future__ import annotations

import getpass
import ipaddress
import json
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_text
from ehrmem_widgets.jupyterlab_autorun.serve import ADDRESS, free
from ehrmem_widgets.reports.notebook_helpers import APP
from ehrmem_widgets.sources import SAMPLES_ONLY, SOURCES
from ehrmem_widgets.terminal import say

if TYPE_CHECKING:
    from tornado.web import RequestHandler

TEMPLATES = Path(__file__).with_name("jupyter")
PASSWORD = "EHRMEM_APP_PASSWORD"
_PORT = 8866
_SHORTEST = 8
_ABOUT = "Everything runs on the computer on which ehrmem was started; nothing is sent anywhere else."
_ABOUT_CLASS = f"{_ABOUT} The patients are made up, and the models were trained on them."
IDLE_SECONDS = 1200
"""A kernel of whose page nothing was heard is ended after so long."""


def serve_app(
    folder: Path, *, host: str = ADDRESS, password: str = "", port: int | None = None, browser: bool = True
) -> None:
    """Serve the notebooks of a folder until Ctrl-C, and say where. ``host``: an address of this computer; any but the default lets others in, who must
    know the password. Raises BadInput when the port is taken."""
    if port is not None and not free(port, host):
        raise BadInput(f"Port {port} is taken. Give another one, or leave --port out and a free one is found.")
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this very environment, not one of the user's others
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(TEMPLATES), os.environ.get("JUPYTER_PATH", "")]))
    os.environ[APP] = str(os.getpid())
    from ehrmem_widgets.app.voila_app import VoilaApp

    token = "" if password else secrets.token_hex(24)
    at = port or next(one for one in range(_PORT, _PORT + 1000) if free(one, host))
    app = VoilaApp()
    app.initialize(options(folder, at, host=host, token=token, password=password))
    about = _ABOUT_CLASS if os.environ.get(SAMPLES_ONLY) else _ABOUT
    app.voila_configuration.page_config_hook = partial(with_screens, about=about)
    app.voila_configuration.prelaunch_hook = known_themes_only
    app.setup_template_dirs()
    if app.ip != host or (app.token or "") != token:
        raise RuntimeError("the server would not be private: a configuration of yours overrides address or token")
    address = f"http://{_named(host)}:{at}/" + (f"?token={token}" if token else "")
    where = (
        "They run on this computer only."
        if token
        else "Everybody in this network who has the password can open them there."
    )
    say(
        f"The screens open in your browser, at\n\n    {address}\n\n{where} Keep this window open while you work; Ctrl-C here ends it.",
    )
    if browser:
        threading.Timer(1, webbrowser.open, [address]).start()
    app.start()


def is_private(host: str) -> bool:
    """Whether nobody but this computer reaches an address. Raises BadInput for what is no address of this computer."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise BadInput(
            f"--host must be an address of this computer in its network, such as 192.168.1.20, or 0.0.0.0 for all of them; got {host!r}."
        ) from None
    if not free(0, host):
        raise BadInput(f"{host} is no address of this computer. Its network settings show which it has.")
    return address.is_loopback


def allow_network(host: str, *, real_patients: bool, password_file: Path | None) -> str:
    """Say what others will see, and return the password that they need. Nothing but the samples is shown, unless ``real_patients``, and this was confirmed by
    typing the address once more. Raises BadInput where data are named without it, and for a password that is none."""
    named = [name for name in SOURCES if os.environ.get(f"EHRMEM_{name.upper()}")]
    if named and not real_patients:
        raise BadInput(
            f"With --host only the sample patients and models are shown, but {named[0]} is named (by an option or by EHRMEM_{named[0].upper()}). "
            "Leave it out, or add --real-patients if everybody in this network who has the password may see these patients."
        )
    if real_patients and not named:
        raise BadInput("--real-patients goes with data and a model of your own: name them, or leave it out.")
    seen = (
        "the patients that you named: their diagnoses, drugs, laboratory values and dates, and what the models say about them"
        if real_patients
        else "the sample patients and models, which are made up, and the folder in which these lie; no other file of this computer can be opened"
    )
    say(
        f"""\
You are opening the screens to the network of {host}.
- Who has the password sees {seen}.
- They share the processor and the memory of this computer: about 1 GB for each open screen.
- What is shown and typed travels unencrypted, the password included: whoever listens in this network can read it. Choose a password that you use
  nowhere else, and end this with Ctrl-C when the class is over.
""",
    )
    if real_patients:
        if _typed(f"Type {host} once more to show these patients: ") != host:
            raise BadInput("Not confirmed, so nothing was opened.")
    else:
        os.environ[SAMPLES_ONLY] = "1"
    return _password(password_file)


def _password(file: Path | None) -> str:
    """The password as it is kept: from the file, the environment (which the kernels then do not get to see), or typed."""
    given = os.environ.pop(PASSWORD, "")
    if file is not None:
        given = read_text(file, f"The password's file {str(file)!r}", most=10_000).partition("\n")[0].strip()
    elif not given:
        try:
            given = getpass.getpass("Password for the class: ")
            again = getpass.getpass("The same once more: ")
        except EOFError:
            raise BadInput(f"There is no password: type one, or name --password-file, or set {PASSWORD}.") from None
        if again != given:
            raise BadInput("The two passwords differ. Start again.")
    if len(given) < _SHORTEST:
        raise BadInput(f"The password has {len(given)} characters; {_SHORTEST} or more are needed.")
    from jupyter_server.auth import passwd

    return passwd(given)


def _typed(question: str) -> str:
    try:
        say(question, end="")
        return input().strip()
    except EOFError:
        return ""


def _named(host: str) -> str:
    if ipaddress.ip_address(host).is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def options(folder: Path, port: int, *, host: str, token: str, password: str) -> list[str]:
    """Voila's command line, in this process, so that no list of processes shows the token. It wins over the person's own configuration files."""
    given: dict[str, object] = {
        "Voila.ip": host,
        "Voila.token": token,
        "Voila.open_browser": False,
        "Voila.port": port,
        "Voila.port_retries": 0,
        "Voila.log_level": "ERROR",
        "PasswordIdentityProvider.hashed_password": password,
        "PasswordIdentityProvider.allow_password_change": False,
        "VoilaConfiguration.template": "ehrmem",
        "VoilaConfiguration.allow_template_override": "NO",
        "VoilaConfiguration.classic_tree": True,
        "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.show_tracebacks": False,
        "VoilaConfiguration.file_denylist": ".*",
        "VoilaExecutor.cell_error_instruction": "",
        "MappingKernelManager.cull_idle_timeout": IDLE_SECONDS,
        "MappingKernelManager.cull_interval": max(1, min(60, IDLE_SECONDS // 4)),
        "MappingKernelManager.cull_connected": True,  # a page that was left open, too: its button brings it back
    }
    if os.name == "posix":
        given["KernelManager.transport"] = "ipc"  # no port that others on this computer could listen at
    return [str(folder), *(f"--{name}={value}" for name, value in given.items())]


def known_themes_only(request: RequestHandler, **_: object) -> None:
    """Called by Voila before it starts a kernel: it writes the theme's name into the page as it stands in the address."""
    from tornado.web import HTTPError

    if request.get_argument("theme", "light") not in ("light", "dark"):
        raise HTTPError(404)


def with_screens(page_config: dict[str, object], *, about: str, **_: object) -> dict[str, object]:
    """Called by Voila for each page: the list of screens, and what its first page says about them."""
    page_config |= {"screens": [list(one) for one in screens()], "about": about}
    return page_config


@cache
def screens() -> tuple[tuple[str, str, str], ...]:
    """The screens: the notebook's name, its title, and what it is for, as its first cell says."""
    from ehrmem_widgets.bundled import bundled

    found = []
    for path in sorted(bundled("notebooks").glob("[0-9]*.ipynb")):
        words = _first_words(json.loads(path.read_text(encoding="utf-8"))).replace("*", "")
        title, _, what = words.partition("\n")
        found.append(
            (path.name, title.lstrip("# ").strip(), what.strip().split("\n")[0].partition(" The screen below")[0])
        )
    return tuple(found)


def _first_words(notebook: Mapping[str, list[Mapping[str, list[str]]]]) -> str:
    return "".join(notebook["cells"][0]["source"])
