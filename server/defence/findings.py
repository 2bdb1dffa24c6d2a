"""What the defence found in a round, on its way to whom it concerns: metrics, the journal's summary, the operator.

Side taps: nothing here changes a verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from roughfed.params import Flat
from roughfed.server.defence import Verdict
from roughfed.server.defence.memory import ConfiguredRule, VerdictRecord
from roughfed.server.defence.verdict import Coefficients, State
from roughfed.server.storage.slices import Mean
from roughfed.server.storage.store import VOID, Store
from roughfed.tiers import STANDARD

OF_CLASS = "class/"


def state_of(state: State, name: str) -> State:
    """What the rule remembers of one class."""
    mark = f"{OF_CLASS}{name}/"
    if name:
        return {key.removeprefix(mark): value for key, value in state.items() if key.startswith(mark)}
    return {key: value for key, value in state.items() if not key.startswith(OF_CLASS)}


def together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The verdicts over all classes as one; what the rule remembers of a class is kept under its name."""
    if len(verdicts) == 1 and STANDARD in verdicts:
        return verdicts[STANDARD]
    excluded: dict[str, str] = {}
    scores: dict[str, float] = {}
    state: dict[str, Any] = {}
    for name, verdict in verdicts.items():
        excluded |= verdict.excluded
        scores |= verdict.scores
        state |= {f"{OF_CLASS}{name}/{key}" if name else key: value for key, value in verdict.state.items()}
    suspects = frozenset(name for verdict in verdicts.values() for name in verdict.suspects)
    return Verdict(excluded, scores, None, state, suspects)


def weights_of(verdict: Verdict) -> dict[str, float]:
    """The coefficients of a rule that gives them, by name; nothing where the rule only chooses."""
    how = verdict.combine
    return {name: float(w) for name, w in how.by_name.items()} if isinstance(how, Coefficients) else {}


class Measured:
    """A mean of updates that notes how long it is while it is read, slice by slice and from several threads."""

    def __init__(self, mean: Mean) -> None:
        """Nothing is read yet."""
        self._mean, self._squares = mean, dict[int, float]()

    def __call__(self, start: int, stop: int) -> Flat:
        """These coordinates, float32."""
        values = self._mean(start, stop)
        wide = values.astype(np.float64)
        self._squares[start] = float(wide @ wide)
        return values

    @property
    def norm(self) -> float:
        """L2 norm of what was read, in units of the parameters; the same whatever the order."""
        return math.sqrt(sum(self._squares[start] for start in sorted(self._squares)))


class Exclusions:
    """How often each client was left out, and why; counted once for each round that has its verdicts."""

    def __init__(self, store: Store) -> None:
        """Nothing is read yet."""
        self._store = store
        self._counted = 0
        self._by_client: dict[str, Counter[str]] = {}

    def by_client(self) -> dict[str, dict[str, int]]:
        """Client -> reason -> rounds; that its group gave no sum is no fault of a client, and does not count."""
        for row in self._store.judged(after=self._counted):
            self._counted = row.round
            for client, why in row.excluded.items():
                if why != VOID:
                    self._by_client.setdefault(client, Counter())[why] += 1
        return {client: dict(counts) for client, counts in sorted(self._by_client.items())}


def shown(store: Store, defence: ConfiguredRule, exclusions: Exclusions) -> dict[str, Any]:
    """What an operator is shown of the defence.

    Returns:
        the rule, `defence.f` as it is set, the exclusions so far by client and reason, who is spared and why, and
        of the last round that has its verdicts: its number, how many rows were judged, how many attackers among them
        were tolerated, the scores, and each client's verdict ("" counts) with its score.
    """
    always: dict[str, Any] = {"rule": defence.name, "f": defence.f, "excluded": exclusions.by_client()}
    always |= {"vouched": defence.vouched()}
    row = store.last_judged()
    if row is None:
        return always | {"round": 0, "judged": 0, "tolerated": 0, "scores": {}, "verdicts": []}
    told, sets = defence.memory.told(row.round) or VerdictRecord(0, 0, {}), row.sets or {}
    scores = dict(told.scores)
    verdicts = [{"client": name, "reason": why, "score": scores.get(name)} for name, why in sorted(sets.items())]
    return always | {
        "round": row.round,
        "judged": told.judged,
        "tolerated": told.tolerated,
        "scores": scores,
        "verdicts": verdicts,
    }
