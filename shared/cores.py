"""The cores of this host, and the trainers of one user that share them.

Each of these trainers holds a locked file in one folder, and counts the files that are locked. The system takes a lock
back when its process ends, however it ends, so nobody who is dead is counted. Who cannot see the folder of the others
(another user, a container, a unit with a /tmp of its own) counts itself alone; ROUGHFED_CLIENTS_ON_HOST is for those.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

UNIT = "RUNTIME_DIRECTORY"
"""Where systemd says which folder a unit shares with others of its kind."""


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


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
