"""Which model the next round goes on with, and who takes part in it.

Without an extension that has a schedule of its own there is one model, and everybody takes part in every round.
"""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.config.federation import FederationConfig
from roughfed.messages import Finished
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import Store


class ModelSchedule:
    """One model for all.

    Attributes:
        on: whether there are several models, one for each cluster of clients.
    """

    on = False

    def __init__(self, config: FederationConfig, store: Store) -> None:
        """As the settings and the journal say."""
        self._config, self._store = config, store

    def turn(self) -> str:
        """The cluster whose round is next."""
        return DEFAULT

    def plays(self, client: str, cluster: str) -> bool:
        """Whether a client can be in a round of a cluster."""
        del client, cluster
        return True

    def cluster_of(self, client: str) -> str:
        """Where a client is."""
        del client
        return DEFAULT

    def place(self, number: int, cluster: str) -> int:
        """Which of its cluster's rounds a round is, from 1."""
        del cluster
        return number

    def fact(self, number: int, cluster: str) -> Mapping[str, tuple[float, ...]]:
        """What jobs say of it."""
        del number, cluster
        return {}

    def over(self) -> bool:
        """Whether every model has had its rounds."""
        return self._store.latest_model()[0] >= self._config.round.rounds

    def left(self) -> int:
        """Rounds that are still to be committed, of all clusters together."""
        return max(0, self._config.round.rounds - self._store.latest_model()[0])

    def farewell(self, finished: Finished, client: str) -> Finished:
        """The end of the run as one client is told it."""
        del client
        return finished
