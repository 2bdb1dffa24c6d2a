"""Which version is best, since when, and which model files may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from roughfed.measures import pooled
from roughfed.server.model import downlink
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import EVERYBODY, Store
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

    def best(self, cluster: str = DEFAULT) -> int | None:
        """The version of a cluster with the best quality (the newest of equals); None before an evaluation."""
        versions = [each.version for each in self._store.lineage.all() if each.cluster == cluster]
        for version in versions:
            if version not in self._known or version in versions[-SETTLED:]:
                self._known[version] = quality(self._store, version)
        scored = [(found, version) for version in versions if (found := self._known[version]) is not None]
        return max(scored)[1] if scored else None

    def stale_rounds(self) -> int:
        """Versions since the best one, of those that were evaluated."""
        best = self.best()
        return 0 if best is None else sum(v > best and found is not None for v, found in self._known.items())

    def prune(self, *, keep_last: int, keep_best: bool, keep_first: bool = False) -> None:
        """Delete model files and deltas that nobody needs: of each cluster all but the last K (at least 2), the best.

        What the next round of a cluster begins with stays, too, and the first of all where somebody needs it.
        """
        versions, lineage = self._store.versions(), self._store.lineage
        wanted = {head.version for head in lineage.heads().values()} | ({0} if keep_first else set[int]())
        for cluster in lineage.clusters():
            own = [each.version for each in lineage.all() if each.cluster == cluster]
            best = self.best(cluster) if keep_best else None
            wanted |= {*own[-max(2, keep_last) :], *([] if best is None else [best])}
        kept = {digest for version, digest in versions if version in wanted}
        gone = {digest for _, digest in versions} - kept - self._pruned
        for digest in gone:
            self._store.model_path(digest).unlink(missing_ok=True)
        self._pruned = (self._pruned | gone) - kept
        downlink.prune(self._store, wanted)


def quality(store: Store, version: int) -> float | None:
    """How good a version is: balanced accuracy, else minus the loss; on the server's data, else over the clients'."""
    found, _ = whole(store, version)
    if found is None:
        return None
    return found.balanced_accuracy if found.balanced_accuracy is not None else -found.loss_sum / found.num_examples


def whole(store: Store, version: int) -> tuple[Evaluation | None, str | None]:
    """The evaluation of a version: on the server's data, else on all clients' data as if they lay together.

    Returns:
        (evaluation, by whom: "server", or "clients"); None and None without any.
    """
    if (own := store.evaluations(version, source="").get("")) is not None and own.num_examples:
        return own, "server"
    found = store.evaluations(version)
    together = found.get(EVERYBODY) or pooled(found.values())  # of masked clients only their sum is known
    return (together, "clients") if together is not None and together.num_examples else (None, None)


def newest_evaluation(store: Store, version: int) -> tuple[Evaluation | None, str | None]:
    """`whole` of a version, or of the one before it."""
    base = store.lineage.base_of(version)
    for each in (version, *(() if base is None else (base.version,))):
        if (found := whole(store, each))[0] is not None:
            return found
    return None, None


def class_counts(store: Store) -> list[int]:
    """Training examples by class, of all clients that told theirs: behind masks, or in the clear. Each counts once.

    Returns:
        C integers; empty where nobody told.
    """
    return counted(store.statics())


def counted(statics: Iterable[Mapping[str, Sequence[int]]]) -> list[int]:
    """Examples by class of some of `Store.statics`; empty where there are none."""
    told = (each.get("class-count", ()) for each in statics)
    total = [sum(column) for column in zip_longest(*told, fillvalue=0)]
    return total if any(total) else []
