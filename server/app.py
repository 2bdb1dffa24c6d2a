"""The server process: opens what is on disk, listens on its ports, runs the rounds, and drains when it is told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import grpc
import grpc.aio
from grpc_health.v1 import health as health_service
from grpc_health.v1 import health_pb2, health_pb2_grpc

from roughfed import __version__
from roughfed.config.federation import FederationConfig
from roughfed.crypto import certificates
from roughfed.descriptors import raise_limit
from roughfed.messages import Reconnect
from roughfed.server.cohort.statistics import Shape, check_shape
from roughfed.server.cohort.tiers import check_tiers
from roughfed.server.context.server import ServerContext, ServerIdentity, Settings
from roughfed.server.defence.check import check_rule
from roughfed.server.extensions.edge.upstream import Above
from roughfed.server.extensions.table import ExtensionInputs, add_extensions
from roughfed.server.members.authority import Authority
from roughfed.server.members.member_list import Lists, from_authority
from roughfed.server.members.server_credentials import Obtain, Papers, Rotation
from roughfed.server.members.strikes import Strikes
from roughfed.server.model import downlink
from roughfed.server.model.frozen import stand
from roughfed.server.model.run_setup import ModelSource, draw_shared, open_run
from roughfed.server.model.validation import check_data
from roughfed.server.observe.control import Control
from roughfed.server.observe.gauges import keep_gauges, metrics_of
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.http import start_http
from roughfed.server.observe.status import Status
from roughfed.server.round.events import RoundEvents
from roughfed.server.round.run import run_rounds
from roughfed.server.round.updates import reference_updates
from roughfed.server.storage.starts import note_end, note_start
from roughfed.server.storage.store import Store
from roughfed.server.trace.last_seen import life_s
from roughfed.server.trace.recent import Recent
from roughfed.server.transport import enrolment
from roughfed.server.transport.connections import Connections, quotas
from roughfed.server.transport.interceptors import Boundary
from roughfed.server.transport.ports import close_port, open_port
from roughfed.server.transport.rpc import FederationService
from roughfed.transport.names import SERVICE
from roughfed.transport.options import SERVER_OPTIONS, at_most
from roughfed.transport.patience import CEILING_S

log = logging.getLogger(__name__)

RECONNECT_S = 1.0
FAREWELL_S = 2.0
"""After the last round, clients get this long to take `Finished` and go."""
ABSENT_S = 10.0
"""A client of the last round that is away when the run ends gets this long to come back and hear of it."""


class Vitality(Protocol):
    """gRPC's health service."""

    async def set(self, service: str, status: int) -> None:
        """Say how a service is."""

    async def enter_graceful_shutdown(self) -> None:
        """Say that nothing serves any more."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the server listens; 0 where it does not."""

    federation: int
    enrolment: int
    http: int


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """What deploy/ hands to the server.

    Attributes:
        config: the settings.
        folder: state directory.
        origin: who knows the model.
        obtain: gives the server's papers.
        authority: the CA, when its enrolment port is served by this process.
        on_ready: told the ports once they are open.
        entropy: number of bytes -> secret bytes; of the operating system, except in simulations and tests.
        above: at an edge, the federation above (`roughfed.server.extensions.edge.extension`).
        lists: gives the list of members that is in force; None: the CA in this process does.
    """

    config: FederationConfig
    folder: Path
    origin: ModelSource
    obtain: Obtain
    authority: Authority | None
    on_ready: Callable[[Ports], None]
    entropy: Callable[[int], bytes] = os.urandom
    above: Above | None = None
    lists: Lists | None = None


async def serve(setup: ServerSetup) -> str:
    """Run the server until the run is over or a signal drains it.

    Returns:
        why it ended: the run's reason, or "drained".
    """
    check_rule(setup.config)
    logging.getLogger("grpc._cython.cygrpc").addFilter(quiet)
    async with AsyncExitStack() as stack:
        ctx, papers = await prepare(setup, stack)
        settings = setup.config.model_dump(mode="json")
        start = await note_start(ctx.store.journal, settings, software=__version__, now=time.time())
        events, status, drain = RoundEvents(ctx), Status(ctx, Health(ctx)), asyncio.Event()
        control = Control(ctx, status, drain.set)
        await stack.enter_async_context(control.serve(setup.folder))
        rotation = Rotation(papers, setup.obtain, on_new=partial(note_renewal, ctx, status.health))
        control.rotate = rotation.rotate
        note_renewal(ctx, status.health, papers)
        service = FederationService(ctx, events, papers.ca_certificate)
        vitality = cast("Vitality", health_service.aio.HealthServicer())  # pyright: ignore[reportAttributeAccessIssue]
        ports = await listen(setup, ctx, (service.handlers(), vitality), rotation, stack)
        http_port = start_http(ctx, status, stack) if setup.config.server.http else 0
        for beside in (status.health.keep_watch(), keep_gauges(ctx)):
            stack.callback(asyncio.create_task(beside).cancel)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, drain.set)
        setup.on_ready(replace(ports, http=http_port))
        try:
            end = await until_over(ctx, events, drain, vitality.enter_graceful_shutdown)
            await note_end(ctx.store.journal, start, end, now=time.time())
            return end
        finally:
            ctx.clients.end()


