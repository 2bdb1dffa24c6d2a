"""Clusters between real processes: found behind masks, kept over kill -9, and each with a model of its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.deploy.synthetic import generator_seed, pieces
from roughfed.params import read_flat

from .federation import BENCH, KILLED, PATIENCE_S, Cluster, Process, environment, read_rows, write_toml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PARAMS = 20_000
FAMILIES = ("left", "right")
"""Synthetic clients of one family pull the model one way (`roughfed.deploy.synthetic`)."""


CHOOSES = {"policy": {"clusters": True}}
"""What the owner of a client writes who lets it say which model fits its data."""


def families(cluster: Cluster) -> dict[str, str]:
    """Client -> its family: every second one."""
    return {name: FAMILIES[at % 2] for at, name in enumerate(cluster.names)}


def start_families(cluster: Cluster) -> None:
    """Start all clients."""
    for name, family in families(cluster).items():
        cluster.start_client(name, claims=["--family", family], tables=CHOOSES)


def clusters_of(cluster: Cluster) -> dict[str, set[str]]:
    """Cluster -> its members, as the journal has it."""
    found: dict[str, set[str]] = {}
    where = {row["client"]: row["cluster"] for row in cluster.rows("SELECT * FROM cluster_moves ORDER BY seq")}
    for name, place in where.items():
        found.setdefault(place, set()).add(name)
    return found


def planted(cluster: Cluster) -> list[set[str]]:
    """The clients of each family."""
    return [{name for name, of in families(cluster).items() if of == family} for family in FAMILIES]


def heads(cluster: Cluster) -> dict[str, Mapping[str, Any]]:
    """Cluster -> its newest version."""
    return {row["cluster"]: row for row in cluster.rows("SELECT * FROM models ORDER BY version")}


def way(cluster: Cluster, digest: bytes, family: str) -> float:
    """Cosine of a model and the way of a family."""
    flat = read_flat(cluster.place.state / "models" / f"{digest.hex()}.safetensors").astype(np.float64)
    common = np.concatenate(list(pieces(PARAMS, generator_seed(family))))
    return float(flat @ common / np.linalg.norm(flat) / np.linalg.norm(common))


def is_split(cluster: Cluster, rounds: int) -> None:
    """The planted clusters are there, each round was one's alone, and each model went the way of its clients."""
    assert sorted(map(sorted, clusters_of(cluster).values())) == sorted(map(sorted, planted(cluster)))
    moved = cluster.rows("SELECT MAX(round) AS last FROM cluster_moves")[0]["last"]
    played = cluster.rows("SELECT * FROM rounds ORDER BY round")
    for row in played:
        if row["round"] > moved:
            assert set(json.loads(row["cohort"])) <= clusters_of(cluster)[row["cluster"]]
    found = heads(cluster)
    assert {head["depth"] for head in found.values()} == {rounds}
    for name, members in clusters_of(cluster).items():
        family = families(cluster)[min(members)]
        other = next(each for each in FAMILIES if each != family)
        assert way(cluster, found[name]["digest"], family) > 0.3 + way(cluster, found[name]["digest"], other)


SPLIT_KILLS = ("clusters-settled:2", "round-opened:3", "model-written:4")


@pytest.mark.slow
@pytest.mark.timeout(900)  # fourteen clients on however few cores
@pytest.mark.parametrize("crash_at", ["", *SPLIT_KILLS])
def test_two_families_are_told_apart_behind_masks_and_a_killed_server_comes_to_the_same(
    tmp_path: Path, crash_at: str
) -> None:
    settings = {
        "privacy": {"server_sees": "sketches"},
        "round": {"min_clients": 14, "quorum": 0.8, "deadline": "300s"},
        "codec": {"clip_norm": 0.2},
        "clusters": {"method": "cfl", "warmup": 2, "cooldown": 2, "window": 2},
    }
    with Cluster(tmp_path, clients=14, rounds=4, params=PARAMS, settings=settings) as cluster:
        cluster.start_server(crash_at=crash_at).ready()
        start_families(cluster)
        if crash_at:
            assert cluster.server.wait(timeout_s=12 * PATIENCE_S) == KILLED
            cluster.start_server().ready()
        assert cluster.server.wait(timeout_s=12 * PATIENCE_S) == 0, cluster.server.report("did not end well")
        is_split(cluster, 4)
        (begun,) = cluster.rows("SELECT * FROM clusters")
        assert (begun["id"], begun["base"]) == ("1", 2)
        first = cluster.rows("SELECT * FROM models WHERE cluster = '1' ORDER BY version")[0]
        assert (first["base"], first["depth"]) == (2, 3)
        rows = cluster.rows("SELECT * FROM rounds ORDER BY round")
        events = {row["round"]: json.loads(row["summary"])["cluster"]["event"] for row in rows}
        assert {number: event for number, event in events.items() if event} == {begun["round"] + 1: "split"}


