"""`kill -9` of a trainer in the middle of a training, with the real one (digits, mlp): the agent lives on and tells."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from .federation import Cluster, Process, environment

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

ROUGHFED = [sys.executable, "-m", "roughfed.deploy.cli"]
EPOCHS = 210
"""4,000 steps, a second or more of training: time to meet it in the middle."""
BUSY_S = 60.0
"""On a busy machine it takes much longer."""


def trainer_of(agent: Process) -> int:
    """Process id of an agent's child."""
    children = "".join(path.read_text() for path in Path(f"/proc/{agent.pid}/task").glob("*/children"))
    (pid,) = (int(p) for p in children.split() if b"roughfed.client.trainer" in Path(f"/proc/{p}/cmdline").read_bytes())
    return pid


def progress(status: dict[str, Any]) -> float:
    """How far the only client is with its training."""
    return next((c["progress"] for c in status["clients"] if c["state"] == "training"), 0.0)


def test_a_killed_trainer_is_started_again_and_a_lost_training_is_told(tmp_path: Path) -> None:
    trainer = {"epochs": EPOCHS}
    with Cluster(tmp_path, clients=1, rounds=2, settings={"trainer": trainer}) as cluster:
        server = Process("server", [*ROUGHFED, "server", "--dir", str(cluster.place.folder)], environment())
        cluster.processes.append(server)
        server.wait_line("listening federation")
        folder = cluster.client_folder("c0")
        folder.mkdir()
        flags = ["--data", "digits", "--clients", "3", "--index", "0", "--partition", "iid", "--device", "cpu"]
        flags += ["--accept", "updates"]
        line = {"ROUGHFED_JOIN": cluster.invite("c0")}
        agent = Process("c0", [*ROUGHFED, "join", "--dir", str(folder), *flags], environment() | line)
        cluster.processes.append(agent)
        with cluster.watch() as watch:
            # Killed once, it is started again and trains anew; killed twice, the training is lost and the server told.
            met = progress(watch.until(lambda s: progress(s) > 0.0, timeout_s=BUSY_S))
            os.kill(trainer_of(agent), signal.SIGKILL)
            watch.until(lambda s: progress(s) > met, timeout_s=BUSY_S)
            os.kill(trainer_of(agent), signal.SIGKILL)
            watch.until(lambda s: s["round"] == 2, timeout_s=BUSY_S)

            met = progress(watch.until(lambda s: progress(s) > 0.0, timeout_s=BUSY_S))
            os.kill(trainer_of(agent), signal.SIGKILL)
            watch.until(lambda s: progress(s) > met, timeout_s=BUSY_S)

        assert [server.wait(timeout_s=60.0), agent.wait()] == [0, 0]
        rounds = cluster.rows("SELECT round, outcome, sets FROM rounds ORDER BY round")
        ends = [(r["round"], r["outcome"]) for r in rounds]
        assert ends == [(1, "abandoned"), (2, "committed"), (3, "committed")]  # two were asked for
        assert rounds[0]["sets"] == '{"c0": "client-failed: killed"}'
        assert agent.find("local training failed")
        assert "Traceback" not in "\n".join([*agent.lines, *server.lines])
