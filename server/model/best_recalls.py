"""What the run could do best of all, class by class: what forgetting is measured against."""

from __future__ import annotations

from roughfed.measures import Shares, best_of, forgotten, recall_by_class
from roughfed.server.model.retention import whole
from roughfed.server.storage.store import Store
from roughfed.types import Evaluation

LOOK_BACK = 1000
"""Versions that a server reads back over when it starts in the middle of a run."""


class Peaks:
    """The best recall of each class, over all evaluations so far."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._best: Shares | None = None

    def forgetting(self, newest: Evaluation) -> float | None:
        """How much the newest model forgot (`roughfed.measures.forgotten`); it is one of the earlier ones from now on.

        Returns:
            None for the first evaluation, and for one without classes.
        """
        recall = recall_by_class(newest)
        before = self._best if self._best is not None else self._journaled(newest.model_digest)
        self._best = best_of(before, recall)
        return forgotten(before, recall)

    def _journaled(self, but: bytes) -> Shares:
        """The best of what earlier processes journaled, without one model."""
        best: Shares = ()
        for version, digest in self._store.versions()[-LOOK_BACK:]:
            if digest != but and (found := whole(self._store, version)[0]) is not None:
                best = best_of(best, recall_by_class(found))
        return best
