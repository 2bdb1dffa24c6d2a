"""Reader of IDX files (the MNIST format): two zero bytes, type, number of axes, sizes as big-endian uint32, the data.

A file says how large it is; nothing is believed before it is checked, and never more is read than was announced.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError

UBYTE = 0x08  # the only element type of the image sets
MAX_AXES = 4
MAX_BYTES = 1 << 30


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, compressed when its name ends in `.gz`.

    Args:
        path: the file.

    Returns:
        uint8 array with the announced shape (read-only).

    Raises:
        ConfigError: missing, unreadable, damaged, truncated, longer than announced, or larger than 1 GiB.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _parse(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(path, f"cannot be read: {error}") from error


def _parse(file: io.BufferedIOBase, path: Path) -> NDArray[np.uint8]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise _bad(path, f"is not an IDX file (starts with {magic.hex(' ') or 'nothing'})")
    if magic[2] != UBYTE:
        raise _bad(path, f"holds elements of type 0x{magic[2]:02x}, want unsigned bytes (0x08)")
    axes = magic[3]
    if not 1 <= axes <= MAX_AXES:
        raise _bad(path, f"announces {axes} axes, want 1..{MAX_AXES}")
    sizes = file.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise _bad(path, "ends inside its header")
    shape = struct.unpack(f">{axes}I", sizes)
    total = math.prod(shape)
    if not 0 < total <= MAX_BYTES:
        raise _bad(path, f"announces {total} bytes of shape {shape}, want 1..{MAX_BYTES}")
    data = file.read(total + 1)  # one more than announced, to notice what should not be there
    if len(data) != total:
        rest = "ends early" if len(data) < total else "goes on after its end"
        raise _bad(path, f"{rest} (announced {total} bytes)")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _bad(path: Path, cause: str) -> ConfigError:
    return ConfigError(cause, file=str(path), key="data.data_dir", cure="fetch the file again from its publisher")
