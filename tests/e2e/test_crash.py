"""`kill -9` at every crash point: the run goes on and ends with the bytes of the undisturbed one (promise 3).

The digests that are wanted are computed from the seeds; `test_round.py` shows that the undisturbed run has them.
"""

from pathlib import Path

import pytest

from roughfed.config.aggregation import Optimize
from roughfed.crash import CLIENT_POINTS, SERVER_POINTS
from roughfed.params import Flat
from roughfed.server.optimize import stepper

from .federation import KILLED, Cluster, Process, read_rows

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

RECOVERY_S = 5.0

LATER_SERVER = ("round-opened:2", "upload-partial:5", "receipt-journaled:3", "defence-noted", "summary-journaled")
LATER_CLIENT = ("job-accepted:2", "trained:2", "update-saved:2", "upload-cut:2", "residual-settled", "counted-noted")
ELSEWHERE = ("masked:", "clusters:", "ledger:", "base:", "edge:", "rollback:")
"""In test_masked_crash.py, test_clusters, test_ledger, test_adapters, test_edge_crash and test_taken_back."""

# The end of the last round is a case of its own: whoever is away must still hear that the run is over.
SERVER = [
    *(p for p, what in SERVER_POINTS.items() if p not in LATER_SERVER and not what.startswith(ELSEWHERE)),
    "committed:2",
    "announced:2",
    *(pytest.param(p, marks=pytest.mark.slow) for p in LATER_SERVER),
]
CLIENT = [
    *(p for p, what in CLIENT_POINTS.items() if p not in LATER_CLIENT and not what.startswith(ELSEWHERE)),
    "receipt-saved:2",
    *(pytest.param(p, marks=pytest.mark.slow) for p in LATER_CLIENT),
]


def everything_counted_once(cluster: Cluster) -> None:
    """One receipt for each client and round, all of them in the sum, and the model that they give."""
    receipts = [(row["round"], row["client"]) for row in cluster.rows("SELECT * FROM receipts ORDER BY 1, 2")]
    assert receipts == [(number, name) for number in (1, 2) for name in cluster.names]
    assert cluster.rows("SELECT * FROM refusals") == []
    assert cluster.accepted() == {1: cluster.names, 2: cluster.names}
    assert cluster.model_digests() == cluster.expected_digests()


def all_end_well(server: Process, clients: list[Process]) -> None:
    assert server.wait() == 0, server.report("failed")
    for client in clients:
        assert client.wait() == 0, client.report("failed")


@pytest.mark.parametrize("point", SERVER)
def test_the_server_is_killed(point: str, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        server, clients = cluster.start_server(crash_at=point), []
        if point != "run-created":  # then it dies before it listens
            server.ready()
            clients = cluster.start_clients()
        assert server.wait() == KILLED

        recovery_s = cluster.restart_server()
        clients = clients or cluster.start_clients()

        all_end_well(cluster.server, clients)
        everything_counted_once(cluster)
        print(f"recovery after {point}: {recovery_s:.2f} s")
        assert recovery_s <= RECOVERY_S


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "point", [pytest.param("sets-journaled:2", marks=SLOW), "model-written:2", pytest.param("committed:2", marks=SLOW)]
)
def test_what_the_server_optimizer_remembers_is_that_of_the_undisturbed_run(point: str, tmp_path: Path) -> None:
    adam = stepper(Optimize(rule="fedadam"))
    with Cluster(tmp_path, rounds=3, settings={"optimize": {"rule": "fedadam"}}) as cluster:
        cluster.start_server(crash_at=point).ready()
        clients = cluster.start_clients()
        assert cluster.server.wait() == KILLED
        cluster.restart_server()
        all_end_well(cluster.server, clients)

        state = adam.begin(cluster.params)

        def step(params: Flat, mean: Flat) -> Flat:
            nonlocal state
            params, state = adam.step(params, mean, state)
            return params

        assert cluster.model_digests() == cluster.expected_digests(step=step)
        assert {path.name for path in (cluster.place.state / "models").glob("*.opt-*")} == {
            "00000003.opt-fedadam-m",
            "00000003.opt-fedadam-v",
        }


@pytest.mark.parametrize("point", CLIENT)
def test_a_client_is_killed(point: str, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_server().ready()
        victim, *others = cluster.names
        # The last receipt ends the run: the others take their time, or the dead one is told of the end, too.
        clients = [cluster.start_client(name, pace_s=0.5 * (point == "receipt-saved:2")) for name in others]
        first = cluster.start_client(victim, crash_at=point)
        assert first.wait() == KILLED
        promised = read_rows(cluster.client_folder(victim) / "state" / "client.db", "SELECT * FROM updates")

        second = cluster.start_client(victim)

        all_end_well(cluster.server, [*clients, second])
        everything_counted_once(cluster)
        for update in promised:  # noted before the crash: these bytes were sent, and nothing was trained anew
            sent = cluster.rows(f"SELECT * FROM receipts WHERE client = '{victim}' AND round = {update['round']}")
            assert [row["statement"] for row in sent] == [update["statement"]]
            assert len(first.find(f"trained round {update['round']}")) == 1
            assert second.find(f"trained round {update['round']}") == []
