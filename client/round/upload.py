"""Step 6 of a job: the noted bytes of an update, over cut connections, until there is a receipt."""

from __future__ import annotations

import logging

from roughfed import crash
from roughfed.client.context import RoundTask
from roughfed.client.round.download import tries
from roughfed.client.storage.store import SavedUpdate
from roughfed.crypto.identity import verify
from roughfed.errors import IdentityError, RemoteProtocolError, Unreachable
from roughfed.types import Receipt
from roughfed.wire.updates import RECEIPT_DOMAIN, receipt_body

log = logging.getLogger(__name__)

CROSSED = ("not-in-cohort", "offset")
"""A server that is back after a restart hears of the upload before our hello; what an upload before had sent arrives
after the server has told how much it holds. Both pass with the next try."""


async def upload(task: RoundTask, update: SavedUpdate) -> Receipt:
    """Step 6: the noted bytes, resumed where the server's copy ends, until there is a receipt."""
    ctx = task.ctx
    ctx.enter("uploading", 0.0)
    path = ctx.store.update_path(update.round)

    def moved(count: int) -> None:
        ctx.metrics.transfer("up", count, task.header.codec)

    async for attempt in tries(ctx):
        try:
            at = 0
            if attempt or update.recovered:
                at, receipt = await ctx.connection.update_status(update.run, update.round, update.digest)
                if receipt is not None:
                    return check_receipt(task, update, receipt)
                if at:
                    ctx.metrics.resumed()
            receipt, raw = await ctx.connection.put_update(update.signed, path, at=at, on_bytes=moved)
        except (Unreachable, RemoteProtocolError) as error:
            if isinstance(error, RemoteProtocolError) and error.reason not in CROSSED:
                raise
            log.info("upload interrupted: %s", error)
            continue
        crash.point("receipt-got")
        receipt = check_receipt(task, update, receipt)
        await ctx.store.save_receipt(update.run, update.round, raw)
        crash.point("receipt-saved")
        return receipt
    raise AssertionError("tries() never ends")


def check_receipt(task: RoundTask, update: SavedUpdate, receipt: Receipt) -> Receipt:
    """The receipt must be the server's, and for these bytes."""
    wanted = (update.run, update.round, task.session.credentials.name, update.digest)
    if (receipt.run, receipt.round, receipt.client, receipt.digest) != wanted:
        raise IdentityError("the receipt is for another update", reason="receipt")
    with task.ctx.metrics.crypto("verify"):
        verify(task.session.server_key, RECEIPT_DOMAIN, receipt_body(receipt), receipt.signature)
    return receipt
