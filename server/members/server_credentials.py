"""The server's own certificate, keys and roster entry, and their rotation without a restart.

The papers come from the CA beside the server, or (`roughfed server --no-ca`) from an enrolment at a CA elsewhere;
`obtain` is whichever of the two, so this file does not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import grpc

from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.key_file import read_private, write_private
from roughfed.errors import RoughfedError
from roughfed.server.members.authority import Authority

log = logging.getLogger(__name__)

RETRY_S = 600.0
TLS_KEY = "tls.key"


@dataclass(frozen=True, slots=True)
class Papers:
    """What the server shows of itself.

    Attributes:
        name: enrolled name.
        tls_key: P-256 private key, PEM.
        certificate: PEM.
        ca_certificate: the federation's CA, PEM.
        member: serialized SignedRosterEntry.
        identity: the Ed25519 key that signs headers and receipts.
        external: the federation, where the CA is somebody else's and does not name it; else empty.
    """

    name: str
    tls_key: bytes = field(repr=False)
    certificate: bytes
    ca_certificate: bytes
    member: bytes
    identity: IdentityKey
    external: str = ""


class Obtain(Protocol):
    """Gives the server's papers."""

    async def __call__(self, *, new_key: bool = False) -> Papers:
        """The papers, with a certificate that is not due.

        Args:
            new_key: make another TLS key, whatever the age of the certificate; the old one stays until it is certified.

        Raises:
            Unreachable: the CA is elsewhere and does not answer; nothing was changed.
            IdentityError: the CA refuses.
        """
        ...


def from_authority(authority: Authority, folder: Path, name: str) -> Obtain:
    """Papers from the CA in this process; the keys stay in `folder` from the first start on."""

    def issue(new_key: bool) -> Papers:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tls_path, identity_path = folder / TLS_KEY, folder / "identity.key"
        if not identity_path.exists():
            write_private(tls_path, certificates.new_tls_key())
            IdentityKey.generate().save(identity_path)
        identity = IdentityKey.load(identity_path)
        tls_key = certificates.new_tls_key() if new_key else read_private(tls_path)
        csr = certificates.new_request(tls_key)
        issued = authority.issue_server(name, csr, identity.public_key, now=datetime.now(UTC))
        if new_key:
            write_private(tls_path, tls_key)
        return Papers(name, tls_key, issued.certificate, issued.ca_certificate, issued.member, identity)

    async def obtain(*, new_key: bool = False) -> Papers:
        return await asyncio.to_thread(issue, new_key)

    return obtain


def renew_key(folder: Path) -> bool:
    """Make the TLS key with which a server that does not run will start, its CA beside it; False where it has none yet.

    Raises:
        StorageError: the disk refused.
    """
    if not (folder / TLS_KEY).exists():
        return False
    write_private(folder / TLS_KEY, certificates.new_tls_key())
    return True


class Rotation:
    """gRPC server credentials that follow the papers: new handshakes see the new certificate, open streams stay."""

    def __init__(self, papers: Papers, obtain: Obtain, *, on_new: Callable[[Papers], None] = lambda _: None) -> None:
        """Start with `papers`; `obtain` gives the next ones, of which `on_new` is told."""
        self.papers, self._obtain, self._on_new = papers, obtain, on_new
        self._one_at_a_time = asyncio.Lock()

    def credentials(self, *, client_auth: bool) -> grpc.ServerCredentials:
        """For `add_secure_port`; asks for the newest papers at every handshake.

        `client_auth`: whoever calls must show a certificate of the same CA.
        """

        def configuration() -> grpc.ServerCertificateConfiguration:
            roots = shown.ca_certificate if client_auth else None
            return grpc.ssl_server_certificate_configuration([(shown.tls_key, shown.certificate)], roots)

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            if self.papers is shown:
                return None  # gRPC keeps what it has (its stubs do not say that it may)
            shown = self.papers
            return configuration()

        shown = self.papers
        return grpc.dynamic_ssl_server_credentials(
            configuration(),
            fetch,  # pyright: ignore[reportArgumentType]
            require_client_authentication=client_auth,
        )

    async def rotate(self) -> dict[str, Any]:
        """A new TLS key and certificate at once; what is shown from the next handshake on.

        Raises:
            Unreachable, IdentityError: as of `Obtain`; the present papers stay.
        """
        papers = await self._renew(new_key=True)
        return certificates.described(papers.name, papers.certificate)

    async def keep_fresh(self) -> None:
        """Renew at two thirds of the certificate's life, for ever."""
        while True:
            due = certificates.renew_at(self.papers.certificate) - datetime.now(UTC)
            if due.total_seconds() > 0:
                await asyncio.sleep(due.total_seconds())  # and look again: somebody may have asked for new ones
                continue
            try:
                await self._renew()
            except RoughfedError as error:
                log.error("the server's certificate was not renewed: %s", error)
                await asyncio.sleep(RETRY_S)

    async def _renew(self, *, new_key: bool = False) -> Papers:
        async with self._one_at_a_time:
            self.papers = papers = await self._obtain(new_key=new_key)
        self._on_new(papers)
        log.info("the server has a new certificate%s", " for a new key" if new_key else "")
        return papers
