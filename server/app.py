"""The server process: opens what is on disk, listens on its ports, runs the rounds, and drains when it is told to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health as health_service
from grpc_health.v1 import health_pb2, health_pb2_grpc

from roughfed.config.federation import FederationConfig
from roughfed.crypto import certificates
from roughfed.descriptors import raise_limit
from roughfed.messages import Reconnect
from roughfed.server import contributing, downlink, enrolment, extras
from roughfed.server.above import Above
from roughfed.server.authority import Authority
from roughfed.server.classes import check_classes
from roughfed.server.clusters import first
from roughfed.server.connections import Connections, quotas
from roughfed.server.control import Control
from roughfed.server.defence.check import check_rule
from roughfed.server.edge import run_orders
from roughfed.server.facts import Shape, check_shape
from roughfed.server.federation import Federation
from roughfed.server.frozen import stand
from roughfed.server.gauges import keep_gauges, metrics_of
from roughfed.server.health.recent import Recent
from roughfed.server.health.seen import life_s
from roughfed.server.interceptors import Boundary
from roughfed.server.listing import Lists, from_authority
from roughfed.server.origin import Origin, open_run
from roughfed.server.pages import start_http
from roughfed.server.papers import Obtain, Papers, Rotation
from roughfed.server.ports import open_port
from roughfed.server.rpc import FederationService
from roughfed.server.run import run_rounds
from roughfed.server.store import Store
from roughfed.server.strikes import Strikes
from roughfed.transport.names import SERVICE
from roughfed.transport.options import SERVER_OPTIONS, at_most
from roughfed.transport.patience import CEILING_S

log = logging.getLogger(__name__)

RECONNECT_S = 1.0
FAREWELL_S = 2.0
"""After the last round, clients get this long to take `Finished` and go."""
ABSENT_S = 10.0
"""A client of the last round that is away when the run ends gets this long to come back and hear of it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the server listens; 0 where it does not."""

    federation: int
    enrolment: int
    http: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What deploy/ hands to the server.

    Attributes:
        config: the settings.
        folder: state directory.
        origin: who knows the model.
        obtain: gives the server's papers.
        authority: the CA, when its enrolment port is served by this process.
        on_ready: told the ports once they are open.
        entropy: number of bytes -> secret bytes; of the operating system, except in simulations and tests.
        above: at an edge, the federation above (`roughfed.server.edge`).
        lists: gives the list of members that is in force; None: the CA in this process does.
    """

    config: FederationConfig
    folder: Path
    origin: Origin
    obtain: Obtain
    authority: Authority | None
    on_ready: Callable[[Ports], None]
    entropy: Callable[[int], bytes] = os.urandom
    above: Above | None = None
    lists: Lists | None = None


async def serve(setup: Setup) -> str:
    """Run the server until the run is over or a signal drains it.

    Returns:
        why it ended: the run's reason, or "drained".
    """
    check_rule(setup.config)
    logging.getLogger("grpc._cython.cygrpc").addFilter(quiet)
    async with AsyncExitStack() as stack:
        fed, papers = await prepare(setup, stack)
        drain = asyncio.Event()
        control = Control(fed, drain.set)
        stack.push_async_callback(control.close)
        stack.callback((await control.serve(setup.folder)).close)
        ports = await listen(setup, fed, papers, stack)
        for beside in (fed.health.keep_watch(), keep_gauges(fed)):
            stack.callback(asyncio.create_task(beside).cancel)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, drain.set)
        setup.on_ready(ports)
        try:
            return await until_over(fed, drain)
        finally:
            fed.members.end()


async def prepare(setup: Setup, stack: AsyncExitStack) -> tuple[Federation, Papers]:
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
    fed = Federation(
        config,
        store,
        papers.identity,
        papers.name,
        papers.member,
        metrics,
        executor,
        run,
        spec,
        setup.origin,
        entropy=setup.entropy,
    )
    fed.recent = recent
    if (above := setup.above) is not None:
        fed.above, above.on_change = above, fed.wake
    if (authority := setup.authority) is not None:
        fed.callers.judge = authority.standing
    if config.privacy.masked:
        fed.listing.source = setup.lists or (from_authority(authority) if authority is not None else None)
    fed.members.revoked |= store.revoked()
    fed.ca_certificate, fed.external = papers.ca_certificate, papers.external
    fed.base = stand(setup.origin, store)
    description = await setup.origin.describe()
    fed.num_classes = description.num_classes
    await extras.prepare(fed, description.spec)
    await contributing.prepare(fed)
    stack.push_async_callback(contributing.stop, fed)
    await first.prepare(fed, partial(first.draw_shared, setup.origin.initial, description.spec, spec))
    check_shape(config.trainer, Shape.of(spec, fed.num_classes))
    check_classes(config, spec)
    sweep(fed)
    return fed, papers


def quiet(record: logging.LogRecord) -> bool:
    """Drop what grpc.aio logs as an error, with a trace, whenever a client hangs up in the middle of a download."""
    return "ExecuteBatchError" not in record.getMessage()


