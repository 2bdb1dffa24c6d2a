"""What a client does with the server's word on a round: what waited for it counts from now on, or is dropped."""

from __future__ import annotations

from roughfed import crash
from roughfed.client.encode import residual_of
from roughfed.client.store import ClientStore
from roughfed.messages import RoundClosed


async def apply_result(store: ClientStore, run: str, closed: RoundClosed) -> None:
    """Heard again after a reconnect it changes nothing.

    Args:
        store: with the residual of the codec, and what is known of the sums (`trainer/regularize/scaffold.py`).
        run: that the round is of.
        closed: the word; an update is in the next version if the round was committed and this client's was accepted.

    Raises:
        StorageError: the disk refused.
    """
    counts = (closed.outcome, closed.verdict) == ("committed", "accepted")
    residual_of(store.folder, run).finalize(closed.round, counts)
    crash.point("residual-settled")
    if counts:
        await store.record_counted(run, closed.round)
        crash.point("counted-noted")
