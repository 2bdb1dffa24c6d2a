"""An edge that is stopped, refused, or thrown out: its exit code, and what becomes of its clients and of the top."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from roughfed.crypto.join_line import JoinLine
from roughfed.deploy import aggregator
from roughfed.server.members.authority import Authority

from .edges import Edge, Tree
from .federation import Cluster, write_toml
from .process import Server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]

PARAMS = 20_000
EDGES = {"east": ["a0"], "west": ["b0", "b1"]}
HALF = {"round": {"quorum": 0.5}}


def start(edge: Edge, line: str = "") -> Server:
    """The server of an edge, whatever may be wrong with it."""
    return edge.start_server(env=edge.invited(line) if line else {}, claims=["--upstream"])


def test_a_drained_edge_ends_well_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Once while it waits for an order, and once in the middle of a round."""
    with Tree(tmp_path, EDGES, rounds=2, params=PARAMS) as tree:
        east, west = tree.edges["east"], tree.edges["west"]
        tree.top.start_server().ready()
        west.begin().ready()
        with tree.top.watch() as watch:
            watch.until(lambda s: any(c["connected"] for c in s["clients"]))
        west.server.signal(signal.SIGTERM)
        assert west.server.wait() == 0
        west.begin().ready()
        east.begin().ready()
        clients = [*west.start_clients(pace_s=2.0), *east.start_clients()]
        with west.watch() as watch:
            watch.until(lambda s: any(c["state"] == "training" for c in s["clients"]))
            west.server.signal(signal.SIGTERM)
        assert west.server.wait() == 0
        assert "drained" in west.server.lines
        west.begin().ready()
        for process in (tree.top.server, west.server, east.server, *clients):
            assert process.wait(timeout_s=60) == 0, process.report("failed")
        assert tree.top.model_digests() == tree.expected()


def test_an_edge_that_is_revoked_ends_as_a_client_does_and_its_clients_wait_for_it(tmp_path: Path) -> None:
    with Tree(tmp_path, EDGES, rounds=1, params=PARAMS, top=HALF) as tree:
        east, west = tree.edges["east"], tree.edges["west"]
        tree.top.start_server().ready()
        for edge in (east, west):
            edge.begin().ready()
        below = west.start_clients(pace_s=60.0)
        with west.watch() as watch:
            watch.until(lambda s: any(c["state"] == "training" for c in s["clients"]))
        tree.top.control(op="revoke", name="west")
        assert west.server.wait() == 3
        assert west.server.find("error: revoked")
        assert [row["reason"] for row in west.rows("SELECT reason FROM rounds")] == ["withdrawn"]
        for client in below:
            client.wait_line("round 1 abandoned")
            client.wait_line("not connected")
            assert client.running
        assert west.rows("SELECT finished FROM run") == [{"finished": None}]
        east.start_clients()
        assert tree.top.server.wait(timeout_s=60) == 0
        assert tree.top.accepted() == {1: ["east"]}


def test_who_is_no_client_above_is_refused_until_it_is_one(tmp_path: Path) -> None:
    """Without a line, with one that makes a server; then with the right one, and not twice at a time."""
    with Tree(tmp_path, {"east": ["a0"]}, rounds=1, params=PARAMS) as tree:
        tree.top.start_server().ready()
        east = tree.edges["east"]

        stranger = start(east)
        assert stranger.wait() == 2
        assert stranger.find("this edge is no client of a federation above yet")
        assert stranger.find("cure: there: roughfed invite NAME --edge")

        server = start(east, line=line_for_a_server(tree.top))
        assert server.wait() == 3
        assert server.find("replica was invited as a server: ask for a client")
        assert not east.place.ports.exists()

        first = start(east, line=tree.top.invite("east"))
        first.ready()
        second = start(east)
        assert second.wait() == 2
        assert second.find("cure: roughfed stop")
        clients = east.start_clients()
        for process in (tree.top.server, first, *clients):
            assert process.wait(timeout_s=60) == 0, process.report("failed")
        assert tree.top.model_digests() == tree.expected()


def line_for_a_server(top: Cluster) -> str:
    authority = Authority.open(top.place.ca)
    secret = authority.invite("replica", now=datetime.now(UTC), role="server")
    port = aggregator.known_ports(top.place.folder).enrolment
    return JoinLine(top.host, port, secret, authority.fingerprint).reveal()


def test_a_model_that_is_not_the_tops_ends_the_edge(tmp_path: Path) -> None:
    with Tree(tmp_path, {"east": ["a0"]}, rounds=1, params=PARAMS) as tree:
        tree.top.start_server().ready()
        east = tree.edges["east"]
        east.params = PARAMS + 1
        assert east.begin().wait() == 2
        assert east.server.find("this client's model is not the federation's")
        assert tree.top.server.running


def test_an_edge_that_stays_serves_the_next_run_of_the_top(tmp_path: Path) -> None:
    with Tree(tmp_path, {"east": ["a0", "a1"]}, rounds=1, params=PARAMS) as tree:
        tree.top.start_server().ready()
        east = tree.edges["east"]
        upstream = east.place.folder / "upstream"
        upstream.mkdir(parents=True)
        write_toml(upstream / "client.toml", tree.top.agreed({"client": {"stay": 5}, "http": {"enabled": False}}))
        server = start(east, line=tree.top.invite("east"))
        server.ready()
        clients = east.start_clients()
        assert tree.top.server.wait(timeout_s=60) == 0
        first = tree.top.rows("SELECT id FROM run")
        for path in tree.top.place.state.glob("journal.db*"):
            path.unlink()
        tree.top.start_server().ready()
        assert tree.top.server.wait(timeout_s=60) == 0
        assert tree.top.rows("SELECT id FROM run") != first
        assert tree.top.accepted() == {1: ["east"]}
        assert [(row["round"], row["outcome"]) for row in east.rows("SELECT round, outcome FROM rounds")] == [
            (1, "committed"), (2, "committed"),
        ]  # fmt: skip
        assert tree.top.model_digests() == tree.expected([{"east": east.mean(2)}])
        assert all(process.running for process in (server, *clients))
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
