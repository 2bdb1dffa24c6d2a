"""The weight class that a client names where fairness asks for one: out of its own loss, which nobody else sees."""

from __future__ import annotations

import math

from roughfed.client.context import RoundTask
from roughfed.crypto.agreement import derive
from roughfed.secagg.promises import FULL
from roughfed.secagg.weight_class import FACT, drawn, expected, read_table
from roughfed.types import Evaluation

DRAW = b"roughfed weight class v1\0"


def fair_quarters(task: RoundTask) -> int:
    """This round's class, 1 to 4; the same after a restart.

    A client that keeps its statistics to itself draws as one at the typical loss does.

    Raises:
        RemoteProtocolError: the table that came with the job is none.
    """
    if not task.header.masked or FACT not in task.job.facts:
        return FULL
    table = read_table(task.job.facts[FACT])
    losses = (
        task.ctx.store.losses(task.header.run, before=task.header.round)
        if task.session.rules.policy.share_statistics
        else {}
    )
    secret = derive(task.session.credentials.identity.private_bytes(), DRAW, task.job.header.digest)
    return drawn(expected(table, losses), secret)


async def record_loss(task: RoundTask, found: Evaluation | None) -> None:
    """Note the loss under this round's base model: later weight classes go by it. One that is no number is none."""
    if task.header.masked and found is not None and (loss := found.loss) is not None and math.isfinite(loss):
        await task.ctx.store.record_loss(task.header.run, task.header.round, loss)
