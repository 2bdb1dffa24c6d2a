"""The undisturbed run: what the server ends with is exactly what the seeds and FedAvg's formula give."""

from pathlib import Path

import pytest

from .federation import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]


def test_five_clients_over_mtls_give_the_model_that_the_seeds_say(tmp_path: Path) -> None:
    with Cluster(tmp_path, clients=5, rounds=3) as cluster:
        server = cluster.start_server()
        server.ready()
        # The last one's claim is above three times the median (2): it counts for 6.
        claims = dict(zip(cluster.names, (1, 2, 2, 5, 1000), strict=True))
        clients = [cluster.start_client(name, examples=claims[name]) for name in cluster.names]

        assert server.wait() == 0
        assert [client.wait() for client in clients] == [0] * 5

        cluster.examples = claims | {"c4": 6}
        assert cluster.model_digests() == cluster.expected_digests()
        receipts = [(row["round"], row["client"]) for row in cluster.rows("SELECT * FROM receipts ORDER BY 1, 2")]
        assert receipts == [(number, name) for number in (1, 2, 3) for name in cluster.names]
        assert cluster.accepted() == dict.fromkeys((1, 2, 3), cluster.names)
        assert list((cluster.place.state / "spool").iterdir()) == []
        assert server.lines[-1] == "rounds"
        assert {client.lines[-1] for client in clients} == {"finished"}
