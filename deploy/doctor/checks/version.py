"""Do the versions on both sides go together?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from roughfed import __version__
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import Contact, DoctorSite
from roughfed.errors import IdentityError
from roughfed.messages import OLDEST, PROTOCOL

UPGRADE = "upgrade the older side: pip install --upgrade roughfed (docs/compatibility.md)"


def version(site: DoctorSite) -> Iterable[Finding]:
    """Against the server, or the connected clients."""
    if site.role == "client" and not site.offline:
        yield against_server(site.contact())
    elif site.role == "server" and site.status is not None:
        yield from against_running(site.status)
    else:
        yield skipped(f"nobody to compare with; here is roughfed {__version__}, protocol {PROTOCOL}")


def against_server(contact: Contact) -> Finding:
    """What the server told of itself, to a call that leaves a running session alone."""
    if contact.refused is not None:
        return turned_away(contact.refused)
    if (greeting := contact.greeting) is None:
        return skipped("the server was not reached")
    measured = (
        f"server {greeting.software or '?'} (protocol {greeting.oldest} to {greeting.protocol}), "
        f"here {__version__} ({OLDEST} to {PROTOCOL})"
    )
    if not greeting.software:
        return warning("the server is too old to tell its version", measured=measured, cure=UPGRADE, about="server")
    if greeting.protocol < OLDEST:
        cure = "have the server upgraded, or install its version of roughfed here (docs/compatibility.md)"
        return failure("the server is too old for this client", measured=measured, cure=cure, about="server")
    if greeting.oldest > PROTOCOL:
        return failure("this client is too old for the server", measured=measured, cure=UPGRADE, about="server")
    if greeting.software != __version__:
        return ok("the server is another version, and they go together", measured=measured, about="server")
    return ok("the server is the same version", measured=measured, about="server")


def turned_away(error: Exception) -> Finding:
    """The server answered, and wants nothing of this client."""
    reason = str(getattr(error, "reason", ""))
    if isinstance(error, IdentityError):
        cure = "ask the operator: a revoked name stays revoked (another name), a replaced one was enrolled elsewhere"
        return failure(f"the server turns this client away: {error}", measured=reason, cure=cure, about="server")
    if reason == "no-federation":
        cure = (
            "set client.server in client.toml to the federation port (8443), client.enrol to the enrolment port (8444)"
        )
        return failure(str(error), measured=reason, cure=cure, about="server")
    cure = "the server's log says more; look again when it has calmed down"
    return warning(f"the server was reached and did not answer: {error}", measured=reason, cure=cure, about="server")


def against_running(status: dict[str, Any]) -> Iterable[Finding]:
    """The process that runs against what is installed, and its clients against it."""
    running = str(status.get("version", ""))
    if running != __version__:
        cure = "roughfed stop, then roughfed server: it goes on where it stopped"
        sentence = "the running server is another version than the one that is installed"
        yield warning(sentence, measured=f"runs {running}, installed {__version__}", cure=cure, about="server")
    else:
        yield ok("the running server is the installed version", measured=running, about="server")
    others = {str(c["name"]): str(c["software"]) for c in status.get("clients", []) if c.get("software")}
    differ = {name: software for name, software in others.items() if software != running}
    if differ:  # it is connected, so the protocol is one that both speak
        few = ", ".join(f"{name} {software}" for name, software in sorted(differ.items())[:8])
        sentence = f"{len(differ)} of {len(others)} connected clients are another version, and they go together"
        yield ok(sentence, measured=few, about="clients")
    elif others:
        yield ok(f"{len(others)} connected clients are the same version", measured=running, about="clients")
