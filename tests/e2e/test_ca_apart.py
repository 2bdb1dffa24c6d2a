"""A CA of its own (`roughfed ca`), and a server that is only a member (`roughfed server --no-ca`)."""

import re
import signal
import socket
from collections.abc import Iterator

import pytest

from .walk import Walk, lines_until, walking

pytestmark = pytest.mark.e2e


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


def free_port() -> int:
    """Clients are told by the CA where the server is, before it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.timeout(180)
def test_the_ca_enrols_a_server_and_a_client_that_play_without_it(walk: Walk) -> None:
    port = free_port()
    walk.run(
        "roughfed init --dir ca --name apart -o privacy.server_sees=updates -o round.min_clients=1 "
        "-o server.host=127.0.0.1 -o server.enrol_port=0"
    )
    ca = walk.start(f"roughfed ca --dir ca --federation-address 127.0.0.1:{port}")
    lines_until(ca, "listening enrolment", walk)

    def invite(name: str, *flags: str) -> str:
        return walk.run(f"roughfed invite {name} --dir ca {' '.join(flags)}").stdout.strip()

    (walk.folder / "server").mkdir()
    (walk.folder / "server" / "fed.toml").write_text((walk.folder / "ca" / "fed.toml").read_text())
    for_server = invite("aggregator", "--server")
    assert re.fullmatch(r"ROUGHFED_JOIN='127\.0\.0\.1:\d+#[\w-]+' roughfed server --no-ca", for_server)
    flags = f"--dir server --rounds 1 --port {port} --enrol-port 0 --http-port 0"
    nobody = walk.json(f"roughfed server --no-ca {flags}", code=2)
    assert "--server" in nobody["error"]["cure"]  # pyright: ignore[reportIndexIssue]
    wrong = walk.json(
        f"{invite('mallory')} --dir server {flags}".replace("roughfed join", "roughfed server --no-ca"), code=3
    )
    assert wrong["error"]["reason"] == "role"  # pyright: ignore[reportIndexIssue]
    server = walk.start(f"{for_server} {flags}")
    places = lines_until(server, "listening metrics", walk)
    assert [line.split()[1] for line in places] == ["federation", "page", "metrics"]  # it enrols nobody

    new = walk.json("roughfed rotate --dir server")  # through the CA's port
    assert (new["rotated"], new["running"]) == ("aggregator", True)

    client = walk.start(f"{invite('alpha')} --dir alpha --accept updates --data digits --clients 2 --index 0")
    assert lines_until(server, "the server ended", walk)[-1] == "the server ended: rounds\n"
    assert server.wait(timeout=30) == 0
    assert lines_until(client, "the client ended", walk)[-1] == "the client ended: finished\n"
    assert client.wait(timeout=30) == 0
    assert walk.json("roughfed status --dir server", code=6)["model_version"] == 1
    assert not (walk.folder / "server" / "state" / "ca").exists()

    ca.send_signal(signal.SIGTERM)
    assert lines_until(ca, "the CA ended", walk)[-1] == "the CA ended: stopped\n"
    assert ca.wait(timeout=30) == 0
    refused = walk.json("roughfed rotate --dir server", code=6)["error"]
    assert "the enrolment port 127.0.0.1:" in refused["message"]  # pyright: ignore[reportIndexIssue]
    assert "do host, port and firewall let you through" in refused["cure"]  # pyright: ignore[reportIndexIssue]
    assert "Traceback" not in walk.logs()
