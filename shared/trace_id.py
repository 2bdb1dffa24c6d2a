"""The trace of a round: one id that both sides compute, so that logs, traces and foreign tools name it alike."""

from __future__ import annotations

from roughfed.digest import content_digest

_DOMAIN = b"roughfed trace\0"


def trace_id(run: str, number: int) -> str:
    """W3C Trace Context id of a round: 32 hexadecimal digits, never all zero.

    Args:
        run: its id.
        number: of the round.
    """
    return content_digest(_DOMAIN + f"{run}\0{number}".encode())[:16].hex()
