"""What a round costs the server, by how many clients are in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer

from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from roughfed.deploy.speed.measure import machine
from roughfed.errors import ConfigError, RoughfedError
from roughfed.secagg.groups import SMALLEST
from tests.bench.command import Benchmark, numbers

WARM_UP = 1
"""Rounds of each run that do not count: sessions are opened in them, and kernels loaded."""


@dataclass(frozen=True, slots=True)
class CohortsOptions:
    """How many clients there are, and how many of them are in a round."""

    clients: Annotated[int, typer.Option(min=8, help="Simulated clients, all connected.")] = 1000
    cohorts: Annotated[Sequence[int], numbers("Of them in a round, smallest first.", of=int)] = (50, 100, 200)
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each run that count; one more is played first.")] = 4
    data: Annotated[str, typer.Option(help="Listed data: digits, fashion-mnist or mnist.")] = "fashion-mnist"
    model: Annotated[str, typer.Option(help="Listed model. [default: by the data]")] = ""
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    workers: Annotated[int, typer.Option(min=1, help="Trainer processes.")] = 2
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0

    def __post_init__(self) -> None:
        """Refuse what makes no line."""
        if len(self.cohorts) < 2 or list(self.cohorts) != sorted(set(self.cohorts)):
            raise ConfigError("a line needs two cohorts or more, ascending", key="--cohorts", cure="50,100,200")
        if not SMALLEST <= self.cohorts[0] <= self.cohorts[-1] <= self.clients:
            cause = f"cohorts of {self.cohorts[0]} to {self.cohorts[-1]} out of {self.clients} clients cannot be"
            raise ConfigError(cause, key="--cohorts", cure=f"{SMALLEST} to {self.clients}, or more --clients")


def run_cohorts_bench(
    options: CohortsOptions, *, say: Callable[[str, Mapping[str, object]], None] = lambda *_: None
) -> dict[str, Any]:
    """Simulate the same federation with each cohort, and fit a line to the server's processor time of a round.

    Args:
        options: what is played.
        say: gets the figures of each cohort as soon as it is measured; there is no name.

    Returns:
        `cohorts`: for each, the least processor time of its rounds (what else the machine does only adds to it), and a
        client's part of that; the line through them, `fixed_ms` + `per_client_ms` a client; `worst_deviation`: from
        that line, as a share of it; `per_client_ratio`: the largest part of a client over the smallest.

    Raises:
        ConfigError: cohorts that cannot be played.
        RoughfedError: a round did not commit.
    """
    found: list[dict[str, object]] = []
    least: list[float] = []
    for cohort in options.cohorts:
        seconds = measure(options, cohort)
        least.append(min(seconds))
        found.append(
            {
                "cohort": cohort,
                "server_cpu_seconds": least[-1],
                "per_client_ms": 1e3 * least[-1] / cohort,
                "rounds": seconds,
            }
        )
        say("", found[-1])
    slope, fixed = (float(each) for each in np.polyfit(options.cohorts, least, 1))
    line = [fixed + slope * cohort for cohort in options.cohorts]
    each = [seconds / cohort for cohort, seconds in zip(options.cohorts, least, strict=True)]
    return {
        "machine": machine(),
        "clients": options.clients,
        "data": options.data,
        "server_sees": options.server_sees,
        "cohorts": found,
        "per_client_ms": 1e3 * slope,
        "fixed_ms": 1e3 * fixed,
        "worst_deviation": max(abs(a / b - 1) for a, b in zip(least, line, strict=True)),
        "per_client_ratio": max(each) / min(each),
    }


def measure(options: CohortsOptions, cohort: int) -> list[float]:
    """Processor seconds of the server in each round that counts.

    Raises:
        RoughfedError: a round did not commit.
    """
    played = simulate(
        SimulateOptions(
            clients=options.clients,
            cohort=cohort,
            rounds=WARM_UP + options.rounds,
            data=options.data,
            model=options.model,
            server_sees=options.server_sees,
            seed=options.seed,
            workers=options.workers,
            settings={"round.evaluate_every": "0"},
        )
    )
    if failed := [each.round for each in played.rounds if each.outcome != "committed"]:
        raise RoughfedError(f"with a cohort of {cohort}, these rounds came to nothing: {failed}")
    return [each.server_cpu_seconds for each in played.rounds[WARM_UP:]]


def _line(_name: str, found: Mapping[str, float]) -> str:
    return (
        f"{found['cohort']} clients: {found['server_cpu_seconds']:.3f} processor seconds of the server in a round, "
        f"{found['per_client_ms']:.2f} ms each"
    )


BENCH = Benchmark(CohortsOptions, run_cohorts_bench, _line)
