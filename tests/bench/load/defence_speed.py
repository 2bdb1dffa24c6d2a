"""What a verdict and the aggregate after it cost, by every rule of the table.

n clients, D parameters. Whole updates lie in files, as the server receives them; a rule judges them and the rows become
one, slice by slice, on as many threads as the server has. Sketches are judged only: the sum comes from elsewhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from roughfed.deploy.speed.measure import MIB, Sampler, machine, own_bytes
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import (
    PREVIOUS,
    ROOT,
    ROUNDING,
    RULES,
    Rows,
    Rule,
    Situation,
    Verdict,
    view_of_claims,
    view_of_files,
)
from roughfed.server.storage.slices import Mean, in_order
from roughfed.server.uploads.spool import opened, weighted_mean
from tests.bench.command import Benchmark, names, row

DIMS = (128, 1024)
"""Numbers of a sketch."""

REPEATS = 5
"""Verdicts over sketches; the fastest counts."""


@dataclass(frozen=True, slots=True)
class DefenceSpeedOptions:
    """Which rules judge, and what."""

    clients: Annotated[
        int, typer.Option(min=1, help="Clients; a fifth is hostile: the other way, three times as far.")
    ] = 100
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model; 4 bytes of disk each for a client.")] = (
        10_000_000
    )
    rules: Annotated[Sequence[str], names("Rules.")] = ()
    folder: Annotated[Path | None, typer.Option(help="Where the updates lie meanwhile. [default: a temporary one]")] = (
        None
    )

    @property
    def f(self) -> int:
        """Attackers."""
        return self.clients // 5


Say = Callable[[str, Mapping[str, float]], None]


def run_defence_speed_bench(options: DefenceSpeedOptions, say: Say) -> dict[str, object]:
    """Measure, and tell each rule's figures as they come.

    Returns:
        `updates` and `sketches`, by rule; `skipped`, the rules that need more clients; and what was measured on.

    Raises:
        ConfigError: an unknown rule, or not enough disk.
    """
    rules = {name: look_up(RULES, name, key="--rules") for name in options.rules or RULES}
    enough = {name: rule for name, rule in rules.items() if rule.min_rows(options.f) <= options.clients}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        whole = told(of_updates(seen(enough, "updates"), options, Path(folder)), say)
    few: dict[str, dict[str, dict[str, float]]] = {}
    for dim in DIMS:
        found = of_sketches(seen(enough, "sketches"), options, dim)
        few[str(dim)] = told(found, lambda name, figures, dim=dim: say(f"{name}, {dim} numbers", figures))
    return {
        "machine": machine(),
        "clients": options.clients,
        "params": options.params,
        "f": options.f,
        "stored_mib": stored(options) / MIB,
        "updates": whole,
        "sketches": few,
        "skipped": sorted(rules.keys() - enough.keys()),
    }


def seen(rules: Mapping[str, Rule], rows: Rows) -> dict[str, Rule]:
    """Those that can judge such rows."""
    return {name: rule for name, rule in rules.items() if rows in rule.sees}


def told(figures: Iterator[tuple[str, dict[str, float]]], say: Say) -> dict[str, dict[str, float]]:
    """All of them, said as they come."""
    found: dict[str, dict[str, float]] = {}
    for name, found[name] in figures:
        say(name, found[name])
    return found


def stored(options: DefenceSpeedOptions) -> int:
    """Bytes of all updates."""
    return 4 * options.clients * options.params


def of_updates(
    rules: Mapping[str, Rule], options: DefenceSpeedOptions, folder: Path
) -> Iterator[tuple[str, dict[str, float]]]:
    """Judge and combine whole updates by one rule after another; nothing is kept from rule to rule.

    Yields:
        name of the rule, and: `seconds` of both, `judging_seconds` of the verdict alone, `cpu_seconds` of all threads,
        `more_mib` of memory at the most, beside the updates (what earlier rules left with the process included), and
        `memory`: both together as a multiple of the updates.

    Raises:
        ConfigError: not enough disk.
    """
    paths, extras = updates(options, folder)
    before = own_bytes(os.getpid())
    for name, rule in rules.items():
        with watched(before) as more:
            view = view_of_files(paths, size=options.params, extras=extras)
            begin, cpu = time.perf_counter(), time.process_time()
            verdict = rule.judge(view, Situation(options.f, seed=1))
            judged = time.perf_counter()
            combine(verdict, paths, extras, options.params)
            took, spent = time.perf_counter() - begin, time.process_time() - cpu
        yield (
            name,
            {
                "seconds": took,
                "judging_seconds": judged - begin,
                "cpu_seconds": spent,
                "more_mib": more() / MIB,
                "memory": 1 + more() / stored(options),
            },
        )


def updates(options: DefenceSpeedOptions, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of the clients' updates, and of the server's own.

    Raises:
        ConfigError: not enough disk.
    """
    needed = stored(options) + 2 * 4 * options.params
    if (free := shutil.disk_usage(folder).free) < needed:
        raise ConfigError(
            f"{options.clients} updates of {options.params:,} parameters take {needed / 1e9:.1f} GB, "
            f"and {folder.parent} has {free / 1e9:.1f} GB",
            key="--params",
            cure="choose fewer parameters or clients, or set --folder to where there is room",
        )
    rng = np.random.default_rng(0)
    common = rng.standard_normal(options.params, dtype=np.float32)
    names = [f"client-{at:04}" for at in range(options.clients)]
    for at, name in enumerate([*names, ROOT, PREVIOUS]):
        row = rng.standard_normal(options.params, dtype=np.float32)
        row += common
        if at < options.f:
            row *= -3
        row.tofile(folder / name)
    return {name: folder / name for name in names}, {name: folder / name for name in (ROOT, PREVIOUS)}