async def prepare(setup: ServerSetup, stack: AsyncExitStack) -> tuple[ServerContext, Papers]:
    """Everything but the ports: the run as the journal has it, and what its rounds need.

    Args:
        setup: what deploy/ hands over.
        stack: closes what was opened.
    """
    config, folder = setup.config, setup.folder
    metrics = metrics_of(config)
    recent = Recent()

    def committed(seconds: float) -> None:
        metrics.journal_committed(seconds)
        recent.commits.note(seconds)

    store = Store(folder, on_commit=committed)
    stack.callback(store.close)
    executor = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2), thread_name_prefix="work")
    stack.callback(executor.shutdown)
    stack.push_async_callback(setup.origin.stop)
    run, spec = await open_run(store, setup.origin, config, entropy=setup.entropy)
    papers = await setup.obtain()
    description = await setup.origin.describe()
    ctx = ServerContext(
        Settings(config),
        store,
        ServerIdentity(papers.name, papers.identity, papers.member, papers.ca_certificate, papers.external),
        metrics,
        executor,
        run,
        spec,
        setup.origin,
        recent,
        setup.entropy,
        stand(setup.origin, store),
        description.num_classes,
    )
    if (authority := setup.authority) is not None:
        ctx.clients.callers.judge = authority.standing
    if config.privacy.masked:
        ctx.clients.listing.source = setup.lists or (from_authority(authority) if authority is not None else None)
    ctx.clients.revoked |= store.revoked()
    await reference_updates.prepare(ctx, description.spec)
    await check_data(ctx.worker, config.defence.rollback)
    draw = partial(draw_shared, setup.origin.initial, description.spec, spec)
    add_extensions(ctx, ExtensionInputs(draw, setup.above))
    stack.push_async_callback(ctx.extensions.stop)
    await ctx.extensions.prepare()
    check_shape(config.trainer, Shape.of(spec, ctx.num_classes))
    check_tiers(config, spec)
    sweep(ctx)
    return ctx, papers


def quiet(record: logging.LogRecord) -> bool:
    """Drop what grpc.aio logs as an error, with a trace, whenever a client hangs up in the middle of a download."""
    return "ExecuteBatchError" not in record.getMessage()


async def until_over(
    ctx: ServerContext, events: RoundEvents, drain: asyncio.Event, on_drain: Callable[[], Awaitable[None]]
) -> str:
    """The rounds against the drain signal; a second signal ends it at once."""
    run = next((each.run for each in ctx.extensions.all if each.runs), partial(run_rounds, ctx, events))
    rounds = asyncio.ensure_future(run())
    draining = asyncio.create_task(drain.wait())
    await asyncio.wait({rounds, draining}, return_when=asyncio.FIRST_COMPLETED)
    if rounds.done():
        reason = rounds.result()
        farewell = asyncio.create_task(await_farewell(ctx))
        await asyncio.wait({farewell, draining}, return_when=asyncio.FIRST_COMPLETED)
        farewell.cancel()
        if ctx.config.server.stay:
            log.info("the run is over; this server stays until it is told to stop")
            await draining
        draining.cancel()
        return reason
    drain.clear()
    ctx.state.stopping = True
    await on_drain()
    ctx.state.wake()
    ctx.clients.broadcast(Reconnect(RECONNECT_S, "the server is restarting"))
    again = asyncio.create_task(drain.wait())
    await asyncio.wait({rounds, again}, timeout=ctx.config.server.drain_s, return_when=asyncio.FIRST_COMPLETED)
    rounds.cancel()
    again.cancel()
    with suppress(asyncio.CancelledError):
        await rounds
    return "drained"


async def await_farewell(ctx: ServerContext) -> None:
    """Let the clients take `Finished` before the ports close; those of the last round that are away, too.

    A server that finds its run finished when it starts has nobody connected yet, and its clients wait longer before
    each try the longer it was down.
    """
    began, last = time.monotonic(), ctx.store.last_round()
    cohort = set(last.cohort) if last is not None else set[str]()
    patience_s = ABSENT_S if ctx.state.round is not None else CEILING_S
    while True:
        away = cohort - ctx.clients.said_farewell - ctx.clients.revoked - ctx.clients.away.keys()
        until = began + (patience_s if away else FAREWELL_S)
        if not (away or ctx.clients.names()) or time.monotonic() >= until:
            return
        await ctx.state.sleep_until_change(until)


