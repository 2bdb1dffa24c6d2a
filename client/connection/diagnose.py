"""Why does the handshake fail? gRPC says `UNAVAILABLE` to everything; TCP and a plain TLS handshake say the reason."""

from __future__ import annotations

import socket
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.certificates import SERVER_HOST, check_validity, federation_of, load_certificate
from roughfed.errors import IdentityError, RoughfedError

TIMEOUT_S = 5.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and empty SETTINGS: what HTTP/2 begins with
WORKS, CLOSED, PLAIN = "works", "closed", "plain-text"
EXPIRED, EARLY = 10, 9  # X509_V_ERR_CERT_HAS_EXPIRED, ..._CERT_NOT_YET_VALID
NO_SERVER = (62, 26)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_INVALID_PURPOSE
BANNER_BYTES, BANNER_S = 48, 1.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a connection does not come about, or that it does.

    Attributes:
        sentence: for the log, and for people.
        final: set when trying again cannot help.
        word: `works`, or a kebab-case word for the reason.
        cure: what a person does about it.
        expires: end of the certificate that the server showed, Unix seconds; 0 where none was accepted.
    """

    sentence: str
    final: RoughfedError | None = None
    word: str = WORKS
    cure: str = ""
    expires: float = 0.0

    @property
    def works(self) -> bool:
        """Whether nothing is wrong."""
        return self.word == WORKS


def diagnose(address: str, credentials: Credentials) -> Reason:
    """Try a handshake by hand.

    Args:
        address: host:port of the federation port.
        credentials: the client's own.

    Returns:
        why it fails, or that it does not.
    """
    if not (reached := reach(address)).works:
        return reached
    return handshake(address, credentials.ca_certificate, own=credentials.tls_key + credentials.certificate)


def reach(address: str) -> Reason:
    """Whether anything answers at host:port over TCP."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S):
            return Reason(f"{address} answers")
    except socket.gaierror:
        cure = "correct the address (client.server in client.toml; server.address in fed.toml), or the name service"
        return Reason(f"{address}: no such host", word="no-such-host", cure=cure)
    except ConnectionRefusedError:
        cure = "start the server there (roughfed server), or correct the port"
        return Reason(f"{address}: connection refused: nobody listens on this port", word="refused", cure=cure)
    except TimeoutError:
        cure = "let the port through every firewall on the way, and check that the machine is up"
        said = f"{address}: no answer within {TIMEOUT_S:.0f} s: a firewall that drops packets, or the machine is down"
        return Reason(said, word="timeout", cure=cure)
    except OSError as error:
        said = f"{address}: {error.strerror or error}"
        return Reason(said, word="no-route", cure="check this machine's network and the route to the server")


def handshake(address: str, ca_certificate: bytes, *, own: bytes = b"") -> Reason:
    """A TLS handshake as a client of the federation does it, with what an open TCP port is.

    Args:
        address: host:port.
        ca_certificate: the only CA to trust, PEM.
        own: private key and certificate, PEM; empty shows none, as on the enrolment port.
    """
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=ca_certificate.decode())
    context.set_alpn_protocols(["h2"])  # without it gRPC hangs up
    if own:
        _show(context, own)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_HOST) as tls,
        ):
            tls.settimeout(TIMEOUT_S)
            expires = ssl.cert_time_to_seconds(str((tls.getpeercert() or {})["notAfter"]))
            return _greeted(tls, address, own, expires)
    except ssl.SSLCertVerificationError as error:
        return _not_accepted(address, ca_certificate, error)
    except ssl.SSLError as error:
        return _no_tls(address, error)
    except TimeoutError:
        return _silent(address)
    except OSError as error:
        return _broken_off(address, f"the handshake broke off: {error.strerror or error}")


