"""`roughfed status --watch` on a real terminal while a real server dies, comes back and finishes; then its traces."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from roughfed.client.members.enrol import enroll
from roughfed.crypto import join_line
from roughfed.errors import IdentityError
from roughfed.server.trace.recorder import FOLDER
from tests.trace_format import check

from .federation import Cluster, environment, value
from .process import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
"""The terminal's second screen, which programs take for themselves, and the way back."""
SHOW_CURSOR = "\x1b[?25h"


class Terminal:
    """A pseudo-terminal of 80 x 24 with one program on it."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        argv = [sys.executable, "-m", "roughfed.deploy.cli", *arguments]
        env = environment() | {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self._process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)
        self.output = ""

    def until(self, words: str) -> None:
        """Read until these words were shown; colours and moves of the cursor may lie between them."""
        wanted, begin = re.compile(r"(?:\x1b\[[0-9;?]*[a-zA-Z])*".join(map(re.escape, words))), len(self.output)
        deadline = time.monotonic() + PATIENCE_S
        while not wanted.search(self.output, max(0, begin - 200)):
            assert self._read(deadline - time.monotonic()), f"{words!r} was not shown: {self.output[-2000:]!r}"

    def _read(self, patience_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, patience_s))
        data = b""
        with suppress(OSError):  # the program has ended
            data = os.read(self._master, 65536) if ready else b""
        self.output += data.decode(errors="replace")
        return bool(data)

    def ended(self) -> int:
        """Its exit code, once everything that it wrote is read."""
        while self._read(PATIENCE_S):
            pass
        return self._process.wait(PATIENCE_S)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)


@contextmanager
def watching(cluster: Cluster) -> Iterator[Terminal]:
    terminal = Terminal("status", "--watch", "--dir", str(cluster.place.folder))
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_watch_lives_through_a_restart_and_leaves_a_clean_terminal(tmp_path: Path) -> None:
    with Cluster(tmp_path, rounds=2) as cluster:
        cluster.start_server().ready()
        with watching(cluster) as first, watching(cluster) as second:
            for terminal in (first, second):
                terminal.until("waiting: 0 of 3 clients")
                assert ENTER in terminal.output
            second.interrupt()
            assert second.ended() == 130
            assert second.output.rindex(LEAVE) > second.output.rindex(ENTER)
            assert second.output.rindex(SHOW_CURSOR) > second.output.rindex("clients")

            cluster.server.kill()
            first.until("the server went away at")
            cluster.restart_server()
            first.until("the server is back")
            cluster.start_clients(pace_s=0.3)  # longer than `roughfed.client.outbox.PHASE_S`
            assert first.ended() == 0
            screen, _, after = first.output.rpartition(LEAVE)
            assert "updates" in screen
            assert "2 committed" in after
        assert cluster.server.wait() == 0
        check_traces(cluster)


def check_traces(cluster: Cluster) -> None:
    """Every round of the run: valid, with what each client did and sent."""
    size = cluster.params * 4
    for number in (1, 2):
        found = check((cluster.place.state / FOLDER / f"{number}.json").read_bytes())
        names = {(e["pid"], e["tid"]): e["args"]["name"] for e in found["traceEvents"] if e["name"] == "thread_name"}
        seen = {(names[e["pid"], e["tid"]], e["name"]): e for e in found["traceEvents"] if e["ph"] != "M"}
        (whole,) = [e for (line, _), e in seen.items() if line == "round"]
        for name in cluster.names:
            assert {(name, what) for what in ("training", "receipt", "accepted")} <= set(seen)
            assert seen[f"{name} transfers", "upload"]["args"]["bytes"] == size
            training = seen[name, "training"]
            assert whole["ts"] <= training["ts"] <= training["ts"] + training["dur"] <= whole["ts"] + whole["dur"]
        assert {phase for line, phase in seen if line == "phases"} >= {"configure", "report", "aggregate", "commit"}
        assert found["otherData"]["outcome"] == "committed"


def test_what_is_wrong_is_in_the_status_the_metrics_and_the_log(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=1) as cluster:
        cluster.start_server().ready()
        line = join_line.parse(cluster.invite("c0"))
        guessed = replace(line, secret=bytes(len(line.secret)))
        with cluster.watch() as watch:
            watch.until(lambda status: status["alerts"] == [])
            for number in range(3):
                with pytest.raises(IdentityError):
                    asyncio.run(enroll(guessed, tmp_path / f"guess-{number}"))
            status = watch.until(lambda status: bool(status["alerts"]))
        (alert,) = status["alerts"]
        assert (alert["name"], alert["severity"]) == ("EnrolmentRefused", "warning")
        assert "3 requests to enrol" in alert["text"]
        assert "roughfed invite" in alert["cure"]
        cluster.server.wait_line("alert EnrolmentRefused: 3 requests")
        assert value(cluster.page("/metrics"), "roughfed_alert", alert="EnrolmentRefused", severity="warning") == 1
