"""`kill -9` at every crash point of a masked round: the same run goes on, and every version is what its sums give.

A client that comes back in time is counted with the bytes that it had; one that does not sits the round out. The server
plays its journal again: same roster, same seed, same sets. It starts again as it would anywhere, imports and all, and
is timed. What an ordinary masked round does not come to is met in `test_masked_rare.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from roughfed.crash import CLIENT_POINTS, SERVER_POINTS
from roughfed.secagg.groups import ALONE, threshold

from .federation import KILLED, Cluster, Process
from .ledger import is_accounted_for
from .masked import TWO_CHUNKS, is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

RECOVERY_S = 5.0

MORE_THAN_ONCE = ("message-written", "answer-sent")
"""What a client says or hears in one round: shares, sketch, signature, answer to unmask; before each, one message, and
one more (the deals) that asks for no answer."""
NOT_OF_CLIENT = ("choice-noted", "base-fetched")
NOT_OF_SERVER = (
    "opening-taken", "questions-decided",
    "clusters-settled", "choosing-opened", "choice-journaled", "choosing-closed", "order-adopted",
    "taken-back",
)  # fmt: skip
"""No round comes there in which nobody lies, that has one model, no frozen base and nothing above it. By
name: a new point is tried here, and fails until it is met here or elsewhere."""

CLIENT = [
    *(point for point in CLIENT_POINTS if point not in (*MORE_THAN_ONCE, *NOT_OF_CLIENT)),
    *(f"message-written:{count}" for count in range(1, 6)),
    *(f"answer-sent:{count}" for count in range(1, 5)),
    *("secret-written:2", "masked-written:2", "receipt-saved:2", "message-written:8", "answer-sent:8"),
]
ONCE = [point for point in SERVER_POINTS if point not in NOT_OF_SERVER]
SERVER = [
    *ONCE,
    *(f"{point}:4" for point in ONCE if point.endswith("-taken")),
    *(f"{point}:2" for point in ONCE if point.endswith("-decided")),
]


def five(folder: Path) -> Cluster:
    settings = {"round": {"min_clients": 5}}
    return masked_cluster(folder, clients=5, params=TWO_CHUNKS, settings=settings)


def all_end_well(server: Process, clients: list[Process]) -> None:
    assert server.wait(timeout_s=60) == 0, server.report("failed")
    for client in clients:
        assert client.wait(timeout_s=60) == 0, client.report("failed")


def goes_on_as_it_began(cluster: Cluster) -> None:
    assert is_exact(cluster)
    assert cluster.rows("SELECT * FROM proofs") == []
    assert cluster.rows("SELECT * FROM refusals") == []
    assert cluster.rows("SELECT * FROM stages") == []
    assert is_accounted_for(cluster)


@pytest.mark.parametrize("point", SERVER)
def test_the_server_is_killed(point: str, tmp_path: Path) -> None:
    with five(tmp_path) as cluster:
        server, clients = cluster.start_server(crash_at=point), []
        if point != "run-created":  # then it dies before it listens
            server.ready()
            clients = cluster.start_clients()
        assert server.wait() == KILLED

        died = time.monotonic()
        own_s = cluster.restart_server(afresh=True)
        serves_s = time.monotonic() - died
        for client in clients:
            client.wait_line("connected to", count=2)
        back_s = time.monotonic() - died
        print(
            f"{point}: serves after {serves_s:.2f} s, {own_s:.2f} s of its own; everybody is back after {back_s:.2f} s"
        )
        clients = clients or cluster.start_clients()

        all_end_well(cluster.server, clients)
        goes_on_as_it_began(cluster)
        assert verdicts(cluster) == {number: dict.fromkeys(cluster.names, "") for number in (1, 2)}
        assert own_s <= RECOVERY_S


@pytest.mark.parametrize("point", CLIENT)
def test_a_client_is_killed(point: str, tmp_path: Path) -> None:
    with five(tmp_path) as cluster:
        cluster.start_server().ready()
        victim, *others = cluster.names
        clients = cluster.start_clients(*others)
        assert cluster.start_client(victim, crash_at=point).wait() == KILLED

        died = time.monotonic()
        again = cluster.start_client(victim, afresh=True)
        again.wait_line("connected to")
        print(f"{point}: back after {time.monotonic() - died:.2f} s")

        all_end_well(cluster.server, [*clients, again])
        goes_on_as_it_began(cluster)
        assert again.find('"level": "ERROR"') == []
        for reasons in verdicts(cluster).values():
            assert {name for name, why in reasons.items() if why not in ("", "void")} <= {victim}


def test_a_client_whose_masked_bytes_are_gone_sits_the_round_out_and_says_so(tmp_path: Path) -> None:
    """Encoded again they would tell the mask; without a word the server would wait for them to the deadline."""
    settings = {"round": {"min_clients": 5, "quorum": 4, "deadline": "200s"}}
    with masked_cluster(tmp_path, clients=5, rounds=1, settings=settings) as cluster:
        cluster.start_server().ready()
        clients = cluster.start_clients(*cluster.names[1:], pace_s=4.0)
        assert cluster.start_client("c0", crash_at="masked-written").wait() == KILLED
        (cluster.client_folder("c0") / "state" / "update-00000001.f32").unlink()
        all_end_well(cluster.server, [*clients, cluster.start_client("c0")])
        goes_on_as_it_began(cluster)
        assert verdicts(cluster)[1]["c0"] == "client-refused: sat-out"


# In the order in which a round gets there.
STAGES = [
    "job-accepted", "secret-written", "message-written:1", "answer-sent:1", "message-written:2", "trained",
    "masked-written", "update-saved", "receipt-got", "message-written:3", "answer-sent:2", "message-written:4",
    "answer-sent:3", "message-written:5", "answer-sent:4",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_random_losses_at_every_stage(seed: int, tmp_path: Path) -> None:
    """As many as a group can lose, at random points; some of them come back at once, the others never."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(8, 23))
    settings = {"round": {"min_clients": size}}
    with masked_cluster(tmp_path, clients=size, rounds=1, params=5_000, settings=settings) as cluster:
        cluster.start_server().ready()
        count = int(rng.integers(1, size - threshold(size) + 1))
        victims = sorted(zip(rng.choice(len(STAGES), count), rng.permutation(cluster.names)[:count], strict=True))
        doomed = {str(name): cluster.start_client(str(name), crash_at=STAGES[at]) for at, name in victims}
        clients = cluster.start_clients(*(name for name in cluster.names if name not in doomed))
        for name, process in doomed.items():
            status = process.wait(timeout_s=120)
            assert status == KILLED or (status == 0 and size > ALONE)  # in a group that was void before
            if status == KILLED and rng.random() < 0.5:
                clients.append(cluster.start_client(name))
        all_end_well(cluster.server, clients)
        goes_on_as_it_began(cluster)
        [reasons] = verdicts(cluster).values()
        of_no_group = ("void", "not-needed") if size > ALONE else ()
        lost = {name for name, why in reasons.items() if why and why not in of_no_group}
        assert lost <= doomed.keys()
