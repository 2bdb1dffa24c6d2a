"""What the summary of a round says of the tiers of clients."""

from __future__ import annotations

from collections import Counter

from roughfed.codec.plan import plan_subset
from roughfed.server.context.extension import Extension, Figures
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.tiers import STANDARD, header_for, names_of


class Tiers(Extension):
    """Figures of each tier."""

    def __init__(self, ctx: ServerContext) -> None:
        """As the settings say."""
        self._ctx = ctx

    def figures(self, round_: RoundState) -> Figures:
        """Clients that count, what they send and train, and why a tier gave nothing."""
        ctx = self._ctx
        received = ctx.store.receipts(ctx.run, round_.number)
        tiers = {name: Counter[str]() for name in (STANDARD, *ctx.config.tiers)}
        sizes: dict[str, int] = {}
        for update in received.values():
            name = update.statement.tier
            sizes[name] = max(sizes.get(name, 0), update.receipt.size_bytes)
            if (round_.row.sets or {}).get(update.receipt.client) == "":
                tiers[name]["accepted"] += 1
        open_ones = names_of(round_.header)
        found: dict[str, object] = {}
        for name, counts in tiers.items():
            settings = ctx.config.tiers.get(name)
            as_tier = header_for(round_.header, name) if name in open_ones else None
            void = round_.absent_tiers.get(name, "") or ("" if counts["accepted"] else "nothing of it counts")
            found[name or "standard"] = {
                "clients": counts["accepted"],
                "keep_one_in": max(1, as_tier.keep_one_in)
                if as_tier
                else plan_subset(settings.fraction if settings else 1),
                "tensors": list(settings.tensors) if settings else [],
                "bytes": sizes.get(name, 0),
                "void": void,
            }
        return {"tiers": found}
