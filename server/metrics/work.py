"""What codecs and cryptography cost a round."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.server.metrics.recorder import Recorder
from roughfed.server.metrics.stopwatch import Spent
from roughfed.telemetry import WORK_S, Family, safely

CODEC = ("encode", "decode")
CRYPTO = ("sign", "verify", "shares", "unmask")

FAMILIES = (
    Family(
        "codec_seconds",
        "histogram",
        "Time of one round in decoding its updates (on arrival and for the mean) or sums, and in encoding what clients "
        "download, all threads together.",
        {"codec": (), "op": CODEC},
        WORK_S,
    ),
    Family(
        "crypto_seconds",
        "histogram",
        "Time of one round in signing (headers, receipts, sets), checking what clients signed and say, putting shared "
        "secrets together, and taking masks off the sums, all threads together.",
        {"op": CRYPTO},
        WORK_S,
    ),
)


class WorkMetrics(Recorder):
    """Seconds of a round."""

    @safely
    def worked(self, spent: Mapping[Spent, float]) -> None:
        """A round is over; what it spent on each kind of work (`CODEC`, `CRYPTO`)."""
        for (op, codec), seconds in spent.items():
            if op in CODEC:
                self._telemetry.observe("codec_seconds", seconds, codec=codec, op=op)
            else:
                self._telemetry.observe("crypto_seconds", seconds, op=op)
