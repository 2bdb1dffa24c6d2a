"""Talking to a running server: one JSON line each way through the socket in its state directory."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from roughfed.deploy.cli.command import NOT_RUNNING
from roughfed.errors import ConfigError, RoughfedError
from roughfed.lock import wait_until_free
from roughfed.transport.names import SOCKET

ANSWER_S = 20.0
MOMENT_S = 600.0
"""The answer to a backup takes as long as the copy of a large journal."""


class NotRunning(ConfigError):
    """No server runs on this directory."""

    reason = "not-running"
    exit_code = NOT_RUNNING


class Refused(RoughfedError):
    """The server answered with an error."""

    def __init__(self, message: str, *, reason: str, cure: str = "", exit_code: int = 1) -> None:
        """All as the server gave them."""
        self.reason, self.cure, self.exit_code = reason, cure, exit_code
        super().__init__(message)


def is_running(folder: Path) -> bool:
    """Whether a server answers on this directory."""
    try:
        with _connected(folder):
            return True
    except NotRunning:
        return False


def ask(folder: Path, op: str, **arguments: object) -> dict[str, Any]:
    """One question, one answer.

    Args:
        folder: `--dir` of the server.
        op: status, pause, resume, stop, revoke, release, rotate or renew.
        **arguments: of the operation.

    Raises:
        NotRunning: nobody answers there.
        Refused: the server says no.
    """
    with _connected(folder) as stream:
        stream.write(json.dumps({"op": op, **arguments}) + "\n")
        stream.flush()
        return _answer(folder, stream.readline())


def watch(folder: Path) -> Iterator[dict[str, Any]]:
    """The server's status at every change, until it ends.

    Raises:
        NotRunning: nobody answers there.
    """
    with _connected(folder) as stream:
        stream.write('{"op": "watch"}\n')
        stream.flush()
        yield _answer(folder, stream.readline())
        while (line := stream.readline()).endswith("\n"):  # a part of one: the server was killed as it wrote
            yield _answer(folder, line)


@contextmanager
def moment(folder: Path) -> Generator[dict[str, Any]]:
    """What a running server holds still for a backup ("about", "files"), for as long as the block runs.

    Raises:
        NotRunning: nobody answers there.
        Refused: the server says no.
    """
    with _connected(folder, patience_s=MOMENT_S) as stream:
        stream.write('{"op": "backup"}\n')
        stream.flush()
        yield _answer(folder, stream.readline())


def wait_until_gone(folder: Path) -> None:
    """Return when the server that runs here has let go of the directory, or at once if none does."""
    with suppress(NotRunning):
        for _ in watch(folder):
            pass
    wait_until_free(folder / "state")


@contextmanager
def _connected(folder: Path, *, patience_s: float = ANSWER_S) -> Generator[TextIO]:
    path = folder / "state" / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise _not_running(folder) from None
        except OSError as error:  # not ours to open, or a path too long for a socket
            raise ConfigError(
                f"cannot reach the server: {error.strerror or error}",
                file=str(path),
                cure="be the user that started the server, or choose a shorter --dir",
            ) from None
        with connection.makefile("rw", encoding="utf-8") as stream:
            try:
                yield stream
            except (ConnectionError, TimeoutError):
                raise NotRunning("the server went away before it answered", file=str(folder)) from None


def _not_running(folder: Path) -> NotRunning:
    if not (folder / "fed.toml").exists():
        return NotRunning(
            "this is no directory of a server",
            file=str(folder.absolute()),
            cure="name it with --dir, or make one: roughfed init",
        )
    return NotRunning("no server runs on this directory", file=str(folder.absolute()), cure="start it: roughfed server")


def _answer(folder: Path, line: str) -> dict[str, Any]:
    if not line.endswith("\n"):
        raise NotRunning("the server went away before it answered", file=str(folder))
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise Refused(
            str(answer["error"]),
            reason=str(answer.get("reason", "refused")),
            cure=str(answer.get("cure", "")),
            exit_code=int(answer.get("exit_code", 1)),
        )
    return answer
