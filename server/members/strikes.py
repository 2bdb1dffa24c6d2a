"""Members that keep sending what no honest client sends: after so many refusals in a minute they are cut for a minute.

Each refusal costs the server a little and says a line in its log; thousands of them are an attack or a broken program.
What an honest client may meet, because it is late, slow, restored, or its training diverged, counts for nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from roughfed.errors import RoughfedError, TooLarge

WINDOW_S = 60.0
"""Within which refusals are counted, and for which who had too many is cut."""

STRIKES = "strikes"
"""Why a call is refused whose caller had too many."""

COUNTED = frozenset(
    {
        "schema",
        "protocol",
        "size",
        "calls",
        "count",
        "weight",
        "statistics",
        "identity",
        "signature",
        "roster",
        "impersonation",
    }
)
"""Words of refusals that no honest client provokes again and again."""


class Strikes:
    """Refusals of each client within the last minute; names come from certificates, so there are not many."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Cut who has `most` within a minute; 0 cuts nobody. `clock` gives seconds that never go back."""
        self._most, self._clock = most, clock
        self._at: dict[str, deque[float]] = {}
        self._until: dict[str, float] = {}

    def note(self, client: str, error: RoughfedError) -> bool:
        """Count a refusal; True when it is one too many: the client is cut from now on."""
        if not self._most or error.reason not in COUNTED:
            return False
        now = self._clock()
        at = self._at.setdefault(client, deque(maxlen=self._most))
        at.append(now)
        if len(at) < self._most or now - at[0] > WINDOW_S:
            return False
        del self._at[client]
        self._until[client] = now + WINDOW_S
        return True

    def check(self, client: str) -> None:
        """Refuse a client that is cut.

        Raises:
            TooLarge: reason "strikes".
        """
        if (until := self._until.get(client)) is None:
            return
        if (left := until - self._clock()) <= 0:
            del self._until[client]
            return
        raise cut(client, left)


def cut(client: str, left_s: float = WINDOW_S) -> TooLarge:
    """What a client hears that is cut."""
    return TooLarge(
        f"{client} sent too many calls that were refused; it is heard again in {left_s:.0f} s", reason=STRIKES
    )