def sweep(ctx: ServerContext) -> None:
    """Delete what a crash left: spool files that belong to no open round, models and deltas that were not committed."""
    last = ctx.store.last_round()
    kept: set[str] = set()
    if last is not None and last.outcome is None:
        kept = {ctx.intake.spool_path(ctx.run, last.round, client).stem for client in last.cohort}
    for path in (ctx.store.folder / "spool").iterdir():
        if path.stem not in kept:
            path.unlink()
    reference_updates.sweep(ctx, last)
    downlink.sweep(ctx.store)


def note_renewal(ctx: ServerContext, health: Health, new: Papers) -> None:
    """The server has a new certificate, or its first one."""
    ctx.identity.member = new.member  # with the new certificate, where the CA is somebody else's
    for role, certificate in (("server", new.certificate), ("ca", new.ca_certificate)):
        expires = certificates.load_certificate(certificate).not_valid_after_utc
        health.certificates.ends[role] = expires.timestamp()
        ctx.metrics.certificate(role, expires.timestamp())
    health.certificates.life_s = life_s(certificates.load_certificate(new.certificate))


async def listen(
    setup: ServerSetup, ctx: ServerContext, services: tuple[grpc.GenericRpcHandler, Vitality], rotation: Rotation,
    stack: AsyncExitStack,
) -> Ports:  # fmt: skip
    """Open the federation port and, beside a CA, the enrolment port.

    Args:
        setup: what deploy/ hands over.
        ctx: the server.
        services: of the federation port: rounds, and health checks.
        rotation: its certificates.
        stack: closes what was opened.
    """
    config, (handlers, vitality) = setup.config, services
    most, most_enrolling = quotas(raise_limit())
    connections = Connections()
    boundary = Boundary(
        ctx.identity.external or certificates.federation_of(ctx.identity.ca_certificate),
        ctx.clients.admit,
        ctx.metrics,
        strikes=Strikes(config.server.strikes),
        on_strikes=ctx.clients.strike,
        on_call=connections.called,
    )
    ctx.clients.cut, ctx.recent.calls = boundary.cut, boundary.recent
    server = grpc.aio.server(options=(*SERVER_OPTIONS, *at_most(most)), interceptors=(boundary,))
    server.add_generic_rpc_handlers((handlers,))
    if setup.authority is not None:
        server.add_generic_rpc_handlers((enrolling(ctx, setup.authority, config.server.address).renewal(),))
    health_pb2_grpc.add_HealthServicer_to_server(vitality, server)
    await vitality.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    where = f"{config.server.host}:{config.server.port}"
    port = await open_port(server, where, rotation.credentials(client_auth=True), key="server.port")
    stack.push_async_callback(close_port, server, where)
    connections.limit(port, config.server.connections, quota=most)
    enrol_port = 0
    if setup.authority is not None:
        newcomers = enrolling(ctx, setup.authority, config.server.address or f":{port}", connections.called)
        where = f"{config.server.host}:{config.server.enrol_port}"
        enrol_server, enrol_port = await enrolment.serve(
            newcomers, where, credentials=rotation.credentials(client_auth=False), most=most_enrolling
        )
        connections.limit(enrol_port, config.server.connections, quota=most_enrolling)
        stack.push_async_callback(close_port, enrol_server, where)
    for beside in (rotation.keep_fresh(), connections.keep()):
        stack.callback(asyncio.create_task(beside).cancel)
    return Ports(port, enrol_port, 0)


def enrolling(
    ctx: ServerContext, authority: Authority, address: str, on_peer: Callable[[str], None] = lambda _: None
) -> enrolment.EnrolmentService:
    """What turns invites into certificates, or certificates into fresh ones, beside a running federation.

    Args:
        ctx: told what became of each request.
        authority: the CA.
        address: where newcomers are told that the federation port is.
        on_peer: as of `EnrolmentService`.
    """

    def answered(kind: str, result: str) -> None:
        if result == "ok":
            ctx.clients.callers.somebody_enrolled()
        if kind not in ("authority", "members"):
            ctx.metrics.enrolled(_enrolment_result(kind, result))
            if result not in ("ok", "stalled"):
                ctx.recent.enrolments.note(result)

    return enrolment.EnrolmentService(
        authority, address, enrolment.default_limit(), on_result=answered, on_peer=on_peer
    )


def _enrolment_result(kind: str, result: str) -> str:
    if result == "ok":
        return "renewed" if kind == "renew" else "enrolled"
    return result if result in ("revoked", "rate-limited") else "refused"
