"""Commands that talk to a running server, against a socket that answers like one."""

import json
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from roughfed.config.federation import FederationConfig, Privacy
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.status_table import STAGES, StatusView, draw_ended
from roughfed.secagg.server import Stage
from roughfed.server.storage.store import Store
from roughfed.transport import control_socket

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "run": "lab-1",
    "federation": "lab",
    "server_sees": "updates",
    "phase": "report",
    "round": 3,
    "rounds": 10,
    "model_version": 2,
    "model_digest": "00" * 32,
    "parameters": 55210,
    "finished": None,
    "paused": False,
    "uptime_s": 61.0,
    "round_seconds": 2.0,
    "upload_bytes": 2048,
    "download_bytes": 3 << 20,
    "accuracy": 0.936,
    "balanced_accuracy": 0.93,
    "loss": 0.1,
    "needed": {"goal": 2, "quorum": 2},
    "min_clients": 2,
    "clients": [
        {"name": "a", "connected": True, "state": "training", "progress": 0.5, "device": "cpu", "in_cohort": True},
        {"name": "b", "connected": True, "state": "received", "progress": 0.0, "device": "cuda:0", "in_cohort": True},
        {"name": "[red]c", "connected": False, "state": "gone", "progress": 0.0, "device": "", "in_cohort": False},
    ],
}


class FakeServer:
    """Answers one line for each request; a watch gets as many lines as are scripted, and then the end."""

    def __init__(self, folder: Path, answers: dict[str, list[dict[str, Any]]]) -> None:
        (folder / "state").mkdir()
        (folder / "fed.toml").touch()
        self.requests: list[dict[str, Any]] = []
        self._answers = answers
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(folder / "state" / control_socket.SOCKET))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, connection.makefile("rw") as stream:
                    if not (line := stream.readline()):
                        continue
                    self.requests.append(request := json.loads(line))
                    for answer in self._answers[request["op"]]:
                        stream.write(json.dumps(answer) + "\n")
                    stream.flush()


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-") as short:  # pytest's own folders are too long for a socket
        yield Path(short)


@pytest.fixture
def server(folder: Path) -> Iterator[FakeServer]:
    answers = {
        "status": [STATUS],
        "watch": [STATUS, STATUS | {"round": 4}],
        "pause": [{"paused": True}],
        "resume": [{"paused": False}],
        "stop": [{"stopping": True}],
        "revoke": [{"error": "the disk is full", "reason": "storage"}],
    }
    fake = FakeServer(folder, answers)
    yield fake
    fake.close()


def test_status_is_the_servers_answer(server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--dir", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"running": True, **STATUS}
    assert server.requests == [{"op": "status"}]


def test_status_for_people(server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["status", "--dir", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in ("lab-1, up 1 min 1 s", "3 of 10", "1 of 2 updates, 2 are enough", "93.6 %", "training 50 %"):
        assert words in out
    assert "[red]c" in out  # a peer's name is text, not markup


def test_watch_prints_every_change_and_then_what_the_journal_says(
    server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Store(folder / "state")):
        pass  # no run yet
    code = cli.run(["status", "--watch", "--wait", "0", "--dir", str(folder), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("round") for line in lines[:2]] == [3, 4]
    assert code == 0
    assert lines[-1] == {"running": False, "run": None}


@pytest.mark.parametrize(("op", "answer"), [("pause", {"paused": True}), ("resume", {"paused": False})])
def test_pause_and_resume(
    op: str, answer: dict[str, bool], server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([op, "--dir", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert server.requests == [{"op": op}]


def test_stop_waits_for_the_end(server: FakeServer, folder: Path) -> None:
    assert cli.run(["stop", "--dir", str(folder)]) == 0
    assert [request["op"] for request in server.requests] == ["stop", "watch"]


def test_stop_need_not_wait(server: FakeServer, folder: Path) -> None:
    assert cli.run(["stop", "--no-wait", "--dir", str(folder)]) == 0
    assert [request["op"] for request in server.requests] == ["stop"]


def test_a_refusal_keeps_its_reason(server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["revoke", "a", "--dir", str(folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "storage"
    assert server.requests[-1] == {"op": "revoke", "name": "a"}


def test_a_second_server_is_refused_before_it_does_anything(
    server: FakeServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fed.toml").write_text("[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    assert cli.run(["server", "--dir", str(folder), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["cure"] == "roughfed stop"
    assert not (folder / "state" / "journal.db").exists()


@pytest.mark.parametrize("op", ["status", "pause", "resume", "stop"])
def test_nobody_there_is_6(op: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([op, "--dir", str(folder), "--json"]) == 6
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["reason"], "roughfed init" in error["cure"]) == ("not-running", True)
    (folder / "fed.toml").touch()
    assert cli.run([op, "--dir", str(folder)]) == 6
    assert "hint: start it: roughfed server" in capsys.readouterr().err


def test_a_socket_that_a_killed_server_left_is_nobody(folder: Path) -> None:
    FakeServer(folder, {}).close()
    assert (folder / "state" / control_socket.SOCKET).exists()
    assert not control_socket.is_running(folder)


def test_a_taken_port_is_said_before_the_worker_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "fed.toml").write_text("[server]\nhost = '127.0.0.1'\n[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.run(["server", "--dir", str(folder), "--port", str(port), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["key"] == "server.port"
    assert "Address already in use" in error["cause"]
    assert not (folder / "state").exists()


def drawn(**changes: Any) -> str:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(StatusView(STATUS | changes, 0.0))
    return console.export_text()


def test_a_masked_round_shows_its_stage_and_who_is_out() -> None:
    text = drawn(
        server_sees="sketches",
        stage="sketching",
        quarantined={"eve": "false-sketch"},
        accuracy=0.5,
        measured_by="clients",
    )
    assert "3 of 10; sketches come in, 1 of 2 updates" in text
    assert "the server sees sketches" in text
    assert re.search(r"^eve +quarantined +proved: its sketch is not that of its update", text, re.MULTILINE)
    assert "on the clients' data together" in text
    assert set(STAGES) == {"advertising", *(stage.name.lower() for stage in Stage)}


def test_an_ended_server_still_says_who_is_out(capsys: pytest.CaptureFixture[str]) -> None:
    ended = {
        "run": "lab-1",
        "finished": "rounds",
        "rounds_committed": 3,
        "rounds_abandoned": 0,
        "best_version": None,
        "model_version": 3,
        "parameters": 10,
        "accuracy": None,
        "quarantined": {"eve": "bad-deal"},
    }
    Console(width=100).print(draw_ended(ended, {}))
    out = capsys.readouterr().out
    assert re.search(r"^eve +quarantined +proved: dealt shares of something else than it committed", out, re.MULTILINE)


def test_a_waiting_server_says_for_whom() -> None:
    words = FederationConfig(privacy=Privacy(server_sees="sketches")).waiting(1)
    text = drawn(needed=None, waiting=words)
    assert "waiting: 1 of 4 clients; for fewer set privacy.server_sees to updates" in text


def test_a_paused_server_says_so() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(StatusView(STATUS | {"paused": True, "needed": None, "clients": []}, 0.0))
    text = console.export_text()
    assert "report (paused)" in text
    assert "roughfed invite NAME" in text
