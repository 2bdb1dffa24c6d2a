"""What the metrics say of the present: told at every change, at most once a second, and every few seconds.

What happens is counted where it happens; what *is* (who is connected, what their machines do, how full the disk is) is
looked at here. It runs beside the rounds, and a look that fails is one that is not told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress

from roughfed.codec import CHAIN, CODECS
from roughfed.config.federation import FederationConfig
from roughfed.server.aggregate import WEIGHTINGS
from roughfed.server.context.server import ServerContext
from roughfed.server.metrics import ServerMetrics
from roughfed.server.observe.health.inputs import Disk
from roughfed.telemetry import measured

FASTEST_S = 1.0
SLOWEST_S = 5.0
DISK_S = 10.0


def metrics_of(config: FederationConfig) -> ServerMetrics:
    """The metrics of a server with these settings: which labels it knows, and what it shows of single clients.

    Where the server sees only sums, a client's contribution follows from its group's and is nobody's own figure.
    """
    return ServerMetrics(
        per_client=config.metrics.per_client,
        labels={
            "codec": (*CODECS, CHAIN),
            "rule": tuple(WEIGHTINGS),
            "defence": (config.defence.rule_of(config.privacy.server_sees),),
            "tier": tuple(config.tiers),
            "class": tuple(config.tiers),
        },
        scores=config.privacy.server_sees != "sums",
    )


async def keep_gauges(ctx: ServerContext) -> None:
    """Tell until this is cancelled."""
    event, looked = ctx.state.watch(), -DISK_S
    try:
        while True:
            event.clear()
            tell(ctx)
            if time.monotonic() - looked >= DISK_S:
                looked = time.monotonic()
                await asyncio.to_thread(tell_storage, ctx)
            await asyncio.sleep(FASTEST_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), SLOWEST_S - FASTEST_S)
    finally:
        ctx.state.unwatch(event)


def tell(ctx: ServerContext) -> None:
    """Clients, their machines, pause."""
    ctx.metrics.clients(measured(ctx.clients.states, {}))
    ctx.metrics.needed(0 if ctx.store.finished() else ctx.config.clients_to_start)
    ctx.metrics.paused(ctx.state.paused)
    ctx.metrics.fleet(measured(lambda: machines(ctx), {}))


def machines(ctx: ServerContext) -> dict[str, list[float]]:
    """What the connected clients say of their machines, and when their certificates end: by family, in no order."""
    sessions = ctx.clients.all()
    told = [session.machine for session in sessions if session.machine is not None]
    return {
        "fleet_train_seconds": _known(machine.train_seconds for machine in told),
        "fleet_resident_bytes": _known(machine.rss_bytes for machine in told),
        "fleet_gpu_memory_bytes": _known(machine.gpu_memory_bytes for machine in told),
        "fleet_gpu_utilization_ratio": _known(machine.gpu_utilization for machine in told),
        "fleet_clock_skew_seconds": _known(session.clock_skew_s for session in sessions),
        "fleet_cert_expiry_timestamp_seconds": _known(ctx.clients.seen.ends(session.name) for session in sessions),
    }


def tell_storage(ctx: ServerContext) -> None:
    """The disk, and what of it is ours; reads the folder."""
    disk = measured(lambda: Disk.of(ctx.store), Disk())
    ctx.metrics.disk(free_bytes=disk.free_bytes, total_bytes=disk.total_bytes)
    if disk.total_bytes:  # else nothing was told
        ctx.metrics.storage(journal_bytes=disk.journal_bytes, blob_bytes=disk.blob_bytes)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
