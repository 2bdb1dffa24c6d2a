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
from roughfed.scope import model_part
from roughfed.server.federation import Federation
from roughfed.server.health.reading import deadline_at, waiting_for
from roughfed.server.health.signs import Past
from roughfed.server.schema import SCHEMA


def status(fed: Federation) -> dict[str, Any]:
    """The state of the run, the open round and every connected client."""
    now = time.time()
    known = fed.journaled()
    row, collection = fed.row or fed.store.last_round(), fed.collection
    names = {*fed.members.names(), *fed.away, *(row.cohort if row is not None else ())}
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "schema": len(SCHEMA),
        "run": fed.run,
        "federation": fed.config.federation.name,
        "server_sees": fed.config.privacy.server_sees,
        "alerts": fed.health.alerts(),
        "phase": "paused" if fed.paused and collection is None else fed.phase,
        "round": row.round if row is not None else 0,
        "rounds": fed.config.round.rounds,
        **known,
        "parameters": model_part(fed.spec).size,
        "paused": fed.paused,
        "stopping": fed.stopping,
        "uptime_s": now - fed.started_at,
        "round_seconds": now - row.opened_at if row is not None and collection is not None else None,
        "deadline_at": deadline_at(fed, now),
        "upload_bytes": fed.traffic.upload,
        "download_bytes": fed.traffic.download,
        "needed": {"goal": row.goal, "quorum": collection.quorum} if row is not None and collection else None,
        "min_clients": fed.config.clients_to_start,
        "waiting": waiting_for(fed),
        "stage": None if fed.masked is None else fed.masked.stage,
        "groups": [{"members": list(g.names), "stage": g.stage.name.lower()} for g in fed.masked.groups]
        if fed.masked is not None
        else [],
        "member_list": fed.listing.described(),
        "quarantined": dict(sorted(fed.quarantined.items())),
        "certificates": [{"role": role, "expires_at": end} for role, end in sorted(fed.certificates.items())],
        "disk": asdict(fed.health.disk),
        "history": [_round(each) for each in fed.health.past.last()],
        "upstream": None if fed.above is None else fed.above.state(),
        "clients": [_client(fed, name, known["defence"]["excluded"]) for name in sorted(names)],
    }


def _round(each: Past) -> dict[str, Any]:
    """A round that is over, in short: for a curve, and for what is new since the last one."""
    return {
        "round": each.number,
        "outcome": each.outcome,
        "reason": each.reason,
        "seconds": each.seconds,
        "asked": each.asked,
        "accepted": each.accepted,
        "dropped": len(each.dropped),
        "excluded": len(each.excluded),
        "upload_bytes": each.upload_bytes,
        "download_bytes": each.download_bytes,
        "accuracy": each.accuracy,
        "balanced": each.balanced,
        "tail": each.tail,
        "worst": each.worst,
    }


def _client(fed: Federation, name: str, excluded: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    session, collection, seen = fed.members.get(name), fed.collection, fed.health.seen
    state = "gone"
    if fed.away.get(name, 0.0) > time.time():
        state = f"away until {time.strftime('%a %H:%M', time.localtime(fed.away[name]))}"
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
        "back_at": fed.away.get(name),
        "progress": session.progress if session is not None else 0.0,
        "device": session.hello.device if session is not None else "",
        "software": session.hello.software if session is not None else "",
        "in_cohort": collection is not None and name in collection.members,
        "since": session.connected_at if session is not None else None,
        "last_seen_s": time.monotonic() - session.last_seen if session is not None else gone_s,
        "expires_at": seen.ends(name),
        "accepted": fed.health.past.accepted[name],
        "excluded": sum(excluded.get(name, {}).values()),
        "machine": None if machine is None else asdict(machine),
        "clock_skew_s": session.clock_skew_s if session is not None else None,
        "held": fed.quarantined.get(name, ""),
    }
