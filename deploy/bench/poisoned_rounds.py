"""What a server makes of a round of poisoned updates: the same rule on whole updates, or masked, on sketches.

K clients, D parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from roughfed.codec import downlink
from roughfed.deploy.bench.learning import Learners
from roughfed.deploy.bench.masked_rounds import MaskedPlan, MaskedRounds
from roughfed.errors import TooFewClients
from roughfed.params import Flat
from roughfed.registry import look_up
from roughfed.secagg.groups import SMALLEST
from roughfed.server.admission import absurd
from roughfed.server.aggregate.weights import COUNT_CAP
from roughfed.server.defence import PREVIOUS, ROOT, Situation, Verdict, view_of_arrays
from roughfed.server.defence.plan import rule_of, tolerated
from roughfed.server.defence.verdict import NOTHING, State
from roughfed.server.defence.view import reader
from roughfed.server.robust import combined


@dataclass(frozen=True, slots=True)
class Setting:
    """A defence as a federation has it.

    Attributes:
        rule: `defence.rule`.
        sketches: masked, judged by sketches; else by whole updates.
        root: with a root set of 100 examples.
    """

    rule: str
    sketches: bool = False
    root: bool = False


_OTHERS = ("multi-krum", "nnm", "median", "trimmed-mean", "geometric-median", "centered-clipping", "flame", "dnc")

DEFENCES: Mapping[str, Setting] = MappingProxyType(
    {
        "none": Setting("none"),
        "default": Setting("default"),
        "default, root": Setting("default", root=True),
        "none, masked": Setting("none", sketches=True),
        "default, sketches": Setting("default", sketches=True),
        "default, sketches, root": Setting("default", sketches=True, root=True),
        **{name: Setting(name) for name in (*_OTHERS, "norm-bound", "krum", "bulyan", "foolsgold")},
        "fltrust": Setting("fltrust", root=True),
        **{f"{name}, sketches": Setting(name, sketches=True) for name in ("multi-krum", "flame", "dnc")},
    }
)


class Defended(Protocol):
    """The server's half of a federation.

    Attributes:
        wants_root: whether it makes use of a root update.
        last_step: what the last round moved the model by; None before there was one.
        excluded: names that were left out, by round.
        rounds: rounds that gave a sum.
    """

    wants_root: bool
    last_step: Flat | None
    excluded: list[set[str]]
    rounds: int

    def step(self, params: Flat, deltas: Mapping[str, Flat], root: Flat | None, claims: Mapping[str, int]) -> Flat:
        """The next parameters, float32 [D]; `claims`: numbers of examples that are lies."""
        ...


def defended(label: str, learners: Learners, f: float, seed: int) -> Defended:
    """The server of a row of DEFENCES; nobody tells it who attacks.

    Raises:
        ConfigError: no such row.
    """
    setting = look_up(DEFENCES, label, key="--defences")
    counts = {name: len(share) for name, share in zip(learners.names, learners.shares, strict=True)}
    if setting.sketches:
        return Masked(setting, counts, f, len(learners.initial()), seed)
    return Seen(setting, counts, f, seed)


class Seen:
    """Whole updates: admission, the rule, the weighted mean or what the rule makes of them."""

    def __init__(self, setting: Setting, counts: Mapping[str, int], f: float, seed: int) -> None:
        """`counts`: examples of each client."""
        self._rule, self._counts, self._f, self._seed = rule_of(setting.rule), counts, f, seed
        self._state: State = NOTHING
        self._number = 0
        self.wants_root = setting.root
        self.last_step: Flat | None = None
        self.excluded: list[set[str]] = []
        self.rounds = 0

    def step(self, params: Flat, deltas: Mapping[str, Flat], root: Flat | None, claims: Mapping[str, int]) -> Flat:
        """See Defended."""
        self._number += 1
        admitted = admission(deltas, len(params))
        if not admitted:  # every training diverged: there is nothing left to learn from
            self.excluded.append(set(deltas))
            return params
        extras = {**({ROOT: root} if root is not None else {})}
        if PREVIOUS in self._rule.wants | self._rule.needs and self.last_step is not None:
            extras[PREVIOUS] = self.last_step
        view = view_of_arrays(admitted, kind="updates", extras=extras)
        try:
            situation = Situation(tolerated(self._f, len(admitted)), self._number, self._seed, self._state)
            verdict = self._rule.judge(view, situation)
        except TooFewClients:
            self.excluded.append(set(deltas))
            return params
        self._state = verdict.state
        self.excluded.append((set(deltas) - admitted.keys()) | verdict.excluded.keys())
        self.last_step = self._combine(verdict, admitted | extras, {**self._counts, **claims})
        self.rounds += 1
        return params + self.last_step

    def _combine(self, verdict: Verdict, rows: Mapping[str, Flat], counts: Mapping[str, int]) -> Flat:
        if verdict.combine is not None:
            fills = {name: reader(row) for name, row in rows.items()}
            return combined(verdict.combine, fills)(0, len(next(iter(rows.values()))))
        kept = sorted(name for name in rows if name in counts and name not in verdict.excluded)
        cap = COUNT_CAP * np.median([counts[name] for name in kept])
        weights = np.minimum([counts[name] for name in kept], cap)
        return np.average([rows[name] for name in kept], axis=0, weights=weights).astype(np.float32)


def admission(deltas: Mapping[str, Flat], size: int) -> dict[str, Flat]:
    """The updates that a server would take: of the right length, finite, and not absurdly long."""
    finite = {name: delta for name, delta in deltas.items() if len(delta) == size and np.isfinite(delta).all()}
    norms = {name: float(np.linalg.norm(delta.astype(np.float64))) for name, delta in finite.items()}
    return {name: finite[name] for name in finite.keys() - absurd(norms)}


class Masked:
    """Masked rounds: what the sketches say is all that the rule sees, a sum is all that comes of the updates."""

    def __init__(self, setting: Setting, counts: Mapping[str, int], f: float, size: int, seed: int) -> None:
        """`size`: D."""
        self._rounds = MaskedRounds(size, len(counts), MaskedPlan(rule=setting.rule, attackers=f), seed=seed)
        self._error = np.zeros(size, dtype=np.float32)
        self.wants_root = setting.root
        self.last_step: Flat | None = None
        self.excluded: list[set[str]] = []
        self.rounds = 0

    def step(self, params: Flat, deltas: Mapping[str, Flat], root: Flat | None, claims: Mapping[str, int]) -> Flat:
        """See Defended; nobody hears of `claims`."""
        del claims
        fine = {name: delta for name, delta in deltas.items() if len(delta) == len(params) and np.isfinite(delta).all()}
        if len(fine) < SMALLEST:
            self.excluded.append(set(deltas))
            return params
        result = self._rounds.play(fine, {} if root is None else {ROOT: root})
        self.excluded.append((deltas.keys() - fine.keys()) | result.excluded.keys())
        if result.mean is None:
            return params
        self.rounds += 1
        after = params.copy()
        downlink.apply(downlink.quantise(result.mean.copy(), self._error), after)
        self.last_step = after - params
        return after
