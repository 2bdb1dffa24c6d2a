"""`roughfed bench cohorts`: what a round costs the server, by how many clients are in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roughfed.deploy.bench.measure import machine
from roughfed.deploy.simulate.options import SimulateOptions
from roughfed.deploy.simulate.run import simulate
from roughfed.errors import ConfigError, RoughfedError
from roughfed.secagg.groups import SMALLEST

WARM_UP = 1
"""Rounds of each run that do not count: sessions are opened in them, and kernels loaded."""


@dataclass(frozen=True, slots=True)
class CohortsOptions:
    """What is played.

    Attributes:
        clients: that are connected, whatever the cohort.
        cohorts: clients in a round, smallest first; a run of its own for each.
        rounds: of each run that count.
        data: a listed data set.
        model: a listed model; empty = what goes with the data.
        server_sees: of a single client.
        workers: trainer processes.
        seed: of everything.
    """

    clients: int = 1000
    cohorts: Sequence[int] = (50, 100, 200)
    rounds: int = 4
    data: str = "fashion-mnist"
    model: str = ""
    server_sees: str = "sketches"
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no line."""
        if len(self.cohorts) < 2 or list(self.cohorts) != sorted(set(self.cohorts)):
            raise ConfigError("a line needs two cohorts or more, ascending", key="--cohorts", cure="50,100,200")
        if not SMALLEST <= self.cohorts[0] <= self.cohorts[-1] <= self.clients:
            cause = f"cohorts of {self.cohorts[0]} to {self.cohorts[-1]} out of {self.clients} clients cannot be"
            raise ConfigError(cause, key="--cohorts", cure=f"{SMALLEST} to {self.clients}, or more --clients")


def run_cohorts_bench(
    options: CohortsOptions, *, say: Callable[[Mapping[str, object]], None] = lambda _: None
) -> dict[str, Any]:
    """Simulate the same federation with each cohort, and fit a line to the server's processor time of a round.

    Args:
        options: what is played.
        say: hears of each cohort that is measured.

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
        say(found[-1])
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
