"""What an operator is shown of a running server: one plain dictionary, for the terminal, `--json` and the web page.

It is asked for at every change: what comes from the journal is read again only after a commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from roughfed import __version__
from roughfed.messages import PROTOCOL
from roughfed.server.context.server import ServerContext
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.health.inputs import PastRound
from roughfed.server.observe.health.reading import deadline_at, waiting_for
from roughfed.server.observe.journal_status import Journaled
from roughfed.server.storage.schema import SCHEMA
from roughfed.shared_tensors import model_part


class Status:
    """Call it for the state of the run, the open round and every connected client.

    Attributes:
        health: the alerts.
    """

    def __init__(self, ctx: ServerContext, health: Health) -> None:
        """Nothing is read yet."""
        self._ctx, self.health, self._journaled = ctx, health, Journaled(ctx)

    def __call__(self) -> dict[str, Any]:
        """As of now."""
        return status(self._ctx, self.health, self._journaled())


def status(ctx: ServerContext, health: Health, known: Mapping[str, Any]) -> dict[str, Any]:
    """The same, out of the alerts and of what the journal says."""
    now = time.time()
    round_ = ctx.state.round
    row = round_.row if round_ is not None else ctx.store.last_round()
    collection, machine = (round_.collection, round_.masked) if round_ is not None else (None, None)
    names = {*ctx.clients.names(), *ctx.clients.away, *(row.cohort if row is not None else ())}
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "schema": len(SCHEMA),
        "run": ctx.run,
        "federation": ctx.config.federation.name,
        "server_sees": ctx.config.privacy.server_sees,
        "alerts": health.alerts(),
        "phase": "paused" if ctx.state.paused and collection is None else ctx.state.phase,
        "round": row.round if row is not None else 0,
        "rounds": ctx.config.round.rounds,
        **known,
        "parameters": model_part(ctx.spec).size,
        "paused": ctx.state.paused,
        "stopping": ctx.state.stopping,
        "uptime_s": now - ctx.state.started_at,
        "round_seconds": now - row.opened_at if row is not None and collection is not None else None,
        "deadline_at": deadline_at(ctx, now),
        "upload_bytes": ctx.state.traffic.upload,
        "download_bytes": ctx.state.traffic.download,
        "needed": {"goal": row.goal, "quorum": collection.quorum} if row is not None and collection else None,
        "min_clients": ctx.config.clients_to_start,
        "waiting": waiting_for(ctx),
        "stage": None if machine is None else machine.stage,
        "groups": [{"members": list(g.names), "stage": g.stage.name.lower()} for g in machine.groups]
        if machine is not None
        else [],
        "member_list": ctx.clients.listing.described(),
        "quarantined": dict(sorted(ctx.clients.quarantined.items())),
        "certificates": [{"role": role, "expires_at": end} for role, end in sorted(health.certificates.ends.items())],
        "disk": asdict(health.disk),
        "history": [_round(each) for each in health.past.last()],
        "upstream": None,
        "clients": [_client(ctx, health, name, known["defence"]["excluded"]) for name in sorted(names)],
    } | ctx.extensions.status()


def _round(each: PastRound) -> dict[str, Any]:
    """A round that is over, in short: for a curve, and for what is new since the last one."""
    return {
        "round": each.number,
        "outcome": each.outcome,
        "reason": each.reason,
        "seconds": each.seconds,
        "asked": each.asked,
        "accepted": len(each.accepted),
        "dropped": len(each.dropped),
        "gone": len(each.gone),
        "excluded": len(each.excluded),
        "upload_bytes": each.upload_bytes,
        "download_bytes": each.download_bytes,
        "accuracy": each.model.accuracy,
        "balanced": each.model.balanced,
        "tail": each.model.tail,
        "worst": each.model.worst,
    }


def _client(ctx: ServerContext, health: Health, name: str, excluded: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    session, seen, round_ = ctx.clients.get(name), ctx.clients.seen, ctx.state.round
    collection = None if round_ is None else round_.collection
    state = "gone"
    if ctx.clients.away.get(name, 0.0) > time.time():
        state = f"away until {time.strftime('%a %H:%M', time.localtime(ctx.clients.away[name]))}"
    if session is not None:
        state = session.phase
    if collection is not None and name in collection.received:
        state = "received"
    elif collection is not None and name in collection.refused:
        state = f"refused: {collection.refused[name]}"
    left = seen.left_at(name)
    gone_s = None if left is None else time.time() - left
    machine = session.machine if session is not None else None
    return {
        "name": name,
        "connected": session is not None,
        "state": state,
        "back_at": ctx.clients.away.get(name),
        "progress": session.progress if session is not None else 0.0,
        "device": session.hello.device if session is not None else "",
        "software": session.hello.software if session is not None else "",
        "in_cohort": collection is not None and name in collection.members,
        "since": session.connected_at if session is not None else None,
        "last_seen_s": time.monotonic() - session.last_seen if session is not None else gone_s,
        "expires_at": seen.ends(name),
        "accepted": health.past.accepted[name],
        "excluded": sum(excluded.get(name, {}).values()),
        "machine": None if machine is None else asdict(machine),
        "clock_skew_s": session.clock_skew_s if session is not None else None,
        "held": ctx.clients.quarantined.get(name, ""),
    }
