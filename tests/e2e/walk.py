"""Command lines as a user types them, in a folder of their own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = {"python": [sys.executable], "roughfed": [sys.executable, "-m", "roughfed.deploy.cli"]}


class Walk:
    """Processes started in one folder; whatever still runs at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, line: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end."""
        argv, env = self._words(line)
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, (line, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, line: str, *, code: int = 0) -> dict[str, object]:
        """Run it with --json; the last line of stdout."""
        return json.loads(self.run(f"{line} --json", code=code).stdout.splitlines()[-1])

    def start(self, line: str, *, at: str = ".") -> subprocess.Popen[str]:
        """Start a command line, in a folder below this one."""
        argv, env = self._words(line)
        log = (self.folder / f"stderr-{len(self._processes)}.log").open("w")
        with log:
            pipe, where = subprocess.PIPE, self.folder / at
            process = subprocess.Popen(
                argv, cwd=where, env=env, stdout=pipe, stderr=log, text=True, start_new_session=True
            )
        self._processes.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()}" for p in sorted(self.folder.glob("stderr-*.log")))

    def close(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whom it started: they hold its output open
            process.communicate()

    def _words(self, line: str) -> tuple[list[str], dict[str, str]]:
        """`NAME=VALUE roughfed ...` or `NAME=VALUE python ...` as a shell would take it."""
        words, env = shlex.split(line), dict(os.environ)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            env[name] = value
        return [*PROGRAMS[words[0]], *words[1:]], env


class Shell(Walk):
    """The same through a shell: lines as they stand in a document, comments and all."""

    def __init__(self, folder: Path) -> None:
        """Make `roughfed` a command."""
        super().__init__(folder)
        self._bin = folder / ".bin"
        self._bin.mkdir()
        (self._bin / "roughfed").write_text(f'#!/bin/sh\nexec {sys.executable} -m roughfed.deploy.cli "$@"\n')
        (self._bin / "roughfed").chmod(0o755)

    def _words(self, line: str) -> tuple[list[str], dict[str, str]]:
        env = {name: text for name, text in os.environ.items() if not name.startswith("ROUGHFED_")}
        return ["sh", "-c", line], env | {"PATH": f"{self._bin}:{env['PATH']}"}


@contextmanager
def walking() -> Iterator[Walk]:
    """A folder for a walk, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rf-") as short:  # pytest's own folders are too long for a socket
        walk = Walk(Path(short))
        try:
            yield walk
        finally:
            walk.close()


def lines_until(process: subprocess.Popen[str], word: str, walk: Walk) -> list[str]:
    """Lines of its stdout up to the one that holds `word`."""
    seen: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if word in line:
            return seen
    raise AssertionError(f"{word!r} never came: {seen}\n{walk.logs()}")
