"""Where secrets come from: an argument, never a source of our own.

The adapters pass `os.urandom`; tests and simulations pass a seeded stream. Generators made for statistics (numpy's,
torch's, `random`) are no source of secrets and appear nowhere in this package.
"""

from __future__ import annotations

from collections.abc import Callable

from roughfed.errors import LocalProtocolError

Entropy = Callable[[int], bytes]


def draw(entropy: Entropy, size: int) -> bytes:
    """Take `size` bytes from the source.

    Raises:
        LocalProtocolError: the source gave another number of bytes; a short key must never pass for a key.
    """
    drawn = entropy(size)
    if len(drawn) != size:
        raise LocalProtocolError(f"the entropy source gave {len(drawn)} bytes, want {size}")
    return drawn
