"""All processes of one peer: started with a mark in their environment, measured, and ended by their ids.

Peers start processes of their own, some of which outlive who started them; what marks them all is an environment
variable that they inherit. Processor seconds are a process's own and those of its ended children that it waited for.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from roughfed.deploy.speed.measure import ProcessTrack, own_bytes
from roughfed.errors import RoughfedError

MARK = "ROUGHFED_BENCH_PEER"
SERVER, CLIENT, TOOL = "server", "client", "tool"
SAMPLE_S, POLL_S, GRACE_S = 0.2, 0.2, 5.0
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True, slots=True)
class CrewProcess:
    """A process of the crew: ids come again, with another start."""

    started: int
    part: str


@dataclass
class Crew:
    """Starts, measures and ends; `with Crew(...) as crew`.

    Attributes:
        folder: where logs go.
        environment: of every process.
        timeout_s: for all that is waited for, from the crew's beginning.
        track: processor seconds of all parts but tools, sampled.
        server_peak: highest bytes of the server's processes together.
    """

    folder: Path
    environment: Mapping[str, str]
    timeout_s: float
    track: ProcessTrack = field(default_factory=ProcessTrack)
    server_peak: int = 0

    def __post_init__(self) -> None:
        """Nothing runs yet."""
        self.token = secrets.token_hex(8)
        self.deadline = time.monotonic() + self.timeout_s
        self.roots: dict[str, subprocess.Popen[bytes]] = {}
        self.tools: set[str] = set()
        self.known: dict[int, CrewProcess] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="crew", daemon=True)

    def __enter__(self) -> Crew:
        """Begin to measure."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self._done.set()
        self._thread.join()
        self._end()

    def start(self, part: str, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process whose words go to NAME.log."""
        environment = {**self.environment, MARK: f"{self.token}/{part}"}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.roots[name] = process
        return process

    def play(self, name: str, command: Sequence[str]) -> str:
        """Run a tool to its end, with an eye on all others.

        Returns:
            what it printed.

        Raises:
            RoughfedError: it failed, another process ended meanwhile, or the time is over.
        """
        self.tools.add(name)
        tool = self.start(TOOL, name, command)
        self.wait(lambda: tool.poll() is not None, f"{name} to end", last=name)
        if tool.returncode:
            raise RoughfedError(f"{name} ended with {tool.returncode}: {self.last_words(name)}")
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait(self, ready: Callable[[], bool], what: str, *, last: str) -> None:
        """Wait until it is so; `last` names the process whose words tell why it is not.

        Raises:
            RoughfedError: a tool failed, another process ended at all, or the time is over.
        """
        while not ready():
            for name, process in self.roots.items():
                code = process.poll()
                if code or (code == 0 and name not in self.tools):
                    raise RoughfedError(f"{name} ended with {code}: {self.last_words(name)}")
            if time.monotonic() > self.deadline:
                raise RoughfedError(f"waited {self.timeout_s:.0f} s for {what}: {self.last_words(last)}")
            self._done.wait(POLL_S)

    def last_words(self, name: str) -> str:
        """The last line of its log."""
        with suppress(OSError, IndexError):
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            return [line.strip() for line in text.splitlines() if line.strip()][-1]
        return "it said nothing"

    def members(self) -> dict[int, CrewProcess]:
        """All processes that carry the mark, and those that did and wait for their parents."""
        found: dict[int, CrewProcess] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(*GONE):
                    if (seen := self._member(int(entry.name))) is not None:
                        found[int(entry.name)] = seen
        self.known.update(found)
        return found

    def _member(self, pid: int) -> CrewProcess | None:
        started = int(stat_of(pid)[19])
        if (known := self.known.get(pid)) is not None and known.started == started:
            return known
        prefix = f"{MARK}={self.token}/".encode()
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(prefix):
                return CrewProcess(started, variable.removeprefix(prefix).decode())
        return None

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_S):
            seconds, resident = 0.0, 0
            for pid, seen in self.members().items():
                if seen.part == TOOL:
                    continue
                with suppress(*GONE):
                    seconds += seconds_of(pid)
                with suppress(*GONE, KeyError):  # one that has ended holds nothing
                    resident += own_bytes(pid) if seen.part == SERVER else 0
            self.track.times.append(time.time())
            self.track.cpu.append(seconds)
            self.server_peak = max(self.server_peak, resident)

    def _end(self) -> None:
        """Ask those that we started, then kill all that is left, by id."""
        for process in self.roots.values():
            process.terminate()
        end = time.monotonic() + GRACE_S
        for process in self.roots.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.1, end - time.monotonic()))
        end = time.monotonic() + GRACE_S
        while (living := [pid for pid in self.members() if alive(pid)]) and time.monotonic() < end:
            for pid in living:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.roots.values():
                process.poll()
            threading.Event().wait(POLL_S)


def alive(pid: int) -> bool:
    """Whether a process runs: not gone, and not waiting for its parent."""
    try:
        return stat_of(pid)[0] not in "ZX"
    except GONE:
        return False


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # its name may hold spaces


def seconds_of(pid: int) -> float:
    """User + system seconds of a process and of its ended children."""
    return sum(map(int, stat_of(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int, host: str) -> list[int]:
    """Ports that were free just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts a connection."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False
