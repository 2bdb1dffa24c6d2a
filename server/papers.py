"""The server's own certificate, keys and roster entry, and their rotation without a restart.

The papers come from the CA beside the server, or (`roughfed server --no-ca`) from an enrolment at a CA elsewhere;
`obtain` is whichever of the two, so this file does not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc

from roughfed.crypto import certificates
from roughfed.crypto.identity import IdentityKey
from roughfed.crypto.key_file import read_private, write_private
from roughfed.errors import RoughfedError
from roughfed.server.authority import Authority

log = logging.getLogger(__name__)

RETRY_S = 600.0


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
    """

    name: str
    tls_key: bytes = field(repr=False)
    certificate: bytes
    ca_certificate: bytes
    member: bytes
    identity: IdentityKey


Obtain = Callable[[], Awaitable[Papers]]


def from_authority(authority: Authority, folder: Path, name: str) -> Obtain:
    """Papers from the CA in this process; the keys stay in `folder` from the first start on."""

    def issue() -> Papers:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tls_path, identity_path = folder / "tls.key", folder / "identity.key"
        if not identity_path.exists():
            write_private(tls_path, certificates.new_tls_key())
            IdentityKey.generate().save(identity_path)
        tls_key, identity = read_private(tls_path), IdentityKey.load(identity_path)
        csr = certificates.new_request(tls_key)
        issued = authority.issue_server(name, csr, identity.public_key, now=datetime.now(UTC))
        return Papers(name, tls_key, issued.certificate, issued.ca_certificate, issued.member, identity)

    async def obtain() -> Papers:
        return await asyncio.to_thread(issue)

    return obtain


class Rotation:
    """gRPC server credentials that follow the papers: new handshakes see the new certificate, open streams stay."""

    def __init__(self, papers: Papers, obtain: Obtain, *, client_auth: bool) -> None:
        """Start with `papers`; `obtain` gives the next ones."""
        self.papers, self._obtain, self._client_auth = papers, obtain, client_auth
        self._shown = papers

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`; asks for the newest papers at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(self.papers),
            self._fetch,  # pyright: ignore[reportArgumentType]
            require_client_authentication=self._client_auth,
        )

    async def keep_fresh(self, *others: Rotation, on_new: Callable[[Papers], None]) -> None:
        """Renew at two thirds of the certificate's life, for ever; `others` follow."""
        while True:
            due = certificates.renew_at(self.papers.certificate) - datetime.now(UTC)
            await asyncio.sleep(max(0.0, due.total_seconds()))
            try:
                papers = await self._obtain()
            except RoughfedError as error:
                log.error("the server's certificate was not renewed: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            for rotation in (self, *others):
                rotation.papers = papers
            on_new(papers)
            log.info("the server has a new certificate")

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        if (papers := self.papers) is self._shown:
            return None  # gRPC keeps what it has (its stubs do not say that it may)
        self._shown = papers
        return self._configuration(papers)

    def _configuration(self, papers: Papers) -> grpc.ServerCertificateConfiguration:
        roots = papers.ca_certificate if self._client_auth else None
        return grpc.ssl_server_certificate_configuration([(papers.tls_key, papers.certificate)], roots)
