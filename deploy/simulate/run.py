"""Play one simulated federation, top to bottom."""

from __future__ import annotations

import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roughfed.child import Many, trainer_command
from roughfed.config.federation import FederationConfig
from roughfed.deploy import aggregator
from roughfed.deploy.allocator import keep_pages
from roughfed.deploy.cli.processes import worker_command
from roughfed.deploy.simulate.losing import Losing
from roughfed.deploy.simulate.losses import RoundLosses, by_stage, losses_of
from roughfed.deploy.simulate.meter import CLIENTS, SERVER, CountedService, Meter
from roughfed.deploy.simulate.options import FEDERATION, SimulateOptions
from roughfed.deploy.simulate.pool import Pool, ProcessPool
from roughfed.deploy.simulate.seeded import Entropy, Registry
from roughfed.deploy.simulate.virtual import Virtual, World
from roughfed.errors import ConfigError
from roughfed.report.summary import RoundSummary
from roughfed.server.app import Ports, Setup, prepare
from roughfed.server.federation import Federation
from roughfed.server.papers import Papers
from roughfed.server.run import run_rounds
from roughfed.server.summarized import closed, summaries_of
from roughfed.server.worker import Worker

FAREWELL_S = 30.0
PAUSED = "paused"
WORKS = ("unmask", "aggregate", "commit")
"""Phases in which nobody but the server works."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round as it was played.

    Attributes:
        seconds: from its opening to its end.
        server_seconds: of these, what the server itself worked: verdicts, unmasking, sum, commit.
        server_cpu_seconds: processor time of the server alone, from the end of the round before: sessions, journal and
            downloads as well, without its worker.
        accepted: clients whose update counts.
        accuracy: of the model after it, on the server's data; None where it was not evaluated.
        losses: what became of its cohort, where clients are lost.
    """

    round: int
    outcome: str
    seconds: float
    server_seconds: float
    server_cpu_seconds: float
    cohort: int
    accepted: int
    upload_bytes: int
    download_bytes: int
    accuracy: float | None
    losses: RoundLosses | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came out.

    Attributes:
        model_digest: of the last version; the same for the same options, wherever it is played.
        cpu_seconds: of this process: server and agents, without trainers.
        ended: why it is over: "rounds", "time-budget", "early-stop", or "paused" after abandoned rounds.
        losses: by the stage of the loss, what became of rounds and survivors (`losses.Tally`); empty without losses.
        released: times that a client was suspended for its silence, and released again.
    """

    run: str
    clients: int
    rounds: Sequence[Round]
    model_version: int
    model_digest: str
    parameters: int
    ended: str
    seconds: float
    cpu_seconds: float
    folder: str
    losses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    released: int = 0

    def plain(self) -> dict[str, object]:
        """As JSON carries it."""
        return asdict(self)


def simulate(options: SimulateOptions, *, tell: Callable[[Round], None] = lambda _: None) -> Simulated:
    """Play it.

    Args:
        options: what is asked for.
        tell: hears of each round that is over.

    Raises:
        ConfigError: options that cannot be, or `out` is not empty.
        TrainerError: the trainers cannot be started.
    """
    keep_pages()
    config, text = options.federation()
    kept = options.out is not None
    folder = furnish(options.out, text)
    try:
        return asyncio.run(_play(options, config, folder, tell))
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def furnish(out: Path | None, text: str) -> Path:
    """An empty folder with the server's fed.toml in it.

    Raises:
        ConfigError: `out` holds something already.
    """
    folder = Path(tempfile.mkdtemp(prefix="rf-")) if out is None else out.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise ConfigError(
            "the folder is not empty, and a simulation starts afresh",
            file=str(folder),
            key="--out",
            cure="name a new folder, or remove this one",
        )
    (folder / "server").mkdir(mode=0o700)
    (folder / "server" / FederationConfig.FILE).write_text(text, encoding="utf-8")
    return folder


async def _play(
    options: SimulateOptions, config: FederationConfig, folder: Path, tell: Callable[[Round], None]
) -> Simulated:
    began, cpu = time.monotonic(), _cpu_seconds()
    registry = Registry(FEDERATION, options.seed)
    meter = Meter()
    meter.install()
    async with AsyncExitStack() as stack:
        fed, papers = await meter.of(SERVER, prepare(_setup(options, config, folder, registry), stack))
        meter.own_threads()
        pool = await stack.enter_async_context(_pool(options, config, folder))
        service = CountedService(meter, fed, papers.ca_certificate)
        losing = None if (losses := options.losses()) is None else Losing(fed, losses, options.seed)
        world = World(service, pool, options.client(), folder / "clients", options.seed, fate=losing)
        living = [
            asyncio.create_task(meter.of(CLIENTS, Virtual(world, registry.admit(name), index).live()), name=name)
            for index, name in enumerate(options.names())
        ]
        told: list[Round] = []
        telling = Telling(fed, losing, meter)
        beside = [asyncio.create_task(each) for each in (_follow(telling, told, tell), meter.follow(fed))]
        if losing is not None and losing.silent:
            beside.append(asyncio.create_task(losing.forgive()))
        try:
            ended = await until_over(fed, meter.of(SERVER, run_rounds(fed)))
            if ended != PAUSED:
                await asyncio.wait(living, timeout=FAREWELL_S)
        finally:
            for task in (*living, *beside):
                task.cancel()
            await asyncio.gather(*living, *beside, return_exceptions=True)
        told += telling.rounds(after=len(told))
        version, digest = fed.store.latest_model()
        return Simulated(
            run=fed.run,
            clients=options.clients,
            rounds=told,
            model_version=version,
            model_digest=digest.hex(),
            parameters=fed.spec.size,
            ended=ended,
            seconds=time.monotonic() - began,
            cpu_seconds=_cpu_seconds() - cpu,
            folder=str(folder) if options.out is not None else "",
            losses=by_stage((each.outcome, each.losses) for each in told),
            released=0 if losing is None else losing.released,
        )


async def until_over(fed: Federation, rounds: Coroutine[Any, Any, str]) -> str:
    """Play the rounds; why they are over. A run that is paused, because round after round is lost, is over too."""
    running, event = asyncio.create_task(rounds), fed.watch()
    running.add_done_callback(lambda _: event.set())
    try:
        while not running.done() and not fed.paused:
            event.clear()
            await event.wait()
    finally:
        fed.unwatch(event)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
    return PAUSED if running.cancelled() else running.result()


def _setup(options: SimulateOptions, config: FederationConfig, folder: Path, registry: Registry) -> Setup:
    """The server's, with papers and secrets that follow from the seed."""
    place = aggregator.Place(folder / "server")
    own = registry.admit(aggregator.SERVER_NAME, "server").papers()

    async def obtain(*, new_key: bool = False) -> Papers:
        if new_key:
            raise ConfigError("the keys of a simulation follow from its seed", cure="choose another --seed")
        return own

    def ready(_: Ports) -> None:
        """There are no ports."""

    worker = Worker(worker_command(place.folder, config), folder / "worker.log")
    return Setup(config, place.state, worker, obtain, None, ready, Entropy(options.seed, "server"))


