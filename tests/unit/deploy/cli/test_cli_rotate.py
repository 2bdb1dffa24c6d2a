"""`roughfed rotate` in every kind of directory: whose key is new, what is said, what is refused and how."""

import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.members import credential_files, enrol
from roughfed.client.runner import answer_operator
from roughfed.crypto import join_line
from roughfed.crypto.key_file import read_private
from roughfed.deploy import aggregator
from roughfed.deploy.cli import app as cli
from roughfed.errors import ConfigError, IdentityError, Unreachable
from roughfed.lock import only_one
from roughfed.server.members.authority import Authority
from roughfed.server.members.server_credentials import Rotation, from_authority
from roughfed.server.transport import enrolment
from roughfed.server.transport.enrolment import EnrolmentService, default_limit
from roughfed.transport.control_socket import control_socket
from roughfed.transport.names import SOCKET

Operation = Callable[[], Awaitable[dict[str, Any]]]
NEW = {"rotated": "alice", "serial": "ab12", "expires_at": 1_800_000_000.0}


@pytest.fixture(autouse=True)
def own_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rf-") as short:  # pytest's own folders are too long for a socket
        yield Path(short)


@contextmanager
def running(state: Path, **operations: Operation) -> Iterator[None]:
    """A door at which these operations answer, beside whoever asks."""
    over, opened = threading.Event(), threading.Event()

    async def serve() -> None:
        async with control_socket(state, {name: lambda _, each=each: each() for name, each in operations.items()}):
            opened.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert opened.wait(10)
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def ca_of(folder: Path) -> Iterator[int]:
    """The enrolment port of a server's directory; its port."""
    over, ports = threading.Event(), list[int]()
    opened = threading.Event()

    async def serve() -> None:
        authority = Authority.open(folder / "state" / "ca")
        obtain = from_authority(authority, folder / "state" / "ca-papers", "ca")
        service = EnrolmentService(authority, ":1", default_limit())
        credentials = Rotation(await obtain(), obtain).credentials(client_auth=False)
        server, port = await enrolment.serve(service, "127.0.0.1:0", credentials=credentials)
        ports.append(port)
        opened.set()
        await asyncio.to_thread(over.wait)
        await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert opened.wait(10)
        yield ports[0]
    finally:
        over.set()
        thread.join()


