"""The doctor's checks of what is kept: disk, journal, limits, and what a run needs of them."""

import errno
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from roughfed.client.storage import store
from roughfed.deploy.doctor.checks import disk, limits
from roughfed.deploy.doctor.checks.journal import journal, schema, size
from roughfed.deploy.doctor.finding import CheckState, Finding
from roughfed.deploy.doctor.manifest import known_shapes, shapes_of
from roughfed.deploy.doctor.requirements import FILES_OF_OWN, Needs, needs
from roughfed.journal import Journal
from roughfed.params import write_model
from roughfed.server.storage.schema import SCHEMA
from roughfed.types import Spec, TensorSpec
from tests.unit.deploy.doctor.doctor_sites import FED, one, site, states

NOTHING = Needs(0, 0, 0, FILES_OF_OWN, False, "")
SPEC = Spec(
    (TensorSpec("0.weight", (300, 100), "float32", "weight"), TensorSpec("0.bias", (300,), "float32", "weight"))
)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    (tmp_path / "fed.toml").write_text(FED)
    (tmp_path / "state" / "models").mkdir(parents=True)
    return tmp_path


def failed(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.FAILURE and cure in finding.cure


def warned(finding: Finding, cure: str) -> bool:
    return finding.state is CheckState.WARNING and cure in finding.cure


# -- needs -------------------------------------------------------------------------------------------------------------


def test_what_a_run_needs_follows_from_the_newest_model(server: Path) -> None:
    assert not needs(site(server)).known
    path = server / "state" / "models" / "a.safetensors"
    write_model(path, SPEC, [np.zeros(SPEC.size, dtype=np.float32)])
    assert known_shapes(site(server)) == {"0.weight": (300, 100), "0.bias": (300,)}
    wanted, model = needs(site(server)), 4 * SPEC.size
    assert wanted.known
    assert wanted.disk_bytes == model * (5 + 4)  # 3 newest, the best and the next version; 4 clients, masked
    assert wanted.trainer_bytes == 4 * model
    path.write_bytes(b"\xff" * 64)  # a head of 2^64 bytes: not read
    assert shapes_of(path) == {}
    path.write_bytes((8).to_bytes(8, "little") + b"[1, 2, 3")
    assert shapes_of(path) == {}


# -- disk --------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_in_order(server: Path) -> None:
    found = states(disk.disk(site(server)))
    assert {about: found[about] for about in ("inodes", "one disk")} == dict.fromkeys(
        ("inodes", "one disk"), CheckState.OK
    )
    assert found["writes"] in (CheckState.OK, CheckState.WARNING)  # a busy disk is slow
    assert [p.name for p in (server / "state").iterdir()] == ["models"]  # nothing is left behind


def test_too_little_room(tmp_path: Path) -> None:
    huge = Needs(1 << 60, 0, 0, 0, True, "5 versions of the model")
    found = disk.room(tmp_path, huge)
    assert failed(found, "make room")
    assert "5 versions" in found.sentence
    assert disk.room(tmp_path, NOTHING).state in (CheckState.OK, CheckState.WARNING)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=65536,nr_inodes=20", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_full_or_read_only(small_disk: Path) -> None:
    assert warned(disk.room(small_disk, NOTHING), "make room")
    assert warned(disk.inodes(os.statvfs(small_disk)), "inodes")
    (small_disk / "ballast").write_bytes(bytes(40_000))
    full = disk.writes(small_disk)
    assert failed(full, "neither full nor read-only")
    assert "No space left" in full.sentence
    assert [p.name for p in small_disk.iterdir()] == ["ballast"]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in disk.writes(small_disk).sentence
    assert warned(disk.kind(small_disk, disk.MOUNTS), "after a restart")


def test_a_folder_on_another_disk(small_disk: Path) -> None:
    assert warned(disk.one_disk(small_disk.parent), "as a whole")
    assert disk.one_disk(small_disk).state is CheckState.OK


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(disk.tempfile, "mkdtemp", refuse)
    assert failed(disk.writes(tmp_path), "writable for this user")


def test_a_slow_disk(tmp_path: Path) -> None:
    ticks = iter(0.3 * n for n in range(100))
    assert warned(disk.writes(tmp_path, clock=lambda: next(ticks)), "SSD")


@pytest.mark.parametrize(
    ("mounts", "name", "state"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "ext4", CheckState.OK),
        ("1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / {here} rw shared:1 - nfs4 srv:/x rw\n", "nfs4", CheckState.WARNING),
        ("1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / {here} rw - fuse.sshfs x rw\n", "fuse.sshfs", CheckState.WARNING),
        ("1 0 8:1 / {here}x rw - nfs x rw\n3 0 0:1 / / rw - overlay x rw\n", "overlay", CheckState.OK),
        ("nonsense\n", "", CheckState.SKIPPED),
    ],
)
def test_the_kind_of_file_system(tmp_path: Path, mounts: str, name: str, state: CheckState) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(mounts.format(here=tmp_path.resolve()))
    found = disk.kind(tmp_path, table)
    assert (found.state, found.measured) == (state, name)
    assert state is not CheckState.WARNING or "local disk" in found.cure


