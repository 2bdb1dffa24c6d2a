"""How cost grows with clients, parameters, rounds and groups, each alone: slopes, and what bends first.

Real servers and real sessions; clients are light ones (`roughfed.deploy.speed`). The slope of a step is its exponent:
ten times as many that cost ten times as much have 1, twenty times as much 1.3. What is fixed keeps it below 1.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from roughfed.deploy.speed import masked_uploads, uploads
from roughfed.deploy.speed.federation import prepare, running, wait_for_end
from roughfed.deploy.speed.measure import MIB, Sampler, machine
from roughfed.deploy.speed.options import RoundBenchOptions
from roughfed.deploy.speed.round import read_journal, run_round_bench, start_all
from roughfed.errors import ConfigError
from tests.bench.command import Benchmark, numbers
from tests.bench.plots.growth_lines import growth_svg

Point = dict[str, float]

BENT = 1.2
"""A step with a larger slope is told as a bend."""

LIGHT_PARAMS, GROUP_PARAMS, FEW = 10_000, 100_000, 2
MARKS = 6
"""Parts into which a long run is divided: each has as many rounds as came before it."""


@dataclass(frozen=True, slots=True)
class GrowthOptions:
    """How far each goes."""

    along: Annotated[str, typer.Option(help="clients, params, rounds, groups or all.")] = "all"
    clients: Annotated[Sequence[int], numbers("Clients that upload 40 kB at once.", of=int)] = (10, 30, 100, 300, 1000)
    params: Annotated[Sequence[int], numbers("Parameters, 2 clients.", of=int)] = (
        100_000, 1_000_000, 10_000_000, 50_000_000, 200_000_000,
    )  # fmt: skip
    rounds: Annotated[int, typer.Option(min=64, help="Rounds of one run of 2 clients.")] = 5000
    groups: Annotated[Sequence[int], numbers("Groups of 10 clients, masked, 0.4 MB.", of=int)] = (1, 3, 10, 30, 60)

    def __post_init__(self) -> None:
        """Refuse another word."""
        if self.along not in (*ALONG, "all"):
            raise ConfigError(f"nothing grows along {self.along!r}", key="--along", cure=", ".join((*ALONG, "all")))


def run_growth_bench(
    options: GrowthOptions, *, say: Callable[[str, Mapping[str, object]], None] = lambda *_: None
) -> dict[str, Any]:
    """Measure one line or all.

    Returns:
        by what grows: `points`, `slopes` of each figure between the points, and `bends`: figure -> where from.
    """
    lines: dict[str, object] = {}
    for along in ALONG if options.along == "all" else (options.along,):
        points: list[Point] = []
        for point in ALONG[along](options):
            points.append(point)
            say(along, point)
        lines[along] = line_of(points)
    return {"bench": "growth", "lines": lines, "machine": machine()}


def line_of(points: Sequence[Point]) -> dict[str, object]:
    """Points with the slopes between them."""
    figures = [name for name in points[0] if name != "at"]
    slopes = {name: [slope(a, b, name) for a, b in pairwise(points)] for name in figures}
    bends = {
        name: points[next(i for i, value in enumerate(found) if value > BENT)]["at"]
        for name, found in slopes.items()
        if any(value > BENT for value in found)
    }
    return {"points": list(points), "slopes": slopes, "bends": bends}


def slope(a: Point, b: Point, name: str) -> float:
    """The exponent of a figure between two points; 0 where it is nothing."""
    if min(a[name], b[name]) <= 0:
        return 0.0
    return math.log(b[name] / a[name]) / math.log(b["at"] / a["at"])


def along_clients(options: GrowthOptions) -> Iterator[Point]:
    """A round in the clear: everybody uploads at once."""
    for number in options.clients:
        found = uploads.once(number, number, LIGHT_PARAMS)
        yield {"at": number, "server_cpu_s": found["server_cpu_seconds"], "seconds": found["seconds"],
               "server_mib": found["server_peak_mib"]}  # fmt: skip


def along_params(options: GrowthOptions) -> Iterator[Point]:
    """Rounds of two clients in the clear."""
    for number in options.params:
        found: Mapping[str, Any] = run_round_bench(RoundBenchOptions(params=number, clients=FEW, rounds=4, floor=False))
        yield {"at": number, "server_cpu_s": found["cpu_seconds_server"] / 3, "seconds": found["seconds_per_round"],
               "server_mib": found["server_peak_rss_mib"], "agent_mib": found["agent_peak_rss_mib"]}  # fmt: skip


def along_groups(options: GrowthOptions) -> Iterator[Point]:
    """A masked round, by whole agents."""
    for number in options.groups:
        found = masked_uploads.once(10 * number, GROUP_PARAMS)
        yield {"at": number, "server_cpu_s": found["server_cpu_seconds"], "seconds": found["round_seconds"],
               "server_mib": found["server_peak_mib"]}  # fmt: skip


def along_rounds(options: GrowthOptions) -> Iterator[Point]:
    """One long run, with the status page served: what a round costs early and late in it."""
    with tempfile.TemporaryDirectory(prefix="roughfed-bench-") as temporary:
        bench = prepare(Path(temporary), params=1000, clients=FEW, rounds=options.rounds)
        settings = bench.server_folder / "fed.toml"
        settings.write_text(settings.read_text().replace("http = false", "http = true\nhttp_port = 0"))
        with Sampler() as sampler, running(bench):
            tracks = start_all(bench, FEW, sampler)
            wait_for_end(bench, timeout_s=max(600.0, options.rounds / 2))
        played = read_journal(bench.server_folder / "state" / "journal.db")
        marks = [options.rounds >> shift for shift in range(MARKS, -1, -1)]
        for first, last in pairwise(marks):
            rows, track = played[first - 1 : last], tracks["server"]
            begin, end = rows[0].closed_at, rows[-1].closed_at
            number = min(range(len(track.times)), key=lambda at: abs(track.times[at] - end))
            point = {"at": last, "server_cpu_s": track.cpu_between(begin, end) / (last - first),
                     "agent_cpu_s": tracks["c000"].cpu_between(begin, end) / (last - first),
                     "seconds": (end - begin) / (last - first), "server_mib": track.own[number] / MIB}  # fmt: skip
            yield point


ALONG: Mapping[str, Callable[[GrowthOptions], Iterator[Point]]] = {
    "clients": along_clients,
    "params": along_params,
    "rounds": along_rounds,
    "groups": along_groups,
}


def _line(along: str, point: Mapping[str, float]) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in point.items() if name != "at")
    return f"{along:<8} {point['at']:>11,.0f}  {figures}"


BENCH = Benchmark(GrowthOptions, run_growth_bench, _line, draw={".svg": growth_svg})
