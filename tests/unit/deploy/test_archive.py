"""The file of a backup: what goes in comes out, and whatever else somebody wrote into one ends the reading."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.deploy import archive
from roughfed.deploy.archive import ABOUT, BLOCK, MANIFEST, PIECE, ArchiveMember, BackupReader, BadBackup, write
from roughfed.digest import content_digest
from roughfed.errors import StorageError

Entry = tuple[tarfile.TarInfo, bytes]


def reader(data: bytes) -> BackupReader:
    return BackupReader(io.BytesIO(data), len(data))


def info(name: str, data: bytes = b"", **changes: object) -> Entry:
    found = tarfile.TarInfo(name)
    found.size = len(data)
    for key, value in changes.items():
        setattr(found, key, value)
    return found, data


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def packed(*entries: Entry) -> bytes:
    """A tar as anybody can write one."""
    tar = b""
    for head, data in entries:
        tar += head.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % BLOCK)
    return tar + bytes(2 * BLOCK)


def honest(files: dict[str, bytes], **changes: object) -> list[Entry]:
    about = {"files": [{"name": name, "size": len(data)} for name, data in files.items()], **changes}
    digests = {name: content_digest(data).hex() for name, data in files.items()}
    return [
        info(ABOUT, text(about)),
        *(info(name, data) for name, data in files.items()),
        info(MANIFEST, text({"blake3": digests})),
    ]


FILES = {"fed.toml": b"[round]\n", "state/journal.db": b"j" * 700, "state/models/00.safetensors": bytes(PIECE + 3)}

names = st.from_regex(r"state/[a-z0-9][a-z0-9._-]{0,20}(/[a-z0-9][a-z0-9._-]{0,20})?", fullmatch=True)


@settings(max_examples=12)
@given(files=st.dictionaries(names, st.binary(max_size=3 * BLOCK), max_size=6))
def test_what_goes_in_comes_out(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("backup")
    folders = {Path(name).parent.as_posix() for name in files}
    if folders & files.keys():  # a file cannot be a folder as well
        return
    for name, data in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(data)
    moved: list[int] = []
    members = [ArchiveMember(name, folder / "in" / name, len(data)) for name, data in files.items()]
    size = write(folder / "b.tar", {"run": "r"}, members, moved.append)

    assert (folder / "b.tar").stat().st_size == size
    assert (folder / "b.tar").stat().st_mode & 0o777 == 0o600
    assert sum(moved) == sum(map(len, files.values()))
    with (folder / "b.tar").open("rb") as file:
        found = BackupReader(file, size)
        assert (found.about["run"], found.total) == ("r", sum(moved))
        (folder / "out").mkdir()
        found.unpack(folder / "out")
    assert {
        p.relative_to(folder / "out").as_posix(): p.read_bytes() for p in (folder / "out").rglob("*") if p.is_file()
    } == files
    assert all(p.stat().st_mode & 0o077 == 0 for p in (folder / "out").rglob("*"))


def test_any_tar_reads_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    write(tmp_path / "b.tar", {}, [ArchiveMember("state/f", tmp_path / "f", 600)])  # so many bytes of it
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames() == [ABOUT, "state/f", MANIFEST]
        found = tar.extractfile("state/f")
        assert found is not None
        assert found.read() == b"x" * 600


def test_what_is_not_whole_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"short")
    (tmp_path / "b.tar").write_text("an older backup")
    with pytest.raises(StorageError, match="shorter than it was"):
        write(tmp_path / "b.tar", {}, [ArchiveMember("state/f", tmp_path / "f", 6)])
    assert (tmp_path / "b.tar").read_text() == "an older backup"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "f"]


def spoilt(at: Callable[[bytes], bytes]) -> bytes:
    return at(packed(*honest(FILES)))


def listed(*rows: object) -> bytes:
    return packed(info(ABOUT, text({"files": list(rows)})), info(MANIFEST, text({"blake3": {}})))


def named(name: str) -> bytes:
    return packed(*honest({name: b"x"}))


def special(kind: bytes, **changes: object) -> bytes:
    """A member that was announced as a plain file, and is something else."""
    first, *_ = honest({"state/f": b""})
    return packed(first, info("state/f", type=kind, **changes))


def longer(more: int) -> bytes:
    """A member that is longer than was announced."""
    first, (head, data), last = honest({"state/f": b"x"})
    head.size += more
    return packed(first, (head, data + bytes(more)), last)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "cut off"),
    "text": (b"not a tar at all " * 100, "no backup of roughfed"),
    "zeros": (bytes(4 * BLOCK), "no backup of roughfed"),
    "another tar": (packed(info("etc/passwd", b"root")), "no backup of roughfed"),
    "a list that is none": (packed(info(ABOUT, b"[]")), "cannot be read"),
    "a list in no JSON": (packed(info(ABOUT, b"{")), "cannot be read"),
    "a list as deep as it is long": (packed(info(ABOUT, b"[" * 200_000)), "cannot be read"),
    "no list": (packed(info(ABOUT, b"{}")), "does not say what is in it"),
    "a row that is none": (listed(7), "belongs in no backup"),
    "upwards": (named("state/../../etc/cron.d/x"), "belongs in no backup"),
    "upwards at the end": (named("state/.."), "belongs in no backup"),
    "absolute": (named("/etc/passwd"), "belongs in no backup"),
    "beside the state": (named(".ssh/authorized_keys"), "belongs in no backup"),
    "a hidden file": (named("state/.hidden"), "belongs in no backup"),
    "deeper than anything": (named("state/a/b/c"), "belongs in no backup"),
    "a backslash": (named("state/a\\b"), "belongs in no backup"),
    "another settings file": (named("client.toml"), "belongs in no backup"),
    "a name twice": (listed({"name": "state/f", "size": 1}, {"name": "state/f", "size": 1}), "belongs in no backup"),
    "a negative size": (listed({"name": "state/f", "size": -1}), "said to have -1 bytes"),
    "a size that is none": (listed({"name": "state/f", "size": True}), "said to have True bytes"),
    "more than the file": (listed({"name": "state/f", "size": 1 << 50}), "bytes"),
    "more together than the file": (
        listed(*({"name": f"state/f{n}", "size": 1500} for n in range(4))), "the end is cut off",
    ),
    "a symbolic link": (special(tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
    "a hard link": (special(tarfile.LNKTYPE, linkname="fed.toml"), "no plain file"),
    "a plain file with a link": (special(tarfile.REGTYPE, linkname="/etc/passwd"), "no plain file"),
    "a device": (special(tarfile.CHRTYPE), "no plain file"),
    "a pipe": (special(tarfile.FIFOTYPE), "no plain file"),
    "a folder": (special(tarfile.DIRTYPE), "no plain file"),
    "a sparse file": (special(tarfile.GNUTYPE_SPARSE), "no plain file"),
    "a header of eight gigabytes": (special(tarfile.XHDTYPE, size=8 << 30), "no plain file"),
    "a long name": (special(tarfile.GNUTYPE_LONGNAME), "no plain file"),
    "another file than announced": (
        packed(honest({"state/f": b""})[0], info("state/g")), "where state/f belongs",
    ),
    "longer than announced": (longer(1), "another number was announced"),
    "much longer than announced": (longer(1 << 20), "another number was announced"),
    "a digest that is another": (spoilt(lambda tar: tar.replace(b"jjjj", b"jjkj", 1)), "not what was written"),
    "settings that are others": (spoilt(lambda tar: tar.replace(b"[round]", b"[model]", 1)), "fed.toml is not what"),
    "a header that is damaged": (spoilt(lambda tar: tar[:100] + b"\xff" + tar[101:]), "no backup of roughfed"),
    "cut off in a file": (spoilt(lambda tar: tar[: 4 * BLOCK]), "cut off"),
    "cut off before the digests": (spoilt(lambda tar: tar[: tar.index(MANIFEST.encode())]), "cut off"),
    "digests that are none": (packed(*honest(FILES)[:-1], info(MANIFEST, b"{}")), "list of digests is none"),
    "digests of others": (
        packed(*honest(FILES)[:-1], info(MANIFEST, text({"blake3": {"state/x": "00"}}))), "of other files",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_somebody_else_wrote_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_JSON", 1 << 20)
    data, words = HOSTILE[name]
    outside = set(tmp_path.rglob("*"))
    (tmp_path / "here").mkdir()
    with pytest.raises(BadBackup, match=words):
        reader(data).unpack(tmp_path / "here")
    written = set(tmp_path.rglob("*")) - outside
    assert all(path.is_relative_to(tmp_path / "here") and not path.is_symlink() for path in written)
    assert sum(path.stat().st_size for path in written if path.is_file()) <= len(data)


def test_a_list_of_files_is_not_read_into_memory_if_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_JSON", 100)
    head, data = info(ABOUT, bytes(101))
    file = io.BytesIO(packed((head, data)))
    with pytest.raises(BadBackup, match="101 bytes"):
        BackupReader(file, len(file.getvalue()))
    assert file.tell() == BLOCK
