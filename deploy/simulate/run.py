"""Play one simulated federation, top to bottom."""

from __future__ import annotations

import asyncio
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roughfed.allocator import keep_pages
from roughfed.config.federation import FederationConfig
from roughfed.deploy import aggregator
from roughfed.deploy.simulate.complaints import Complaints, broken
from roughfed.deploy.simulate.dropout_outcomes import by_stage
from roughfed.deploy.simulate.dropouts import Losing
from roughfed.deploy.simulate.link import CANCEL_S
from roughfed.deploy.simulate.meter import CLIENTS, SERVER, CountedService, CpuMeter
from roughfed.deploy.simulate.options import FEDERATION, SimulateOptions
from roughfed.deploy.simulate.pool import Pool, ProcessPool
from roughfed.deploy.simulate.program import Program
from roughfed.deploy.simulate.rounds import NOBODY, Audience, SimulatedRound, Telling
from roughfed.deploy.simulate.seeded import Entropy, Registry
from roughfed.deploy.simulate.standing import StandingClock
from roughfed.deploy.simulate.virtual import Virtual, World
from roughfed.errors import ConfigError, TrainerError
from roughfed.server.app import Ports, ServerSetup, prepare
from roughfed.server.context.server import ServerContext
from roughfed.server.members.server_credentials import Papers
from roughfed.server.model.retention import whole
from roughfed.server.model.trainer_process import ServerTrainer
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.run import run_rounds

