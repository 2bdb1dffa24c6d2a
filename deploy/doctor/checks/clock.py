"""Is this machine's clock right: by the server's, by the certificates, by the kernel?"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto import certificates
from roughfed.crypto.identity import RENEW_WINDOW_S
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.errors import IdentityError
from roughfed.server.members.authority import CA_CERTIFICATE

SKEW_S = 5.0
CURE = "set the clock and keep it set: timedatectl set-ntp true (or chrony, ntpd)"
UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
TIMEX_BYTES, STATUS_AT = 256, 40  # struct timex on 64-bit Linux: int modes, long offset, freq, maxerror, esterror


def clock(site: DoctorSite) -> Iterable[Finding]:
    """Three witnesses."""
    yield against_server(site)
    yield against_certificates(site)
    yield kept(kernel_status())


def against_server(site: DoctorSite) -> Finding:
    """The server's clock, as it told this client."""
    if site.role == "server":
        return fleet(site.status)
    greeting = site.contact().greeting
    if greeting is None or greeting.ahead_s is None:
        return skipped("the server's clock is not known: it was not reached, or does not tell", about="server")
    return skew(greeting.ahead_s, greeting.round_trip_s)


def skew(ahead_s: float, round_trip_s: float) -> Finding:
    """A difference of clocks, known to half a round trip."""
    sure = max(0.0, abs(ahead_s) - round_trip_s / 2)
    measured = f"{-ahead_s:+.3f} s +/- {round_trip_s / 2:.3f} s"
    which = f"{abs(ahead_s):.1f} s {'behind' if ahead_s > 0 else 'ahead of'} the server's"
    if sure > RENEW_WINDOW_S:
        sentence = f"this machine's clock is {which}: the certificate cannot be renewed"
        return failure(sentence, measured=measured, cure=CURE, about="server")
    if sure > SKEW_S:
        return warning(f"this machine's clock is {which}", measured=measured, cure=CURE, about="server")
    return ok("this machine's clock agrees with the server's", measured=measured, about="server")


def fleet(status: dict[str, object] | None) -> Finding:
    """What the connected clients' heartbeats told of their clocks."""
    told = (status or {}).get("clients")
    clients = cast("list[Mapping[str, object]]", told) if isinstance(told, list) else []
    skews = {
        str(client.get("name")): float(skew)
        for client in clients
        if isinstance(skew := client.get("clock_skew_s"), int | float)
    }
    if not skews:
        return skipped("no connected client tells its clock", about="clients")
    name = max(skews, key=lambda n: abs(skews[n]))
    measured = f"{name} {skews[name]:+.1f} s"
    if abs(skews[name]) > SKEW_S:
        wrong = sorted(n for n in skews if abs(skews[n]) > SKEW_S)
        sentence = f"clocks differ from this machine's by more than {SKEW_S:.0f} s: {', '.join(wrong[:8])}"
        return warning(sentence, measured=measured, cure=f"on the machine that is wrong: {CURE}", about="clients")
    return ok(
        f"the clocks of {len(skews)} connected clients agree with this machine's", measured=measured, about="clients"
    )


def against_certificates(site: DoctorSite, *, now: datetime | None = None) -> Finding:
    """Nothing here may come from the future."""
    now = now or datetime.now(UTC)
    for path, pem in _certificates(site):
        try:
            certificates.check_validity(pem, now=now)
        except IdentityError as error:
            if error.reason == "not-yet-valid":
                said = f"{now:%Y-%m-%d %H:%M} UTC"
                return failure(f"{path} comes from the future: {error}", measured=said, cure=CURE, about="certificates")
    newest = max((p.stat().st_mtime for p in site.state.glob("*") if p.is_file()), default=0.0)
    if newest > now.timestamp() + SKEW_S:
        ahead = newest - now.timestamp()
        sentence = "files of the state directory come from the future: the clock was set back"
        return warning(sentence, measured=f"{ahead:.0f} s", cure=CURE, about="certificates")
    return ok("nothing here comes from the future", measured=f"{now:%Y-%m-%d %H:%M:%S} UTC", about="certificates")


def _certificates(site: DoctorSite) -> Iterable[tuple[str, bytes]]:
    papers: Credentials | None = site.papers
    if papers is not None:
        yield "the certificate", papers.certificate
        yield "the CA's certificate", papers.ca_certificate
    elif (path := site.state / "ca" / CA_CERTIFICATE).is_file():
        yield "the CA's certificate", path.read_bytes()


def kernel_status() -> int | None:
    """The status word of adjtimex(2), which changes nothing; None where there is none."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    block = ctypes.create_string_buffer(TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(block) < 0:
        return None
    return int.from_bytes(block.raw[STATUS_AT : STATUS_AT + 4], sys.byteorder)


def kept(status: int | None) -> Finding:
    """Whether a time service keeps the clock."""
    if status is None:
        return skipped("the kernel does not tell whether a time service keeps the clock", about="service")
    if status & UNSYNCHRONISED:
        sentence = "no time service keeps this machine's clock"
        return warning(sentence, measured=f"adjtimex status {status:#x}", cure=CURE, about="service")
    year = time.strftime("%Y-%m-%d", time.gmtime())
    return ok("a time service keeps this machine's clock", measured=year, about="service")