def combine(verdict: Verdict, paths: Mapping[str, Path], extras: Mapping[str, Path], size: int) -> None:
    """Read the aggregate to its end, as the round does where it writes the next model."""
    threads = max(2, os.cpu_count() or 2)
    with aggregate(verdict, paths, extras, size) as mean, ThreadPoolExecutor(threads) as pool:
        for _ in in_order(pool, mean, size):
            pass


@contextmanager
def aggregate(verdict: Verdict, paths: Mapping[str, Path], extras: Mapping[str, Path], size: int) -> Iterator[Mean]:
    """The aggregate of those who count, each with the same weight where the rule leaves that open."""
    kept = {name: path for name, path in paths.items() if name not in verdict.excluded}
    if verdict.combine is None:
        with weighted_mean([(path, 1.0) for path in kept.values()], codec="identity", size=size) as mean:
            yield mean
        return
    with ExitStack() as stack:
        fills = {name: opened(path, codec="identity", size=size) for name, path in {**kept, **extras}.items()}
        rows = {name: stack.enter_context(fill) for name, fill in fills.items()}
        yield combined(verdict.combine, rows)


@contextmanager
def watched(before: int) -> Iterator[Callable[[], int]]:
    """Gives a function that says, afterwards, how many bytes of memory this process held beyond `before`."""
    with Sampler() as sampler:
        track = sampler.watch(os.getpid())
        yield lambda: max(0, track.peak_own - before)


def of_sketches(
    rules: Mapping[str, Rule], options: DefenceSpeedOptions, dim: int
) -> Iterator[tuple[str, dict[str, float]]]:
    """Judge sketches by one rule after another, from the claims on.

    Yields:
        name of the rule, and `seconds` of a verdict.
    """
    rng = np.random.default_rng(dim)
    common = rng.normal(size=dim)
    claims = {f"client-{at:04}": common + rng.normal(size=dim) for at in range(options.clients)}
    for name in sorted(claims)[: options.f]:
        claims[name] *= -3
    extras = {name: common + rng.normal(size=dim) for name in (ROOT, PREVIOUS)}
    for name, rule in rules.items():
        took: list[float] = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            view = view_of_claims(claims, length=options.params, norm_unit=1e4, rounding=ROUNDING, extras=extras)
            rule.judge(view, Situation(options.f, seed=1))
            took.append(time.perf_counter() - begin)
        yield name, {"seconds": min(took)}


BENCH = Benchmark(DefenceSpeedOptions, run_defence_speed_bench, row(width=34))
