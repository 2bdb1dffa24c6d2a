"""Two deaths in one masked run, at random points: of server and agent, of two agents, and of the server twice.

Each of them starts again at once. Alone every point is met in `test_masked_crash.py`; here the second comes while the
first is still being mended. The run ends with the models that the accepted clients' updates give, to the bit.

Which pairs is up to `--pairs-seed`, which pytest says first: `make test-all` draws new ones each time, and a failure is
played again with `pytest --pairs-seed N -k ...`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from .federation import KILLED, Cluster, Process
from .masked import TWO_CHUNKS, masked_cluster, verdicts
from .test_masked_crash import CLIENT, SERVER, goes_on_as_it_began

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

BUSY_S = 90.0
EARLY = {"run-created"}
"""Before the server listens: nobody can enrol."""
OF_SERVER = sorted(set(SERVER) - EARLY)
OF_AGENT = sorted(set(CLIENT))
AGENTS, SERVER_AND_AGENT, SERVER_TWICE = "agents", "server and agent", "server twice"
PAIRS = {SERVER_AND_AGENT: 16, AGENTS: 8, SERVER_TWICE: 8}

Deaths = dict[str, list[str]]
"""Process -> the points at which it dies, one life after another."""


def drawn(kind: str, number: int, pairs_seed: int) -> Deaths:
    """Random points; the same for the same numbers."""
    rng = np.random.default_rng([pairs_seed, number, *kind.encode()])
    server, agents = rng.choice(OF_SERVER, 2), rng.choice(OF_AGENT, 2)
    deaths: dict[str, Deaths] = {
        SERVER_AND_AGENT: {"server": [str(server[0])], "c0": [str(agents[0])]},
        AGENTS: {"c0": [str(agents[0])], "c1": [str(agents[1])]},
        SERVER_TWICE: {"server": [str(point) for point in server]},
    }
    return deaths[kind]


def live_on(start: Callable[[str], Process], points: list[str], first: Process) -> tuple[Process, int]:
    """Start a process again whenever it dies at one of its points; the last one, and how often that was.

    A point that it never gets to any more (the round is beyond it) is no fault: then it ends well by itself.
    """
    process, died = first, 0
    for point in [*points[1:], ""]:
        if (status := process.wait(timeout_s=BUSY_S)) != KILLED:
            assert status == 0, process.report(f"ended with {status}")
            return process, died
        process, died = start(point), died + 1
    return process, died


def ends_exactly(cluster: Cluster, deaths: Deaths) -> int:
    """Play a run with these deaths; returns how many there were."""

    def server_again(point: str) -> Process:
        return cluster.start_server(crash_at=point)

    def agent_again(name: str) -> Callable[[str], Process]:
        return lambda point: cluster.start_client(name, crash_at=point)

    doomed = deaths.get("server", [""])
    server = cluster.start_server(crash_at=doomed[0])
    server.ready()
    others = [name for name in cluster.names if name not in deaths]
    agents = {name: points for name, points in deaths.items() if name != "server"}
    running = {name: cluster.start_client(name, crash_at=points[0]) for name, points in agents.items()}
    quiet = cluster.start_clients(*others)
    with ThreadPoolExecutor(len(deaths) + 1) as hands:
        lives = [hands.submit(live_on, server_again, doomed, server)]
        lives += [hands.submit(live_on, agent_again(name), deaths[name], first) for name, first in running.items()]
        ended = [life.result() for life in lives]
    for process in [*(process for process, _ in ended), *quiet]:
        assert process.wait(timeout_s=BUSY_S) == 0, process.report("failed")
    goes_on_as_it_began(cluster)
    for reasons in verdicts(cluster).values():
        assert {name for name, why in reasons.items() if why not in ("", "void")} <= deaths.keys()
    return sum(died for _, died in ended)


def run_with(folder: Path, deaths: Deaths, *, clients: int = 6, params: int = TWO_CHUNKS) -> int:
    settings = {"round": {"min_clients": clients}}
    with masked_cluster(folder, clients=clients, params=params, settings=settings) as cluster:
        return ends_exactly(cluster, deaths)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, many in PAIRS.items() for number in range(many)])
def test_two_deaths_at_random_points(kind: str, number: int, pairs_seed: int, tmp_path: Path) -> None:
    deaths = drawn(kind, number, pairs_seed)
    print(f"{kind}, number {number} of --pairs-seed {pairs_seed}: {deaths}")
    died = run_with(tmp_path, deaths)
    print(f"{died} died")
    assert died >= 1


@pytest.mark.parametrize(
    "deaths",
    [
        {"server": ["masked-decided"], "c0": ["answer-sent:2"]},
        {"server": ["dealt-decided", "judged-decided"]},
    ],
)
def test_two_deaths_in_one_round(deaths: Deaths, tmp_path: Path) -> None:
    """The seed is journaled and told to nobody, and a client has said its sketch; and the server in two stages."""
    assert run_with(tmp_path, deaths, clients=4, params=20_000) == 2


def test_pairs_are_drawn_among_all_points() -> None:
    """So that a new point is met in pairs without anybody listing it; another seed gives other pairs."""

    def pairs(seed: int) -> list[Deaths]:
        return [drawn(kind, number, seed) for kind, many in PAIRS.items() for number in range(many)]

    def met(*seeds: int) -> set[str]:
        return {point for seed in seeds for deaths in pairs(seed) for points in deaths.values() for point in points}

    assert len(met(0) & set(OF_SERVER)) >= 15
    assert len(met(0) & set(OF_AGENT)) >= 15
    assert met(*range(30)) == {*OF_SERVER, *OF_AGENT}
    assert pairs(1) != pairs(2)
