"""A backup as one file: a tar of plain files, what they are at its beginning, their digests at its end.

    about.json, fed.toml, state/..., upstream/..., manifest.json, signature.json

It is written and read as a stream. What is read is believed in nothing: members that are not plain files, that were not
announced, or are longer than announced end the reading, and so does a digest that is another. The signature is the
server's over both lists; whose key it is, is for the caller to ask. Any tar reads it, too.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from roughfed.crypto.identity import IdentityKey, verify
from roughfed.digest import hasher
from roughfed.errors import IdentityError, StorageError
from roughfed.files import disk_errors, fsync_folder

ABOUT, MANIFEST, SIGNATURE = "about.json", "manifest.json", "signature.json"
DOMAIN = b"roughfed backup v1\0"
BLOCK, PIECE = tarfile.BLOCKSIZE, 1 << 20
MAX_JSON = 64 << 20
"""Of the list of files: some hundred thousand."""

SETTINGS = "fed.toml"
NAME = re.compile(
    r"fed\.toml|members\.list(?:\.[a-z0-9-]+\.sig)?|app/[A-Za-z0-9_][A-Za-z0-9_-]*\.py|upstream/client\.toml|"
    r"(?:upstream/)?state(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){1,2}"
)
"""Where a member may lie: no part begins with a dot, so none leads upwards."""

OnBytes = Callable[[int], None]


class BadBackup(StorageError):
    """The file is no backup, or not as it was written."""

    reason = "backup"
    cure = "fetch it again, or take an older one: what `roughfed backup` wrote, with nothing done to it"


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file that goes in: its name there, where it lies, and how many bytes of it."""

    name: str
    path: Path
    size: int


def write(
    out: Path,
    about: Mapping[str, Any],
    members: Sequence[ArchiveMember],
    on_bytes: OnBytes = lambda _: None,
    *,
    key: IdentityKey | None = None,
) -> int:
    """Write a backup (0600), whole and synced, or nothing.

    Args:
        out: the file; an existing one is replaced at the end.
        about: what it says of itself.
        members: files that do not change meanwhile.
        on_bytes: told the bytes of every piece.
        key: signs it; None: nobody does.

    Returns:
        its size in bytes.

    Raises:
        StorageError: the disk refused, or a file is not as long as it was.
    """
    fresh = out.with_name(out.name + ".partial")
    listed = {**about, "files": [{"name": m.name, "size": m.size} for m in members]}
    with disk_errors(f"write {out}"):
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as tar:
                head = _put_json(tar, ABOUT, listed)
                digests = {member.name: _put(tar, member, on_bytes) for member in members}
                tail = _put_json(tar, MANIFEST, {"blake3": digests})
                if key is not None:
                    signature = key.sign(DOMAIN, head + tail).hex()
                    _put_json(tar, SIGNATURE, {"key": key.public_key.hex(), "signature": signature})
                tar.write(bytes(2 * BLOCK))
                tar.flush()
                os.fsync(tar.fileno())
                size = tar.tell()
            fresh.replace(out)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        fsync_folder(out.parent)
    return size


