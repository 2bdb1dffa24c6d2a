"""What an operator is shown of a running server: one plain dictionary, for the terminal, `--json` and the web page."""

from __future__ import annotations

import time
from typing import Any

from roughfed import __version__
from roughfed.measures import figures
from roughfed.scope import model_part
from roughfed.server.federation import Federation
from roughfed.server.quality import newest_evaluation
from roughfed.server.told import newest_told
from roughfed.server.verdicts import shown


def status(fed: Federation) -> dict[str, Any]:
    """The state of the run, the open round and every connected client."""
    version, digest = fed.store.latest_model()
    row, collection = fed.row or fed.store.last_round(), fed.collection
    known = {*fed.members.names(), *fed.away, *(row.cohort if row is not None else ())}
    newest, measured_by = newest_evaluation(fed.store, version)
    return {
        "version": __version__,
        "run": fed.run,
        "federation": fed.config.federation.name,
        "server_sees": fed.config.privacy.server_sees,
        "phase": "paused" if fed.paused and collection is None else fed.phase,
        "round": row.round if row is not None else 0,
        "rounds": fed.config.round.rounds,
        "model_version": version,
        "model_digest": digest.hex(),
        "parameters": model_part(fed.spec).size,
        "finished": fed.store.finished(),
        "paused": fed.paused,
        "uptime_s": time.time() - fed.started_at,
        "round_seconds": time.time() - row.opened_at if row is not None and collection is not None else None,
        "upload_bytes": fed.traffic.upload,
        "download_bytes": fed.traffic.download,
        "accuracy": newest.accuracy if newest else None,
        "balanced_accuracy": newest.balanced_accuracy if newest else None,
        "worst_class_accuracy": figures(newest).worst if newest else None,
        "loss": newest.loss if newest else None,
        "measured_by": measured_by,
        "needed": {"goal": row.goal, "quorum": collection.quorum} if row is not None and collection else None,
        "min_clients": fed.config.clients_to_start,
        "waiting": _waiting(fed),
        "stage": stage(fed),
        "groups": [{"members": list(g.names), "stage": g.stage.name.lower()} for g in fed.masked.groups]
        if fed.masked is not None
        else [],
        "quarantined": dict(sorted(fed.quarantined.items())),
        "defence": shown(fed.store, fed.defence, fed.exclusions),
        "unlike": newest_told(fed.store),
        "clients": [_client(fed, name) for name in sorted(known)],
    }


def stage(fed: Federation) -> str | None:
    """Where the slowest group of a masked round is; None where no masked round is open."""
    if fed.masked is None:
        return None
    if not fed.masked.groups:
        return "advertising"
    return min((group.stage for group in fed.masked.groups), key=lambda each: each.value).name.lower()


def _waiting(fed: Federation) -> str:
    """For whom the server waits, in words; empty while it does not."""
    here = len(set(fed.members.names()) - fed.quarantined.keys())
    if fed.collection is not None or fed.store.finished() or here >= fed.config.clients_to_start:
        return ""
    return fed.config.waiting(here)


def _client(fed: Federation, name: str) -> dict[str, Any]:
    session, collection = fed.members.get(name), fed.collection
    state = "gone"
    if fed.away.get(name, 0.0) > time.time():
        state = f"away until {time.strftime('%a %H:%M', time.localtime(fed.away[name]))}"
    if session is not None:
        state = session.phase
    if collection is not None and name in collection.received:
        state = "received"
    elif collection is not None and name in collection.refused:
        state = f"refused: {collection.refused[name]}"
    return {
        "name": name,
        "connected": session is not None,
        "state": state,
        "back_at": fed.away.get(name),
        "progress": session.progress if session is not None else 0.0,
        "device": session.hello.device if session is not None else "",
        "software": session.hello.software if session is not None else "",
        "in_cohort": collection is not None and name in collection.members,
    }
