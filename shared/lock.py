"""One process to a directory: a lock that the system takes back when the process ends, however it ends.

The file itself stays and says who held it last; only the lock on it means anything. It works on local disks and on any
network file system with `flock`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from roughfed.errors import ConfigError
from roughfed.files import disk_errors
from roughfed.ownership import adopt

LOCK = "lock"


@contextmanager
def only_one(folder: Path, who: str, *, cure: str) -> Generator[None]:
    """Be the only roughfed process on a state directory, for as long as the block runs.

    Args:
        folder: the state directory; made if it is not there.
        who: `server` or `client`, for the others' messages.
        cure: what a person does who finds it taken.

    Raises:
        ConfigError: another process has it.
        StorageError: the disk refused.
    """
    with disk_errors(f"lock {folder}"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = _open(folder)
    try:
        with disk_errors(f"lock {folder}"):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _taken(fd, folder, cure) from None
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{who} {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(fd)


def held_elsewhere(folder: Path) -> str:
    """Which other process has the directory, for people ("server, process 17"); empty where none or this one has it.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"lock {folder}"):
        if not (folder / LOCK).exists():
            return ""
        fd = _open(folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            who, _, pid = os.pread(fd, 64, 0).decode(errors="replace").partition(" ")
            return "" if pid == str(os.getpid()) else f"{who or 'process'}, process {pid or 'unknown'}"
        finally:
            os.close(fd)
    return ""


def wait_until_free(folder: Path) -> None:
    """Return when no process has the directory any more.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"lock {folder}"):
        if not (folder / LOCK).exists():
            return
        fd = _open(folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        finally:
            os.close(fd)


def _open(folder: Path) -> int:
    # Not inherited: a trainer that outlives its agent must not hold the agent's place.
    fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    adopt(fd, folder)
    return fd


def _taken(fd: int, folder: Path, cure: str) -> ConfigError:
    who, _, pid = os.pread(fd, 64, 0).decode(errors="replace").partition(" ")
    known = f" (process {pid})" if pid else ""
    return ConfigError(f"a {who or 'process'} runs on this directory already{known}", file=str(folder), cure=cure)