# -- journal -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(server: Path) -> Path:
    """A server's journal with some pages."""
    path = server / "state" / "journal.db"
    Journal(path, SCHEMA, durable=False).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO run (id, spec, created_at) VALUES ('r', zeroblob(200000), 0)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def test_a_journal_that_is_in_order(written: Path, server: Path) -> None:
    assert states(journal(site(server))) == dict.fromkeys(("integrity", "schema", "size"), CheckState.OK)
    written.unlink()
    assert [f.state for f in journal(site(server))] == [CheckState.SKIPPED]


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all, and never was one" * 200)


def torn(path: Path) -> None:
    """Pages of the schema's tables are overwritten, the head stands."""
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 12] = os.urandom(4096 * 10)
    path.write_bytes(data)


@pytest.mark.parametrize("fault", [garbage, torn])
def test_a_journal_that_is_damaged(written: Path, server: Path, fault: Callable[[Path], None]) -> None:
    fault(written)
    assert failed(one(journal(site(server)), "integrity"), "roughfed restore")


def test_a_damaged_journal_of_a_client_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "client.toml").write_text("")
    (tmp_path / "state").mkdir()
    garbage(tmp_path / "state" / "client.db")
    assert failed(one(journal(site(tmp_path)), "integrity"), "move state/client.db aside")
    (tmp_path / "state" / "client.db").unlink()
    store.ClientStore(tmp_path / "state").close()
    assert states(journal(site(tmp_path)))["integrity"] is CheckState.OK


def test_a_journal_that_is_too_large_for_the_time(written: Path, server: Path) -> None:
    with closing(sqlite3.connect(written)) as db:
        db.executemany(
            "INSERT INTO revoked VALUES (?, 0)", ((f"{n:080d}",) for n in range(30_000))
        )  # fmt: skip
        db.commit()
    late = site(server, until=0.0)
    assert warned(one(journal(late), "integrity"), "--within 600")


def test_schemas() -> None:
    assert failed(schema(9, 8), "newer one")
    assert schema(7, 8).state is CheckState.OK
    assert "upgrades" in schema(7, 8).sentence


def test_a_log_that_grows(written: Path) -> None:
    assert size(written).state is CheckState.OK
    with written.with_name("journal.db-wal").open("wb") as log:
        log.truncate(300 << 20)
    assert warned(size(written), "restart the server")


# -- limits ------------------------------------------------------------------------------------------------------------


def test_limits_of_this_machine(server: Path) -> None:
    assert set(states(limits.limits(site(server)))) == {"open files", "memory", "processors"}


def test_open_files() -> None:
    assert limits.open_files(4096, 4096, 500).state is CheckState.OK
    assert limits.open_files(resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10**6).state is CheckState.OK
    assert warned(limits.open_files(256, 65536, 728), "ulimit -n 4096")
    assert warned(limits.open_files(1024, 1024, 5000), "the hard limit is 1024: ask root")
    assert failed(limits.open_files(64, 64, 128), "LimitNOFILE")


def test_the_limits_of_who_runs(tmp_path: Path) -> None:
    assert limits.of_process(os.getpid()) == resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "limits").write_text("Limit  Soft Hard\nMax open files            1024    unlimited    files\n")
    assert limits.of_process(7, proc=tmp_path) == (1024, resource.RLIM_INFINITY)
    assert limits.of_process(8, proc=tmp_path) is None
    assert limits.of_process(None) is None


def test_memory_of_a_machine_and_of_a_container(tmp_path: Path) -> None:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    cgroup.mkdir()
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert limits.available(meminfo=meminfo, cgroup=cgroup) == 2 << 20
    (cgroup / "memory.max").write_text("1048576\n")
    (cgroup / "memory.current").write_text("524288\n")
    assert limits.available(meminfo=meminfo, cgroup=cgroup) == 524288
    (cgroup / "memory.max").write_text("max\n")
    assert limits.available(meminfo=meminfo, cgroup=cgroup) == 2 << 20
    assert limits.available(meminfo=tmp_path / "none", cgroup=cgroup) is None
    assert warned(limits.memory(1 << 20, 1 << 30), "smaller model")
    assert limits.memory(1 << 31, 1 << 30).state is CheckState.OK
    assert limits.memory(None, 1).state is CheckState.SKIPPED


def test_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "client.toml").write_text("[device]\nthreads = 4000\n")
    assert warned(limits.processors(site(tmp_path)), "device.threads = 0")
    monkeypatch.setenv("ROUGHFED_CLIENTS_ON_HOST", "many")
    assert failed(limits.processors(site(tmp_path)), "whole number")
