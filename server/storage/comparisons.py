"""What clients say, in the clear, of models beside the global one: their own, and those that they trained alone."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.messages import EvaluationReport
from roughfed.server.storage.store import Store
from roughfed.types import UpdateStatement


async def keep_compared(
    store: Store, version: int, digest: bytes, said: Mapping[str, UpdateStatement | EvaluationReport]
) -> None:
    """Keep these evaluations beside those of the version that they began with.

    Args:
        store: where.
        version: of the global model.
        digest: its digest; what was said about another one is left out.
        said: by client.
    """
    personal = [(c, e) for c, s in said.items() if (e := s.personal) is not None and e.model_digest == digest]
    alone = [(c, e) for c, s in said.items() if (e := s.alone) is not None and e.model_digest == digest]
    if personal:
        await store.add_evaluations(version, personal, kind="personal")
    if alone:
        await store.add_evaluations(version, alone, kind="alone")
