"""`roughfed doctor` on both sides of a federation that runs: it finds nothing, and nobody notices that it looked."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from .walk import Walk, lines_until, walking

pytestmark = pytest.mark.e2e

APP = """\
import time
import numpy as np
from torch import nn
from roughfed import Client
class Slow(nn.Linear):  # so that the rounds leave the machine to the doctor
    def forward(self, x):
        time.sleep(0.3)
        return super().forward(x)
x, y = np.random.default_rng(0).normal(size=(60, 4)).astype("float32"), np.arange(60) % 3
client = Client(lambda: Slow(4, 3), (x, y), (x[:9], y[:9]))
"""
OF_THIS_MACHINE = {"clock: service", "disk: kind", "disk: writes", "disk: room", "limits: memory", "limits: processors"}
OF_THIS_RUN = {"settings: plan", "ports: address"}  # one client, ports 0, loopback


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


def examined(walk: Walk, line: str, *, code: int = 0) -> dict[str, dict[str, Any]]:
    told: Any = walk.json(f"roughfed doctor {line}", code=code)
    assert told["well"] == (code == 0)
    return {f"{row['check']}: {row['about']}".removesuffix(": "): row for row in told["findings"]}


def troubles(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, row in found.items() if row["state"] in ("warning", "failure")}


@pytest.mark.timeout(180)
def test_both_sides_of_a_running_federation(walk: Walk) -> None:
    (walk.folder / "my.py").write_text(APP)
    ports = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    walk.run(
        "roughfed init --app my.py:client -o privacy.server_sees=updates -o server.host=127.0.0.1 "
        f"-o round.rounds=100000 -o round.min_clients=1 -o round.evaluate_every=0 {ports}"
    )
    server = walk.start("roughfed server")
    lines_until(server, "listening metrics", walk)
    line = walk.run("roughfed invite alpha").stdout.strip()
    client = walk.start(f"{line} --dir alpha --app my.py:client --accept updates")
    with_client = first_round(walk)

    there, here = examined(walk, ""), examined(walk, "--dir alpha")

    assert troubles(there) <= OF_THIS_MACHINE | OF_THIS_RUN, there
    assert troubles(here) <= OF_THIS_MACHINE, here
    for name in ("handshake: federation", "handshake: enrolment", "data: step", "journal: integrity"):
        assert (there[name]["state"], here[name]["state"]) == ("ok", "ok")
    for name in ("version: server", "clock: server", "data: shapes", "certificate: papers"):
        assert here[name]["state"] == "ok", here[name]
    for name in ("version: clients", "authority: key", "control: socket", "certificate: end"):
        assert there[name]["state"] == "ok", there[name]

    after: Any = walk.json("roughfed status")
    assert after["round"] > with_client["round"]  # it went on all the while
    logs = walk.logs()
    assert len(re.findall(r'"msg": "connected to', logs)) == 1, logs  # the session is still the first one
    for word in ("superseded", "newer session", "refused:", "not connected", "Traceback"):
        assert word not in logs

    walk.run("roughfed revoke alpha")
    client.wait(timeout=30)
    turned_away = examined(walk, "--dir alpha --only version --only handshake", code=8)
    assert turned_away["version: server"]["measured"] == "revoked"
    assert "ask the operator" in turned_away["version: server"]["cure"]
    assert turned_away["handshake: federation"]["state"] == "ok"  # TLS knows nothing of it

    walk.run("roughfed stop")
    server.wait(timeout=30)
    alone = examined(walk, "--dir alpha --only ports --only handshake --only version", code=8)
    assert alone["ports: federation"]["measured"] == "refused"
    assert "roughfed server" in alone["ports: federation"]["cure"]


def first_round(walk: Walk) -> dict[str, Any]:
    """The status of the running server once a round is over, as its `--watch` shows it."""
    watching = walk.start("roughfed status --watch --json")
    assert watching.stdout is not None
    for line in watching.stdout:
        status: dict[str, Any] = json.loads(line)
        if status["model_version"] >= 1:
            watching.kill()
            return status
    raise AssertionError(f"no round: {walk.logs()}")


@pytest.mark.timeout(60)
def test_the_whole_examination_is_bounded(walk: Walk) -> None:
    (walk.folder / "my.py").write_text("import time\ntime.sleep(1000)\n")
    (walk.folder / "client.toml").write_text('[app]\npath = "my.py:client"\n')
    found = examined(walk, "--within 5 --only data --only disk")
    (late,) = (row for row in found.values() if row["check"] == "data")
    assert (late["state"], late["measured"]) == ("warning", "slow")
    assert "--within 600" in late["cure"]
    assert found["disk: inodes"]["state"] == "ok"
