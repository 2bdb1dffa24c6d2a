"""The operator's socket: nobody else's, of limited lines; a refusal is said, and the end frees everybody."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roughfed.errors import StorageError
from roughfed.transport import control_socket as module
from roughfed.transport.control_socket import MAX_REQUEST, NotRunning, Refused, ask, control_socket, is_running, send
from roughfed.transport.names import SOCKET


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with state/; pytest's own are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="rf-") as short:
        (Path(short) / "state").mkdir()
        yield Path(short)


async def echo(request: module.Request) -> dict[str, Any]:
    return {"heard": request["said"]}


async def refuse(_: module.Request) -> dict[str, Any]:
    raise StorageError("the disk is full")


async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await send(writer, {"holding": True})
    await asyncio.Event().wait()


OPERATIONS = {"echo": echo, "refuse": refuse}


def test_who_asks_is_answered_or_told_why_not(folder: Path) -> None:
    def questions() -> None:
        assert is_running(folder)
        assert ask(folder, "echo", said="a word") == {"heard": "a word"}
        with pytest.raises(Refused, match="the disk is full") as refused:
            ask(folder, "refuse")
        assert (refused.value.reason, refused.value.exit_code) == ("storage", 4)
        with pytest.raises(Refused, match=r"no operation 'x{40}' here") as refused:
            ask(folder, "x" * 5000)
        assert (refused.value.reason, refused.value.exit_code) == ("operation", 2)

    async def scenario() -> int:
        async with control_socket(folder / "state", OPERATIONS):
            mode = (folder / "state" / SOCKET).stat().st_mode & 0o777
            await asyncio.to_thread(questions)
            return mode

    assert asyncio.run(scenario()) == 0o600
    assert not (folder / "state" / SOCKET).exists()
    assert not is_running(folder)
    with pytest.raises(NotRunning):
        ask(folder, "echo", said="")


@pytest.mark.parametrize("line", [b"x" * (MAX_REQUEST + 2), b"[]\n", b"no JSON\n", b'"echo"\n', b"\xff\n"])
def test_what_is_no_request_ends_its_connection_alone(folder: Path, line: bytes) -> None:
    async def scenario() -> dict[str, Any]:
        async with control_socket(folder / "state", OPERATIONS):
            reader, writer = await asyncio.open_unix_connection(folder / "state" / SOCKET)
            writer.write(line)
            assert await reader.read() == b""
            writer.close()
            return await asyncio.to_thread(ask, folder, "echo", said=1)

    assert asyncio.run(scenario()) == {"heard": 1}


def test_the_end_lets_go_of_whoever_still_looks_and_a_socket_that_was_left_is_replaced(folder: Path) -> None:
    (folder / "state" / SOCKET).touch()

    async def scenario() -> tuple[dict[str, Any], bytes]:
        async with control_socket(folder / "state", {}, {"hold": hold}):
            reader, writer = await asyncio.open_unix_connection(folder / "state" / SOCKET)
            await send(writer, {"op": "hold"})
            first = json.loads(await reader.readline())
        rest = await reader.read()
        writer.close()
        return first, rest

    assert asyncio.run(scenario()) == ({"holding": True}, b"")


@pytest.mark.parametrize("heard", [False, True], ids=["at once", "after the question"])
def test_one_that_goes_away_as_it_is_asked_is_not_running(folder: Path, heard: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(folder / "state" / SOCKET))
        door.listen()

        def leave() -> None:
            connection, _ = door.accept()
            if heard:
                connection.recv(MAX_REQUEST)
            connection.close()

        thread = threading.Thread(target=leave)
        thread.start()
        with pytest.raises(NotRunning, match="went away"):
            ask(folder, "echo", said="x" * (1 << 20))
        thread.join()
