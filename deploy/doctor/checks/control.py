"""Can the operator reach the server that runs here, and is anybody in the way of one that would start?"""

from __future__ import annotations

import stat
from collections.abc import Iterable

from roughfed.deploy.doctor.finding import Finding, failure, ok, skipped, warning
from roughfed.deploy.doctor.lock_holders import name_of
from roughfed.deploy.doctor.site import DoctorSite
from roughfed.transport.names import SOCKET

MAX_PATH = 107  # bytes of a Unix socket's name


def control(site: DoctorSite) -> Iterable[Finding]:
    """The socket and the lock of the state directory."""
    if site.role == "none":
        yield skipped("nothing runs here")
        return
    if site.role == "client":
        yield held(site.pid, "client")
        return
    path = (site.state / SOCKET).absolute()
    if (length := len(str(path).encode())) > MAX_PATH:
        cure = "choose a --dir with a shorter path: status, pause and stop go through a socket in it"
        yield failure(
            "the path of the control socket is too long", measured=f"{length} bytes", cure=cure, about="socket"
        )
        return
    if site.status is not None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        if mode & 0o077:
            cure = f"chmod 600 {path}"
            sentence = "others may give the server orders"
            yield failure(sentence, measured=f"{mode:04o}", cure=cure, about="socket")
        else:
            yield ok("the running server answers its operator", measured=f"{mode:04o}", about="socket")
    elif site.pid is not None:
        cure = f"wait if it is starting or stopping; else see its log, or end process {site.pid}"
        yield warning(
            "a process holds the directory and does not answer", measured=str(site.pid), cure=cure, about="socket"
        )
    else:
        yield ok("no server runs here, and nobody is in the way of one", about="socket")


def held(pid: int | None, who: str) -> Finding:
    """Who holds the directory."""
    if pid is None:
        return ok(f"no {who} runs here, and nobody is in the way of one", about="lock")
    return ok(f"a {who} runs here ({name_of(pid)})", measured=f"process {pid}", about="lock")
