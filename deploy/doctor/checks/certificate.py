"""The own certificate and keys: do they belong together, to this name, to this CA, and to nobody else?"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from roughfed.client.members.credential_files import IDENTITY_KEY, TLS_KEY, Credentials
from roughfed.client.members.enrol import BY_FILES
from roughfed.crypto import certificates
from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.errors import ConfigError, IdentityError, RoughfedError
from roughfed.server.members.authority import CA_KEY
from roughfed.wire.enrolment import open_member

ANEW = "ask for a new invite: roughfed invite NAME --replace, then join with its line"


def certificate(site: DoctorSite, *, now: datetime | None = None) -> Iterable[Finding]:
    """The papers of a member; beside a CA, the server's keys (its certificate is made at every start)."""
    folder = site.state / "papers"
    if site.role == "none":
        yield skipped("nobody is enrolled here")
        return
    yield from modes(folder)
    if site.papers is not None:
        yield from papers(site, site.papers, now or datetime.now(UTC))
    elif site.role == "server" and (site.state / "ca" / CA_KEY).exists():
        yield ok("the server's certificate is made by the CA beside it at every start", about="papers")
        yield from shown(site, now or datetime.now(UTC))
    elif isinstance(site.unenrolled, ConfigError) and (folder / "enrolment.json").exists():
        yield failure(str(site.unenrolled), cure=site.unenrolled.cure or ANEW, about="papers")
    else:
        where = "roughfed join" if site.role == "client" else "roughfed server --no-ca"
        cure = f"ask for an invite, and start {where} with its line"
        yield failure("this directory is not enrolled", cure=cure, about="papers")


def modes(folder: Path) -> Iterable[Finding]:
    """Private keys are the owner's alone."""
    here = [folder / name for name in (TLS_KEY, IDENTITY_KEY) if (folder / name).exists()]
    open_to = {path: stat.S_IMODE(path.stat().st_mode) for path in here if stat.S_IMODE(path.stat().st_mode) & 0o077}
    for path, mode in open_to.items():
        cure = f"chmod 600 {path}; if others could log in here, enrol anew"
        yield failure(f"others may read the private key {path.name}", measured=f"{mode:04o}", cure=cure, about="modes")
    if here and not open_to:
        yield ok("the private keys are readable by their owner alone", measured="0600", about="modes")


def papers(site: DoctorSite, own: Credentials, now: datetime) -> Iterable[Finding]:
    """An enrolment's files against one another, the settings and the calendar."""
    try:
        subject = certificates.check_issued(
            own.certificate,
            own.ca_certificate,
            role=own.subject.role,
            now=_inside(own, now),
            federation=own.external,
        )
        entry = open_member(own.member, own.ca_certificate, federation=own.external, dated=False)
        if entry.subject != subject or entry.identity_key != own.identity.public_key:
            raise IdentityError("the roster entry is for another name or key than the certificate", reason="roster")
    except RoughfedError as error:
        yield failure(f"the papers do not belong together: {error}", cure=ANEW, about="papers")
        return
    yield ok(f"key, certificate and roster entry belong to {own.name}", measured=subject.uri, about="papers")
    yield from named(site, own)
    yield ending(own.certificate, now, cure=f"in this directory: {BY_FILES}" if own.external else "")


def _inside(own: Credentials, now: datetime) -> datetime:
    """A moment at which the certificate holds: `ending` speaks of its end."""
    loaded = certificates.load_certificate(own.certificate)
    return min(max(now, loaded.not_valid_before_utc), loaded.not_valid_after_utc)


def named(site: DoctorSite, own: Credentials) -> Iterable[Finding]:
    """client.toml names the same client."""
    told = site.client.client.name if site.client else ""
    if told and told != own.name:
        cure = f'write name = "{own.name}" in [client], or use the directory that was enrolled as {told}'
        yield failure(f"client.toml is {told}'s, the certificate {own.name}'s", cure=cure, about="name")
    role = "server" if site.role == "server" else "client"
    if own.subject.role != role:
        cure = f"ask for an invite as a {role}" + (": roughfed invite NAME --server" if role == "server" else "")
        yield failure(f"{own.name} was enrolled as a {own.subject.role}, not as a {role}", cure=cure, about="role")


def ending(pem: bytes, now: datetime, *, cure: str = "") -> Finding:
    """How long a certificate still holds; `cure`: where nothing renews it by itself."""
    loaded, due = certificates.load_certificate(pem), certificates.renew_at(pem)
    end = loaded.not_valid_after_utc
    measured = f"until {end:%Y-%m-%d %H:%M} UTC"
    if now > end:
        cure = cure or f"start roughfed join while the enrolment port answers: it renews by itself; else {ANEW}"
        return failure("the certificate has expired", measured=measured, cure=cure, about="end")
    if now > due + (end - due) / 2:  # a renewal is tried every ten minutes from `due` on
        cure = cure or "see whether the enrolment port answers (the check `handshake`), and the log of client or server"
        return warning(
            f"the renewal is overdue since {due:%Y-%m-%d %H:%M} UTC", measured=measured, cure=cure, about="end"
        )
    left = end - now
    return ok(
        f"the certificate holds for {left.days} days and {left.seconds // 3600} hours", measured=measured, about="end"
    )


def shown(site: DoctorSite, now: datetime) -> Iterable[Finding]:
    """The certificate that a running server shows, by its own word."""
    for row in (site.status or {}).get("certificates", []):
        if row.get("role") == "server":
            left_s = float(row["expires_at"]) - now.timestamp()
            measured = f"{left_s / 3600:.0f} h left"
            if left_s <= 0:
                cure = "roughfed rotate, or start the server again"
                yield failure(
                    "the certificate that the server shows has expired", measured=measured, cure=cure, about="end"
                )
            else:
                yield ok("the certificate that the server shows holds", measured=measured, about="end")