def _show(context: ssl.SSLContext, own: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads a client's key from files only
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(own)
        context.load_cert_chain(chain)


def _greeted(tls: ssl.SSLSocket, address: str, own: bytes, expires: float) -> Reason:
    """With TLS 1.3 the server's word on our certificate comes only now, and gRPC's is to hang up."""
    try:
        tls.sendall(PREFACE)
        if tls.recv(1):
            return Reason(f"{address}: the handshake works by now", expires=expires)
    except TimeoutError:
        return _silent(address)
    except OSError:  # ssl.SSLError is one
        pass
    if not own:
        said = f"{address}: the server asks for a certificate"
        return Reason(said, word="asks-for-certificate", expires=expires)
    return _refused(address, own, expires)


def _refused(address: str, own: bytes, expires: float) -> Reason:
    try:
        check_validity(own[own.index(b"-----BEGIN CERT") :], now=datetime.now(UTC))
    except IdentityError as error:
        cure = "renew it: roughfed join does so while the enrolment port answers; else ask for an invite (--replace)"
        said = f"{address}: the server refused this client's certificate: {error}"
        return Reason(said, word=f"own-{error.reason}", cure=cure, expires=expires)
    return Reason(
        f"{address}: the server hung up on this client's certificate, which is in order by the clock of this machine",
        word="own-refused",
        cure="compare the clocks of both machines; if they agree, enrol anew: roughfed invite NAME --replace",
        expires=expires,
    )


def _not_accepted(address: str, ca_certificate: bytes, error: ssl.SSLCertVerificationError) -> Reason:
    """A certificate that does not hold: too old, too new, of somebody else."""
    said = f"{address}: the server's certificate is not acceptable: {error.verify_message}"
    if error.verify_code == EXPIRED:
        cure = "check this machine's clock; else have the server restarted, which renews its certificate"
        return Reason(said, word="expired", cure=cure)
    if error.verify_code == EARLY:
        cure = f"set this machine's clock: it says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        return Reason(said, word="not-yet-valid", cure=cure)
    if error.verify_code in NO_SERVER:
        cure = "correct the address: one that is enrolled as a server must answer there"
        said = f"{said}; it is no server's: a client's certificate, or another service of this CA"
        return Reason(said, word="no-server", cure=cure)
    word, who, cure = _stranger(_presented(address), ca_certificate)
    refused = IdentityError(
        f"{address} shows a certificate that this federation's CA did not issue ({error.verify_message}); {who}; "
        f"{cure}",
        reason="wrong-ca",
    )
    return Reason(f"{said}; {who}", refused, word=word, cure=cure)


def _presented(address: str) -> x509.Certificate | None:
    """The certificate that is shown there, whoever issued it."""
    host, _, port = address.rpartition(":")
    try:
        pem = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=TIMEOUT_S)
        return load_certificate(pem.encode())
    except (OSError, ValueError, IdentityError):
        return None


def _stranger(shown: x509.Certificate | None, ca_certificate: bytes) -> tuple[str, str, str]:
    """Whose certificate it is, in a word and a sentence, and the cure."""
    invite = "ask for a new invite: roughfed invite NAME --replace"
    if shown is None:
        return "wrong-ca", "another server answers there, or the federation has a new CA", invite
    issuer, subject = _plain(shown.issuer), _plain(shown.subject)
    organisation = shown.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    federation = _clean(str(organisation[0].value)) if organisation else ""
    ours = federation_of(ca_certificate)
    if "roughfed CA" in issuer and federation != ours:
        said = f"it belongs to the federation {federation!r}, not {ours!r}"
        return "wrong-ca", said, "correct the address, or " + invite
    if "roughfed CA" in issuer:
        said = f"the federation {ours!r} has a new CA, or somebody poses as it"
        return "new-ca", said, "ask the operator whether roughfed init was run anew; then " + invite
    if SERVER_HOST in _names(shown):
        said = f"a proxy opens TLS on the way: {issuer!r} issued it for the name of the server"
        return "proxy", said, "have the proxy let this address through untouched (TLS pass-through)"
    said = f"another service answers there: {subject!r}, certified by {issuer!r}"
    return "other-service", said, "correct the address or the port"


def _no_tls(address: str, error: ssl.SSLError) -> Reason:
    reason = error.reason or ""
    if "VERSION" in reason and "WRONG" not in reason:
        said = f"{address}: no TLS version in common ({reason.replace('_', ' ').lower()})"
        cure = "TLS 1.2 or newer is needed on both sides, without a box in between that speaks an older one"
        return Reason(said, word="tls-version", cure=cure)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"):
        return _plain_text(address, _banner(address))
    return _broken_off(address, f"the handshake broke off ({reason.replace('_', ' ').lower() or 'closed'})")


def _silent(address: str) -> Reason:
    """Neither word nor alert: a plain service that waits for a line, or nothing behind a port that is open."""
    if banner := _banner(address):
        return _plain_text(address, banner)
    said = f"{address}: somebody takes the connection and says nothing for {TIMEOUT_S:.0f} s"
    cure = "correct the port; behind a load balancer or a tunnel, check that the server is up"
    return Reason(said, word="silent", cure=cure)


def _plain_text(address: str, banner: str) -> Reason:
    said = f"{address}: a service without TLS answers there" + (f" ({banner!r})" if banner else "")
    cure = "correct the port: the federation port is 8443 and the enrolment port 8444 unless fed.toml says otherwise"
    return Reason(said, word=PLAIN, cure=cure)


def _broken_off(address: str, what: str) -> Reason:
    cure = (
        "correct the port; behind a load balancer or a proxy, check that it passes TLS through to a server that is up"
    )
    return Reason(f"{address}: {what}", word=CLOSED, cure=cure)


def _banner(address: str) -> str:
    """The first words of a plain service, made harmless; empty when it says none."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=BANNER_S) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return _clean(plain.recv(BANNER_BYTES).split(b"\n")[0].decode("ascii", "replace"))
    except OSError:
        return ""


def _clean(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isprintable()).strip()[:BANNER_BYTES]


def _plain(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _clean(str(common[0].value)) if common else "nobody"


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.get_values_for_type(x509.DNSName)
