"""The cores of this host, and the trainers of one user that share them.

Each of these trainers holds a locked file in one folder, and counts the files that are locked. The system takes a lock
back when its process ends, however it ends, so nobody who is dead is counted. Who cannot see the folder of the others
(another user, a container, a unit with a /tmp of its own) counts itself alone; ROUGHFED_CLIENTS_ON_HOST is for those.
"""

from __future__ import annotations

import fcntl
import math
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/cgroup")

UNIT = "RUNTIME_DIRECTORY"
"""Where systemd says which folder a unit shares with others of its kind."""


def cores_here() -> int:
    """The cores that this process may use: where it may run, and no more than its control group has time for."""
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota(CGROUPS, PROCESS))))


def quota(root: Path, process: Path) -> float:
    """Cores by the time that a container or a unit is given (`--cpus`, CPUQuota), itself or a group above it.

    Args:
        root: where control groups of version 2 are shown.
        process: what says the group of a process, `0::/GROUP`.

    Returns:
        cores, maybe a fraction; infinity where nothing is limited or nothing can be read.
    """
    least = math.inf
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in process.read_text().splitlines() if line.startswith("0::/"))
        group = root / line.removeprefix("0::/")
        for each in (group, *group.parents)[: len(group.parts) - len(root.parts) + 1]:
            with suppress(FileNotFoundError):
                given, period = (each / "cpu.max").read_text().split()
                least = least if given == "max" else min(least, int(given) / int(period))
    return least


def share_of(trainers: int) -> int:
    """The cores of one of so many trainers, 1 or more."""
    return max(1, cores_here() // max(1, trainers))


def folder_of_places() -> Path:
    """Where the trainers of this user hold their files."""
    given = os.environ.get(UNIT, "").partition(":")[0]
    return Path(given or tempfile.gettempdir()) / f"roughfed-trainers-{os.geteuid()}"


def holders(folder: Path) -> int:
    """How many processes hold a place there; what the dead have left is removed.

    Raises:
        OSError: the folder cannot be read.
    """
    found = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another one removed it
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                path.unlink()  # under the lock: whoever opens it now sees that it is gone
            except BlockingIOError:
                found += 1
            finally:
                os.close(fd)
    return found


class Place:
    """One trainer's place among those of its user."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Args:
            folder: made if it is not there.

        Raises:
            OSError: it cannot be made, or others may write there.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise PermissionError(f"{folder} is not this user's alone")
        self._folder = folder
        self._fd = _taken(folder)
        os.register_at_fork(after_in_child=self._close)  # a worker that outlives its trainer is no trainer

    def holders(self) -> int:
        """How many trainers there are now, with this one.

        Raises:
            OSError: the folder is gone, or cannot be read.
        """
        os.utime(self._fd)  # young files are left alone by whoever cleans /tmp
        if not os.fstat(self._fd).st_nlink:
            self.leave()
            self._fd = _taken(self._folder)
        return holders(self._folder)

    def leave(self) -> None:
        """Give it up; the file is removed by the next one who counts."""
        with suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for a worker that was forked and has not closed it yet
        self._close()

    def _close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


def _taken(folder: Path) -> int:
    """A new file, locked; another one may have taken it for a dead one's before it was locked."""
    while True:
        fd, _ = tempfile.mkstemp(dir=folder)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)
