"""An agent's certificate is due in the middle of a run: it renews it and comes back under the new one.

The shortest life that can be set is a day, so this server runs in the test's own process, with a CA that issues short
ones. The agent is a process of its own.
"""

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest

from roughfed.crypto.certificates import load_certificate
from roughfed.deploy import aggregator
from roughfed.deploy.bench.synthetic import SyntheticOrigin
from roughfed.server.app import Ports, Setup, serve
from roughfed.server.authority import Authority
from roughfed.server.papers import from_authority

from .federation import PATIENCE_S, Cluster, Process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


def life(due_s: float) -> timedelta:
    """Of a certificate that is due so soon: it starts five minutes before it is issued, and is due at two thirds."""
    return timedelta(seconds=(100 + due_s) * 1.5)


async def scenario(cluster: Cluster, *, due_s: float, pace_s: float) -> tuple[Process, list[int]]:
    """A whole run; the agent, and the serial number of its certificate whenever it had connected anew."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Ports] = loop.create_future()
    config = aggregator.load(cluster.place.folder, {})
    obtain = from_authority(Authority.open(cluster.place.ca), cluster.place.papers, "server")  # lives long
    authority = Authority.open(cluster.place.ca, life=life(due_s))
    origin = SyntheticOrigin(cluster.params)
    running = asyncio.create_task(
        serve(Setup(config, cluster.place.state, origin, obtain, authority, ready.set_result))
    )
    try:
        cluster.place.ports.write_text(json.dumps(asdict(await ready)))
        client = await asyncio.to_thread(cluster.start_client, "c0", pace_s=pace_s)
        serials: list[int] = []
        for count in (1, 2):
            await asyncio.to_thread(client.wait_line, "connected to", count=count)
            serials.append(load_certificate(cluster.papers("c0").certificate).serial_number)
        assert await asyncio.wait_for(running, PATIENCE_S) == "rounds"
        assert await asyncio.to_thread(client.wait) == 0
        return client, serials
    finally:
        running.cancel()


@pytest.mark.parametrize(
    ("due_s", "pace_s"),
    [
        pytest.param(4.0, 1.5, id="now-and-then"),
        pytest.param(
            1.5,
            4.0,
            id="twice-in-a-training",
        ),
    ],
)
def test_an_agent_renews_its_certificate_and_loses_no_round(tmp_path: Path, due_s: float, pace_s: float) -> None:
    rounds = 4 if pace_s < due_s else 1
    with Cluster(tmp_path, clients=1, rounds=rounds) as cluster:
        client, serials = asyncio.run(scenario(cluster, due_s=due_s, pace_s=pace_s))
        assert serials[0] != serials[1]
        assert client.find("this client has a new certificate")
        assert client.find('"ERROR"') == client.find("not connected") == []
        assert [len(client.find(f"trained round {n}")) for n in range(1, rounds + 1)] == [1] * rounds
        assert cluster.accepted() == {n: ["c0"] for n in range(1, rounds + 1)}
        assert cluster.model_digests() == cluster.expected_digests()
