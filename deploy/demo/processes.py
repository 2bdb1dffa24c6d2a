"""The demo's child processes: started from lists, logged to files, watched for their end, ended by their id."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from roughfed.errors import RoughfedError

LAST_LINES = 15
LAST_BYTES = 16 * 1024
FAREWELL_S = 30.0
"""Between the end of one process after the run, and the next."""

END_S = 8.0
"""Between SIGTERM and SIGKILL: an agent gives its trainer up to 6 s."""


class ProcessDied(RoughfedError):
    """A process of the demo ended when it should not have."""

    reason = "process-died"

    def __init__(self, name: str, code: int, log: Path) -> None:
        """Its name, its exit status (negative: a signal) and the end of its log."""
        self.name, self.code, self.log = name, code, log
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        super().__init__(f"{name} {how}; the end of {log}:\n{tail(log)}")


class Process:
    """One child. Its output goes to its log; `on_output` is called whenever it wrote to its standard output."""

    def __init__(self, name: str, log: Path, child: asyncio.subprocess.Process, on_output: Callable[[], None]) -> None:
        """Use `Processes.start`."""
        self.name, self.log = name, log
        self._child, self._on_output = child, on_output
        self.ending = asyncio.create_task(self._follow())

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            self._child.terminate()

    def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._child.kill()

    async def _follow(self) -> int:
        if self._child.stdout is not None:
            with self.log.open("ab", buffering=0) as log:
                while written := await self._child.stdout.read(1 << 16):
                    log.write(written)
                    self._on_output()
        return await self._child.wait()


class Processes:
    """All children of one demo. Leaving the context ends those that still run."""

    def __init__(self) -> None:
        """None yet."""
        self._all: list[Process] = []
        self._open: set[Process] = set()  # whose end nobody has looked at
        self._ended: asyncio.Queue[Process] = asyncio.Queue()

    async def __aenter__(self) -> Processes:
        """Nothing is started."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End those that still run."""
        await self.end()

    async def end(self) -> None:
        """SIGTERM to all that run, SIGKILL to those that do not listen."""
        running = [p for p in self._all if not p.ending.done()]
        if not running:
            return
        for process in running:
            process.terminate()
        try:
            await asyncio.wait([p.ending for p in running], timeout=END_S)
        finally:  # a second Ctrl-C comes here at once
            for process in running:
                process.kill()
        await asyncio.wait([p.ending for p in running])

    async def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        on_output: Callable[[], None] | None = None,
    ) -> Process:
        """Start one, in a session of its own: a Ctrl-C of the terminal reaches the demo, which ends them in order."""
        with log.open("ab") as file:
            child = await asyncio.create_subprocess_exec(
                *argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if on_output else file,
                stderr=file,
                env=os.environ | env,
                start_new_session=True,
            )
        process = Process(name, log, child, on_output or (lambda: None))
        process.ending.add_done_callback(lambda _: self._ended.put_nowait(process))
        self._all.append(process)
        self._open.add(process)
        return process

    async def all_ended(self, is_over: Callable[[], bool], *, until: Collection[str] | None = None) -> None:
        """Return when every process has ended, as it should: with status 0, and not before the run is over.

        Whoever did not hear the server's farewell would look for it for ever: it has `FAREWELL_S` from the first end.

        Args:
            is_over: whether the run is.
            until: return when those of these names have ended; the others go on.

        Raises:
            ProcessDied: one did not.
        """
        while any(until is None or process.name in until for process in self._open):
            try:
                process = await asyncio.wait_for(self._ended.get(), FAREWELL_S if is_over() else None)
            except TimeoutError:
                return
            self._open.discard(process)
            code = process.ending.result()
            if code or not is_over():
                raise ProcessDied(process.name, code, process.log)


def tail(log: Path) -> str:
    """The last lines of a log."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (it is empty)"
    return "  (it cannot be read)"
