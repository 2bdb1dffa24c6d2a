"""What a client noted about one masked round before it said anything: enough to say the same again, and nothing else.

One file, one record after another, each synced before what it stands for leaves: the secret of the round (sealed),
every message of the server that was answered, the digest of the masked bytes. It is deleted when the round is over. A
record that a power cut left half written is no record: nothing that depends on it was sent.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from roughfed.crypto.sealing import open_sealed, seal
from roughfed.files import disk_errors, fsync_folder

_HEAD = struct.Struct(">III")  # length of the name, length of the body, CRC-32 of both
DOING = "write ahead"


@dataclass(frozen=True, slots=True)
class WriteAheadRecord:
    """One record: what it is, and its bytes."""

    name: str
    body: bytes


class WriteAhead:
    """The file of one round."""

    def __init__(self, path: Path) -> None:
        """Open or create it; what is half written is cut off."""
        self.path = path
        self.records: list[WriteAheadRecord] = []
        new = not path.exists()
        with disk_errors(DOING):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            end = 0
            for record, end in _records(path.read_bytes()):  # noqa: B007 - `end` is where the last whole one ends
                self.records.append(record)
            os.ftruncate(self._fd, end)
            os.lseek(self._fd, end, os.SEEK_SET)
            if new:
                fsync_folder(path.parent)

    def append(self, name: str, body: bytes) -> None:
        """Note something; it is on disk when this returns.

        Raises:
            StorageError: the disk refused; nothing may leave.
        """
        data = name.encode() + body
        with disk_errors(DOING):
            left = memoryview(_HEAD.pack(len(name.encode()), len(body), zlib.crc32(data)) + data)
            while left:
                left = left[os.write(self._fd, left) :]
            os.fdatasync(self._fd)
        self.records.append(WriteAheadRecord(name, body))

    def close(self) -> None:
        """Keep the file for a restart."""
        os.close(self._fd)

    def forget(self) -> None:
        """The round is over."""
        self.close()
        self.path.unlink(missing_ok=True)


def seal_secret(key: bytes, secret: bytes, header_digest: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """The secret of a round as it lies on disk."""
    return seal(key, secret, aad=header_digest, entropy=entropy)


def open_secret(key: bytes, sealed: bytes, header_digest: bytes) -> bytes:
    """The secret again; raises RemoteProtocolError where it is another round's, or the identity is another."""
    return open_sealed(key, sealed, aad=header_digest)


def _records(data: bytes) -> Iterator[tuple[WriteAheadRecord, int]]:
    at = 0
    while at + _HEAD.size <= len(data):
        name_length, body_length, check = _HEAD.unpack_from(data, at)
        start, end = at + _HEAD.size, at + _HEAD.size + name_length + body_length
        if end > len(data) or zlib.crc32(data[start:end]) != check:
            return
        at = end
        name = data[start : start + name_length].decode(errors="replace")
        yield WriteAheadRecord(name, data[start + name_length : end]), end
