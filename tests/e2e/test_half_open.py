"""Thousands of connections that never say a word: the rounds go on, and others are answered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from roughfed.wire.updates import encode_update_status_request

from .federation import Cluster
from .peer import Peer, enrol
from .strangers import Strangers, slowest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="takes other loopback addresses for other machines"),
]

MANY, SLOW_S, ROUNDS = 2_000, 1.0, 5
WHO = encode_update_status_request("", 0, bytes(32))


class Limited(Cluster):
    """A server that starts as systemd starts one: 1024 descriptors, more only if it asks for them."""

    hard = ""

    def placed(self, name: str, args: Sequence[str]) -> Sequence[str]:
        if name != "server":
            return args
        return ["sh", "-c", f'ulimit -S -n 1024; {self.hard} exec "$@"', "sh", *args]


class Confined(Limited):
    """One that may not have more."""

    hard = "ulimit -H -n 1024;"


@pytest.mark.parametrize("kind", [Limited, Confined])
def test_rounds_go_on_under_connections_that_say_nothing(tmp_path: Path, kind: type[Cluster]) -> None:
    settings = {"round": {"rounds": 10_000, "deadline": "20s"}}
    with kind(tmp_path, params=1_000, settings=settings) as cluster, ExitStack() as open_:
        ports = cluster.start_server(afresh=True).ready()
        cluster.start_clients()
        peer = open_.enter_context(Peer(cluster.address, enrol(cluster, "x0")))

        def ask() -> None:
            assert isinstance(peer.ask("UpdateStatus", WHO), bytes)

        ask()
        watch = open_.enter_context(cluster.watch())
        watch.until(lambda s: s["round"] >= 2)
        crowds = [
            open_.enter_context(Strangers(ports.federation, MANY, source="127.0.0.2")),
            open_.enter_context(Strangers(ports.enrolment, MANY // 4, source="127.0.0.3")),
            open_.enter_context(Strangers(ports.http, 100, source="127.0.0.4")),
        ]
        assert crowds[0].all_came.wait(60)
        began = watch.latest["round"]
        p99, calls = slowest(
            [ask, lambda: cluster.page("/healthz", port=ports.http)],
            until=lambda: watch.latest["round"] >= began + ROUNDS,
        )
        print(f"{kind.__name__}: {calls} calls, p99 {p99 * 1000:.0f} ms, {watch.latest['round'] - began} rounds")
        assert p99 < SLOW_S
        assert cluster.rows("SELECT 1 FROM rounds WHERE outcome = 'abandoned'") == []
        if kind is Confined:
            return  # 192 connections are all that its enrolment port has
        enrol(cluster, "late")  # by the enrolment port, which is under siege as well
        with Peer(cluster.address, cluster.papers("late")) as newcomer:
            assert isinstance(newcomer.ask("UpdateStatus", WHO), bytes)
