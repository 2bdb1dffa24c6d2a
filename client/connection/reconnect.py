"""How long an agent waits before it comes back to its server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from roughfed.messages import Reconnect
from roughfed.transport.patience import waits

log = logging.getLogger(__name__)

NEXT_RUN_S = 2.0  # between two looks for the next run, of a client that stays
LATEST_S = 32.0
SUPERSEDED = "superseded"
"""Reason of the `Reconnect` that a session gets when a newer one took its place."""
SUPERSEDED_S = 30.0  # two processes under one name must not throw one another out as fast as they can


class AfterRuns:
    """Of a client that stays: when to look for the next run of a server that may stay as well, with the old one."""

    def __init__(self) -> None:
        """No run has ended yet."""
        self._run, self._pause_s = "", NEXT_RUN_S

    def over(self, run: str) -> Reconnect:
        """A run is over, perhaps one of which this was known: then there is less hurry each time."""
        self._pause_s = min(2 * self._pause_s, LATEST_S) if run == self._run else NEXT_RUN_S
        self._run = run
        return Reconnect(self._pause_s, "the run is over")


def after_faults(*, stay: bool) -> Iterator[float]:
    """Seconds before each next try; a client that stays is there soon when the next run begins."""
    ceiling = {"ceiling_s": 4 * NEXT_RUN_S} if stay else {}
    return waits(np.random.default_rng(), **ceiling)


def when_asked(asked: Reconnect, folder: Path) -> float:
    """Seconds until the server is asked again, spread so that not all clients come at once.

    Args:
        asked: what the server said.
        folder: this client's state directory, for a warning that names it.
    """
    pause = float(np.random.default_rng().uniform(0.5, 1.5)) * asked.after_s
    if asked.reason != SUPERSEDED:
        return pause
    pause = max(SUPERSEDED_S, pause)
    log.warning(
        "the server has a newer session under this client's name and ended this one: does the same client run "
        "twice, here from a copy of %s? Next try in %.0f s",
        folder,
        pause,
    )
    return pause
