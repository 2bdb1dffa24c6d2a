"""Connections of this very process: who has too many that say nothing."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from roughfed import descriptors
from roughfed.server.transport import connections
from roughfed.server.transport.connections import RESERVE, Connections, quotas

MANY = 12


@pytest.fixture
def links() -> Iterator[tuple[int, list[socket.socket], list[socket.socket]]]:
    """A port, the connections that it took, oldest first, and their other ends."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=MANY))
        ours, theirs = list[socket.socket](), list[socket.socket]()
        for _ in range(MANY):
            theirs.append(stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5)))
            ours.append(stack.enter_context(listener.accept()[0]))
        yield listener.getsockname()[1], ours, theirs


def name(theirs: socket.socket) -> str:
    return f"ipv4:127.0.0.1:{theirs.getsockname()[1]}"


def ended(theirs: list[socket.socket]) -> int:
    found = 0
    for link in theirs:
        link.setblocking(False)
        with suppress(BlockingIOError):
            found += link.recv(1) == b""
    return found


def test_of_one_address_the_oldest_that_never_called_are_ended(
    links: tuple[int, list[socket.socket], list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _, theirs = links
    guard = Connections()
    guard.limit(port, 4, quota=1000)
    guard.called(name(theirs[0]).replace("ipv4:", "ipv4%3A"), "ann")
    before = len(list(Path("/dev/fd").iterdir()))
    assert guard.scan() == {}  # all of them are young
    monkeypatch.setattr(connections, "YOUNG_S", 0.0)
    assert guard.scan() == {"127.0.0.1": MANY - 1 - 4}
    assert ended(theirs) == MANY - 1 - 4
    assert ended(theirs[:1]) == 0  # ann has made a call
    assert len(list(Path("/dev/fd").iterdir())) == before  # nothing of it is kept open


def test_other_ports_and_no_limit_are_left_alone(
    links: tuple[int, list[socket.socket], list[socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _, theirs = links
    monkeypatch.setattr(connections, "YOUNG_S", 0.0)
    guard = Connections()
    guard.limit(port, 0, quota=1000)
    guard.limit(port + 1 if port < 65_535 else 1, 1, quota=1000)
    assert guard.scan() == guard.scan() == {}
    assert ended(theirs) == 0


@pytest.mark.parametrize("descriptors_", [256, 1024, 4096, 1 << 20])
def test_the_disk_has_descriptors_of_its_own(descriptors_: int) -> None:
    federation, enrolling = quotas(descriptors_)
    assert 0 < enrolling < federation
    assert federation + enrolling <= descriptors_ - min(RESERVE, descriptors_ // 2)


def test_the_limit_of_open_files_is_raised_as_far_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [64, 5000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: now.__setitem__(slice(None), limits))
    assert descriptors.raise_limit() == 5000
    assert now == [5000, 5000]
    assert descriptors.raise_limit() == 5000

    def refuses(_: int, limits: tuple[int, int]) -> None:
        if limits[0] > 10_240:
            raise ValueError("beyond what the kernel has")
        now[:] = limits

    now[:] = [256, resource.RLIM_INFINITY]
    monkeypatch.setattr(resource, "setrlimit", refuses)
    assert descriptors.raise_limit() == 10_240
