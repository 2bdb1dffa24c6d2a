"""Python processes for these tests without the seconds that each would spend on importing the same code.

One process, started afresh, imports the code, loads the kernels of masked rounds and runs nothing else; from there
every other one is forked before it does anything. What a test starts is a process of its own as ever: its memory,
files, signals and end are nobody else's.

Run as a program, this file is that process. It reads requests from a socket (a JSON line, beside it the file descriptor
for the output) and writes back who was started and who has ended.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import itertools
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from roughfed.codec.chain import warm
from roughfed.codec.plan import plan_lanes

IMPORTED = (
    "tests.e2e.synthetic_process",
    "roughfed.deploy.attack.__main__",
    "roughfed.deploy.cli.app",
    "roughfed.deploy.aggregator",
    "roughfed.deploy.agent",
    "roughfed.deploy.audit.active.__main__",
    "roughfed.server.app",
    "roughfed.client.runner",
)
"""Not torch, which only trainers have."""

WARM_BITS = (8, 16)
"""Lanes of masked rounds."""

LARGEST = 1 << 20
"""Bytes of a request: the environment and the arguments."""

Answers = Mapping[str, Any]


class Forked:
    """A process as `subprocess.Popen` shows it, its output in `stdout`."""

    def __init__(self, args: Sequence[str], env: Mapping[str, str]) -> None:
        """Start `python -m MODULE ...` or `python -c CODE ...`."""
        reading, writing = os.pipe()
        self.stdout: IO[str] = os.fdopen(reading, encoding="utf-8", errors="replace")
        self._ended = threading.Event()
        self.returncode: int | None = None
        try:
            self.pid = nursery().start(self, args[1:], env, writing)
        finally:
            os.close(writing)

    def end(self, status: int) -> None:
        """It has ended with this status, minus the number of the signal that killed it."""
        self.returncode = status
        self._ended.set()

    def poll(self) -> int | None:
        """Its status; None while it runs."""
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Its status as soon as it has ended.

        Raises:
            TimeoutExpired: it has not.
        """
        if not self._ended.wait(timeout_s) or self.returncode is None:
            raise subprocess.TimeoutExpired("forked", timeout_s or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it, if it runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and its nursery is about to say so
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


def can_fork(args: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether such a process may be forked: this Python, a module or code, and no other place to import from.

    What counts is where the nursery imports from, which a test may have changed for what it starts since.
    """
    ours = [{k: v for k, v in each.items() if k.startswith("PYTHON")} for each in (env, nursery().environment)]
    return args[0] == sys.executable and args[1] in ("-m", "-c") and ours[0] == ours[1]


def importing() -> dict[str, str]:
    """The variable by which a process finds the modules of these tests, too."""
    places = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
    return {"PYTHONPATH": os.pathsep.join(place for place in places if place)}


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", **importing()}


@cache
def nursery() -> Nursery:
    """The one of this test run."""
    return Nursery()


class Nursery:
    """The process that others are forked from, seen from the tests."""

    def __init__(self) -> None:
        """Start it."""
        self._socket, theirs = socket.socketpair()
        self.environment = _environment()
        command = [sys.executable, __file__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, env=self.environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        self._numbers = itertools.count()
        self._started: dict[int, tuple[Forked, threading.Event]] = {}
        self._running: dict[int, Forked] = {}
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def start(self, child: Forked, args: Sequence[str], env: Mapping[str, str], output: int) -> int:
        """Fork; returns the process id."""
        number, begun = next(self._numbers), threading.Event()
        self._started[number] = (child, begun)
        request = json.dumps({"number": number, "args": list(args), "env": dict(env), "cwd": str(Path.cwd())})
        socket.send_fds(self._socket, [request.encode() + b"\n"], [output])
        assert begun.wait(60), "the nursery does not answer"
        return child.pid

    def _listen(self) -> None:
        with self._socket.makefile("r") as lines:
            for line in lines:
                told = json.loads(line)
                if "number" in told:
                    child, begun = self._started.pop(told["number"])
                    child.pid = told["pid"]
                    self._running[child.pid] = child
                    begun.set()
                else:
                    self._running.pop(told["pid"]).end(told["status"])


# -- the process itself ----------------------------------------------------------------------------------------------


def main(link: socket.socket) -> None:
    """Import, then fork as asked until the tests are over."""
    os.environ |= {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}  # before grpc, of which nothing is used
    for name in IMPORTED:
        importlib.import_module(name)
    for bits in WARM_BITS:
        warm(plan_lanes(4, bits=bits))
    gc.freeze()  # what is forked leaves the memory that it shares alone
    events = selectors.DefaultSelector()
    events.register(link, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is link:
                if (asked := _receive(link)) is None:
                    return
                request, output = asked
                if not (pid := os.fork()):
                    events.close()
                    link.close()
                    become(request, output)
                os.close(output)
                _say(link, number=request["number"], pid=pid)
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
            else:
                _, status = os.waitpid(key.data, 0)
                events.unregister(key.fd)
                os.close(key.fd)
                _say(link, pid=key.data, status=os.waitstatus_to_exitcode(status))


def _receive(link: socket.socket) -> tuple[dict[str, Any], int] | None:
    data, fds, _, _ = socket.recv_fds(link, LARGEST, 1)
    if not data:
        return None
    while not data.endswith(b"\n"):
        data += link.recv(LARGEST)
    return json.loads(data), fds[0]


def _say(link: socket.socket, **told: int) -> None:
    link.sendall(json.dumps(told).encode() + b"\n")


def become(request: Mapping[str, Any], output: int) -> None:
    """Be the process that was asked for; ends with SystemExit, as the interpreter does."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.enable()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    (kind, what, *rest) = request["args"]
    sys.argv = [what if kind == "-m" else kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    sys.exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        main(ours)