class BackupReader:
    """A backup that is being read: first `about`, then `unpack`."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        """Read what it says of itself.

        Args:
            file: at its beginning.
            size: of the file in bytes.

        Raises:
            BadBackup: it is none.
        """
        self._file, self._left = file, size
        self._lists = b""
        self.signer: bytes | None = None
        """Ed25519 key that signed what was unpacked; None: nobody did."""
        self.about = self._json(ABOUT)
        self.files = self._listed()

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    def unpack(self, folder: Path, on_bytes: OnBytes = lambda _: None) -> None:
        """Write all files into an empty folder and hold them against their digests; every file is synced.

        Raises:
            BadBackup: something is not as it was written, or signed; what is in `folder` is of no use.
            StorageError: the disk refused.
        """
        found: dict[str, str] = {}
        for name, size in self.files.items():
            with disk_errors(f"write in {folder}"):
                for parent in reversed(Path(name).parents[:-1]):
                    (folder / parent).mkdir(mode=0o700, exist_ok=True)
            found[name] = self._take(name, size, folder / name, on_bytes)
        digests = self._json(MANIFEST).get("blake3")
        if not isinstance(digests, dict):
            raise BadBackup("its list of digests is none")
        wanted = cast("dict[str, object]", digests)
        if wanted.keys() != found.keys():
            raise BadBackup("its list of digests is of other files")
        for name, digest in found.items():
            if wanted[name] != digest:
                raise BadBackup(f"{name} is not what was written: the backup is damaged")
        self.signer = self._signed()

    def _signed(self) -> bytes | None:
        lists = self._lists
        block = self._read(BLOCK)
        if block == bytes(BLOCK):
            return None
        found = self._json(SIGNATURE, block)
        try:
            key, signature = (bytes.fromhex(str(found.get(part))) for part in ("key", "signature"))
            verify(key, DOMAIN, lists, signature)
        except (ValueError, IdentityError):
            raise BadBackup("its signature is not one over what is in it: somebody has altered it") from None
        return key

    def _listed(self) -> dict[str, int]:
        rows = self.about.get("files")
        if not isinstance(rows, list):
            raise BadBackup("it does not say what is in it")
        found: dict[str, int] = {}
        for row in cast("list[object]", rows):
            entry = cast("dict[str, object]", row) if isinstance(row, dict) else {}
            name, size = entry.get("name"), entry.get("size")
            if not isinstance(name, str) or NAME.fullmatch(name) is None or name in found:
                raise BadBackup(f"a file of the name {str(name)[:80]!r} belongs in no backup")
            if type(size) is not int or size < 0 or size > self._left:
                raise BadBackup(f"{name} is said to have {str(size)[:40]} bytes: its end is cut off, or it is none")
            found[name] = size
        if sum(found.values()) > self._left:
            raise BadBackup("it is shorter than its files: the end is cut off")
        return found

    def _take(self, name: str, size: int, target: Path, on_bytes: OnBytes) -> str:
        self._header(name, size)
        digest = hasher()
        with disk_errors(f"write {target}"):
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                for piece in self._pieces(size):
                    digest.update(piece)
                    file.write(piece)
                    on_bytes(len(piece))
                file.flush()
                os.fsync(fd)
        return digest.digest().hex()

    def _json(self, name: str, block: bytes | None = None) -> dict[str, Any]:
        size = self._header(name, None, block)
        if size > MAX_JSON:
            raise BadBackup(f"{name} has {size:,} bytes")
        data = b"".join(self._pieces(size))
        self._lists += _digest(data)
        try:
            found: object = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise BadBackup(f"{name} cannot be read")
        return cast("dict[str, Any]", found)

    def _header(self, name: str, size: int | None, block: bytes | None = None) -> int:
        """The next member, which must be a plain file of this name, and (unless None) of this size."""
        try:
            found = tarfile.TarInfo.frombuf(block or self._read(BLOCK), "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError):
            raise BadBackup("this is no backup of roughfed, or its end is cut off") from None
        if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or found.linkname:
            raise BadBackup(f"{found.name[:80]!r} is no plain file")
        if found.name != name:
            raise BadBackup(f"it has {found.name[:80]!r} where {name} belongs: this is no backup of roughfed")
        if found.size < 0 or (size is not None and found.size != size):
            raise BadBackup(f"{name} has {found.size} bytes, and another number was announced")
        return found.size

    def _pieces(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            piece = self._read(min(left, PIECE))
            left -= len(piece)
            yield piece
        self._read(-size % BLOCK)

    def _read(self, count: int) -> bytes:
        with disk_errors("read the backup"):
            data = self._file.read(count)
        if len(data) < count:
            raise BadBackup("its end is cut off")
        self._left -= count
        return data


def _put(tar: IO[bytes], member: ArchiveMember, on_bytes: OnBytes) -> str:
    tar.write(_head(member.name, member.size))
    digest, left = hasher(), member.size
    with member.path.open("rb") as file:
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise StorageError(f"{member.path} is shorter than it was")
            digest.update(piece)
            tar.write(piece)
            left -= len(piece)
            on_bytes(len(piece))
    tar.write(bytes(-member.size % BLOCK))
    return digest.digest().hex()


def _put_json(tar: IO[bytes], name: str, value: Mapping[str, Any]) -> bytes:
    """Write a list; its digest."""
    data = json.dumps(value, indent=1).encode() + b"\n"
    tar.write(_head(name, len(data)) + data + bytes(-len(data) % BLOCK))
    return _digest(data)


def _digest(data: bytes) -> bytes:
    found = hasher()
    found.update(data)
    return found.digest()


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    head = info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")
    if len(head) != BLOCK:
        raise StorageError(f"the name {name} is too long for a backup")
    return head