FAREWELL_S = 30.0
PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came out.

    Attributes:
        model_digest: of the last version; the same for the same options, wherever it is played.
        accuracy: the last one that is known; None without any.
        accuracy_of: version of the model that had it.
        failed: trainings that failed, or were refused by their client.
        cpu_seconds: of this process: server and agents, without trainers.
        ended: why it is over: "rounds", "time-budget", "early-stop", or "paused" after abandoned rounds.
        losses: by the stage of the loss, what became of rounds and survivors (`losses.StageTally`); empty without
        losses. released: times that a client was suspended for its silence, and released again.
    """

    run: str
    clients: int
    rounds: Sequence[SimulatedRound]
    model_version: int
    model_digest: str
    parameters: int
    ended: str
    seconds: float
    cpu_seconds: float
    folder: str
    accuracy: float | None = None
    accuracy_of: int | None = None
    failed: int = 0
    losses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    released: int = 0

    def plain(self) -> dict[str, object]:
        """As JSON carries it."""
        return asdict(self)


def simulate(options: SimulateOptions, audience: Audience = NOBODY) -> Simulated:
    """Play it.

    Args:
        options: what is asked for.
        audience: hears how it goes.

    Raises:
        ConfigError: options that cannot be, or `out` is not empty.
        TrainerError: the trainers cannot be started, or a client cannot be what it must be (`complaints.Broken`).
    """
    keep_pages()
    config, text = options.federation()
    kept = options.out is not None
    folder = furnish(options.out, text)
    try:
        return asyncio.run(_play(options, config, folder, audience))
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


async def _play(options: SimulateOptions, config: FederationConfig, folder: Path, audience: Audience) -> Simulated:
    began, cpu = time.monotonic(), _cpu_seconds()
    registry, program = Registry(FEDERATION, options.seed), options.program(config)
    audience.progress("the server starts")
    meter = CpuMeter()
    meter.install()
    async with AsyncExitStack() as stack:
        setup = _setup(options, program, config, folder, registry)
        try:
            ctx, papers = await meter.of(SERVER, prepare(setup, stack))
        except TrainerError as error:  # of its worker, which loads the app as the clients' trainers do
            raise broken(program, error, server=True) from error
        meter.own_threads()
        telling, losing = await _telling(ctx, setup, options, audience, meter)
        complaints = Complaints(program, audience.complain, on_broken=ctx.state.wake)
        pool = await stack.enter_async_context(_pool(options, program, folder))
        events = RoundEvents(ctx)
        service = CountedService(meter, ctx, events, papers.ca_certificate)
        client = options.client()
        world = World(service, pool, client, folder / "clients", options.seed, complaints, options.device, losing)
        audience.progress(f"{options.clients} clients get their keys")
        living = [
            asyncio.create_task(meter.of(CLIENTS, Virtual(world, registry.admit(name), index).live()), name=name)
            for index, name in enumerate(options.names())
        ]
        beside = [asyncio.create_task(each) for each in (telling.follow(), meter.follow(ctx))]
        if losing is not None:
            beside.append(asyncio.create_task(losing.forgive()))
        try:
            ended = await until_over(ctx, meter.of(SERVER, run_rounds(ctx, events)), complaints)
            if ended != PAUSED:
                await asyncio.wait(living, timeout=FAREWELL_S)
        finally:
            for task in (*living, *beside):
                task.cancel()
            await asyncio.gather(*living, *beside, return_exceptions=True)
        telling.tell(over=True)
        rounds, (version, digest) = telling.rounds(), ctx.store.latest_model()
        accuracy, accuracy_of = newest_accuracy(ctx)
        return Simulated(
            run=ctx.run,
            clients=options.clients,
            rounds=rounds,
            model_version=version,
            model_digest=digest.hex(),
            parameters=ctx.spec.size,
            ended=ended,
            seconds=time.monotonic() - began,
            cpu_seconds=_cpu_seconds() - cpu,
            folder=str(folder) if options.out is not None else "",
            accuracy=accuracy,
            accuracy_of=accuracy_of,
            failed=complaints.failed,
            losses=by_stage((each.outcome, each.losses) for each in rounds),
            released=0 if losing is None else losing.released,
        )


async def _telling(
    ctx: ServerContext, setup: ServerSetup, options: SimulateOptions, audience: Audience, meter: CpuMeter
) -> tuple[Telling, Losing | None]:
    losing = None if (losses := options.losses()) is None else Losing(ctx, losses, options.seed)
    if losing is None and not ctx.config.round.time_budget:  # a budget is of real time
        ctx.state.clock = StandingClock(ctx)
    has_data = (await setup.origin.describe()).num_test > 0
    return Telling(ctx, losing, audience, meter, has_data=has_data), losing


async def until_over(ctx: ServerContext, rounds: Coroutine[Any, Any, str], complaints: Complaints) -> str:
    """Play the rounds; why they are over. A run that is paused, because round after round is lost, is over too.

    Raises:
        Broken: a client cannot be what it must be.
    """
    running, event = asyncio.create_task(rounds), ctx.state.watch()
    running.add_done_callback(lambda _: event.set())
    try:
        while not running.done() and not ctx.state.paused and not complaints.broken:
            event.clear()
            await event.wait()
    finally:
        ctx.state.unwatch(event)
        while not running.done():  # before Python 3.12, `wait_for` may lose a cancellation to what it waited for
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_S)
    complaints.check()
    return PAUSED if running.cancelled() else running.result()


def newest_accuracy(ctx: ServerContext) -> tuple[float | None, int | None]:
    """(accuracy, version) of the newest model that was evaluated, by the server or by clients; None without any."""
    for version, _ in reversed(ctx.store.versions()):
        found, _ = whole(ctx.store, version)
        if found is not None and found.accuracy is not None:
            return found.accuracy, version
    return None, None


def _setup(
    options: SimulateOptions, program: Program, config: FederationConfig, folder: Path, registry: Registry
) -> ServerSetup:
    """The server's, with papers and secrets that follow from the seed."""
    place = aggregator.ServerFiles(folder / "server")
    own = registry.admit(aggregator.SERVER_NAME, "server").papers()

    async def obtain(*, new_key: bool = False) -> Papers:
        if new_key:
            raise ConfigError("the keys of a simulation follow from its seed", cure="choose another --seed")
        return own

    def ready(_: Ports) -> None:
        """There are no ports."""

    worker = ServerTrainer(program.worker(place.folder, config), folder / "worker.log")
    signed = registry.member_list(options.names(), server=aggregator.SERVER_NAME)

    async def lists() -> bytes:
        return signed

    return ServerSetup(config, place.state, worker, obtain, None, ready, Entropy(options.seed, "server"), lists=lists)


@asynccontextmanager
async def _pool(options: SimulateOptions, program: Program, folder: Path) -> AsyncGenerator[Pool]:
    if options.ray:
        from roughfed.deploy.simulate.ray_pool import RayPool

        pool: Pool = RayPool(options.ray, program, workers=options.workers)
    else:
        pool = ProcessPool(program.trainer(), options.workers, folder / "trainers.log")
    try:
        yield pool
    finally:
        await pool.stop()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
