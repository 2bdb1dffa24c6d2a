"""In which order the members of a federation are asked to take part in a masked round.

The order follows from the beacon of the last drawing of groups, which nobody knew before the adverts of that drawing
were in, and from the round; each client works it out anew from the list of members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from roughfed.types import RoundHeader

_DOMAIN = b"roughfed draw v1\0"


def draw_order(beacon: bytes, number: int) -> Callable[[str], bytes]:
    """What members are sorted by.

    Args:
        beacon: of the last drawing of groups, or, before the first, digest of the list of members.
        number: of the round.

    Returns:
        name -> 32 bytes; the least are asked first.
    """
    prefix = _DOMAIN + beacon + number.to_bytes(8, "big")
    return lambda name: hashlib.sha256(prefix + name.encode()).digest()


def order_of(header: RoundHeader) -> Callable[[str], bytes]:
    """The same as a header says it."""
    return draw_order(header.draw_beacon or header.members_digest, header.round)
