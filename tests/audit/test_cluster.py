"""A cluster is reached encrypted, and where it is not, that is said."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrmem_widgets.audit import cluster as module
from ehrmem_widgets.audit import run
from ehrmem_widgets.audit.cluster import in_the_clear
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput, Unavailable
from tests.audit.small import write_plan


def twice(number: int) -> int:
    return 2 * number


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Made for this test: a key, and a certificate that signs itself and is its own authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine, which makes the certificate")
    folder = tmp_path_factory.mktemp("certificates")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    return {"ca": str(certificate), "cert": str(certificate), "key": str(key)}


@pytest.fixture
def encrypted(certificates: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of a cluster of one worker that talks to nobody without a certificate."""
    from dask.distributed import LocalCluster, Security

    ca, both = certificates["ca"], {"cert": certificates["cert"], "key": certificates["key"]}
    roles = {f"tls_{role}_{what}": path for role in ("scheduler", "worker", "client") for what, path in both.items()}
    security = Security(require_encryption=True, tls_ca_file=ca, **roles)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, host="127.0.0.1", protocol="tls://", security=security,
        local_directory=str(tmp_path),
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address


def test_an_encrypted_cluster_works_with_the_certificates_that_dask_is_told(
    encrypted: str, certificates: dict[str, str]
) -> None:
    import dask

    assert encrypted.startswith("tls://") and in_the_clear(encrypted) == ""
    names = {"ca": "ca-file", "cert": "client.cert", "key": "client.key"}
    told = {f"distributed.comm.tls.{names[name]}": path for name, path in certificates.items()}
    with (
        dask.config.set(told),
        run._pool(1, encrypted) as pool,
    ):
        future = pool.submit(twice, 21)
        assert pool.next_done({future}) == {future} and future.result() == 42


def test_without_certificates_it_is_said_what_is_missing(encrypted: str) -> None:
    with pytest.raises(BadInput, match=r"asks for certificates, and none are named.*CA_FILE"), run._pool(1, encrypted):
        pass


def test_a_cluster_that_is_not_encrypted_does_not_answer_as_if_it_were(
    encrypted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", "2s")
    with (
        pytest.raises(Unavailable, match="No Dask scheduler answers at 'tcp://"),
        run._pool(1, encrypted.replace("tls", "tcp")),
    ):
        pass


def test_only_what_leaves_this_computer_unencrypted_is_warned_of() -> None:
    for here in ("tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "tls://10.0.0.1:8786"):
        assert in_the_clear(here) == ""
    assert "is another computer and is not encrypted" in in_the_clear("tcp://192.0.2.1:8786")
    assert "Use tls://" in in_the_clear(f"tcp://no-such-host.{socket.gethostname()}.invalid:8786")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "here",
        "tcp://",
        "tcp://10.0.0.1",
        "http://10.0.0.1:8786",
        "tcp://10.0.0.1:port",
        "tcp://[:8786",
        "inproc://1/2",
    ],
)
def test_what_is_no_address_of_a_scheduler_is_refused_before_anything_is_read(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(write_plan(tmp_path)), "--out", str(tmp_path / "out"), "--cluster", address]) == 2
    assert (
        "--cluster must be the address of a Dask scheduler, such as tls://10.0.0.1:8786; got" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_the_warning_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", "1s")
    plan = write_plan(tmp_path, probes="[membership]")
    assert main(["audit", str(plan), "--out", str(tmp_path / "out"), "--cluster", "tcp://192.0.2.1:8786"]) == 3
    said = capsys.readouterr().err
    assert (
        said.startswith("Warning: 'tcp://192.0.2.1:8786' is another computer") and "No Dask scheduler answers" in said
    )
