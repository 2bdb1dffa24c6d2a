"""Files of keys and certificates: private ones 0600, all of them whole or absent after a crash."""

from __future__ import annotations

import stat
from pathlib import Path

from roughfed.errors import ConfigError
from roughfed.files import write_durably


def write_private(path: Path, data: bytes) -> None:
    """Write a secret so that nobody else could ever open it, fsynced.

    Raises:
        StorageError: the disk refused.
    """
    write_durably(path, data, mode=0o600)


def write_public(path: Path, data: bytes) -> None:
    """Replace a file by whole new contents, fsynced.

    Raises:
        StorageError: the disk refused.
    """
    write_durably(path, data)


def read_private(path: Path) -> bytes:
    """Read a secret that only its owner can read.

    Raises:
        ConfigError: missing, or others may read it.
    """
    data = read_public(path)
    if mode := stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(
            f"others may read this private key (permissions allow {mode:03o} beyond the owner)",
            file=str(path),
            cure=f"chmod 600 {path}; if others could log in here, enrol anew",
        )
    return data


def read_public(path: Path) -> bytes:
    """Read a file that enrolment wrote.

    Raises:
        ConfigError: it is not there or not readable.
    """
    try:
        return path.read_bytes()
    except PermissionError as error:
        cure = "run this as the account that has the directory, or give the file to it: chown"
        raise ConfigError(f"cannot read it: {error.strerror}", file=str(path), cure=cure) from error
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", file=str(path), cure="enrol anew") from error
