"""Which process holds a directory or a port, found without touching either."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from roughfed.lock import LOCK

PROC = Path("/proc")
LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp


def holder_of(state: Path, *, proc: Path = PROC) -> int | None:
    """The process that has locked a state directory; None when there is none, or it cannot be seen from here.

    The kernel's table is read instead of trying the lock: a server that starts in that moment would be refused.
    """
    try:
        inode = (state / LOCK).stat().st_ino
        table = (proc / "locks").read_text()
    except OSError:
        return None
    for line in table.splitlines():
        words = line.split()  # "1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END"
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            with suppress(ValueError):
                return int(words[4])
    return None


def listener_on(port: int, *, proc: Path = PROC) -> str:
    """Who listens on a TCP port: `NAME (process PID)`; empty when nobody does, or it is another user's."""
    inodes = set[str]()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    if not inodes:
        return ""
    for folder in proc.iterdir():
        if folder.name.isdecimal() and _has(folder, inodes):
            return f"{name_of(int(folder.name), proc=proc)} (process {folder.name})"
    return ""


def name_of(pid: int, *, proc: Path = PROC) -> str:
    """The name of a program, without its arguments: these may hold what is nobody's business."""
    try:
        text = (proc / str(pid) / "comm").read_text()
    except OSError:
        return "a process"
    return "".join(c for c in text if c.isprintable()).strip()[:32] or "a process"


def _has(folder: Path, inodes: set[str]) -> bool:
    with suppress(OSError):  # another user's, or it has just ended
        for link in (folder / "fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()) in inodes:
                    return True
    return False
