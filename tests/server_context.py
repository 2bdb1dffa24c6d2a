"""A server's parts on a folder, without ports: what tests of rounds, of its status and of its extensions start from."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.server.cohort.collection import Collection
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext, ServerIdentity, Settings
from roughfed.server.extensions.edge.upstream import Above
from roughfed.server.extensions.table import ExtensionInputs, add_extensions
from roughfed.server.metrics import ServerMetrics
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Spec


async def no_draw(path: Path, *, seed: int) -> bytes:
    """Nobody here draws weights."""
    raise AssertionError(f"{path} of seed {seed} was asked for")


def context(
    config: FederationConfig,
    store: Store,
    key: IdentityKey,
    executor: ThreadPoolExecutor,
    spec: Spec,
    *,
    above: Above | None = None,
    identity: ServerIdentity | None = None,
    run: str = "run-1",
    metrics: ServerMetrics | None = None,
    **more: Any,
) -> ServerContext:
    """A server of the name "server" with all extensions; `more` are fields of ServerContext."""
    who = identity or ServerIdentity("server", key)
    ctx = ServerContext(Settings(config), store, who, metrics or ServerMetrics(), executor, run, spec, **more)
    add_extensions(ctx, ExtensionInputs(no_draw, above))
    return ctx


def in_round(ctx: ServerContext, row: RoundRow, *, left_s: float = 60.0, goal: int = 3, quorum: int = 2) -> RoundState:
    """The server is in the middle of a round, so long before its deadline."""
    now = time.monotonic()
    collection = Collection(frozenset(row.cohort), goal, quorum, now + left_s, now)
    ctx.state.round = round_ = RoundState(row, collection)
    return round_
