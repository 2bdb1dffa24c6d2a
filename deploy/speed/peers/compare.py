"""`roughfed bench peers`: this project, Flower and NVFlare alternately on the same work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from roughfed.deploy.speed.measure import machine
from roughfed.deploy.speed.options import BenchWork, PeersOptions, RoundBenchOptions
from roughfed.deploy.speed.peers import run_flower, run_nvflare
from roughfed.deploy.speed.peers.peer import find
from roughfed.deploy.speed.peers.table import OURS, Row, figures, middle
from roughfed.deploy.speed.round import run_round_bench
from roughfed.errors import ConfigError, RoughfedError

FLOWER, NVFLARE = "ROUGHFED_FLOWER_PYTHON", "ROUGHFED_NVFLARE_PYTHON"
SYSTEMS = {"flower": run_flower.PLAIN, "flower-secagg": run_flower.SECAGG, "nvflare": run_nvflare.PLAIN}
LEAST_CLIENTS, LEAST_ROUNDS = 4, 2
SHORT, SHORT_ROUNDS = 10_000_000, 10
"""Values of all clients up to which our rounds are so short that fewer of them would drown in ticks of the clock."""

Player = Callable[[BenchWork, Path], Row]


@dataclass(frozen=True, slots=True)
class PeerResults:
    """What was measured: ours first in `rows`; `failed` and `left_out` say why, by system."""

    rows: tuple[Row, ...]
    failed: Mapping[str, str]
    left_out: Mapping[str, str]
    work: BenchWork

    def figures(self) -> dict[str, object]:
        """For `--json`."""
        work = {"clients": self.work.clients, "params": self.work.params, "rounds": self.work.rounds}
        told = figures(self.rows[0], self.rows[1:])
        rest = {"failed": dict(self.failed), "left_out": dict(self.left_out), "machine": machine()}
        return {"bench": "peers", **work, **told, **rest}


def run_peers_bench(options: PeersOptions, *, say: Callable[[str], None]) -> PeerResults:
    """Play ours before every peer, and the peer.

    Raises:
        ConfigError: too few clients or rounds, an unknown system, or a Python without its package.
        RoughfedError: our own run failed; a peer's failure is told in the outcome.
    """
    check(options)
    players, left_out = choose(options)
    ours: list[Row] = []
    peers: list[Row] = []
    failed: dict[str, str] = {}
    for name, player in players.items() or [("", None)]:
        say(f"{OURS} ...")
        ours.append(play_ours(options.work))
        if player is None:
            continue
        say(f"{name} ...")
        try:
            with tempfile.TemporaryDirectory(prefix="roughfed-peer-", ignore_cleanup_errors=True) as folder:
                peers.append(player(options.work, Path(folder)))
        except RoughfedError as error:
            failed[name] = str(error)
    return PeerResults((middle(ours), *peers), failed, left_out, options.work)


def check(options: PeersOptions) -> None:
    """Refuse what cannot be compared."""
    for key, value, least in (
        ("--clients", options.work.clients, LEAST_CLIENTS),
        ("--params", options.work.params, 1),
        ("--rounds", options.work.rounds, LEAST_ROUNDS),
    ):
        if value < least:
            raise ConfigError(f"{value} is too few", key=key, cure=f"give {least} or more")
    for name in options.systems:
        if name not in SYSTEMS:
            raise ConfigError(f"no system is called {name!r}", key="--systems", cure=f"one of {', '.join(SYSTEMS)}")


def choose(options: PeersOptions) -> tuple[dict[str, Player], dict[str, str]]:
    """Who plays, and who does not and why; every Python that is named is asked before anything runs."""
    players: dict[str, Player] = {}
    left_out: dict[str, str] = {}
    wanted = [SYSTEMS[name] for name in options.systems] or list(SYSTEMS.values())
    for system in wanted:
        nvidia = system == run_nvflare.PLAIN
        python, flag, variable = (
            (options.nvflare, "--nvflare", NVFLARE) if nvidia else (options.flower, "--flower", FLOWER)
        )
        if not python:
            left_out[system] = f"no Python is named: {flag} or {variable}"
        elif nvidia:
            players[system] = partial(run_nvflare.run, find(python, "nvflare", key=flag))
        else:
            players[system] = partial(run_flower.run, system, find(python, "flwr", key=flag))
    return players, left_out


def play_ours(work: BenchWork) -> Row:
    """One run of our own: real server and agents over mutual TLS, masks on, every sum checked.

    Raises:
        RoughfedError: a process failed, or a sum was not the one that the seeds give.
    """
    rounds = max(work.rounds, SHORT_ROUNDS) if work.clients * work.params <= SHORT else work.rounds
    clients, timeout_s = work.clients, work.timeout_s
    options = RoundBenchOptions(work.params, clients, rounds, timeout_s=timeout_s, server_sees="sketches", floor=False)
    told = run_round_bench(options)
    if not told["sum_exact"]:
        raise RoughfedError("a committed model is not the sum of what the clients sent")
    seconds = float(str(told["seconds_between_commits"]))
    return Row(
        OURS,
        version("roughfed"),
        seconds_per_round=seconds,
        fastest=seconds,
        slowest=seconds,
        cpu_seconds_per_round=float(str(told["cpu_seconds_per_round"])),
        server_peak_mib=float(str(told["server_peak_rss_mib"])),
    )
