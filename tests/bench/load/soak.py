"""Does memory grow with the rounds? Many short ones, and the slope of the resident memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

from roughfed.deploy.speed.measure import MIB, ProcessTrack, machine
from roughfed.deploy.speed.options import RoundBenchOptions
from roughfed.deploy.speed.round import PlayedRound, play
from roughfed.errors import ConfigError, RoughfedError
from tests.bench.command import Benchmark


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """How long, and with whom."""

    rounds: Annotated[int, typer.Option(min=3, help="Rounds of one run of one server and its agents.")] = 200
    warm_up: Annotated[int, typer.Option(min=1, help="Rounds that are played first and do not count.")] = 50
    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 8
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 20_000
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one run may take.")] = 3600.0


def run_soak_bench(options: SoakOptions) -> dict[str, object]:
    """Play the rounds, as fast as they go, and fit a line to the memory of each process after the warm-up.

    Returns:
        the figures: slopes in MiB a minute and in KiB a round (RssAnon + RssShmem, least squares), the agents' as the
        largest of all; and what was held at the end of the warm-up and of the run.

    Raises:
        RoughfedError: a round did not commit.
    """
    if not 1 <= options.warm_up < options.rounds - 1:
        raise ConfigError("too few rounds", key="--rounds", cure="give at least two more than warm up")
    played, tracks = play(
        RoundBenchOptions(
            options.params,
            options.clients,
            options.rounds,
            options.server_sees,
            floor=False,
            timeout_s=options.timeout_s,
        )
    )
    window = (played[options.warm_up - 1].closed_at, played[-1].closed_at)
    lines = {name: line_of(track, played[options.warm_up - 1 :], window) for name, track in tracks.items()}
    agents = [line for name, line in lines.items() if name != "server"]
    worst = max(agents, key=lambda line: line["mib_per_minute"])
    return {
        "bench": "soak",
        "rounds": options.rounds,
        "warm_up": options.warm_up,
        "clients": options.clients,
        "params": options.params,
        "server_sees": options.server_sees,
        "minutes_after_warm_up": (window[1] - window[0]) / 60.0,
        **{f"server_{name}": value for name, value in lines["server"].items()},
        **{f"agent_{name}": value for name, value in worst.items()},
        "machine": machine(),
    }


def line_of(track: ProcessTrack, played: Sequence[PlayedRound], window: tuple[float, float]) -> dict[str, float]:
    """Slope and ends of one process's memory within a window of time (Unix seconds)."""
    times, own = np.asarray(track.times), np.asarray(track.own, dtype=np.float64) / MIB
    inside = (times >= window[0]) & (times <= window[1])
    if inside.sum() < 2:
        raise RoughfedError("the run was too short to see a slope")
    slope, _ = np.polyfit((times[inside] - window[0]) / 60.0, own[inside], 1)
    minutes = (window[1] - window[0]) / 60.0
    return {
        "mib_per_minute": float(slope),
        "kib_per_round": float(slope) * minutes * 1024.0 / max(1, len(played) - 1),
        "mib_after_warm_up": float(own[inside][0]),
        "mib_at_the_end": float(own[inside][-1]),
    }


BENCH = Benchmark(SoakOptions, run_soak_bench)
