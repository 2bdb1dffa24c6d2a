"""SCAFFOLD's control variates, the server's half (Karimireddy et al., ICML 2020, algorithm 1, line 17).

They lie behind the model in every version (`roughfed.shared_tensors`). An accepted update brings s (c_i+ - c_i) for
them, and

    c' = (N c + sum over the accepted of (c_i+ - c_i)) / N',

so that c is the mean of the c_i of all clients that have one: N and N' of them, before and after this round. With every
client in every round that is the paper's c + |S|/N mean(c_i+ - c_i). Where clients are still coming in, the paper has N
count those that no round has met yet, with c_i = 0; here they count from their first update on, which they make with
plain steps (`client/trainer/regularize/scaffold.py`).

The server optimizer has no say in it: to `combine`, control variates are buffers, which become the mean that is below.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roughfed.params import Flat, read_flat
from roughfed.server.storage.rollback import last_lost
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import RoundRow, Store
from roughfed.shared_tensors import SCALE, model_part
from roughfed.types import Spec


@dataclass(frozen=True, slots=True)
class VariateUpdate:
    """What a round adds to the control variates.

    Attributes:
        before: clients that have a c_i, without this round, N.
        now: with it, N'.
        accepted: clients in this round's mean.
        scale: s.
    """

    before: int
    now: int
    accepted: int
    scale: float


def ledger_of(store: Store, row: RoundRow) -> VariateUpdate:
    """From the journal: the same after a restart."""
    since = last_lost(store)  # whatever was told before it is not counted on: clients begin anew, too
    known = store.counted(after=since, before=row.round)
    return VariateUpdate(len(known), len(known | set(row.accepted)), len(row.accepted), row.facts[SCALE][0])


def with_variates(mean: Mean, spec: Spec, base: Path, ledger: VariateUpdate) -> Mean:
    """The mean update, in which the control variates are what is added to those of the base.

    Args:
        mean: of the accepted updates, (start, stop) -> float32.
        spec: the model's with control variates behind it.
        base: model file that the round began with.
        ledger: of the round.
    """
    size, params = model_part(spec).size, read_flat(base)
    share, grown = ledger.accepted / (ledger.now * ledger.scale), ledger.before / ledger.now - 1

    def added(start: int, stop: int) -> Flat:
        change = mean(start, stop)
        if stop <= size:
            return change
        at = max(size - start, 0)
        taken = np.float32(share) * change[at:] + np.float32(grown) * params[start + at : stop]
        return np.concatenate([change[:at], taken]).astype(np.float32, copy=False)

    return added
