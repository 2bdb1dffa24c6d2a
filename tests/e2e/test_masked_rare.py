"""`kill -9` where an ordinary masked round does not come to: somebody lies, models are chosen, or a base is frozen.

The others are in `test_masked_crash.py` and `test_masked_trainer.py`, `clusters-settled` in `test_clusters.py`;
`test_crash_points.py` holds them all against what the product lists.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed.deploy.attack import ATTACKS
from roughfed.params import read_flat

from .attacks import HONEST, HostileCluster
from .federation import KILLED, PATIENCE_S, Cluster, read_rows
from .ledger import is_accounted_for
from .test_adapters import base_of, federation
from .test_attacks import apart, honest, mean_of
from .test_clusters import CHOOSES, PARAMS, families, is_split, start_families
from .trained import BUSY_S

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

LIES = (
    ("opening-taken", "bad-share"),
    ("opening-taken:2", "dispute-everybody"),
    ("questions-decided", "dispute-everybody"),
)
CHOOSING = ("choosing-opened:2", "choice-journaled:3", "choosing-closed:2")
CHOICE, BASE = "choice-noted", "base-fetched"
OF_SERVER = (*(point for point, _ in LIES), *CHOOSING)
OF_CLIENT = (CHOICE, BASE)


@pytest.mark.parametrize(("point", "attack"), LIES)
def test_a_server_that_is_killed_while_somebody_lies_proves_it_all_the_same(
    point: str, attack: str, tmp_path: Path
) -> None:
    """The liar is named, alone, and the sum is that of the others."""
    settings = {
        "defence": {"rule": "none"},
        "codec": {"clip_norm": 0.3, "lane_bits": 16, "downlink": "identity"},
        "round": {"min_clients": 5},
    }
    with HostileCluster(tmp_path, {attack: attack} | dict.fromkeys(HONEST, "none"), rounds=1, settings=settings) as it:
        server = it.start_paused_server(crash_at=point)
        clients = it.start_attackers()
        assert server.wait(timeout_s=3 * PATIENCE_S) == KILLED
        it.restart_server()
        assert it.server.wait(timeout_s=3 * PATIENCE_S) == 0, it.server.report("failed")
        assert [clients[name].wait() for name in HONEST] == [0] * len(HONEST)
        assert it.proofs() == {attack: (1, ATTACKS[attack].proof)}
        assert it.journal()[1]["sets"] == dict.fromkeys(HONEST, "") | {attack: ATTACKS[attack].verdict}
        step = np.array(read_flat(it.place.state / "models" / f"{it.model_digests()[1]}.safetensors"))
        assert apart(step, mean_of(it, honest(HONEST))) < 0.01
        assert is_accounted_for(it)


def choosing(folder: Path) -> Cluster:
    """Two families of seven: a cluster of masked rounds has no fewer."""
    settings = {
        "privacy": {"server_sees": "sketches"},
        "round": {"min_clients": 14, "quorum": 1.0, "deadline": "300s"},
        "codec": {"clip_norm": 0.2},
        "clusters": {"method": "ifca", "choose_every": 1},
        "defence": {"rule": "none"},
    }
    return Cluster(folder, clients=14, rounds=2, params=PARAMS, settings=settings)


def chose_well(cluster: Cluster) -> None:
    """Everybody was asked, said the same to the server as it noted itself, and is where its family is."""
    assert cluster.server.wait(timeout_s=4 * PATIENCE_S) == 0, cluster.server.report("failed")
    is_split(cluster, 2)
    assert cluster.rows("SELECT * FROM refusals") == []
    said = cluster.rows("SELECT * FROM choices")
    for name in cluster.names:
        noted = read_rows(cluster.client_folder(name) / "state" / "client.db", "SELECT * FROM choices")
        told = {row["number"]: row["cluster"] for row in said if row["client"] == name}
        assert told == {row["number"]: str(row["place"] - 1) for row in noted}
    assert is_accounted_for(cluster)


@pytest.mark.parametrize("point", CHOOSING)
def test_a_server_is_killed_while_clients_of_masked_rounds_choose(point: str, tmp_path: Path) -> None:
    with choosing(tmp_path) as cluster:
        cluster.start_server(crash_at=point, claims=["--fresh"]).ready()
        start_families(cluster)
        assert cluster.server.wait(timeout_s=4 * PATIENCE_S) == KILLED
        cluster.start_server(claims=["--fresh"]).ready()
        chose_well(cluster)


def test_a_client_of_masked_rounds_is_killed_after_its_choice(tmp_path: Path) -> None:
    with choosing(tmp_path) as cluster:
        cluster.start_server(claims=["--fresh"]).ready()
        first, *others = families(cluster).items()
        dying = cluster.start_client(first[0], claims=["--family", first[1]], crash_at=CHOICE, tables=CHOOSES)
        for name, family in others:
            cluster.start_client(name, claims=["--family", family], tables=CHOOSES)
        assert dying.wait(timeout_s=2 * PATIENCE_S) == KILLED
        cluster.start_client(first[0], claims=["--family", first[1]])
        chose_well(cluster)


def test_a_client_of_masked_rounds_is_killed_when_it_has_the_frozen_base(tmp_path: Path) -> None:
    with federation(tmp_path / "fed", "sketches") as cluster:
        cluster.crash_at["c0"] = BASE
        cluster.begin()
        assert cluster.agents["c0"].wait(timeout_s=BUSY_S) == KILLED
        cluster.join("c0")
        cluster.end()
        assert not cluster.agents["c0"].find("downloading the frozen base")
        assert {base_of(cluster, name) for name in cluster.names} == {
            (cluster.place.state / "base.safetensors").read_bytes()
        }
        assert list(cluster.accepted().values()) == [cluster.names] * cluster.rounds  # the first may have been void
        assert is_accounted_for(cluster)
