"""A Dask cluster that does an audit's work: how it is reached, and whether others can read what goes there."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

from ehrmem_widgets.errors import BadInput, Unavailable, extra
from ehrmem_widgets.settings import shown

if TYPE_CHECKING:
    from dask.distributed import Client

_TIMEOUT = "20s"
_TLS = (
    "Dask's own settings name the certificates: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, and CLIENT__CERT and CLIENT__KEY in the same way "
    "(docs: Security and privacy of the tool itself)."
)


def connected(address: str) -> Client:
    """A client of the scheduler at ``tcp://host:port`` or ``tls://host:port``, which has workers. Raises BadInput for another address, for tls
    without certificates and for a scheduler without workers, and Unavailable where none answers."""
    scheme, _ = _checked(address)
    with extra("cluster", "--cluster"):
        from dask.distributed import Client, Security

    if scheme == "tls" and not all(
        Security().get_tls_config_for_role("client").get(name) for name in ("ca_file", "cert", "key")
    ):
        raise BadInput(f"The Dask scheduler at {shown(address)} asks for certificates, and none are named. {_TLS}")
    try:
        client = Client(address, timeout=_TIMEOUT)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise Unavailable(
            f"No Dask scheduler answers at {shown(address)}: {' '.join(str(error).split())[:200]}."
        ) from None
    if not client.nthreads():
        client.close()
        raise BadInput(
            f"The Dask scheduler at {shown(address)} has no workers yet. Start some: dask worker {address} --nthreads 1."
        )
    return client


def in_the_clear(address: str) -> str:
    """A warning where what is asked about patients would travel unencrypted to another computer; empty where it does not. Raises BadInput for what
    is no address of a scheduler."""
    scheme, host = _checked(address)
    if scheme == "tls" or _is_here(host):
        return ""
    return (
        f"Warning: {shown(address)} is another computer and is not encrypted, so that others in the network can read the plan, with patients whom "
        f"it names, and can run code on the workers. Use tls://. {_TLS}"
    )


def _checked(address: str) -> tuple[str, str]:
    """Scheme and host."""
    try:
        found = urlsplit(address)
        scheme, host, port = found.scheme, found.hostname, found.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme not in ("tcp", "tls") or not host or not port:
        raise BadInput(
            f"--cluster must be the address of a Dask scheduler, such as tls://10.0.0.1:8786; got {shown(address)}."
        )
    return scheme, host


def _is_here(host: str) -> bool:
    """Whether the host is this computer, by any of its names or addresses."""
    try:
        named = {str(one[4][0]) for one in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    own = {one.address.partition("%")[0] for card in psutil.net_if_addrs().values() for one in card}
    return all(one.startswith("127.") or one == "::1" or one.partition("%")[0] in own for one in named)
