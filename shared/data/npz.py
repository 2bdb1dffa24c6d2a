"""Reader of `.npz` files (a zip of `.npy` arrays) that come from outside.

A file says how large it is; nothing is believed before it is checked, nothing is unpickled, nothing is written, and of
the names in it only those asked for are looked at.
"""

from __future__ import annotations

import lzma
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from roughfed.errors import ConfigError, RoughfedError

MAX_HEADER_BYTES = 4096
_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}  # format version: bytes of the header's length
_HEADER = re.compile(  # of numbers only: no objects, no records
    rb"\{\s*'descr':\s*'([<>|][biuf]\d{1,2})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d, ]*)\),?\s*\}\s*"
)


class Incomplete(RoughfedError):
    """The file is no whole zip: it is still being written, or was damaged."""


def read_npz(file: IO[bytes], path: Path, names: tuple[str, ...], max_bytes: int) -> list[NDArray[Any]]:
    """Read some arrays of an open file.

    Args:
        file: open for reading, at its beginning.
        path: for messages.
        names: of the arrays, without `.npy`.
        max_bytes: that they may have together, unpacked.

    Returns:
        the arrays in the order of `names`, read-only.

    Raises:
        Incomplete: half written or damaged.
        ConfigError: whole, but without one of the arrays, too large, or of anything but numbers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            there = archive.namelist()
            if missing := [name for name in names if there.count(f"{name}.npy") != 1]:
                raise _refused(path, f"has not one array {missing[0]!r}")
            members = [archive.getinfo(f"{name}.npy") for name in names]
            total = sum(member.file_size for member in members)
            if total > max_bytes:
                raise _refused(path, f"announces {total} bytes, {max_bytes} are left")
            return [_read_member(archive, member, path) for member in members]
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise Incomplete(f"{path.name!r} is no whole zip: {error}") from error
    except RuntimeError as error:  # a password, or a compression that is not built in
        raise _refused(path, str(error)) from error


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    with archive.open(member) as data:
        shape, fortran, dtype, begin = _read_header(data, path)
        size = math.prod(shape) * dtype.itemsize
        if begin + size != member.file_size:
            cause = f"announces shape {shape} of {dtype}, which does not fit its {member.file_size} bytes"
            raise _refused(path, cause)
        content = data.read()  # to the end, where zipfile compares the checksum
        if len(content) != size:
            raise EOFError(f"{len(content)} bytes of {size}")
        flat = np.frombuffer(content, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _read_header(data: IO[bytes], path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, type, and where the numbers begin."""
    start = data.read(len(_MAGIC) + 2)
    width = _LENGTHS.get(start[len(_MAGIC) :], 0) if start.startswith(_MAGIC) else 0
    length = int.from_bytes(data.read(width), "little")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise _refused(path, "has an array that is no .npy")
    match = _HEADER.fullmatch(data.read(length))
    try:
        if match is None:
            raise TypeError("its header")
        dtype = np.dtype(match[1].decode())  # "<f3" is none
    except TypeError as error:
        raise _refused(path, "has an array of something else than numbers") from error
    shape = tuple(int(size) for size in match[3].split(b",") if size.strip())
    return shape, match[2] == b"True", dtype, len(start) + width + length


def _refused(path: Path, cause: str) -> ConfigError:
    return ConfigError(cause, file=str(path), key="data.folder", cure="write it with numpy.savez(file, x=..., y=...)")
