"""Which version of the protocol two sides speak: the lower one of the newest of each (docs/compatibility.md).

Each side knows a range, `messages.OLDEST` to `messages.PROTOCOL`. Whoever is newer still speaks older versions, down to
its own OLDEST; whoever is older cannot know newer ones. So each side asks the same of the other, once, at hello.
"""

from __future__ import annotations

from roughfed import __version__
from roughfed.errors import VersionError
from roughfed.messages import OLDEST, PROTOCOL


def spoken(theirs: int, *, who: str, software: str) -> int:
    """The version of the protocol that is spoken with a peer.

    Args:
        theirs: the newest one that it speaks.
        who: "client" or "server", for people.
        software: its version of roughfed, for people.

    Raises:
        VersionError: it is too old.
    """
    if theirs < OLDEST:
        here = "server" if who == "client" else "client"
        known = str(PROTOCOL) if OLDEST == PROTOCOL else f"{OLDEST} to {PROTOCOL}"
        raise VersionError(
            f"the {who} (roughfed {software[:80] or 'unknown'}) speaks protocol {theirs}, this {here} (roughfed "
            f"{__version__}) speaks {known}: upgrade the {who}, or run the {here} with its version",
            cure=f"upgrade the {who} (pip install --upgrade roughfed), then start the client again",
        )
    return min(theirs, PROTOCOL)
