"""Does TLS come about, and if not, for what reason?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from roughfed.client.connection.diagnose import Reason, reach
from roughfed.client.connection.diagnose import handshake as shake
from roughfed.crypto.certificates import only_certificate
from roughfed.deploy import aggregator
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped
from roughfed.deploy.doctor.site import DoctorSite, enrolment_of
from roughfed.errors import ConfigError, IdentityError
from roughfed.server.members.authority import CA_CERTIFICATE

RUNS = "start the server (roughfed server) and look again"


def handshake(site: DoctorSite) -> Iterable[Finding]:
    """With the server of a client, or with the server of this directory itself."""
    if site.offline:
        yield skipped("nobody was called (--offline)")
    elif site.role == "client":
        yield from outwards(site)
    elif site.role == "server":
        yield from inwards(site)
    else:
        yield skipped("there is nobody to call")


def outwards(site: DoctorSite) -> Iterable[Finding]:
    """A client's two connections."""
    contact = site.contact()
    if contact.reason is None or site.papers is None:
        yield skipped("this client is not enrolled", about="federation")
        return
    yield told(contact.reason, "federation", contact.address)
    if not (address := enrolment_of(site)):
        yield skipped("it was enrolled by files: there is no enrolment port", about="enrolment")
        return
    reached = reach(address)
    reason = shake(address, site.papers.ca_certificate) if reached.works else reached
    yield told(reason, "enrolment", address)


def inwards(site: DoctorSite) -> Iterable[Finding]:
    """The running server's ports, as a stranger sees them: the right certificate, and one is asked for."""
    if site.status is None:
        yield skipped("no server runs here")
        return
    ca_certificate = _authority(site)
    if ca_certificate is None:
        yield skipped("the CA's certificate is not here, so nobody can be held against it")
        return
    host = (site.federation.server.host if site.federation else "") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  compared
    ports = aggregator.known_ports(site.folder)
    for about, port in (("federation", ports.federation), ("enrolment", ports.enrolment)):
        if not port:
            continue
        reason = shake(f"{host}:{port}", ca_certificate)
        if about == "federation" and reason.works:
            cure = "the port of server.port is another service's, or open to strangers: roughfed stop, then look again"
            yield failure("the federation port takes callers without a certificate", cure=cure, about=about)
        elif about == "federation" and reason.word == "asks-for-certificate":
            yield ok(
                "the federation port shows the right certificate and asks for one", measured=str(port), about=about
            )
        else:
            yield told(reason, about, f"{host}:{port}")


def _authority(site: DoctorSite) -> bytes | None:
    if site.papers is not None:
        return site.papers.ca_certificate
    with suppress(OSError, IdentityError, ConfigError):
        return only_certificate((aggregator.ServerFiles(site.folder).ca / CA_CERTIFICATE).read_bytes())
    return None


def told(reason: Reason, about: str, address: str) -> Finding:
    """A reason as a finding."""
    if reason.works:
        return ok(f"TLS with the {about} port comes about", measured=address, about=about)
    return failure(reason.sentence, measured=reason.word, cure=reason.cure or RUNS, about=about)
