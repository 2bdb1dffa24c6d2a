"""SIGTERM to an agent in the middle of a training: it goes with its trainer, and the round does without it."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from roughfed.server.store import Store

from .federation import Watch, state_of
from .walk import Walk, lines_until, walking

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

APP = """\
import threading
import numpy as np
from torch import nn
from roughfed import Client

x, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
client = Client(lambda: nn.Linear(4, 3), (x, y), (x, y))
"""
DEAF = """
@client.fit
def loop(model, loader, round):
    threading.Event().wait()
"""


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


def trainer_of(agent: subprocess.Popen[str]) -> int:
    """Process id of an agent's child."""
    children = "".join(path.read_text() for path in Path(f"/proc/{agent.pid}/task").glob("*/children"))
    (pid,) = (int(p) for p in children.split() if b"roughfed.client.trainer" in Path(f"/proc/{p}/cmdline").read_bytes())
    return pid


def test_an_agent_that_is_told_to_stop_takes_its_trainer_with_it(walk: Walk) -> None:
    (walk.folder / "app.py").write_text(APP)
    ports = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    rounds = "-o round.rounds=1 -o round.quorum=1 -o round.deadline=60s"
    walk.run(
        f"roughfed init --app app.py:client -o privacy.server_sees=updates -o server.host=127.0.0.1 {ports} {rounds}"
    )
    server = walk.start("roughfed server")
    lines_until(server, "listening metrics", walk)
    agents: dict[str, subprocess.Popen[str]] = {}
    with Watch(walk.folder / "state" / "control.sock") as watch:
        for name, loop in (("deaf", DEAF), ("quick", "")):
            (walk.folder / name).mkdir()
            (walk.folder / name / "app.py").write_text(APP + loop)
            join = walk.run(f"roughfed invite {name}").stdout.strip()
            agents[name] = walk.start(f"{join} --accept updates --app app.py:client", at=name)
        watch.until(lambda s: state_of(s, "deaf") == "training", timeout_s=60.0)
        gone = os.pidfd_open(trainer_of(agents["deaf"]))
        try:
            asked = time.monotonic()
            agents["deaf"].send_signal(signal.SIGTERM)
            assert lines_until(agents["deaf"], "the client ended", walk)[-1] == "the client ended: stopped\n"
            assert agents["deaf"].wait(timeout=30) == 0
            assert select.select([gone], [], [], 5.0)[0]
        finally:
            os.close(gone)
        print(f"agent and trainer were gone after {time.monotonic() - asked:.2f} s")

    assert lines_until(server, "the server ended", walk)[-1] == "the server ended: rounds\n"
    assert time.monotonic() - asked < 30.0  # not the deadline
    assert [server.wait(timeout=30), agents["quick"].wait(timeout=30)] == [0, 0]
    with closing(Store(walk.folder / "state")) as store:
        assert [(row.outcome, row.sets) for row in store.rounds()] == [("committed", {"deaf": "gone", "quick": ""})]
    assert "Traceback" not in walk.logs()
