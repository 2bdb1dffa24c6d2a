"""`aggregate.scaling`: what a round asks its clients for, and what its jobs say (`server/aggregate/fednova.py`)."""

from __future__ import annotations

import logging

from roughfed.secagg.statistics import STEPS
from roughfed.server.aggregate.fednova import asks, reference
from roughfed.server.facts import FEWEST, Facts, newest
from roughfed.server.federation import Federation

log = logging.getLogger(__name__)


def steps_asked(fed: Federation, number: int) -> tuple[str, ...]:
    """Statistics of a round, as "name:length"."""
    if fed.config.aggregate.scaling != "fednova":
        return ()
    return asks(number, fed.config.round.rounds, known=bool(told_steps(fed)))


def steps_fact(fed: Federation) -> Facts:
    """By how many steps clients multiply their updates, once at least four have told theirs."""
    if fed.config.aggregate.scaling != "fednova":
        return {}
    found = told_steps(fed)
    if not found and fed.store.last_round() is not None:
        log.warning('fewer than %d clients told their steps: aggregate.scaling = "fednova" waits for more', FEWEST)
    return {STEPS: found} if found else {}


def told_steps(fed: Federation) -> tuple[float, ...]:
    """The mean of the clients' steps, of the newest round that told enough of them; () without one."""
    return reference(newest(fed.store.sums_with(STEPS), STEPS))
