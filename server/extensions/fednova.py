"""`aggregate.scaling`: what a round asks its clients for, and what its jobs say (`server/aggregate/fednova.py`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from roughfed.secagg.statistics import STEPS
from roughfed.server.aggregate.fednova import asks, reference
from roughfed.server.cohort.statistics import FEWEST, Facts, newest
from roughfed.server.context.extension import Extension
from roughfed.server.context.server import ServerContext

log = logging.getLogger(__name__)


class FedNova(Extension):
    """Lets updates of clients that take different numbers of steps count alike."""

    def __init__(self, ctx: ServerContext) -> None:
        """As the settings say."""
        self._ctx = ctx

    def statistics(self, number: int, cluster: str) -> Iterable[str]:
        """The clients' steps."""
        del cluster
        rounds = self._ctx.config.round.rounds
        return asks(number, rounds, known=bool(self._mean_steps()))

    def facts(self, number: int, cluster: str) -> Facts:
        """By how many steps clients multiply their updates, once at least four have told theirs."""
        del number, cluster
        found = self._mean_steps()
        if not found and self._ctx.store.last_round() is not None:
            log.warning('fewer than %d clients told their steps: aggregate.scaling = "fednova" waits for more', FEWEST)
        return {STEPS: found} if found else {}

    def _mean_steps(self) -> tuple[float, ...]:
        """The mean of the clients' steps, of the newest round that told enough of them; () without one."""
        return reference(newest(self._ctx.store.sums_with(STEPS), STEPS))
