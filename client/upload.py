"""Step 6 of a job: the noted bytes of an update, over cut connections, until there is a receipt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from roughfed import crash
from roughfed.client.download import tries
from roughfed.client.store import SavedUpdate
from roughfed.crypto.identity import verify
from roughfed.errors import IdentityError, RemoteProtocolError, Unreachable
from roughfed.types import Receipt
from roughfed.wire.updates import RECEIPT_DOMAIN, receipt_body

if TYPE_CHECKING:
    from roughfed.client.session import Membership

log = logging.getLogger(__name__)

CROSSED = ("not-in-cohort", "offset")
"""A server that is back after a restart hears of the upload before our hello; what an upload before had sent arrives
after the server has told how much it holds. Both pass with the next try."""


async def upload(me: Membership, update: SavedUpdate, codec: str = "identity") -> Receipt:
    """Step 6: the noted bytes, resumed where the server's copy ends, until there is a receipt."""
    me.on_phase("uploading", 0.0)
    path = me.store.update_path(update.round)

    def moved(count: int) -> None:
        me.metrics.transfer("up", count, codec)

    async for attempt in tries(me):
        try:
            at = 0
            if attempt or update.recovered:
                at, receipt = await me.connection.update_status(update.run, update.round, update.digest)
                if receipt is not None:
                    return check_receipt(me, update, receipt)
                if at:
                    me.metrics.resumed()
            receipt, raw = await me.connection.put_update(update.signed, path, at=at, on_bytes=moved)
        except (Unreachable, RemoteProtocolError) as error:
            if isinstance(error, RemoteProtocolError) and error.reason not in CROSSED:
                raise
            log.info("upload interrupted: %s", error)
            continue
        crash.point("receipt-got")
        receipt = check_receipt(me, update, receipt)
        await me.store.save_receipt(update.run, update.round, raw)
        crash.point("receipt-saved")
        return receipt
    raise AssertionError("tries() never ends")


def check_receipt(me: Membership, update: SavedUpdate, receipt: Receipt) -> Receipt:
    """The receipt must be the server's, and for these bytes."""
    wanted = (update.run, update.round, me.papers.name, update.digest)
    if (receipt.run, receipt.round, receipt.client, receipt.digest) != wanted:
        raise IdentityError("the receipt is for another update", reason="receipt")
    with me.metrics.crypto("verify"):
        verify(me.server_key, RECEIPT_DOMAIN, receipt_body(receipt), receipt.signature)
    return receipt
