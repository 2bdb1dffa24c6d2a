"""A full disk on the server: clients are told to come back, and the round completes when there is room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .federation import Cluster, state_of, value

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

DISK_BYTES = 32 << 20
ROOM_BYTES = 2_000_000
"""Between one update of 1.2 MB and two; three want to come."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, mounted where the server keeps its state."""
    state = tmp_path / "server" / "state"
    state.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a tmpfs")
    try:
        yield state
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(disk: Path, *, leave_bytes: int) -> Path:
    """A file that leaves only so much room."""
    ballast, room = disk / "ballast", os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_bsize - leave_bytes)
    return ballast


def test_a_full_spool_makes_clients_wait(small_disk: Path, tmp_path: Path) -> None:
    with Cluster(tmp_path, rounds=1) as cluster:
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            clients = cluster.start_clients(pace_s=1.0)
            watch.until(lambda s: all(state_of(s, name) == "training" for name in cluster.names))
            ballast = fill(small_disk, leave_bytes=ROOM_BYTES)
            server.wait_line("cannot spool an update: No space left on device", count=2)
            page = cluster.page("/metrics")
            ballast.unlink()

        assert [p.wait() for p in (server, *clients)] == [0, 0, 0, 0]
        assert value(page, "roughfed_updates_rejected_total", reason="storage") >= 2
        assert any(client.find("upload interrupted: the server's disk refused") for client in clients)
        assert all(len(client.find("trained round 1")) == 1 for client in clients)
        assert cluster.rows("SELECT * FROM refusals") == []
        assert cluster.accepted() == {1: cluster.names}
        assert cluster.model_digests() == cluster.expected_digests()


def test_a_disk_too_full_for_the_next_model_stops_the_server_and_loses_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    with Cluster(tmp_path, rounds=1) as cluster:
        server = cluster.start_server()
        server.ready()
        with cluster.watch() as watch:
            clients = cluster.start_clients(pace_s=1.0)
            watch.until(lambda s: all(state_of(s, name) == "training" for name in cluster.names))
            ballast = fill(small_disk, leave_bytes=4_500_000)  # for three updates, not for a model beside them
        assert server.wait() == 4
        (said,) = server.find("error: storage")
        assert "No space left on device" in said
        assert "Traceback" not in "\n".join(server.lines)

        ballast.unlink()
        cluster.restart_server()

        assert [p.wait() for p in (cluster.server, *clients)] == [0, 0, 0, 0]
        assert cluster.model_digests() == cluster.expected_digests()
        assert all(len(client.find("trained round 1")) == 1 for client in clients)
