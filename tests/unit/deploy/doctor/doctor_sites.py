"""Directories that the doctor is called to, and services that it meets on the line."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from roughfed.client.members import credential_files
from roughfed.crypto import certificates, identity
from roughfed.crypto.issuing import CertificateAuthority
from roughfed.crypto.names import Role, Subject
from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.deploy.doctor.site import DoctorSite, visit
from roughfed.server.members.authority import Authority

FED = '[model]\nname = "mlp"\n[data]\nname = "digits"\n[server]\nhost = "127.0.0.1"\n'
CLIENT = '[client]\nname = "c0"\n[model]\nname = "mlp"\n[data]\nname = "digits"\nclients = 2\n'
APP = """\
import numpy as np
from torch import nn
from roughfed import Client
x, y = np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 3
"""


def server_folder(folder: Path, *, text: str = FED) -> Path:
    """A server's directory with a CA."""
    (folder / "state").mkdir(parents=True, mode=0o700)
    (folder / "fed.toml").write_text(text)
    Authority.create(folder / "state" / "ca", "test", now=datetime.now(UTC))
    return folder


def client_folder(
    folder: Path,
    authority: Authority,
    *,
    name: str = "c0",
    role: Role = "client",
    text: str = CLIENT,
    address: str = "127.0.0.1:9",
    now: datetime | None = None,
) -> Path:
    """A client's directory, enrolled at `now`."""
    now, papers = now or datetime.now(UTC), folder / "state" / "papers"
    (folder / "state").mkdir(parents=True, mode=0o700)
    (folder / "client.toml").write_text(text)
    token = authority.invite(name, now=now, role=role)
    keys = credential_files.prepare(papers, "token")
    csr = certificates.new_request(keys.tls_key)
    proof = keys.identity.sign(identity.ENROL_DOMAIN, identity.enrolment_body(token, csr))
    given = authority.enroll(token, csr, keys.identity.public_key, proof=proof, now=now)
    credential_files.commit(papers, given, credential_files.CredentialRecord(address, address, "token"))
    return folder


def site(folder: Path, *, status: Mapping[str, Any] | None = None, **changes: Any) -> DoctorSite:
    """A visit to a directory, with what a test wants otherwise."""
    seen = visit(folder, status=None if status is None else dict(status), offline=False, within_s=30.0)
    return replace(seen, **changes)


def one(findings: Any, about: str) -> Finding:
    """The finding about one thing."""
    found = [finding for finding in findings if finding.about == about]
    assert len(found) == 1, (about, found)
    return found[0]


def states(findings: Any) -> dict[str, CheckState]:
    """About what -> how it is."""
    return {finding.about: finding.state for finding in findings}


class Papers:
    """A CA, and leaves of it as a TLS library wants them: one file of key and certificate."""

    def __init__(self, folder: Path, *, federation: str = "test") -> None:
        self.folder = folder
        self.ca = CertificateAuthority.create(federation, serial=3, now=datetime.now(UTC))

    def leaf(
        self,
        *,
        role: Role = "server",
        now: datetime | None = None,
        life: timedelta = timedelta(days=1),
        name: str = "s",
    ) -> Path:
        key = certificates.new_tls_key()
        public = certificates.load_private(key).public_key()
        subject = Subject(self.ca.federation, role, name)
        pem = self.ca.issue(public, subject, serial=7, now=now or datetime.now(UTC), life=life)
        path = self.folder / f"{name}-{time.monotonic_ns()}.pem"
        path.write_bytes(key + pem)
        return path


Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve, *, backlog: int = 8) -> Iterator[str]:
    """host:port of a service; each connection is handed to `serve` in a thread."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as door:
        over = threading.Event()

        def attend(link: socket.socket) -> None:
            with link, suppress(OSError):
                link.settimeout(10)
                serve(link)

        def accept() -> None:
            while not over.is_set():
                with suppress(OSError):
                    link, _ = door.accept()
                    threading.Thread(target=attend, args=(link,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        port = door.getsockname()[1]
        try:
            yield f"127.0.0.1:{port}"
        finally:
            over.set()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()


def tls(chain: Path, *, clients: bytes = b"", newest: ssl.TLSVersion | None = None) -> Serve:
    """A TLS service with a certificate; `clients`: the CA whose members it takes. It hangs up like gRPC, unsaid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.set_alpn_protocols(["h2"])
    if clients:
        context.load_verify_locations(cadata=clients.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    if newest is not None:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest

    def serve(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as inside:
            inside.recv(64)
            inside.sendall(bytes(9))

    return serve
