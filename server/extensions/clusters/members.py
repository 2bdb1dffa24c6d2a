"""Who is in which cluster, and whose turn it is: pure functions of what the journal knows.

A cluster's round is a round: clusters take turns (docs/decisions/0019-clusters-take-turns.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from roughfed.server.storage.lineage import DEFAULT


@dataclass(frozen=True, slots=True)
class Move:
    """A client that is in another cluster from now on, or known to belong where it is.

    Attributes:
        client: its name.
        cluster: where it is now.
        why: "joined-default", "small", "split", "trial", "agrees", "chosen".
        score: the mean cosine that it had with the members where it comes from; None where none was taken.
    """

    client: str
    cluster: str
    why: str
    score: float | None = None


def by_cluster(membership: Mapping[str, str]) -> dict[str, list[str]]:
    """Cluster -> its members, sorted; clusters without members are not in it."""
    found: dict[str, list[str]] = {}
    for client in sorted(membership):
        found.setdefault(membership[client], []).append(client)
    return dict(sorted(found.items(), key=lambda item: order(item[0])))


def order(cluster: str) -> tuple[int, str]:
    """What clusters are sorted by: they are numbered."""
    return len(cluster), cluster


def settled(wanted: Mapping[str, str], smallest: int) -> dict[str, str]:
    """Who is where once small clusters have joined the default.

    Args:
        wanted: client -> the cluster that it belongs to.
        smallest: members without which a cluster has no rounds of its own.

    Returns:
        client -> cluster: members of a small one are in the default. A default that is small itself goes to the
        largest cluster of those that are not, of equals to the first: nobody is left alone.
    """
    found = by_cluster(wanted)
    small = {cluster for cluster, members in found.items() if len(members) < smallest and cluster != DEFAULT}
    joined = {client: DEFAULT if cluster in small else cluster for client, cluster in wanted.items()}
    sizes = {cluster: len(members) for cluster, members in by_cluster(joined).items()}
    others = [cluster for cluster in sizes if cluster != DEFAULT]
    if not others or sizes.get(DEFAULT, 0) >= smallest or DEFAULT not in sizes:
        return joined
    largest = max(others, key=lambda cluster: (sizes[cluster], [-part for part in _numbers(cluster)]))
    return {client: largest if cluster == DEFAULT else cluster for client, cluster in joined.items()}


def _numbers(cluster: str) -> tuple[int, int]:
    return len(cluster), int(cluster) if cluster.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What is known of a cluster between two rounds.

    Attributes:
        cluster: its id.
        depth: committed rounds behind its newest version.
        turns: rounds that it was given, abandoned ones included.
        present: members that are connected and can be asked.
        failed: rounds that were abandoned since its newest version.
    """

    cluster: str
    depth: int
    turns: int
    present: Collection[str]
    failed: int = 0


def next_turn(standings: Sequence[ClusterState], *, rounds: int, needed: int) -> str | None:
    """The cluster that plays next: of those that can, the one that is furthest behind.

    An abandoned round counts as one until a later one is committed: a cluster whose rounds all fail, because it has too
    few clients for the defence or for a tier of its own, holds up none of the others.

    Args:
        standings: the clusters with members.
        rounds: committed rounds after which a cluster is done.
        needed: connected members that a round needs.

    Returns:
        None where none can play; of equals the one with fewer turns, then the first.
    """
    able = [each for each in standings if each.depth < rounds and len(each.present) >= needed]
    first = min(able, key=lambda each: (each.depth + each.failed, each.turns, order(each.cluster)), default=None)
    return None if first is None else first.cluster


def over(standings: Sequence[ClusterState], *, rounds: int) -> bool:
    """Whether every cluster with members is done."""
    return bool(standings) and all(each.depth >= rounds for each in standings)
