"""What of a status the journal alone says: read again only after a commit, since a status is asked for often."""

from __future__ import annotations

from typing import Any

from roughfed.measures import figures
from roughfed.server.context.server import ServerContext
from roughfed.server.defence.findings import Exclusions, shown
from roughfed.server.model.retention import newest_evaluation
from roughfed.server.observe.recent_rounds import Told


class Journaled:
    """Call it for the newest version and its measures, what the defence found, and what is told of unlike clients."""

    def __init__(self, ctx: ServerContext) -> None:
        """Nothing is read yet."""
        self._ctx, self._told, self._exclusions = ctx, Told(ctx.store), Exclusions(ctx.store)
        self._known: tuple[int, dict[str, Any]] | None = None

    def __call__(self) -> dict[str, Any]:
        """As of the last commit; the caller does not change it."""
        changes = self._ctx.store.journal.changes()
        if self._known is None or self._known[0] != changes:
            self._known = (changes, self._read())  # what is committed meanwhile is read the next time
        return self._known[1]

    def _read(self) -> dict[str, Any]:
        store = self._ctx.store
        version, digest = store.latest_model()
        newest, measured_by = newest_evaluation(store, version)
        return {
            "last_round": last_round(self._ctx),
            "model_version": version,
            "model_digest": digest.hex(),
            "finished": store.finished(),
            "accuracy": newest.accuracy if newest else None,
            "balanced_accuracy": newest.balanced_accuracy if newest else None,
            "worst_class_accuracy": figures(newest).worst if newest else None,
            "loss": newest.loss if newest else None,
            "measured_by": measured_by,
            "defence": shown(store, self._ctx.defence, self._exclusions),
            "heterogeneity": self._told(),
        }


def last_round(ctx: ServerContext) -> int:
    """Number of the run's last round if each is committed from now on: one that was abandoned is played again."""
    last, left = ctx.store.last_round(), ctx.extensions.schedule.left()
    if last is None:
        return left
    return last.round + left - (last.outcome is None)  # the open one is among those that are left
