"""Processes that these tests start, and what they print."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from roughfed.server.app import Ports

from .forked import Forked, can_fork

PATIENCE_S = 30.0
"""Nothing that a test waits for takes longer, unless the test says so; the machine may be busy with other things."""

STACKS_S = 5.0
"""A process that is ended because it hangs has this long to print the stacks of its threads."""


def start(args: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a program afresh."""
    pipe = subprocess.PIPE
    return subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True)


class Process:
    """A child whose output is kept as lines; `afresh`: not forked, so that it imports for itself, as for a user."""

    def __init__(self, name: str, args: Sequence[str], env: Mapping[str, str], *, afresh: bool = False) -> None:
        self.name, self.lines = name, list[str]()
        self.started = time.monotonic()
        self._news = threading.Condition()
        self._over = False
        self._child = start(args, env) if afresh or not can_fork(args, env) else Forked(args, env)
        self._reader = threading.Thread(target=self._read, name=f"read-{name}")
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def queued_s(self) -> float:
        """Seconds in which its first thread could have run while others had the processors: the machine was busy."""
        _, queued_ns, _ = Path(f"/proc/{self.pid}/schedstat").read_text().split()
        return int(queued_ns) / 1e9

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def find(self, text: str) -> list[str]:
        """The lines that hold a text."""
        with self._news:
            return [line for line in self.lines if text in line]

    def wait_line(self, text: str, *, count: int = 1, timeout_s: float = PATIENCE_S) -> str:
        """The `count`-th line that holds a text, as soon as it is there."""

        def there() -> bool:
            return self._over or sum(text in line for line in self.lines) >= count

        with self._news:
            assert self._news.wait_for(there, timeout_s), self.report(f"{text!r} was not said in {timeout_s} s")
            found = [line for line in self.lines if text in line]
            assert len(found) >= count, self.report(f"ended before it said {text!r}")
            return found[count - 1]

    def wait(self, *, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status once it has ended (minus the number of the signal that killed it)."""
        try:
            status = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)  # where it hangs: `faulthandler` says it of every thread
            self._reader.join(STACKS_S)
            raise AssertionError(self.report(f"still running after {timeout_s} s", last=80)) from None
        self._reader.join(PATIENCE_S)
        return status

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self._child.kill()
        self.wait()

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def close(self) -> None:
        """Leave nothing behind."""
        self._child.kill()
        self._child.wait()
        self._reader.join(PATIENCE_S)
        if self._child.stdout is not None:
            self._child.stdout.close()

    def report(self, what: str, *, last: int = 25) -> str:
        """A sentence for an assertion, with the last lines of the process."""
        return f"{self.name} {what}; its last lines:\n" + "\n".join(self.lines[-last:])


class Server(Process):
    """A server process."""

    def ready(self) -> Ports:
        """Its ports, once they are open."""
        line = self.wait_line("listening {")
        return Ports(**json.loads(line.removeprefix("listening ")))
