"""Ledgers for tests: a few rounds with scores, flags and somebody who is away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roughfed.crypto.identity import IdentityKey
from roughfed.server.extensions.ledger.entries import LedgerState, RoundFacts
from roughfed.server.extensions.ledger.hash_chain import VERSION, Writer

KEY = IdentityKey.from_private_bytes(bytes(range(32)))
CLIENTS = ("ann", "bob", "cy")


def rounds(count: int, *, seed: int = 0, levels: Sequence[float] = (0.25, 0.5, 1.0)) -> list[RoundFacts]:
    """Facts of some rounds: one was not scored, one was abandoned, somebody is flagged for a while."""
    rng = np.random.default_rng(seed)
    found: list[RoundFacts] = []
    for number in range(1, count + 1):
        scored = number % 4 != 2
        here = [name for name in CLIENTS if name != "cy" or number % 3]
        parts = {name: {"round": float(rng.normal()), "cosine": float(rng.random())} for name in here}
        found.append(
            RoundFacts(
                round=number,
                about={"outcome": "abandoned" if number == 3 else "committed", "header": f"{number:064x}"},
                verdicts={name: "" if name in here else "late" for name in CLIENTS},
                weights={name: float(rng.random()) for name in here},
                method="cgsv" if scored else "",
                parts=parts if scored else {},
                flags=dict.fromkeys(here, "") | ({"bob": "copy"} if number in (2, 3) else {}),
                evidence={"bob": {"copy": 1.25}} if number in (2, 3) else {},
                twins={"bob": "ann"} if number in (2, 3) else {},
                levels=levels,
            )
        )
    return found


def written(facts: Sequence[RoundFacts], key: IdentityKey = KEY) -> bytes:
    """The ledger of some rounds."""
    writer, book = Writer(), LedgerState()
    writer.add_signed({"kind": "begin", "ledger": VERSION, "run": "lab-1", "server": "server"}, key)
    for one in facts:
        *clients, end = book.lines(one)
        for entry in clients:
            writer.add(entry)
        writer.add_signed(end, key)
    return writer.data
