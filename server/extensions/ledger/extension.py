"""The ledger as an extension of the rounds: what the journal knows of one goes in once nothing about it is open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from roughfed.server.context.extension import Extension
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.free_riders.extension import Riders
from roughfed.server.extensions.ledger.entries import RoundFacts
from roughfed.server.extensions.ledger.file import LedgerFile, newest
from roughfed.server.round.shares import SHARES
from roughfed.server.storage.store import RoundRow


class LedgerExtension(Extension):
    """Keeps the ledger of a run up to date."""

    def __init__(self, ctx: ServerContext) -> None:
        """What is journaled is not written yet."""
        self._ctx, self._riders = ctx, Riders(ctx.store.journal)
        self.ledger = LedgerFile(ctx.store, ctx.identity.key, run=ctx.run, server=ctx.identity.name)

    async def catch_up(self) -> None:
        """Write into the ledger what is missing and known."""
        before, entries = self.ledger.given, self._entries()
        await self.ledger.catch_up(self._facts_of, self._ctx.extensions.pending)
        self._ctx.metrics.ledger(self._entries() - entries)
        if self.ledger.given is not before:
            self._ctx.metrics.contribution({"levels": self.ledger.given.levels})

    def _entries(self) -> int:
        """Lines of the ledger."""
        part = newest(self._ctx.store)
        return 0 if part is None else part.lines

    def _facts_of(self, row: RoundRow) -> RoundFacts | None:
        """Everything that the ledger says of a round that is over; None as long as something about it is open."""
        if row.outcome is None or row.summary is None:
            return None
        summary = cast("Mapping[str, Any]", row.summary)
        said: Mapping[str, Any] = summary.get("contribution") or {}
        scores: Mapping[str, Mapping[str, float]] = said.get("scores") or {}
        parts = {
            name: {k: v for k, v in each.items() if k != "total"} for name, each in scores.items() if "round" in each
        }
        if not all(math.isfinite(value) for each in parts.values() for value in each.values()):
            parts = {}  # replay could say nothing of it
        watched, version = self._riders.told(row.round), self._ctx.store.lineage.made_in(row.round)
        model = None if version is None else self._ctx.store.model(version)
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
            beta=self._ctx.config.reward.beta,
            levels=self._ctx.config.reward.levels,
        )