@asynccontextmanager
async def _pool(options: SimulateOptions, config: FederationConfig, folder: Path) -> AsyncIterator[Pool]:
    builtin = options.builtin(config)
    if options.ray:
        from roughfed.deploy.simulate.ray_pool import RayPool

        pool: Pool = RayPool(options.ray, builtin, clients=options.clients, workers=options.workers)
    else:
        command = trainer_command(builtin=builtin, device="cpu", threads=1, many=Many(options.clients))
        pool = ProcessPool(command, options.workers, folder / "trainers.log")
    try:
        yield pool
    finally:
        await pool.stop()


@dataclass(frozen=True, slots=True)
class Telling:
    """What is told of the rounds of a federation."""

    fed: Federation
    losing: Losing | None
    meter: Meter

    def rounds(self, *, after: int) -> list[Round]:
        """Those that are over and came after another one, from the journal."""
        rows = [row for row in closed(self.fed.store, after=after) if row.summary is not None]
        found = summaries_of(self.fed.store, rows)
        return [_round(each, self.losing, self.meter.of_round(each.round)) for each in found]


async def _follow(telling: Telling, told: list[Round], tell: Callable[[Round], None]) -> None:
    """Tell of every round once it is over, and note it in `told`."""
    fed, event = telling.fed, telling.fed.watch()
    while True:
        event.clear()
        if (last := fed.store.last_round()) is not None and last.round - (last.summary is None) > len(told):
            for each in telling.rounds(after=len(told)):
                told.append(each)
                tell(each)
        await event.wait()


def _round(summary: RoundSummary, losing: Losing | None, cpu_seconds: float) -> Round:
    lost, at = ({}, "") if losing is None else losing.of(summary.round, tuple(summary.participants))
    return Round(
        round=summary.round,
        outcome=summary.outcome,
        seconds=summary.seconds,
        server_seconds=sum(summary.phase_seconds.get(name, 0.0) for name in WORKS),
        server_cpu_seconds=cpu_seconds,
        cohort=len(summary.participants),
        accepted=len(summary.accepted),
        upload_bytes=summary.upload_bytes,
        download_bytes=summary.download_bytes,
        accuracy=summary.accuracy,
        losses=None if losing is None else losses_of(summary, lost, at),
    )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
