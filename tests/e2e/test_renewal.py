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
from roughfed.deploy.synthetic import SyntheticOrigin
from roughfed.server.app import Ports, ServerSetup, serve
from roughfed.server.members.authority import Authority
from roughfed.server.members.server_credentials import from_authority

from .federation import PATIENCE_S, Cluster
from .masked import is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


def life(due_s: float) -> timedelta:
    """Of a certificate that is due so soon: it starts five minutes before it is issued, and is due at two thirds."""
    return timedelta(seconds=(100 + due_s) * 1.5)


async def scenario(cluster: Cluster, *, due_s: float, pace_s: float, server_too: bool = False) -> dict[str, list[int]]:
    """A whole run; the serial numbers of each client's certificate whenever it had connected anew."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Ports] = loop.create_future()
    config = aggregator.load(cluster.place.folder, {})
    authority = Authority.open(cluster.place.ca, life=life(due_s))
    issuing = authority if server_too else Authority.open(cluster.place.ca)
    obtain = from_authority(issuing, cluster.place.papers, "server")
    origin = SyntheticOrigin(cluster.params)
    running = asyncio.create_task(
        serve(ServerSetup(config, cluster.place.state, origin, obtain, authority, ready.set_result))
    )
    try:
        cluster.place.ports.write_text(json.dumps(asdict(await ready)))
        clients = await asyncio.to_thread(cluster.start_clients, pace_s=pace_s)
        serials: dict[str, list[int]] = {client.name: [] for client in clients}
        for count in (1, 2):
            for client in clients:
                await asyncio.to_thread(client.wait_line, "connected to", count=count)
                serials[client.name].append(load_certificate(cluster.papers(client.name).certificate).serial_number)
        assert await asyncio.wait_for(running, 2 * PATIENCE_S) == "rounds"
        assert [await asyncio.to_thread(client.wait) for client in clients] == [0] * len(clients)
        return serials
    finally:
        running.cancel()


def renewed_and_well(cluster: Cluster, serials: dict[str, list[int]]) -> None:
    """Each client had another certificate later, and nobody had anything to complain about."""
    for client in cluster.processes:
        assert len(set(serials[client.name])) == 2
        assert client.find("this client has a new certificate")
        assert client.find('"ERROR"') == client.find("not connected") == []
        told = [len(client.find(f"trained round {n}")) for n in range(1, cluster.rounds + 1)]
        assert told == [1] * cluster.rounds


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
        serials = asyncio.run(scenario(cluster, due_s=due_s, pace_s=pace_s))
        renewed_and_well(cluster, serials)
        assert cluster.accepted() == {n: ["c0"] for n in range(1, rounds + 1)}
        assert cluster.model_digests() == cluster.expected_digests()


@pytest.mark.slow
def test_server_and_clients_renew_throughout_a_masked_run(tmp_path: Path) -> None:
    with masked_cluster(tmp_path, rounds=5) as cluster:
        serials = asyncio.run(scenario(cluster, due_s=3.0, pace_s=1.5, server_too=True))
        renewed_and_well(cluster, serials)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in range(1, 6)}
        assert is_exact(cluster)
