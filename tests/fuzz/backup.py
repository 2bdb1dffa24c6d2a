"""A backup that somebody else wrote: unpacked into its folder and nowhere else, or refused."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path

from roughfed.deploy.archive import ArchiveMember, BackupReader, write
from roughfed.errors import RoughfedError
from roughfed.server.backup.restore import origin_of

RUNS = 500  # files and syncs


@cache
def folder() -> Path:
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="roughfed-fuzz-", dir=base))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def fuzz(data: bytes) -> None:
    out = folder() / "out"
    out.mkdir()
    try:
        reader = BackupReader(BytesIO(data), len(data))
        origin_of(reader.about)
        reader.unpack(out)
    except RoughfedError:
        pass
    finally:
        written = [path for path in out.rglob("*") if not path.is_dir()]
        assert all(path.is_file() and not path.is_symlink() for path in written)
        assert sum(path.stat().st_size for path in written) <= len(data)
        shutil.rmtree(out)
        assert {path.name for path in folder().iterdir()} <= {"in"}


def seeds() -> list[bytes]:
    source = folder() / "in"
    source.mkdir(exist_ok=True)
    members: list[ArchiveMember] = []
    for name, data in (("fed.toml", b"[round]\n"), ("state/journal.db", b"j" * 700), ("state/papers/tls.key", b"k")):
        path = source / name.replace("/", "-")
        path.write_bytes(data)
        members.append(ArchiveMember(name, path, len(data)))
    about = {"format": 1, "made_at": 1.7e9, "software": "1", "round": 3, "schema": 1}
    found: list[bytes] = []
    for few in (members, members[:1]):
        write(source / "backup.tar", about, few)
        found.append((source / "backup.tar").read_bytes())
    return found
