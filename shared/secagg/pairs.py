"""Which members share a mask: everybody finds the same answer from what all dealers published.

A pair has a mask only if both published the same tags of its keys. Who has fewer than t - 1 such pairs could not be
unmasked (too few would hold its shares) and is left out before anything is masked, so that nobody has a mask with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.secagg import messages as m

Deals = Mapping[str, Mapping[str, m.Sealed]]


def tags_agree(deals: Deals, a: str, b: str) -> bool:
    """Do both publish the same keys for each other?"""
    mine, theirs = deals.get(a, {}).get(b), deals.get(b, {}).get(a)
    if mine is None or theirs is None:
        return False
    return (mine.pair_tag, mine.out_tag, mine.in_tag) == (theirs.pair_tag, theirs.in_tag, theirs.out_tag)


def confirmed_pairs(deals: Deals, threshold: int) -> dict[str, tuple[str, ...]]:
    """Who masks with whom.

    Args:
        deals: dealer -> holder -> what was sealed for it.
        threshold: t.

    Returns:
        name -> its mates, sorted, for every dealer with t - 1 mates or more that are in the result themselves; who is
        missing is left out of the round.
    """
    dealers = sorted(deals)
    pairs = {a: {b for b in dealers if a != b and tags_agree(deals, a, b)} for a in dealers}
    while out := {name for name, mates in pairs.items() if len(mates) < threshold - 1}:
        pairs = {name: mates - out for name, mates in pairs.items() if name not in out}
    return {name: tuple(sorted(mates)) for name, mates in pairs.items()}
