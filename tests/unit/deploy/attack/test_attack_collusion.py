"""Colluders meet over real sockets: all see the same, nobody waits for ever, and the death of one ends nothing."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.deploy.attack.collusion import Gathering, Meeting
from roughfed.errors import ConfigError, StorageError

SIZE = 50_000  # more than a socket's buffer
LONG_S, SHORT_S = 60.0, 0.2

HOST = """
import asyncio, sys
from pathlib import Path
import numpy as np
from roughfed.deploy.attack.collusion import Gathering, Meeting

entered = Gathering.wait
async def wait(self, name, delta):
    print(name, flush=True)
    return await entered(self, name, delta)
Gathering.wait = wait
meeting = Meeting(Path(sys.argv[1]), "first", of=3, patience_s=60.0)
asyncio.run(meeting.exchange("run 1", np.zeros(10, dtype=np.float32)))
"""


@pytest.fixture
def came(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """Names of those who have shown the host what they have, as it hears of them."""
    names, wait = asyncio.Queue[str](), Gathering.wait

    def noticed(self: Gathering, name: str, delta: Any) -> Any:
        names.put_nowait(name)
        return wait(self, name, delta)

    monkeypatch.setattr(Gathering, "wait", noticed)
    return names


def delta_of(name: str) -> np.ndarray:
    return np.full(SIZE, ord(name), dtype=np.float32)


def run(folder: Path, names: str, play: Callable[..., Awaitable[None]], *, of: int, patience_s: float = LONG_S) -> None:
    """Let these colluders play; all close at the end."""

    async def work() -> None:
        meetings = [Meeting(folder / "socket", name, of=of, patience_s=patience_s) for name in names]
        try:
            await play(*meetings)
        finally:
            await asyncio.gather(*(meeting.close() for meeting in meetings))

    asyncio.run(work())


async def shown(meeting: Meeting, name: str, occasion: str = "run 1") -> str:
    """The names that one sees; what they show is checked."""
    found = await meeting.exchange(occasion, delta_of(name))
    for other, values in found.items():
        np.testing.assert_array_equal(values, delta_of(other))
        assert values.dtype == np.float32
    return "".join(found)


def test_all_see_all_in_one_order_round_after_round(tmp_path: Path) -> None:
    async def play(a: Meeting, b: Meeting, c: Meeting) -> None:
        for number in range(1, 5):
            occasion = f"run {number}"
            seen = await asyncio.gather(shown(c, "c", occasion), shown(a, "a", occasion), shown(b, "b", occasion))
            assert seen == ["abc"] * 3
        assert await shown(b, "b", "run 4") == "abc"  # trained again after a break: what all got

    run(tmp_path, "abc", play, of=3)


def test_who_came_goes_on_without_who_did_not_and_who_is_late_gets_the_same(tmp_path: Path) -> None:
    async def play(a: Meeting, b: Meeting, c: Meeting) -> None:
        assert await asyncio.gather(shown(a, "a"), shown(b, "b")) == ["ab", "ab"]
        assert await shown(c, "c") == "ab"

    run(tmp_path, "abc", play, of=3, patience_s=SHORT_S)


def test_rounds_do_not_mix(tmp_path: Path) -> None:
    async def play(a: Meeting, b: Meeting) -> None:
        seen = await asyncio.gather(shown(a, "a", "run 2"), shown(b, "b", "run 3"))
        assert seen == ["a", "b"]

    run(tmp_path, "ab", play, of=2, patience_s=SHORT_S)


def test_of_the_rounds_that_are_over_only_the_last_are_kept(tmp_path: Path) -> None:
    async def play(a: Meeting) -> None:
        for number in (7, 8, 9, 1):  # another run begins at 1
            assert await shown(a, "a", f"run {number}") == "a"
        assert a._host is not None
        assert list(a._host._gatherings) == ["run 9", "run 1"]

    run(tmp_path, "a", play, of=1)


def test_when_the_host_closes_the_others_find_another_one(tmp_path: Path, came: asyncio.Queue[str]) -> None:
    async def play(a: Meeting, b: Meeting, c: Meeting) -> None:
        first = asyncio.create_task(shown(a, "a"))
        assert await came.get() == "a"
        second = asyncio.create_task(shown(b, "b"))
        assert await came.get() == "b"
        first.cancel()
        await asyncio.gather(first, a.close(), return_exceptions=True)
        assert await asyncio.gather(second, shown(c, "c"), shown(a, "a")) == ["abc"] * 3
        assert a._host is None
        assert (b._host is None) != (c._host is None)

    run(tmp_path, "abc", play, of=3)


def test_a_host_that_is_killed_leaves_a_socket_and_no_trouble(tmp_path: Path) -> None:
    async def play(b: Meeting, c: Meeting) -> None:
        command = [sys.executable, "-c", HOST, str(tmp_path / "socket")]
        host = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert host.stdout is not None
        assert (await host.stdout.readline()).strip() == b"first"
        second = asyncio.create_task(shown(b, "b"))
        assert (await host.stdout.readline()).strip() == b"b"  # it hosts both, and waits for a third
        host.kill()
        await host.wait()
        assert (tmp_path / "socket").exists()
        assert await asyncio.gather(second, shown(c, "c")) == ["bc", "bc"]

    run(tmp_path, "bc", play, of=3, patience_s=2.0)


def test_who_dies_while_others_wait_is_not_waited_for_longer_than_all(tmp_path: Path, came: asyncio.Queue[str]) -> None:
    async def play(a: Meeting, b: Meeting) -> None:
        first = asyncio.create_task(shown(a, "a"))
        assert await came.get() == "a"
        dead = asyncio.create_task(shown(b, "b"))
        assert await came.get() == "b"
        dead.cancel()
        await asyncio.wait({dead})
        assert await first == "ab"  # what it had shown is known

    run(tmp_path, "ab", play, of=3, patience_s=SHORT_S)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, what: str) -> None:
    place = tmp_path / "socket"
    if what == "folder":
        place.mkdir()
    else:
        place.write_text("dear to somebody")
    with pytest.raises(ConfigError, match="is no socket"):
        Meeting(place, "a", of=2)
    assert place.is_dir() or place.read_text() == "dear to somebody"


def test_who_cannot_make_a_socket_says_so(tmp_path: Path) -> None:
    async def play(a: Meeting) -> None:
        (tmp_path / "socket").mkdir()
        with pytest.raises(StorageError, match="meet the colluders"):
            await a.exchange("run 1", delta_of("a"))

    run(tmp_path, "a", play, of=2)
