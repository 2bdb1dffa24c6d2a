"""`roughfed bench uploads`, `slow-sockets`, `soak` and `cohorts`: load, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from roughfed.deploy.cli.command import Answer, Context, command


@dataclass(frozen=True, slots=True)
class UploadsFlags:
    """How many upload at once."""

    clients: Annotated[int, typer.Option(min=1, help="Clients that upload at the same time.")] = 200
    few: Annotated[int, typer.Option(min=1, help="Clients of the runs before, to compare the memory with.")] = 10
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model; 4 bytes of an update each.")] = 1_000_000
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each kind; the least memory is compared.")] = 1
    masked: Annotated[
        bool, typer.Option("--masked", help="In a masked round, to its end: whole agents, a quarter of the bytes.")
    ] = False


@dataclass(frozen=True, slots=True)
class SlowSocketsFlags:
    """How many say half of something, and what goes on meanwhile."""

    sockets: Annotated[int, typer.Option(min=1, help="Connections that are held, in equal parts of each kind.")] = 500
    clients: Annotated[int, typer.Option(min=1, help="Honest clients, which enrol and play meanwhile.")] = 3
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that they play.")] = 5


@dataclass(frozen=True, slots=True)
class SoakFlags:
    """How long, and with whom."""

    rounds: Annotated[int, typer.Option(min=3, help="Rounds of one run.")] = 200
    warm_up: Annotated[int, typer.Option(min=1, help="Rounds that are played first and do not count.")] = 50
    clients: Annotated[int, typer.Option(min=1, help="Clients, each a process without torch.")] = 8
    params: Annotated[int, typer.Option(min=1, help="Parameters of the model.")] = 20_000
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"


@dataclass(frozen=True, slots=True)
class CohortsFlags:
    """How many clients there are, and how many of them are in a round."""

    clients: Annotated[int, typer.Option(min=8, help="Simulated clients, all connected.")] = 1000
    cohorts: Annotated[str, typer.Option(help="Of them in a round: numbers, with commas between them.")] = "50,100,200"
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each run that count; one more is played first.")] = 4
    data: Annotated[str, typer.Option(help="Listed data: digits, fashion-mnist or mnist.")] = "fashion-mnist"
    model: Annotated[str, typer.Option(help="Listed model. [default: by the data]")] = ""
    server_sees: Annotated[str, typer.Option(help="What reaches the server of a single client.")] = "sketches"
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0


def register(group: typer.Typer) -> None:
    """Add the commands to `roughfed bench`."""
    command(group, "uploads", flags=UploadsFlags)(bench_uploads)
    command(group, "slow-sockets", flags=SlowSocketsFlags)(bench_slow_sockets)
    command(group, "soak", flags=SoakFlags)(bench_soak)
    command(group, "cohorts", flags=CohortsFlags)(bench_cohorts)


def bench_uploads(context: Context, flags: UploadsFlags) -> Answer:
    """Let few, few of many that are connected, and many clients upload at once: seconds, and the server's memory."""
    from roughfed.deploy.bench.uploads import UploadsBenchOptions, run_uploads_bench
    from roughfed.deploy.cli.bench import told

    options = UploadsBenchOptions(flags.clients, flags.few, flags.params, flags.repeats)
    if flags.masked:
        from roughfed.deploy.bench.masked_uploads import run_masked_uploads_bench

        return told(context, run_masked_uploads_bench(options))
    return told(context, run_uploads_bench(options))


def bench_slow_sockets(context: Context, flags: SlowSocketsFlags) -> Answer:
    """Hold connections that say half of a greeting or request on every port while clients enrol and play rounds."""
    from roughfed.deploy.bench.slow_sockets import SlowSocketsOptions, run_slow_sockets_bench
    from roughfed.deploy.cli.bench import told

    return told(context, run_slow_sockets_bench(SlowSocketsOptions(flags.sockets, flags.clients, flags.rounds)))


def bench_soak(context: Context, flags: SoakFlags) -> Answer:
    """Play many short rounds and fit a line to the memory of server and agents."""
    from roughfed.deploy.bench.soak import SoakOptions, run_soak_bench
    from roughfed.deploy.cli.bench import told

    options = SoakOptions(flags.rounds, flags.warm_up, flags.clients, flags.params, flags.server_sees)
    return told(context, run_soak_bench(options))


def bench_cohorts(context: Context, flags: CohortsFlags) -> Answer:
    """Simulate the same clients with several cohorts: the server's processor time of a round, and a line through it."""
    from roughfed.deploy.bench.cohorts import CohortsOptions, run_cohorts_bench
    from roughfed.deploy.cli.bench import told
    from roughfed.deploy.cli.settings import numbers

    options = CohortsOptions(
        clients=flags.clients,
        cohorts=numbers(flags.cohorts, key="--cohorts"),
        rounds=flags.rounds,
        data=flags.data,
        model=flags.model,
        server_sees=flags.server_sees,
        seed=flags.seed,
    )

    def say(found: Mapping[str, object]) -> None:
        context.say(
            f"{found['cohort']} clients: {found['server_cpu_seconds']:.3f} processor seconds of the server in a round, "
            f"{found['per_client_ms']:.2f} ms each"
        )

    figures = run_cohorts_bench(options, say=say)
    told(context, {name: value for name, value in figures.items() if name != "cohorts"})
    return Answer(figures)