async def until_over(fed: Federation, drain: asyncio.Event) -> str:
    """The rounds against the drain signal; a second signal ends it at once."""
    rounds = asyncio.create_task(run_rounds(fed) if fed.above is None else run_orders(fed, fed.above))
    draining = asyncio.create_task(drain.wait())
    await asyncio.wait({rounds, draining}, return_when=asyncio.FIRST_COMPLETED)
    if rounds.done():
        reason = rounds.result()
        farewell = asyncio.create_task(say_farewell(fed))
        await asyncio.wait({farewell, draining}, return_when=asyncio.FIRST_COMPLETED)
        farewell.cancel()
        if fed.config.server.stay:
            log.info("the run is over; this server stays until it is told to stop")
            await draining
        draining.cancel()
        return reason
    drain.clear()
    fed.stopping = True
    if fed.on_drain is not None:
        await fed.on_drain()
    fed.wake()
    fed.members.broadcast(Reconnect(RECONNECT_S, "the server is restarting"))
    again = asyncio.create_task(drain.wait())
    await asyncio.wait({rounds, again}, timeout=fed.config.server.drain_s, return_when=asyncio.FIRST_COMPLETED)
    rounds.cancel()
    again.cancel()
    with suppress(asyncio.CancelledError):
        await rounds
    return "drained"


async def say_farewell(fed: Federation) -> None:
    """Let the clients take `Finished` before the ports close; those of the last round that are away, too.

    A server that finds its run finished when it starts has nobody connected yet, and its clients wait longer before
    each try the longer it was down.
    """
    began, last = time.monotonic(), fed.store.last_round()
    cohort = set(last.cohort) if last is not None else set[str]()
    patience_s = ABSENT_S if fed.row is not None else CEILING_S
    while True:
        away = cohort - fed.told - fed.members.revoked - fed.away.keys()
        until = began + (patience_s if away else FAREWELL_S)
        if not (away or fed.members.names()) or time.monotonic() >= until:
            return
        await fed.sleep_until_change(until)


def sweep(fed: Federation) -> None:
    """Delete what a crash left: spool files that belong to no open round, models and deltas that were not committed."""
    last = fed.store.last_round()
    kept: set[str] = set()
    if last is not None and last.outcome is None:
        kept = {fed.intake.spool_path(fed.run, last.round, client).stem for client in last.cohort}
    for path in (fed.store.folder / "spool").iterdir():
        if path.stem not in kept:
            path.unlink()
    extras.sweep(fed, last)
    downlink.sweep(fed.store)


async def listen(setup: Setup, fed: Federation, papers: Papers, stack: AsyncExitStack) -> Ports:
    """Open the federation port, the enrolment port (beside a CA) and the HTTP port."""
    config = setup.config

    def renewed(new: Papers) -> None:
        fed.member = new.member  # with the new certificate, where the CA is somebody else's
        for role, certificate in (("server", new.certificate), ("ca", new.ca_certificate)):
            expires = certificates.load_certificate(certificate).not_valid_after_utc
            fed.certificates[role] = expires.timestamp()
            fed.metrics.certificate(role, expires.timestamp())
        fed.health.certificate_s = life_s(certificates.load_certificate(new.certificate))

    renewed(papers)
    rotation = Rotation(papers, setup.obtain, on_new=renewed)
    fed.rotate = rotation.rotate
    service = FederationService(fed, papers.ca_certificate)
    most, most_enrolling = quotas(raise_limit())
    connections = Connections()
    boundary = Boundary(
        papers.external or certificates.federation_of(papers.ca_certificate),
        fed.admit,
        fed.metrics,
        strikes=Strikes(config.server.strikes),
        on_strikes=fed.members.strike,
        on_call=connections.called,
    )
    fed.cut = boundary.cut
    server = grpc.aio.server(options=(*SERVER_OPTIONS, *at_most(most)), interceptors=(boundary,))
    server.add_generic_rpc_handlers((service.handlers(),))
    if setup.authority is not None:
        server.add_generic_rpc_handlers((enrolling(fed, setup.authority, config.server.address).renewal(),))
    vitality = health_service.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
    health_pb2_grpc.add_HealthServicer_to_server(vitality, server)
    await vitality.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    fed.on_drain = vitality.enter_graceful_shutdown
    where = f"{config.server.host}:{config.server.port}"
    port = await open_port(server, where, rotation.credentials(client_auth=True), key="server.port")
    stack.push_async_callback(server.stop, 0.5)
    connections.limit(port, config.server.connections, quota=most)
    enrol_port = 0
    if setup.authority is not None:
        newcomers = enrolling(fed, setup.authority, config.server.address or f":{port}", connections.called)
        where = f"{config.server.host}:{config.server.enrol_port}"
        enrol_server, enrol_port = await enrolment.serve(
            newcomers, where, credentials=rotation.credentials(client_auth=False), most=most_enrolling
        )
        connections.limit(enrol_port, config.server.connections, quota=most_enrolling)
        stack.push_async_callback(enrol_server.stop, 0.5)
    http_port = start_http(fed, stack) if config.server.http else 0
    for beside in (rotation.keep_fresh(), connections.keep()):
        stack.callback(asyncio.create_task(beside).cancel)
    return Ports(port, enrol_port, http_port)


def enrolling(
    fed: Federation, authority: Authority, address: str, on_peer: Callable[[str], None] = lambda _: None
) -> enrolment.EnrolmentService:
    """What turns invites into certificates, or certificates into fresh ones, beside a running federation.

    Args:
        fed: told what became of each request.
        authority: the CA.
        address: where newcomers are told that the federation port is.
        on_peer: as of `EnrolmentService`.
    """

    def answered(kind: str, result: str) -> None:
        if result == "ok":
            fed.callers.somebody_enrolled()
        if kind not in ("authority", "members"):
            fed.metrics.enrolled(_enrolment_result(kind, result))
            if result not in ("ok", "stalled"):
                fed.recent.enrolments.note(result)

    return enrolment.EnrolmentService(
        authority, address, enrolment.default_limit(), on_result=answered, on_peer=on_peer
    )


def _enrolment_result(kind: str, result: str) -> str:
    if result == "ok":
        return "renewed" if kind == "renew" else "enrolled"
    return result if result in ("revoked", "rate-limited") else "refused"
