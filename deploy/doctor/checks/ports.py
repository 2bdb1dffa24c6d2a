"""Are the server's ports free or its own, and do they answer where others are told to knock?"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress

from roughfed.client.connection.diagnose import Reason, reach
from roughfed.config.federation import FederationConfig
from roughfed.deploy import aggregator
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.lock_holders import listener_on
from roughfed.deploy.doctor.site import DoctorSite, address_of, enrolment_of
from roughfed.deploy.listening import try_port
from roughfed.errors import ConfigError

NOT_TCP = ("no-such-host", "refused", "timeout", "no-route")
"""Words of a `Reason` before any TLS."""


def ports(site: DoctorSite) -> Iterable[Finding]:
    """A server's own ports, or those that a client calls."""
    if site.federation is not None:
        yield from own(site, site.federation)
    elif site.role == "client":
        yield from called(site)
    else:
        yield skipped("there is nothing here that listens or calls")


def called(site: DoctorSite) -> Iterable[Finding]:
    """TCP to the two ports that a client calls."""
    for about, address in (("federation", address_of(site)), ("enrolment", enrolment_of(site))):
        if not address:
            yield skipped("no address is known: this client is not enrolled", about=about)
        elif site.offline:
            yield skipped(f"{address} was not called (--offline)", about=about)
        elif about == "federation" and (reason := site.contact().reason) is not None:
            yield answered(reason if reason.word in NOT_TCP else Reason(f"{address} answers"), about, address)
        else:
            yield answered(reach(address), about, address)


def answered(reason: Reason, about: str, address: str) -> Finding:
    """What came of a connection."""
    if reason.works:
        return ok(f"the {about} port answers", measured=address, about=about)
    return failure(reason.sentence, measured=reason.word, cure=reason.cure, about=about)


def own(site: DoctorSite, config: FederationConfig) -> Iterable[Finding]:
    """Each port of a server."""
    s = config.server
    known = None
    with suppress(ConfigError):
        known = aggregator.known_ports(site.folder)
    wanted = [("federation", "server.port", s.host, s.port, known.federation if known else 0)]
    if (aggregator.ServerFiles(site.folder).ca / "ca.key").exists():
        wanted.append(("enrolment", "server.enrol_port", s.host, s.enrol_port, known.enrolment if known else 0))
    if s.http:
        wanted.append(("http", "server.http_port", s.http_host, s.http_port, known.http if known else 0))
    for about, key, host, port, noted in wanted:
        yield held(about, host, noted) if site.status is not None else free(about, key, host, port)
    if site.offline:
        yield skipped("whether others reach the ports was not tried (--offline)", about="reachable")
    else:
        yield from reachable(site, config)


def held(about: str, host: str, port: int) -> Finding:
    """The port of a running server."""
    if not port:
        return skipped(f"the running server does not serve the {about} port", about=about)
    where = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104  compared
    reason = reach(f"{where}:{port}")
    if reason.works:
        return ok(f"the running server answers on the {about} port", measured=str(port), about=about)
    cure = "roughfed stop, then roughfed server; its log says why the port was lost"
    return failure(f"the server runs, and its {about} port does not answer: {reason.sentence}", cure=cure, about=about)


def free(about: str, key: str, host: str, port: int) -> Finding:
    """A port that a server would open."""
    if not port:
        return ok(f"the system will pick the {about} port", measured="0", about=about)
    if (refused := try_port(key, host, port)) is not None:
        who = listener_on(port) if refused.taken else ""
        sentence = f"{refused.cause}; {who} listens there" if who else refused.cause
        cure = f"{refused.key}: {refused.cure}"
        return failure(sentence, measured=str(port), cure=cure, about=about)
    return ok(f"the {about} port is free", measured=str(port), about=about)


def reachable(site: DoctorSite, config: FederationConfig) -> Iterable[Finding]:
    """The address that invites print, tried from here."""
    from roughfed.deploy.cli.members import enrolment_port
    from roughfed.deploy.cli.reachable import reachable_host

    host = reachable_host(config)
    yield resolved(host)
    if site.status is None:
        yield skipped("no server runs, so nobody could be reached", about="reachable")
        return
    try:
        places = {"enrolment": f"{_bracketed(host)}:{enrolment_port(site.folder, config)}"}
    except ConfigError:
        places = {}
    places["federation"] = (
        config.server.address or f"{_bracketed(host)}:{aggregator.known_ports(site.folder).federation}"
    )
    for name, address in places.items():
        reason = reach(address)
        if reason.works:
            yield ok(f"the {name} port answers where clients are told to knock", measured=address, about="reachable")
        else:
            cure = "open the port, or correct server.address; behind NAT, try it from another network"
            yield warning(f"from here, {reason.sentence}", measured=reason.word, cure=cure, about="reachable")


def resolved(host: str) -> Finding:
    """Whether the host that invites name means something to others."""
    cure = "set server.address to the name and port at which clients reach this machine"
    try:
        found = sorted({str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError as error:
        said = f"invites name {host}, which this machine cannot resolve: {error.strerror or error}"
        return failure(said, cure=cure, about="address")
    if all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found):
        said = f"invites name {host}, which only this machine itself can reach"
        return warning(said, measured=", ".join(found), cure=cure, about="address")
    return ok(f"invites name {host}", measured=", ".join(found), about="address")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
