"""What a client makes of it that the server's operator keeps it out of the rounds, or lets it in again."""

from __future__ import annotations

import logging

from roughfed.messages import ASKED, HELD, Heartbeat

log = logging.getLogger(__name__)


def is_held(message: Heartbeat) -> bool:
    """Whether the server says that it asks this client for nothing at present: what is being done is in vain then."""
    if message.phase == HELD:
        log.warning(
            "the operator of the server keeps this client out of the rounds; it stays connected and takes part again "
            "when it is released"
        )
    elif message.phase == ASKED:
        log.info("the operator of the server has released this client: it takes part again")
    return message.phase == HELD
