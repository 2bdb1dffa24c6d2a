"""This project with masks on beside Flower and NVFlare, all of them as real processes on the same work.

A peer plays in the Python that its variable names, an environment apart from this one; one without is not compared.
"""

from __future__ import annotations

import os

import pytest

from roughfed.deploy.speed.options import BenchWork, PeersOptions
from roughfed.deploy.speed.peers.compare import FLOWER, NVFLARE, run_peers_bench
from roughfed.deploy.speed.peers.table import lines, ratios

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

WORK = BenchWork(clients=4, params=100_000, rounds=3, timeout_s=1000.0)


@pytest.mark.parametrize(
    ("system", "variable", "times"),
    [("flower", FLOWER, 10.0), ("flower-secagg", FLOWER, 10.0), ("nvflare", NVFLARE, 3.0)],
)
def test_a_round_is_so_many_times_faster(system: str, variable: str, times: float) -> None:
    python = os.environ.get(variable, "")
    if not python:
        pytest.skip(f"needs {variable}: the python of an environment with it")
    where = {"flower": python} if variable == FLOWER else {"nvflare": python}

    outcome = run_peers_bench(PeersOptions(WORK, systems=(system,), **where), say=lambda _: None)

    assert not outcome.failed
    ours, peer = outcome.rows
    print("\n" + "\n".join(lines(ours, [peer])))
    assert (ratios(ours, [peer])[peer.system]["seconds_per_round"] or 0.0) >= times
