"""Which version is best, since when, and which model files may go."""

from __future__ import annotations

from collections.abc import Iterable

from roughfed.server import downlink
from roughfed.server.store import EVERYBODY, Store
from roughfed.types import Evaluation

SETTLED = 2
"""A version's last evaluations arrive with the updates of the round after it; an older one's do not change."""


class Quality:
    """Quality of the versions of one run; what cannot change any more is read once."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._known: dict[int, float | None] = {}
        self._pruned: set[bytes] = set()

    def best(self) -> int | None:
        """The version with the best quality (the newest of equals); None before an evaluation."""
        newest = self._store.latest_model()[0]
        for version in range(newest + 1):
            if version not in self._known or version > newest - SETTLED:
                self._known[version] = quality(self._store, version)
        scored = [(found, version) for version, found in self._known.items() if found is not None]
        return max(scored)[1] if scored else None

    def stale_rounds(self) -> int:
        """Versions since the best one, of those that were evaluated."""
        best = self.best()
        return 0 if best is None else sum(v > best and found is not None for v, found in self._known.items())

    def prune(self, *, keep_last: int, keep_best: bool) -> None:
        """Delete model files and deltas that nobody needs: all but the last K (at least 2) and the best."""
        versions = self._store.versions()
        wanted = {version for version, _ in versions[-max(2, keep_last) :]}
        if keep_best and (best := self.best()) is not None:
            wanted.add(best)
        kept = {digest for version, digest in versions if version in wanted}
        gone = {digest for _, digest in versions} - kept - self._pruned
        for digest in gone:
            self._store.model_path(digest).unlink(missing_ok=True)
        self._pruned = (self._pruned | gone) - kept
        downlink.prune(self._store, wanted)


def quality(store: Store, version: int) -> float | None:
    """How good a version is: balanced accuracy, else minus the loss; on the server's data, else over the clients'.

    Of masked clients only their sum is known.
    """
    found = store.evaluations(version)
    whole = next((found[source] for source in ("", EVERYBODY) if source in found), None)
    pool: Iterable[Evaluation] = found.values() if whole is None else [whole]
    balanced = [b for e in pool if (b := e.balanced_accuracy) is not None]
    if balanced:
        return sum(balanced) / len(balanced)
    examples = sum(e.num_examples for e in pool)
    return -sum(e.loss_sum for e in pool) / examples if examples else None


def newest_evaluation(store: Store, version: int) -> tuple[Evaluation | None, str | None]:
    """The last evaluation as a whole, of a version or the one before it.

    Returns:
        (evaluation, by whom: "server", or "clients" for the sum of masked ones); None and None without any.
    """
    for found in (store.evaluations(version), store.evaluations(version - 1)):
        for source, whose in (("", "server"), (EVERYBODY, "clients")):
            if source in found:
                return found[source], whose
    return None, None
