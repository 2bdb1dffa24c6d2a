"""What the defence found in a round, on its way to whom it concerns: metrics, the journal's summary, the operator.

Side taps: nothing here changes a verdict.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from roughfed import crash
from roughfed.classes import STANDARD
from roughfed.errors import TooFewClients
from roughfed.params import Flat
from roughfed.server.aggregate.mean import Mean
from roughfed.server.defence import Verdict, View
from roughfed.server.defence.verdict import Coefficients, State
from roughfed.server.defending import Defence, Told
from roughfed.server.masked.class_round import TOO_FEW
from roughfed.server.masked.outcome import VOID
from roughfed.server.store import RoundRow, Store
from roughfed.wire.session import decode_header

if TYPE_CHECKING:
    from roughfed.server.federation import Federation


async def found_by_class(
    fed: Federation, views: Mapping[str, View], number: int, *, clients: Mapping[str, int] | None = None
) -> Verdict:
    """The rule's verdict over the rows of a round: timed, shown in the metrics, and journaled.

    Where clients are of several classes, each is judged by itself, since their rows do not compare. A class that has
    become too small for the rule is left out; the others go on.

    Args:
        fed: the federation.
        views: the rows, by class.
        number: of the round.
        clients: behind the rows of each class, where rows are groups of them; any of them may be hostile, each in
            another group.

    Returns:
        one verdict over all rows.

    Raises:
        TooFewClients: every class is too small.
    """
    verdicts: dict[str, Verdict] = {}
    short: TooFewClients | None = None
    judged = tolerated = 0
    for name, view in views.items():
        if fed.row is not None and clients is None:  # clusters are found by the rows of all, whoever is left out
            header = decode_header(fed.row.header.body)
            await fed.clusters.seen(view, number, fed.row.cluster, unit=header.clip_norm if header.masked else 1.0)
        whole = await fed.defence.situation(number, len(view) if clients is None else clients[name])
        situation = replace(whole, state=state_of(whole.state, name))
        judged, tolerated = judged + len(view), tolerated + situation.f
        began = time.perf_counter()
        try:
            verdict = verdicts[name] = await asyncio.to_thread(fed.defence.judge, view, situation)
        except TooFewClients as error:
            short, verdicts[name] = error, Verdict(excluded=dict.fromkeys(view.names, TOO_FEW))
            continue
        fed.metrics.defended(
            fed.defence.name,
            time.perf_counter() - began,
            rows=len(view),
            tolerated=situation.f,
            scores=verdict.scores,
            weights=weights_of(verdict),
        )
    if short is not None and all(len(verdict.excluded) == len(views[name]) for name, verdict in verdicts.items()):
        raise short
    found = together(verdicts)
    await fed.defence.memory.keep(number, found, judged=judged, tolerated=tolerated)
    crash.point("defence-noted")
    return found


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
    return Verdict(excluded, scores, None, state)


def weights_of(verdict: Verdict) -> dict[str, float]:
    """The coefficients of a rule that gives them, by name; nothing where the rule only chooses."""
    how = verdict.combine
    return {name: float(w) for name, w in how.by_name.items()} if isinstance(how, Coefficients) else {}


def defence_figures(fed: Federation, row: RoundRow) -> dict[str, object]:
    """What the summary of a round keeps of its defence; nothing where the rule was not asked.

    After a restart the verdict itself is gone: the journal has its scores, and the sets say who is out.
    """
    if (told := fed.defence.memory.told(row.round)) is None:
        return {}
    verdict, sets, scores = fed.verdict, row.sets or {}, dict(told.scores)
    excluded = dict(verdict.excluded) if verdict else {n: w for n in scores if (w := sets.get(n)) and w != VOID}
    return {
        "defence": {
            "rule": fed.defence.name,
            "f": told.tolerated,
            "judged": told.judged,
            "scores": scores,
            "excluded": excluded,
            "weights": weights_of(verdict) if verdict else {},
        }
    }


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


def shown(store: Store, defence: Defence, exclusions: Exclusions) -> dict[str, Any]:
    """What an operator is shown of the defence.

    Returns:
        the rule, `defence.f` as it is set, the exclusions so far by client and reason, and of the last round that has
        its verdicts: its number, how many rows were judged, how many attackers among them were tolerated, the scores,
        and each client's verdict ("" counts) with its score.
    """
    always: dict[str, Any] = {"rule": defence.name, "f": defence.f, "excluded": exclusions.by_client()}
    row = store.last_judged()
    if row is None:
        return always | {"round": 0, "judged": 0, "tolerated": 0, "scores": {}, "verdicts": []}
    told, sets = defence.memory.told(row.round) or Told(0, 0, {}), row.sets or {}
    scores = dict(told.scores)
    verdicts = [{"client": name, "reason": why, "score": scores.get(name)} for name, why in sorted(sets.items())]
    return always | {
        "round": row.round,
        "judged": told.judged,
        "tolerated": told.tolerated,
        "scores": scores,
        "verdicts": verdicts,
    }
