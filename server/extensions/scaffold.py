"""SCAFFOLD as an extension: the scale of the control variates goes to every client with its job.

What the server makes of them: `roughfed.server.aggregate.control_variates`.
"""

from __future__ import annotations

from roughfed.config.trainer import TrainerSettings
from roughfed.server.cohort.statistics import Facts
from roughfed.server.context.extension import Extension
from roughfed.server.context.server import ServerContext
from roughfed.server.storage.rollback import last_lost
from roughfed.shared_tensors import SCALE, SINCE


def scale_fact(settings: TrainerSettings, *, since: int = 0) -> Facts:
    """What every client is told of them; nothing without SCAFFOLD.

    After rounds that were taken back (`roughfed.server.storage.rollback`), the last of them `since`, c is not the
    mean of the c_i any more, and never would be again: everybody is told, and begins anew behind it.
    """
    if not settings.scaffold:
        return {}
    return {SCALE: (settings.scale,), **({SINCE: (float(since),)} if since else {})}


class Scaffold(Extension):
    """Says to every client by what its control variates are scaled."""

    def __init__(self, ctx: ServerContext) -> None:
        """As the settings say."""
        self._ctx = ctx

    def facts(self, number: int, cluster: str) -> Facts:
        """See `scale_fact`."""
        del number, cluster
        return scale_fact(self._ctx.config.trainer, since=last_lost(self._ctx.store))
