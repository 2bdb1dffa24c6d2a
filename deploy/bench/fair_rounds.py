"""What a server makes of a round where clients that are served badly count for more: in the clear, or masked.

The real rules, caps and classes, the real defence and, masked, the real codec and sketches; without the masks, which
cancel to the bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roughfed.deploy.bench.masked_rounds import MaskedPlan, MaskedRounds
from roughfed.errors import TooFewClients
from roughfed.params import Flat
from roughfed.secagg.weight_class import LOSS_POINTS, Table, drawn, expected, loss_point
from roughfed.server.defence import Situation, view_of_arrays
from roughfed.server.defence.plan import rule_of, tolerated
from roughfed.server.defence.verdict import NOTHING, State
from roughfed.server.fairness import RULES
from roughfed.server.fairness.curve import table
from roughfed.server.fairness.step import curb
from roughfed.server.fairness.weights import factors

ABSURD = 1e30
"""The loss that a liar claims: it gets whatever the cap allows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A row of the bench.

    Attributes:
        rule: of [fairness].
        strength: q or t.
        cap: likewise.
        step: likewise.
        masked: whether the server sees sums and sketches only.
        defence: a rule of [defence].
        attack: "label-flip" or "".
    """

    rule: str = "none"
    strength: float = 0.0
    cap: float = 3.0
    step: str = "mean"
    masked: bool = False
    defence: str = "none"
    attack: str = ""


@dataclass
class Made:
    """What came of a round.

    Attributes:
        mean: the step, float32 [D]; None where nobody counts.
        excluded: who was left out.
        weights: what the others counted for beside one another; they add up to 1.
    """

    mean: Flat | None
    excluded: set[str]
    weights: Mapping[str, float]


class Seen:
    """Whole updates, and each client's loss."""

    def __init__(self, plan: Plan, attackers: float, seed: int, lr: float) -> None:
        """`attackers`: defence.f; `lr`: of the local steps."""
        self._plan, self._f, self._seed, self._lr = plan, attackers, seed, lr
        self._defence, self._state = rule_of(plan.defence), NOTHING

    def step(self, number: int, deltas: Mapping[str, Flat], losses: Mapping[str, float]) -> Made:
        """The next round."""
        situation = Situation(tolerated(self._f, len(deltas)), number, self._seed, self._state)
        try:
            verdict = self._defence.judge(view_of_arrays(deltas, kind="updates"), situation)
        except TooFewClients:
            return Made(None, set(deltas), {})
        self._state: State = verdict.state
        kept = [name for name in deltas if name not in verdict.excluded]
        plan, known = self._plan, {name: losses[name] for name in kept}
        weights = factors(RULES[plan.rule], known, strength=plan.strength, cap=plan.cap)
        mean = np.average([deltas[name] for name in kept], axis=0, weights=list(weights.values()))
        if plan.step == "paper":
            norms = [float(np.linalg.norm(deltas[name])) for name in kept]
            mean = mean * curb(list(weights.values()), list(known.values()), norms, q=plan.strength, lr=self._lr)
        return Made(mean.astype(np.float32), set(verdict.excluded), _shares(weights))


class Masked:
    """Sums and sketches; clients name weight classes after the losses of the rounds before."""

    def __init__(self, plan: Plan, attackers: float, seed: int, sizes: tuple[int, int]) -> None:
        """`sizes`: D, and how many clients."""
        masked = MaskedPlan(rule=plan.defence, attackers=attackers, clip_norm=3.0)
        self._rounds = MaskedRounds(*sizes, masked, seed=seed)
        self._plan, self._seed = plan, seed
        self._told: dict[int, list[int]] = {}
        self._losses: dict[str, dict[int, float]] = {}

    def step(self, number: int, deltas: Mapping[str, Flat], losses: Mapping[str, float]) -> Made:
        """The next round."""
        plan = self._plan
        rule = RULES[plan.rule]
        found = table(rule, self._told, strength=plan.strength, cap=plan.cap) if rule.strength else None
        quarters = {name: self._class_of(name, number, found) for name in deltas} if found else {}
        result = self._rounds.play(deltas, quarters=quarters)
        counts = [0] * LOSS_POINTS
        for name in result.accepted:
            counts[loss_point(losses[name])] += 1
        self._told[number] = counts
        for name, loss in losses.items():
            self._losses.setdefault(name, {})[number] = loss
        weights = {name: float(quarters.get(name, 4)) for name in result.accepted}
        return Made(result.mean, set(deltas) - set(result.accepted), _shares(weights))

    def _class_of(self, name: str, number: int, found: Table) -> int:
        secret = hashlib.sha256(f"{self._seed} {name} {number}".encode()).digest()
        return drawn(expected(found, self._losses.get(name, {})), secret)


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total else {}