CHOICE = {
    "round": {"min_clients": 4, "quorum": 0.5},
    "clusters": {"method": "ifca", "choose_every": 1},
}


@pytest.mark.parametrize(
    "crash_at",
    [
        "",
        *(
            pytest.param(point, marks=pytest.mark.slow)
            for point in ("choosing-opened", "choice-journaled:3", "choosing-closed:2", "round-opened:2")
        ),
    ],
)
def test_clients_choose_the_model_of_their_family(tmp_path: Path, crash_at: str) -> None:
    with Cluster(tmp_path, clients=4, rounds=2, params=PARAMS, settings=CHOICE) as cluster:
        cluster.start_server(crash_at=crash_at, claims=["--fresh"]).ready()
        start_families(cluster)
        if crash_at:
            assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == KILLED
            cluster.start_server(claims=["--fresh"]).ready()
        assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == 0, cluster.server.report("did not end well")
        is_split(cluster, 2)
        asked = cluster.rows("SELECT * FROM choosings ORDER BY number")
        assert all(row["closed_at"] for row in asked)
        told = read_rows(
            cluster.client_folder("c0") / "state" / "client.db",
            "SELECT round, amount FROM told WHERE name = 'choice' ORDER BY round",
        )
        assert [row["round"] for row in told] == [row["number"] for row in asked]
        assert {row["amount"] for row in told} == {1}


@pytest.mark.slow
def test_a_client_that_dies_after_its_choice_says_the_same_again_and_one_without_budget_says_nothing(
    tmp_path: Path,
) -> None:
    everybody = {"round": {"min_clients": 5, "quorum": 0.5}}
    with Cluster(tmp_path, clients=5, rounds=2, params=PARAMS, settings=CHOICE | everybody) as cluster:
        cluster.start_server(claims=["--fresh"]).ready()
        cluster.client_folder("c4").mkdir()
        write_toml(
            cluster.client_folder("c4") / "client.toml",
            cluster.agreed({"http": {"enabled": False}, "policy": {"clusters": True, "max_choice_bits": 0}}),
        )
        env = environment() | {"ROUGHFED_JOIN": cluster.invite("c4")}
        args = [*BENCH, "client", "--dir", str(cluster.client_folder("c4")), "--params", str(PARAMS)]
        cluster.processes.append(Process("c4", [*args, "--family", "left"], env))
        dying = cluster.start_client("c0", claims=["--family", "left"], crash_at="choice-noted", tables=CHOOSES)
        for name in ("c1", "c2", "c3"):
            cluster.start_client(name, claims=["--family", families(cluster)[name]], tables=CHOOSES)
        assert dying.wait() == KILLED
        cluster.start_client("c0", claims=["--family", "left"])
        assert cluster.server.wait(timeout_s=2 * PATIENCE_S) == 0, cluster.server.report("did not end well")
        said = cluster.rows("SELECT * FROM choices")
        first = {row["client"]: row["cluster"] for row in said if row["number"] == 1}
        known = read_rows(cluster.client_folder("c0") / "state" / "client.db", "SELECT * FROM choices WHERE number = 1")
        assert first["c0"] == str(known[0]["place"] - 1)
        assert "c4" not in {row["client"] for row in said}
        assert "c4" in clusters_of(cluster)["0"]
