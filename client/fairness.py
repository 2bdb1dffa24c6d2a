"""The weight class that a client names where fairness asks for one: out of its own loss, which nobody else sees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from roughfed.crypto.agreement import derive
from roughfed.secagg.promises import FULL
from roughfed.secagg.weight_class import FACT, drawn, expected, read_table
from roughfed.types import Evaluation, Job, RoundHeader

if TYPE_CHECKING:
    from roughfed.client.session import Membership

DRAW = b"roughfed weight class v1\0"


def fair_quarters(me: Membership, job: Job, header: RoundHeader) -> int:
    """This round's class, 1 to 4; the same after a restart.

    A client that keeps its statistics to itself draws as one at the typical loss does.

    Raises:
        RemoteProtocolError: the table that came with the job is none.
    """
    if not header.masked or FACT not in job.facts:
        return FULL
    table = read_table(job.facts[FACT])
    losses = me.store.losses(header.run, before=header.round) if me.rules.policy.share_statistics else {}
    secret = derive(me.papers.identity.private_bytes(), DRAW, job.header.digest)
    return drawn(expected(table, losses), secret)


async def note_loss(me: Membership, header: RoundHeader, found: Evaluation | None) -> None:
    """Note the loss under this round's base model: later weight classes go by it. One that is no number is none."""
    if header.masked and found is not None and (loss := found.loss) is not None and math.isfinite(loss):
        await me.store.note_loss(header.run, header.round, loss)
