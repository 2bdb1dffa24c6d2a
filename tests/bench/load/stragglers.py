"""What clients cost that are many times slower than the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import typer

from roughfed.deploy.speed.federation import add_client, prepare, running, wait_for_end
from roughfed.deploy.speed.measure import machine
from roughfed.deploy.speed.round import PlayedRound, read_journal
from roughfed.errors import ConfigError, RoughfedError
from tests.bench.command import Benchmark

QUORUM = 0.8
"""As in fed.toml where nobody says anything."""


@dataclass(frozen=True, slots=True)
class StragglerOptions:
    """Who is slow, and how slow."""

    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 100_000
    clients: Annotated[int, typer.Option(min=5, help="Clients, each a process without torch.")] = 10
    slow: Annotated[
        float, typer.Option(help="Share of them that is slow, at most 0.2, or the quorum waits for them.")
    ] = 0.2
    times: Annotated[float, typer.Option(min=1, help="How many times as long they take.")] = 10.0
    pace_s: Annotated[float, typer.Option("--pace", min=0.1, help="Seconds that a training of the others takes.")] = 6.0
    rounds: Annotated[int, typer.Option(min=3, help="Rounds; in the first one nobody is known.")] = 5
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "updates"
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one run may take.")] = 900.0


def run_straggler_bench(options: StragglerOptions) -> dict[str, object]:
    """The same federation without slow clients and with them, all real processes over mTLS.

    Returns:
        the figures; `cost` is how many times as long a round takes with the slow ones, median after the first.

    Raises:
        ConfigError: the options make no sense, or the mode is not built.
        RoughfedError: a process of the bench failed, or a round did.
    """
    slow = round(options.slow * options.clients)
    if slow < 1 or slow > round((1 - QUORUM) * options.clients) or options.rounds < 3:
        raise ConfigError(
            f"{slow} slow clients of {options.clients} in {options.rounds} rounds",
            key="--slow",
            cure="give a share up to 0.2 that makes one client or more, and 3 rounds or more",
        )
    paces = {f"c{number:03d}": options.pace_s for number in range(options.clients)}
    late = dict.fromkeys(sorted(paces)[:slow], options.times * options.pace_s)
    alike, mixed = play(options, paces), play(options, paces | late)
    return {
        "bench": "stragglers",
        "clients": options.clients,
        "slow": slow,
        "times": options.times,
        "pace_s": options.pace_s,
        "rounds": options.rounds,
        "server_sees": options.server_sees,
        "seconds_without": _seconds(alike),
        "seconds_with": _seconds(mixed),
        "cost": _seconds(mixed) / _seconds(alike),
        "cost_of_the_first": _length(mixed[0]) / _length(alike[0]),
        "left_behind": mean(len(each.absent) for each in mixed[1:]),
        "all_others_came": not any(set(each.absent) - late.keys() for each in (*alike, *mixed)),
        "machine": machine(),
    }


def play(options: StragglerOptions, paces: Mapping[str, float]) -> list[PlayedRound]:
    """One run; clients by name with the seconds that a training of theirs takes."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        bench = prepare(
            Path(temporary),
            params=options.params,
            clients=options.clients,
            rounds=options.rounds,
            server_sees=options.server_sees,
            quorum=QUORUM,
        )
        with running(bench):
            for name, pace_s in paces.items():
                add_client(bench, name, pace_s=pace_s)
            wait_for_end(bench, timeout_s=options.timeout_s)
        played = read_journal(bench.server_folder / "state" / "journal.db")
    if len(played) != options.rounds:
        raise RoughfedError(f"{len(played)} of {options.rounds} rounds were committed")
    return played


def _seconds(played: list[PlayedRound]) -> float:
    return median(_length(each) for each in played[1:])


def _length(played: PlayedRound) -> float:
    return played.closed_at - played.opened_at


BENCH = Benchmark(StragglerOptions, run_straggler_bench)
