"""Whose files are that root writes: in a directory of somebody else's, whose the directory is.

Services run as accounts of their own, and operators are root. A key that root alone can read would end the service.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def adopt(fd: int, folder: Path) -> None:
    """Give an open file that root has just made in a folder to the folder's owner; nothing happens for anybody else.

    A file system that knows no owners, or a root without that capability, leaves it as it is.
    """
    if os.geteuid() != 0:
        return
    with suppress(OSError):
        made, owner = os.fstat(fd), folder.stat()
        if made.st_nlink == 1 and (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(fd, owner.st_uid, owner.st_gid)


def give(path: Path, uid: int, gid: int) -> None:
    """Give a file, or a folder with all that is in it, to an account.

    No link is followed, also not one that the account puts there in the middle of it.

    Raises:
        OSError: the system refused.
    """
    os.chown(path, uid, gid, follow_symlinks=False)
    if path.is_symlink() or not path.is_dir():
        return
    for _, folders, files, fd in os.fwalk(path, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)
