"""What the ledger is told of a round: what the journal knows of it, once nothing about it is open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from roughfed.server import contributing
from roughfed.server.incentive.book import RoundFacts
from roughfed.server.incentive.figures import SHARES
from roughfed.server.ledger import newest

if TYPE_CHECKING:
    from roughfed.server.federation import Federation
    from roughfed.server.store import RoundRow


async def catch_up(fed: Federation) -> None:
    """Write into the ledger what is missing and known."""
    before, entries = fed.ledger.given, _entries(fed)
    await fed.ledger.catch_up(partial(facts_of, fed), partial(_being_scored, fed))
    fed.metrics.ledger(_entries(fed) - entries)
    if fed.ledger.given is not before:
        fed.metrics.contribution({"tiers": fed.ledger.given.tiers})


def _entries(fed: Federation) -> int:
    """Lines of the ledger."""
    part = newest(fed.store)
    return 0 if part is None else part.lines


def _being_scored(fed: Federation) -> int | None:
    """The round whose scores are still to come."""
    last = fed.store.last_round()
    if fed.contributions.method is None or last is None:
        return None
    kept = contributing.shelf(fed).kept()
    abandoned = kept is not None and kept.round == last.round and last.outcome == "abandoned"
    return None if kept is None or abandoned else kept.round


def facts_of(fed: Federation, row: RoundRow) -> RoundFacts | None:
    """Everything that the ledger says of a round that is over; None as long as something about it is open."""
    if row.outcome is None or row.summary is None:
        return None
    summary = cast("Mapping[str, Any]", row.summary)
    said: Mapping[str, Any] = summary.get("contribution") or {}
    scores: Mapping[str, Mapping[str, float]] = said.get("scores") or {}
    parts = {name: {k: v for k, v in each.items() if k != "total"} for name, each in scores.items() if "round" in each}
    if not all(math.isfinite(value) for each in parts.values() for value in each.values()):
        parts = {}  # replay could say nothing of it
    watched, version = fed.riders.told(row.round), fed.store.lineage.made_in(row.round)
    model = None if version is None else fed.store.model(version)
    about = {
        "cluster": row.cluster,
        "outcome": row.outcome,
        "closed": row.closed_at,
        "header": row.header.digest.hex(),
        "version": version,
        "model": None if model is None else model.hex(),
        "evaluations": said.get("evaluations", 0),
        "skipped": said.get("skipped", ""),
    }
    return RoundFacts(
        round=row.round,
        about=about,
        verdicts={name: (row.sets or {}).get(name, "absent") for name in row.cohort} | dict(row.sets or {}),
        weights=summary.get(SHARES) or {},
        method=said.get("method", "") if parts else "",
        parts=parts,
        flags={} if watched is None else {name: watched.flags.get(name, "") for name in watched.seen},
        evidence={} if watched is None else watched.evidence,
        twins={} if watched is None else watched.twins,
        beta=fed.config.reward.beta,
        tiers=fed.config.reward.tiers,
    )
