"""SIGTERM to an agent in the middle of a training: it goes with its trainer, and the round does without it."""

import json
import os
import select
import signal
import time
from pathlib import Path

import pytest

from .federation import Cluster, Process, environment, state_of
from .trained import ROUGHFED, trainer_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PARAMS = 12
DEAF = f"""\
import threading
import numpy as np
import torch
from torch import nn
from roughfed import Client


class Model(nn.Module):  # as large as that of the clients without torch
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros({PARAMS}))

    def forward(self, x):
        return x @ self.weight.view(4, 3)


x, y = np.random.default_rng(0).normal(size=(64, 4)), np.arange(64) % 3
client = Client(Model, (x, y), (x, y))


@client.fit
def loop(model, loader, round):
    threading.Event().wait()
"""


def start_deaf(cluster: Cluster, folder: Path) -> Process:
    """A client whose training never ends."""
    folder.mkdir()
    (folder / "app.py").write_text(DEAF)
    flags = ["--dir", str(folder), "--app", f"{folder / 'app.py'}:client", "--accept", "updates"]
    process = Process("deaf", [*ROUGHFED, "join", *flags], environment() | {"ROUGHFED_JOIN": cluster.invite("deaf")})
    cluster.processes.append(process)
    return process


def test_an_agent_that_is_told_to_stop_takes_its_trainer_with_it(tmp_path: Path) -> None:
    settings = {"round": {"min_clients": 2, "quorum": 1}}
    with Cluster(tmp_path, clients=1, rounds=1, params=PARAMS, settings=settings) as cluster:
        cluster.start_server().ready()
        with cluster.watch() as watch:
            deaf, quick = start_deaf(cluster, tmp_path / "deaf"), cluster.start_client("c0")
            watch.until(lambda s: state_of(s, "deaf") == "training", timeout_s=60.0)
            gone = os.pidfd_open(trainer_of(deaf))
            try:
                asked = time.monotonic()
                deaf.signal(signal.SIGTERM)
                assert deaf.wait() == 0, deaf.report("failed")
                assert deaf.find("the client ended: stopped")
                assert select.select([gone], [], [], 5.0)[0]
            finally:
                os.close(gone)
            print(f"agent and trainer were gone after {time.monotonic() - asked:.2f} s")
            watch.until(lambda s: s["model_version"] == 1)
        assert time.monotonic() - asked < 30.0  # not the deadline
        assert quick.wait() == 0  # the server stays for a while, lest the other one comes back
        (row,) = cluster.rows("SELECT outcome, sets FROM rounds")
        assert (row["outcome"], json.loads(row["sets"])) == ("committed", {"c0": "", "deaf": "gone"})
        assert "Traceback" not in "\n".join(line for process in cluster.processes for line in process.lines)
