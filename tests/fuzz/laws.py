"""What a fuzz target may do with bytes of a stranger: read them, or refuse them as one of `RoughfedError`.

`LocalProtocolError` is none of these refusals: it says that there is a bug on this side. Anything else is a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from roughfed.errors import LocalProtocolError, RoughfedError


@dataclass(frozen=True)
class Way:
    """A decoder, and its encoder where there is one: what was read must come back as it was."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes] | None = None


def read(ways: Sequence[Way], data: bytes) -> None:
    """The first byte says which decoder gets the rest."""
    if not data:
        return
    way = ways[data[0] % len(ways)]
    try:
        value = way.decode(data[1:])
    except LocalProtocolError:
        raise
    except RoughfedError:
        return
    if way.encode is not None:
        again = way.decode(way.encode(value))
        assert repr(again) == repr(value)  # NaN is not equal to itself


def seeds_of(*values: tuple[int, bytes]) -> list[bytes]:
    """Real messages, each behind the number of its decoder."""
    return [bytes([number]) + message for number, message in values]
