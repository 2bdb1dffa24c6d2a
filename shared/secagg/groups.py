"""Groups and their two numbers.

A group is where one sum is made: small enough to tell a poisoned one from the others and to keep the masks cheap, large
enough to hide in. Who is in which group follows from a beacon that each client recomputes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from roughfed.errors import TooFewClients

SMALLEST = 4
"""Below this no sum hides anybody, and one lost client would void it."""

LARGEST = 16
ALONE = 20
"""Up to here there is a single group: three groups need 21 clients, seven each."""

HONEST = 3
"""Inputs of honest clients in every sum, at least, as long as no more than `promised_colluders` of a group collude."""

PREFERRED = (7, 10, 13, 16)
"""Sizes where what may be lost, g - t, equals what may collude, 2t - g - 1."""


def threshold(size: int) -> int:
    """t: answers needed to unmask, out of the clients that dealt shares. Two different sets cannot both get them."""
    return 2 * size // 3 + 1


def smallest_sum(size: int) -> int:
    """min_sum: accepted inputs that a sum must have."""
    return max(SMALLEST, (size + 1) // 2)


def contributors(size: int) -> int:
    """Members that must promise a statistic so that every sum the rules allow has at least 4 of them behind it."""
    return min(size, size - smallest_sum(size) + SMALLEST)


def colluders(size: int) -> int:
    """Clients of one group that may collude without a second set getting its answers, 2t - g - 1; at least 1."""
    return max(1, 2 * threshold(size) - size - 1)


def promised_colluders(size: int) -> int:
    """c: clients of a group of `size` that may collude, with the server too, and still every sum hides whom it sums.

    No more than `colluders`, and so few that a smallest sum has `HONEST` inputs of others.
    """
    return min(colluders(size), smallest_sum(size) - HONEST)


def group_sizes(clients: int) -> list[int]:
    """How many groups, and how large.

    Args:
        clients: number of clients to be grouped.

    Returns:
        sizes, largest first, adding up to `clients`: one group up to 20 clients; from 21 on three or more groups of
        7 to 16, of the preferred sizes where they add up.

    Raises:
        TooFewClients: fewer than 4.
    """
    if clients < SMALLEST:
        raise TooFewClients(needed=SMALLEST, got=clients)
    if clients <= ALONE:
        return [clients]
    fewest = max(3, -(-clients // LARGEST))
    for count in range(fewest, clients // PREFERRED[0] + 1):
        steps, rest = divmod(clients - PREFERRED[0] * count, 3)
        if rest == 0 and steps <= 3 * count:
            return _spread(PREFERRED[0], 3, steps, count)
    return _spread(clients // fewest, 1, clients % fewest, fewest)


def _spread(base: int, step: int, steps: int, count: int) -> list[int]:
    each, extra = divmod(steps, count)
    return [base + step * (each + (i < extra)) for i in range(count)]


def beacon(previous_header_digest: bytes, adverts_root: bytes, nonce: bytes) -> bytes:
    """What the groups follow from: nobody knows it before the adverts are in, and the nonce was committed to before."""
    return hashlib.sha256(b"roughfed beacon v1\0" + previous_header_digest + adverts_root + nonce).digest()


def form_groups(names: Sequence[str], value: bytes) -> list[tuple[str, ...]]:
    """Deal the clients out.

    Args:
        names: enrolled names, all different, in any order.
        value: the beacon.

    Returns:
        the groups, each sorted by name; the same for everybody who knows the names and the beacon.
    """
    order = sorted(names, key=lambda name: hashlib.sha256(value + name.encode()).digest())
    groups: list[tuple[str, ...]] = []
    at = 0
    for size in group_sizes(len(order)):
        groups.append(tuple(sorted(order[at : at + size])))
        at += size
    return groups
