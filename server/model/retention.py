"""Which version is best, since when, and which model files may go."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from roughfed.measures import pooled
from roughfed.server.model import downlink
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import EVERYBODY, Store
from roughfed.types import Evaluation

SETTLED = 2
"""A version's last evaluations arrive with the updates of the round after it; an older one's do not change."""


class Quality:
    """Quality of the versions of one run; what cannot change any more is read once, however many rounds there were."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._newest = -1
        self._clusters: dict[str, _Scores] = {}
        self._files: dict[int, bytes] = {}  # digests of the versions whose files may still be there

    def best(self, cluster: str = DEFAULT) -> int | None:
        """The version of a cluster with the best quality (the newest of equals); None before an evaluation."""
        self._read()
        best, newest = self._scores(cluster)
        scored = ([] if best is None else [best]) + [(found, v) for v, found in newest.items() if found is not None]
        return max(scored)[1] if scored else None

    def stale_rounds(self) -> int:
        """Versions since the best one, of those that were evaluated."""
        if (best := self.best()) is None:
            return 0
        _, newest = self._scores(DEFAULT)
        settled = self._clusters[DEFAULT].evaluated
        settled_since = len(settled) - bisect_right(settled, best)
        return settled_since + sum(v > best and found is not None for v, found in newest.items())

    def prune(self, *, keep_last: int, keep_best: bool, keep_first: bool = False) -> None:
        """Delete model files and deltas that nobody needs: of each cluster all but the last K (at least 2), the best.

        What the next round of a cluster begins with stays, too, and the first of all where somebody needs it.
        """
        self._read()
        lineage = self._store.lineage
        wanted = {head.version for head in lineage.heads().values()} | ({0} if keep_first else set[int]())
        for cluster in lineage.clusters():
            own = self._clusters[cluster].versions if cluster in self._clusters else []
            best = self.best(cluster) if keep_best else None
            wanted |= {*own[-max(2, keep_last) :], *([] if best is None else [best])}
        kept = {digest for version, digest in self._files.items() if version in wanted}
        for version, digest in list(self._files.items()):
            if digest not in kept:
                self._store.model_path(digest).unlink(missing_ok=True)
                del self._files[version]
        downlink.prune(self._store, wanted)

    def _read(self) -> None:
        """The versions that came since the last look."""
        for each in self._store.lineage.all(after=self._newest):
            self._newest = each.version
            self._files[each.version] = each.digest
            self._clusters.setdefault(each.cluster, _Scores()).versions.append(each.version)

    def _scores(self, cluster: str) -> tuple[tuple[float, int] | None, dict[int, float | None]]:
        """(quality, version) of the best one that is settled, and the quality of those that are not."""
        scores = self._clusters.setdefault(cluster, _Scores())
        for version in scores.versions[scores.settled : max(0, len(scores.versions) - SETTLED)]:
            found = quality(self._store, version)
            scores.settled += 1
            if found is not None:
                scores.evaluated.append(version)
                scores.best = max((found, version), scores.best or (found, version))
        return scores.best, {version: quality(self._store, version) for version in scores.versions[scores.settled :]}


@dataclass
class _Scores:
    """What is known of the versions of one cluster.

    Attributes:
        versions: all of them, in order.
        settled: how many of these, from the first one, have all their evaluations.
        evaluated: those of the settled ones that were evaluated, in order.
        best: (quality, version) of the best of these.
    """

    versions: list[int] = field(default_factory=list[int])
    settled: int = 0
    evaluated: list[int] = field(default_factory=list[int])
    best: tuple[float, int] | None = None


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
