"""Following a server: over a restart, until its run is over or it stays away; as lines where there is no terminal."""

from __future__ import annotations

import inspect
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli import status_watch
from roughfed.deploy.cli.command import CommandContext
from roughfed.deploy.cli.status_watch import FRAME_S, LastStatus, follow, thinned
from roughfed.transport import control_socket
from tests.unit.deploy.cli.test_cli_control import STATUS

Life = Sequence[dict[str, Any] | str]
Lives = Sequence[Life]
HANGS = ""
"""At the end of a life: nothing more comes, and the connection stays."""


class Restarted:
    """A server that lives several times: in each life it sends what is scripted to one watcher, and goes away."""

    def __init__(self, folder: Path, lives: Lives) -> None:
        (folder / "state").mkdir()
        (folder / "fed.toml").touch()
        self._path, self._lives = folder / "state" / control_socket.SOCKET, list(lives)
        self._threads: list[threading.Thread] = []
        self.start()

    def start(self, *_: object) -> None:
        """The next life, if there is one; its socket is there when this returns."""
        if not self._lives:
            return
        life = self._lives.pop(0)
        self._path.unlink(missing_ok=True)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.bind(str(self._path))
        door.listen()
        self._threads.append(threading.Thread(target=self._live, args=(door, life)))
        self._threads[-1].start()

    def _live(self, door: socket.socket, life: Life) -> None:
        with door, suppress(OSError):
            connection, _ = door.accept()
            with connection, connection.makefile("rw") as stream:
                assert json.loads(stream.readline()) == {"op": "watch"}
                for answer in life:
                    stream.write(answer if isinstance(answer, str) else json.dumps(answer) + "\n")
                stream.flush()
                if life and life[-1] == HANGS:
                    stream.readline()  # until the watcher goes

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def lives() -> Iterator[Callable[[Lives], tuple[CommandContext, Restarted]]]:
    started: list[Restarted] = []
    with tempfile.TemporaryDirectory(prefix="rf-") as short:  # pytest's own folders are too long for a socket

        def start(scripted: Lives) -> tuple[CommandContext, Restarted]:
            started.append(Restarted(Path(short), scripted))
            return CommandContext(Path(short)), started[-1]

        yield start
        for each in started:
            each.join()


def status(number: int, **more: Any) -> dict[str, Any]:
    return STATUS | {"round": number} | more


Start = Callable[[Lives], tuple[CommandContext, Restarted]]


def never() -> bool:
    return False


def test_a_restart_is_said_and_followed(lives: Start) -> None:
    context, server = lives([[status(3), status(4)], [status(4, uptime_s=1.0), status(5, uptime_s=99.0)]])
    seen = list(follow(context, wait_s=0.2, over=never, pause=server.start))
    assert [each.status["round"] for each in seen if each.fresh] == [3, 4, 4, 5]
    notes = [each.note for each in seen]
    assert notes[:2] == ["", ""]
    assert "went away at" in notes[2]
    assert not seen[2].fresh
    assert notes[3] == "the server is back; it was started again once while you watched"
    assert notes[4] == ""  # a minute later it is no news
    assert "went away at" in notes[-1]


@pytest.mark.parametrize("end", [[], ['{"round": 4, "fini']], ids=["before it answers", "as it writes"])
def test_a_server_may_die_at_any_moment(lives: Start, end: Life) -> None:
    context, server = lives([[status(3), *end], end, [status(5)]])
    seen = list(follow(context, wait_s=10, over=never, pause=server.start))
    assert [each.status["round"] for each in seen if each.fresh] == [3, 5]


@pytest.mark.parametrize("end", [[], ['{"round": 4, "fini']], ids=["before it answers", "as it writes"])
def test_one_that_dies_before_its_first_word_is_said_to_be_gone(
    lives: Start, end: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    context, _ = lives([end])
    assert cli.run(["status", "--watch", "--dir", str(context.folder)]) == 6
    assert "Traceback" not in capsys.readouterr().err


def test_one_that_hangs_is_waited_for_like_one_that_went(lives: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inspect.unwrap(control_socket._asked).__kwdefaults__, "patience_s", 0.1)
    context, server = lives([[status(3), HANGS], [status(4)]])
    seen = list(follow(context, wait_s=10, over=never, pause=server.start))
    assert [each.status["round"] for each in seen if each.fresh] == [3, 4]


def test_a_server_that_stays_away_is_not_waited_for_for_ever(lives: Start) -> None:
    context, _ = lives([[status(3)]])
    waited: list[float] = []
    seen = list(follow(context, wait_s=0.05, over=never, pause=waited.append))
    assert [each.fresh for each in seen[:2]] == [True, False]
    assert all(0 < seconds <= 0.05 for seconds in waited)


def test_a_run_that_is_over_is_waited_for_not_at_all(lives: Start) -> None:
    context, _ = lives([[status(10), status(10, finished="rounds")]])
    seen = list(follow(context, wait_s=60.0, over=never, pause=pytest.fail))
    assert [each.note for each in seen] == ["", ""]


def test_nor_one_whose_end_only_the_journal_tells(lives: Start) -> None:
    context, _ = lives([[status(10)]])
    assert len(list(follow(context, wait_s=60.0, over=lambda: True, pause=pytest.fail))) == 1


def test_without_a_terminal_only_changes_are_said(lives: Start, capsys: pytest.CaptureFixture[str]) -> None:
    alert = {"name": "DiskFilling", "severity": "warning", "since": 0.0, "text": "little", "cure": "make room"}
    context, _ = lives([[status(3), status(3), status(3, alerts=[alert]), status(4), status(5, last_round=12)]])
    status_watch.watch(context, wait_s=0, over=never, draw=lambda *_: pytest.fail("drawn"))
    assert capsys.readouterr().out.splitlines() == [
        "round 3 of 10: report, 1 of 2 updates",
        "round 3 of 10: report, 1 of 2 updates; warning: DiskFilling",
        "round 4 of 10: report, 1 of 2 updates",
        "round 5 of 12: report, 1 of 2 updates",
    ]


def test_as_json_every_status_is_a_line(lives: Start, capsys: pytest.CaptureFixture[str]) -> None:
    context, _ = lives([[status(3), status(3), status(4)]])
    status_watch.watch(
        CommandContext(context.folder, json=True), wait_s=0, over=never, draw=lambda *_: pytest.fail("drawn")
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"running": True, **status(number)} for number in (3, 3, 4)]


def test_pictures_are_as_many_as_an_eye_follows_but_no_news_is_left_out() -> None:
    times = iter([0.0, 0.01, 0.02, 0.03, 0.04, 1.0, 1.01])
    notes = ["", "", "gone", "gone", "", "", ""]
    seen = [LastStatus({"at": at}, note) for at, note in enumerate(notes)]
    assert [each.status["at"] for each in thinned(seen, clock=lambda: next(times))] == [0, 2, 4, 5]
    assert FRAME_S < 1.0


def test_one_client_and_its_refusals(lives: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        assert cli.run(["status", "--watch", "--client", "a", "--dir", short, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["key"] == "--client"
