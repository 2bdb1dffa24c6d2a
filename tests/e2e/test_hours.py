"""A client with hours between real, masked ones: it comes when its window opens, goes when it closes, comes back."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .federation import state_of
from .masked import is_exact, masked_cluster, verdicts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

BUSY_S = 60.0
NIGHT = {"participate": {"windows": ["22:00-06:00"], "timezone": "UTC"}}


def test_nobody_waits_for_a_client_outside_its_hours_and_it_comes_back_by_itself(tmp_path: Path) -> None:
    settings = {"round": {"min_clients": 5}}
    with masked_cluster(tmp_path, clients=5, rounds=3, settings=settings) as cluster:
        cluster.start_server().ready()
        claims = ("--clock", "2026-11-25T12:00+00:00")
        late = cluster.start_client("c4", pace_s=0.5, claims=claims, tables=NIGHT)
        late.wait_line("away until Wed 22:00")
        late.wait_line("the clock stands")
        cluster.start_clients("c0", "c1", "c2", "c3")
        with cluster.watch() as watch:
            watch.until(lambda status: "4 of 5" in status["waiting"])
            late.signal(signal.SIGUSR1)  # 22:00
            watch.until(lambda status: state_of(status, "c4") == "training")
            late.signal(signal.SIGUSR1)  # 06:00, in the middle of a round
            late.wait_line("the window has closed")
            late.wait_line("round 1 committed; this client's update: accepted", timeout_s=BUSY_S)
            status = watch.until(lambda status: state_of(status, "c4").startswith("away until"))
            assert not next(c for c in status["clients"] if c["name"] == "c4")["connected"]
            late.wait_line("away until Thu 22:00")
            late.signal(signal.SIGUSR1)
        assert cluster.server.wait(timeout_s=BUSY_S) == 0
        assert late.wait(timeout_s=BUSY_S) == 0
        found = [sets.get("c4", "not asked") for sets in verdicts(cluster).values()]
        assert (found[0], found[-1]) == ("", "")
        assert found.count("no-advert") <= 1  # it comes back once, and may be too late for the round that opens then
        fine = ("", "not asked", "no-advert", "client-refused: window", "client-away: window")
        assert all(why in fine for why in found)
        assert all(sets[name] == "" for sets in verdicts(cluster).values() for name in ("c0", "c1", "c2", "c3"))
        assert is_exact(cluster)
