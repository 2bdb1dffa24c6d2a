"""Files that a crash or a power cut leaves whole: the old contents or the new ones, never half of either.

Everything here says StorageError when the disk refuses (full, read-only, gone), so that no caller meets a bare OSError.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from roughfed.errors import StorageError
from roughfed.ownership import adopt


@contextmanager
def disk_errors(doing: str) -> Generator[None, None, None]:
    """Turn what the disk refuses inside the block into StorageError.

    Args:
        doing: completes "cannot ...", for example `read /srv/model`.

    Raises:
        StorageError: an OSError came.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot {doing}: {error.strerror or error}") from error


def write_durably(path: Path, data: bytes | memoryview, *, mode: int = 0o644, sync: bool = True) -> None:
    """Replace a file by whole new contents.

    Args:
        path: the file.
        data: all of it.
        mode: permissions, from the first byte on.
        sync: survive a power cut, too; False: only a crash of this process.

    Raises:
        StorageError: the disk refused; the old contents stand.
    """
    write_pieces_durably(path, (data,), mode=mode, sync=sync)


def write_pieces_durably(
    path: Path, pieces: Iterable[bytes | memoryview], *, mode: int = 0o644, sync: bool = True
) -> None:
    """`write_durably` of contents that are made piece by piece, so that they are never in memory as a whole.

    Raises:
        StorageError: the disk refused; the old contents stand.
    """
    fresh = path.with_name(path.name + ".tmp")
    with disk_errors(f"write {path}"):
        try:
            fresh.unlink(missing_ok=True)  # left by a crash, perhaps with other permissions
            # O_EXCL: never write into a file (or through a link) that somebody else put there.
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with os.fdopen(fd, "wb") as file:
                adopt(fd, path.parent)
                file.writelines(pieces)
                file.flush()
                if sync:
                    os.fsync(fd)
            fresh.replace(path)
        except OSError:
            with suppress(OSError):  # a full disk gets its bytes back
                fresh.unlink(missing_ok=True)
            raise
        if sync:
            fsync_folder(path.parent)


def place_durably(source: Path, target: Path) -> None:
    """Rename within one folder, so that a power cut leaves the old state or the new one.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"write {target}"):
        source.replace(target)
    fsync_folder(target.parent)


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of the bytes at a place of an open file; OSError as the system raises it."""
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def sync_file(path: Path) -> None:
    """Make the contents of a file survive a power cut, whoever wrote them.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"write {path}"):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def fsync_folder(folder: Path) -> None:
    """Make renames and new files in `folder` survive a power cut.

    Raises:
        StorageError: the disk refused.
    """
    with disk_errors(f"write in {folder}"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
