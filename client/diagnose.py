"""Why does the handshake fail? gRPC says `UNAVAILABLE` to everything; a plain TLS handshake says the reason."""

from __future__ import annotations

import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from roughfed.client.enrolled import Enrolled
from roughfed.crypto.certificates import SERVER_HOST
from roughfed.errors import IdentityError, RoughfedError

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence for the log; `final` is set when trying again cannot help."""

    sentence: str
    final: RoughfedError | None = None


def diagnose(address: str, papers: Enrolled) -> Reason:
    """Try a handshake by hand.

    Args:
        address: host:port of the federation port.
        papers: the client's own.

    Returns:
        why it fails, or that it does not.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as plain:
            return _handshake(plain, address, papers)
    except socket.gaierror:
        return Reason(f"{address}: no such host; check client.server in client.toml")
    except OSError as error:
        return Reason(f"{address}: {error.strerror or error}; is the server up, and the port open?")


def _handshake(plain: socket.socket, address: str, papers: Enrolled) -> Reason:
    context = ssl.create_default_context(cadata=papers.ca_certificate.decode())
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads a client's key from files only
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(papers.tls_key + papers.certificate)
        context.load_cert_chain(chain)
    try:
        with context.wrap_socket(plain, server_hostname=SERVER_HOST) as tls:
            tls.settimeout(TIMEOUT_S)
            tls.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            tls.recv(1)  # with TLS 1.3 the server's word on our certificate comes only now
    except ssl.SSLCertVerificationError as error:
        return Reason(
            f"{address}: the server's certificate is not acceptable: {error.verify_message}",
            IdentityError(
                f"{address} shows a certificate that this federation's CA did not issue ({error.verify_message}); "
                "another server answers there, or the federation has a new CA: ask for a new invite",
                reason="wrong-ca",
            )
            if "self" in error.verify_message or "issuer" in error.verify_message
            else None,
        )
    except ssl.SSLError as error:
        return Reason(f"{address}: the server refused this client's certificate ({error.reason}); renew or enrol anew")
    except OSError as error:
        return Reason(f"{address}: the handshake broke off: {error.strerror or error}")
    return Reason(f"{address}: the handshake works by now")
