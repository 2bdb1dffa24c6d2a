"""FedNova between real processes, masked and not: the model is that of a slow reference, and FedAvg's is another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from roughfed.deploy import aggregator
from roughfed.params import read_flat
from roughfed.secagg.statistics import STEPS, step_bucket, step_middle
from roughfed.server.storage.store import Store

from .walk import Walk, lines_until, walking

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

ROUNDS = 3
LR = 0.5
SIZE = 64
STEPS_OF = {"c0": 2, "c1": 4, "c2": 8, "c3": 40}

APP = f"""\
import os
import torch
from torch import nn
from roughfed import Client

name = os.path.basename(os.getcwd())
at = int(name[1]) if name in {list(STEPS_OF)} else 0
steps = {STEPS_OF}.get(name, 1)


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros({SIZE}))

    def forward(self, x):
        return x * self.w


goal = torch.linspace(-1, 1, {SIZE}) * (at + 1)
client = Client(Point, (torch.ones(steps, {SIZE}), goal.repeat(steps, 1)), task="regression")
"""


@pytest.fixture
def walk() -> Iterator[Walk]:
    with walking() as walk:
        yield walk


def reference(*, weights: np.ndarray, scaled: bool) -> np.ndarray:
    """w after the rounds, in double precision; steps are known from the second round on, to their bucket."""
    goals = [np.linspace(-1, 1, SIZE) * (number + 1) for number in range(len(STEPS_OF))]
    tau = np.mean([min(step_middle(step_bucket(n)), 3 * step_middle(step_bucket(4))) for n in STEPS_OF.values()])
    w = np.zeros(SIZE)
    for number in range(1, ROUNDS + 1):
        updates = []
        for goal, n in zip(goals, STEPS_OF.values(), strict=True):
            local = w.copy()
            for _ in range(n):
                local -= LR * 2 * (local - goal) / SIZE  # the mean squared error's gradient
            by = tau / n if scaled and number > 1 else 1.0
            updates.append(by * (local - w))
        w = w + np.average(updates, axis=0, weights=weights)
    return w


@pytest.mark.parametrize("server_sees", [pytest.param("updates", marks=pytest.mark.slow), "sums"])
def test_the_model_goes_where_the_mean_of_the_clients_is(walk: Walk, server_sees: str) -> None:
    (walk.folder / "app.py").write_text(APP)
    ports = " ".join(f"-o server.{port}=0" for port in ("port", "enrol_port", "http_port"))
    walk.run(
        f"roughfed init --app app.py:client -o privacy.server_sees={server_sees} -o server.host=127.0.0.1 {ports} "
        f"-o federation.task=regression -o aggregate.scaling=fednova -o round.min_clients=4 -o round.quorum=1.0 "
        f"-o round.evaluate_every=0 -o trainer.batch_size=1 -o trainer.momentum=0.0 -o trainer.lr={LR}"
    )
    server = walk.start(f"roughfed server --rounds {ROUNDS}")
    lines_until(server, "listening metrics", walk)
    port, clients = aggregator.known_ports(walk.folder).enrolment, []
    for name in STEPS_OF:
        (walk.folder / name).mkdir()
        (walk.folder / name / "app.py").write_text(APP)
        join = aggregator.invite(walk.folder, name, host="127.0.0.1", port=port).reveal()
        told = f"ROUGHFED_JOIN={join} ROUGHFED_POLICY__SERVER_SEES={server_sees}"
        clients.append(walk.start(f"{told} roughfed join --app app.py:client", at=name))
    assert lines_until(server, "the server ended", walk)[-1] == "the server ended: rounds\n"
    assert server.wait(timeout=30) == 0
    for client in clients:
        lines_until(client, "the client ended", walk)
        assert client.wait(timeout=30) == 0

    with closing(Store(walk.folder / "state")) as store:
        rounds = store.rounds()
        made = np.array(read_flat(store.model_path(store.latest_model()[1])))
    assert [row.outcome for row in rounds] == ["committed"] * ROUNDS
    assert [STEPS in row.facts for row in rounds] == [False, True, True]
    assert STEPS in rounds[0].sums
    masked = server_sees != "updates"
    weights = np.ones(4) if masked else np.array([min(n, 3 * 6) for n in STEPS_OF.values()])  # examples, capped
    wanted, other = (reference(weights=weights, scaled=scaled) for scaled in (True, False))
    apart = np.linalg.norm(wanted - other)
    assert apart > 0.1 * np.linalg.norm(wanted)
    assert np.linalg.norm(made - wanted) < (0.2 if masked else 1e-4) * apart