def asked(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    code = cli.run(["rotate", *flags, "--dir", str(folder), "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def fed(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert cli.run(["init", "--dir", str(folder), "-o", "server.host=127.0.0.1"]) == 0
    capsys.readouterr()
    return folder


def enrolled_client(fed: Path, port: int) -> Path:
    """A directory of a client."""
    (place := fed / "alice").mkdir()
    (place / "client.toml").write_text('[model]\nname = "mlp"\n')
    line = aggregator.invite(fed, "alice", host="127.0.0.1", port=port)
    asyncio.run(enrol.enroll(join_line.parse(line.reveal()), place / "state" / "papers"))
    return place


@pytest.fixture
def client(fed: Path) -> Iterator[Path]:
    """A directory of a client, enrolled at the CA of `fed`, which answers."""
    with ca_of(fed) as port:
        yield enrolled_client(fed, port)


def test_a_server_that_never_ran_has_no_key(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = asked(capsys, fed)
    assert (code, answer["error"]["cure"]) == (2, "roughfed server")


def test_a_server_that_does_not_run_starts_with_another_key(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    papers = fed / "state" / "papers"
    obtain = from_authority(Authority.open(fed / "state" / "ca"), papers, "server")
    before = asyncio.run(obtain())
    assert asked(capsys, fed) == (0, {"rotated": ["papers"], "running": False})
    after = asyncio.run(obtain())
    assert after.tls_key == read_private(papers / "tls.key") != before.tls_key
    assert after.identity.public_key == before.identity.public_key
    with only_one(fed / "state", "server", cure="roughfed stop"):  # it starts just now
        code, answer = asked(capsys, fed)
    assert (code, answer["error"]["cure"]) == (2, "let the server finish starting, and try again")


def test_a_running_server_rotates_itself_or_says_why_it_cannot(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Any] = [NEW, Unreachable("the CA is away", cure="start it"), IdentityError("out", reason="revoked")]

    async def rotate() -> dict[str, Any]:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    with running(fed / "state", rotate=rotate):
        assert asked(capsys, fed) == (0, NEW | {"running": True})
        code, answer = asked(capsys, fed)
        assert (code, answer["error"]["reason"], answer["error"]["cure"]) == (6, "unreachable", "start it")
        code, answer = asked(capsys, fed)
        assert (code, answer["error"]["reason"]) == (3, "revoked")


def test_clients_are_asked_by_a_server_that_runs(fed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def renew() -> dict[str, Any]:
        return {"asked": ["a"], "away": ["b"]}

    code, answer = asked(capsys, fed, "--clients")
    assert (code, answer["error"]["reason"]) == (6, "not-running")
    with running(fed / "state", renew=renew):
        assert asked(capsys, fed, "a", "b") == (0, {"asked": ["a"], "away": ["b"]})
        assert cli.run(["rotate", "a", "b", "--dir", str(fed)]) == 0
        said = capsys.readouterr().out
    assert "asked for a new key: a" in said
    assert "away, and asked when they are back" in said


def test_a_client_that_does_not_run_goes_to_the_ca_itself(
    client: Path, fed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = credential_files.load(client / "state" / "papers")
    code, answer = asked(capsys, client)
    after = credential_files.load(client / "state" / "papers")
    assert (code, answer["rotated"], answer["running"]) == (0, "alice", False)
    assert after.tls_key != before.tls_key
    with only_one(client / "state", "client", cure=""):  # it runs, and has no door
        code, answer = asked(capsys, client)
        assert (code, answer["error"]["cure"].startswith("stop it first")) == (2, True)
    assert asked(capsys, client, "--clients")[1]["error"]["cause"] == "only a server can ask clients"
    assert cli.run(["revoke", "alice", "--dir", str(fed)]) == 0
    code, answer = asked(capsys, client)
    assert (code, answer["error"]["reason"]) == (3, "revoked")
    assert credential_files.load(client / "state" / "papers") == after


def test_a_ca_that_does_not_answer_leaves_everything_as_it_is(
    fed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ca_of(fed) as port:
        enrolled_client(fed, port)
    before = credential_files.load(fed / "alice" / "state" / "papers")
    monkeypatch.setattr(enrol, "TIMEOUT_S", 0.5)
    code, answer = asked(capsys, fed / "alice")
    assert (code, answer["error"]["reason"]) == (6, "unreachable")
    assert f"the enrolment port 127.0.0.1:{port} does not answer" in answer["error"]["message"]
    assert "roughfed server" in answer["error"]["cure"]
    assert credential_files.load(fed / "alice" / "state" / "papers") == before


def test_where_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = asked(capsys, tmp_path)
    assert (code, answer["error"]["cure"]) == (2, "name the directory with --dir")
    assert not (tmp_path / "state").exists()


def test_the_door_of_a_client_is_its_operators_alone_and_knows_what_it_knows(folder: Path) -> None:
    async def scenario() -> list[Any]:
        async with control_socket(folder, {"rotate": lambda _: asyncio.sleep(0, NEW)}):
            mode = (folder / SOCKET).stat().st_mode & 0o777
            reader, writer = await asyncio.open_unix_connection(folder / SOCKET)
            writer.write(b'{"op": "rotate"}\n{"op": "stop"}\n')
            answers = [json.loads(await reader.readline()) for _ in range(2)]
            writer.close()
        return [mode, answers[0], answers[1]["reason"], (folder / SOCKET).exists()]

    assert asyncio.run(scenario()) == [0o600, NEW, "operation", False]


def test_a_path_too_long_for_a_socket_costs_the_door_alone(folder: Path) -> None:
    (deep := folder / ("x" * 120)).mkdir()

    async def scenario() -> bool:
        with pytest.raises(ConfigError, match="cannot open"):
            await control_socket(deep, {}).__aenter__()
        async with AsyncExitStack() as stack:
            await answer_operator(deep, {}, stack)
            return (deep / SOCKET).exists()

    assert asyncio.run(scenario()) is False
