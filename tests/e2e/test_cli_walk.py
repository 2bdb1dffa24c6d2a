"""The README's walk as a user types it: init, server, invite, join, status, export, report; then stop and revoke."""

import re
from collections.abc import Iterator

import pytest
from safetensors.numpy import load_file

from .walk import Walk, lines_until, walking

pytestmark = pytest.mark.e2e

ROUNDS = 2


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


@pytest.mark.timeout(180)
def test_the_walk_of_the_readme(walk: Walk) -> None:
    settings = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    walk.run(
        "roughfed init --name walk -o privacy.server_sees=updates "
        f"-o server.host=127.0.0.1 -o round.rounds={ROUNDS} {settings}"
    )
    server = walk.start("roughfed server")
    places = lines_until(server, "listening metrics", walk)
    assert [line.split()[1] for line in places] == ["federation", "enrolment", "page", "metrics"]

    lines = {name: walk.run(f"roughfed invite {name}").stdout.strip() for name in ("alpha", "beta")}
    assert all(re.fullmatch(r"ROUGHFED_JOIN='127\.0\.0\.1:\d+#[\w-]+' roughfed join", line) for line in lines.values())
    refused = walk.json(f"{lines['alpha']} --dir alpha --data digits --clients 2 --index 0 --no-run", code=2)
    typed = str(refused["error"]["cure"]).partition("'...' ")[2]  # pyright: ignore[reportIndexIssue]
    assert typed == "roughfed join --accept updates --dir alpha --data digits --clients 2 --index 0 --no-run"
    walk.run(lines["alpha"].replace("roughfed join", typed))
    again = walk.json(f"{lines['alpha']} --accept updates --dir other --data digits --clients 2 --index 0", code=3)
    assert again["error"]["reason"] == "token-used"  # pyright: ignore[reportIndexIssue]
    state = walk.json("roughfed status")
    assert (state["running"], state["phase"], state["clients"]) == (True, "waiting", [])

    clients = [
        walk.start("roughfed join --dir alpha"),
        walk.start(f"{lines['beta']} --accept updates --dir beta --data digits --clients 2 --index 1"),
    ]
    assert lines_until(server, "the server ended", walk)[-1] == "the server ended: rounds\n"
    assert server.wait(timeout=30) == 0
    for client in clients:
        assert lines_until(client, "the client ended", walk)[-1] == "the client ended: finished\n"
        assert client.wait(timeout=30) == 0

    state = walk.json("roughfed status", code=6)
    assert (state["running"], state["finished"], state["model_version"]) == (False, "rounds", ROUNDS)
    exported = walk.json("roughfed export --version best --out model.safetensors")
    assert exported["version"] in range(1, ROUNDS + 1)
    assert sum(t.size for t in load_file(walk.folder / "model.safetensors").values()) == state["parameters"]
    report = walk.json("roughfed report")
    assert report["rounds"] == ROUNDS
    assert (walk.folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert "Traceback" not in walk.logs()


@pytest.mark.timeout(120)
def test_a_server_is_stopped_and_goes_on(walk: Walk) -> None:
    settings = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    walk.run(f"roughfed init -o privacy.server_sees=updates -o server.host=127.0.0.1 {settings}")
    first = walk.start("roughfed server")
    lines_until(first, "listening metrics", walk)
    run = walk.json("roughfed status")["run"]
    assert walk.json("roughfed pause")["paused"] is True
    assert walk.json("roughfed status")["phase"] == "paused"
    second = walk.json("roughfed server", code=2)
    assert second["error"]["cure"] == "roughfed stop"  # pyright: ignore[reportIndexIssue]
    assert walk.json("roughfed stop") == {"stopped": True}
    assert lines_until(first, "the server ended", walk)[-1] == "the server ended: drained\n"
    assert first.wait(timeout=30) == 0
    stopped = walk.json("roughfed status", code=6)
    assert (stopped["run"], stopped["finished"]) == (run, None)
