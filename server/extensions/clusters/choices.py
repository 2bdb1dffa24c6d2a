"""Clusters by the clients' choice: iterative federated clustering ("IFCA", Ghosh et al., NeurIPS 2020).

k models. Every client says which of them has the least loss on its own training data (algorithm 1, line 7), and trains
that one until it is asked again.

Differs: the paper begins with good guesses, or plays several runs and keeps the best. Here the first choice is made
among untrained models, and those that too few chose are drawn anew, a few times, before anything is trained: if two
laws of data happen to prefer the same start, one of them finds another. And a choice holds for some rounds, because
each costs the client k evaluations and tells the server log2 k bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESEEDS = 6
"""Times that models which too few chose are drawn anew before the first round."""


@dataclass(frozen=True, slots=True)
class Choosing:
    """One question to the clients.

    Attributes:
        number: from 1; never used twice.
        round: the last round before it.
        everybody: whether it is for all; else for those who are in no cluster yet.
        asked: names.
        models: (cluster, version, digest of its parameters), in the order in which they are asked about.
        open: whether answers still count.
        said: client -> the cluster whose model it chose.
    """

    number: int
    round: int
    everybody: bool
    asked: tuple[str, ...]
    models: tuple[tuple[str, int, bytes], ...]
    open: bool
    said: Mapping[str, str]


def unchosen(choosing: Choosing, smallest: int) -> list[str]:
    """The clusters whose model fewer than `smallest` chose; none where too few answered for two clusters."""
    votes = Counter(choosing.said.values())
    if votes.total() < 2 * smallest:
        return []
    return [cluster for cluster, _, _ in choosing.models if votes[cluster] < smallest]


def drawn_again(choosing: Choosing, *, depths: Mapping[str, int], smallest: int) -> list[str]:
    """The clusters whose models are drawn anew, and everybody asked again, instead of taking this choice.

    Args:
        choosing: the last one.
        depths: cluster -> rounds behind its model.
        smallest: members of a cluster that has rounds of its own.
    """
    if any(depths.values()) or not choosing.everybody or choosing.number > RESEEDS:
        return []
    return unchosen(choosing, smallest)


def is_due(last: Choosing | None, turns: Mapping[str, int], choose_every: int) -> bool:
    """Whether everybody is to be asked (again).

    Args:
        last: the last question to everybody.
        turns: cluster with members -> rounds that it had since then.
        choose_every: rounds of a cluster between two questions, on the mean over the clusters.
    """
    return last is None or sum(turns.values()) >= choose_every * max(1, len(turns))


def chosen(choosing: Choosing, membership: Mapping[str, str], default: str, known: Sequence[str]) -> dict[str, str]:
    """Who wants to be where: as said; who said nothing stays where it was, a newcomer with the default.

    Args:
        choosing: with the answers.
        membership: client -> cluster, up to now.
        default: of newcomers.
        known: the clusters that there are.
    """
    said = {client: cluster for client, cluster in choosing.said.items() if cluster in known}
    return {**dict.fromkeys(choosing.asked, default), **membership, **said}
