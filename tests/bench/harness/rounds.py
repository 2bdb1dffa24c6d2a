"""A server's half of a federation in one process: rounds in the clear, and masked ones without the masks.

Masks cancel to the bit, which other tests prove. Everything that can change a model is the real thing: admission, the
defence and the means in the clear; masked, the codec with error feedback, groups, integer sums in lanes that wrap,
sketches of the codes, the bound on norms, the defence, and the clip norm that follows.

D parameters, M codes, C clip norm.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from roughfed.codec import downlink
from roughfed.codec.chain import Encoded, decode_sum, encode
from roughfed.codec.clip_schedule import ClipLimits, clip_share, follow_norms, max_step
from roughfed.codec.plan import ChainParams, Lanes, Summed, plan_lanes
from roughfed.errors import TooFewClients
from roughfed.masked_round import code_rms, largest_group, sketch_of_update
from roughfed.params import Flat
from roughfed.secagg.adverts import FULL
from roughfed.secagg.groups import colluders, form_groups, smallest_sum
from roughfed.secagg.terms import Terms
from roughfed.server.aggregate.robust import combined
from roughfed.server.defence import ROUNDING, Situation, View, view_of_arrays, view_of_claims
from roughfed.server.defence.plan import rule_of, tolerated
from roughfed.server.defence.verdict import NOTHING, State
from roughfed.server.defence.view import reader
from roughfed.server.extensions.clusters.bipartition import RowAngles
from roughfed.server.uploads.admission import absurd
from roughfed.sketch.buckets import NORM_BOUND, Sketcher

Claims = Mapping[str, NDArray[np.float64]]

REGROUP_EVERY = 10
NO_ROWS: Mapping[str, Flat] = MappingProxyType({})
ALIKE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class MaskedPlan:
    """Settings, with the names and defaults of fed.toml.

    Attributes:
        lane_bits: codec.lane_bits; 0 = as few as the groups allow.
        keep_one_in: 1 / codec.fraction.
        clip_norm: codec.clip_norm.
        rule: defence.rule.
        attackers: defence.f.
        dim: sketch.dim.
        feedback: whether clients feed back what the codec did not say; in a federation they do.
    """

    lane_bits: int = 0
    keep_one_in: int = 1
    clip_norm: float = 10.0
    rule: str = "none"
    attackers: float = 0.2
    dim: int = 128
    feedback: bool = True


@dataclass
class RoundResult:
    """What a round gave.

    Attributes:
        mean: of the accepted updates, float32 [D]; None when every group is void.
        excluded: name -> why.
        clip_norm: C of this round.
        norms: name -> the norm by each half of the sketch, in units of C; nothing in the clear.
        accepted: whose updates are in the mean.
        summed: the sum of their codes.
    """

    mean: Flat | None
    excluded: dict[str, str]
    clip_norm: float = 0.0
    norms: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    accepted: tuple[str, ...] = ()
    summed: Summed | None = None

    @property
    def over_bound(self) -> set[str]:
        """Whom the bound on norms left out."""
        return {name for name, halves in self.norms.items() if max(halves) > NORM_BOUND}


Weigh = Callable[[Sequence[str]], Sequence[float]]
"""What each of those who were not left out counts."""


class PlainRounds:
    """Whole updates: admission, the rule, and a weighted mean or what the rule makes of them."""

    def __init__(self, size: int, rule: str, attackers: float, *, seed: int) -> None:
        """`size`: D; `rule`, `attackers`: of [defence], `rule` and `f`."""
        self._size, self._rule, self._attackers, self._seed = size, rule_of(rule), attackers, seed
        self._state: State = NOTHING
        self._number = 0

    def play(self, deltas: Mapping[str, Flat], own: Mapping[str, Flat] = NO_ROWS, *, weigh: Weigh) -> RoundResult:
        """The next round.

        Args:
            deltas: name -> float32 [D], of whoever takes part.
            own: extra rows of the server's own, likewise; those that the rule does not use are not looked at.
            weigh: gives the weights of the mean.
        """
        self._number += 1
        admitted = admission(deltas, self._size)
        excluded = dict.fromkeys(deltas.keys() - admitted.keys(), "admission")
        if not admitted:  # every training diverged: there is nothing left to learn from
            return RoundResult(None, excluded)
        extras = {name: row for name, row in own.items() if name in self._rule.wants | self._rule.needs}
        view = view_of_arrays(admitted, kind="updates", extras=extras)
        try:
            situation = Situation(tolerated(self._attackers, len(admitted)), self._number, self._seed, self._state)
            verdict = self._rule.judge(view, situation)
        except TooFewClients:
            return RoundResult(None, dict.fromkeys(deltas, "too-few-clients"))
        self._state = verdict.state
        kept = sorted(admitted.keys() - verdict.excluded.keys())
        if verdict.combine is None:
            mean = np.average([admitted[name] for name in kept], axis=0, weights=weigh(kept)).astype(np.float32)
        else:
            fills = {name: reader(row) for name, row in {**admitted, **extras}.items()}
            mean = combined(verdict.combine, fills)(0, self._size)
        return RoundResult(mean, excluded | dict(verdict.excluded), accepted=tuple(kept))


def admission(deltas: Mapping[str, Flat], size: int) -> dict[str, Flat]:
    """The updates that a server would take: of the right length, finite, and not absurdly long."""
    finite = {name: delta for name, delta in deltas.items() if len(delta) == size and np.isfinite(delta).all()}
    norms = {name: float(np.linalg.norm(delta.astype(np.float64))) for name, delta in finite.items()}
    refused = absurd(norms)
    return {name: delta for name, delta in finite.items() if name not in refused}


class Downlink:
    """The way down of masked rounds: models reach the clients as quantised differences, and so does the server."""

    def __init__(self, size: int) -> None:
        """For D = `size` parameters; nothing was left unsaid yet."""
        self._error = np.zeros(size, dtype=np.float32)

    def after(self, params: Flat, mean: Flat) -> Flat:
        """The next parameters, float32 [D]."""
        moved = params.copy()
        downlink.apply(downlink.quantise(mean.copy(), self._error), moved)
        return moved


REHEARSED = 1_000_003
"""Between the seeds of a federation and those of its rehearsals: no bench has so many federations."""


class MaskedRounds:
    """Server and codec side of a federation's rounds, with what lives from one round to the next."""

    def __init__(self, size: int, clients: int, plan: MaskedPlan, *, seed: int) -> None:
        """For D = `size` parameters and groups as `clients` clients make them."""
        self.plan, self._size, self._seed = plan, size, seed
        self.lanes: Lanes = plan_lanes(largest_group(clients), bits=plan.lane_bits or None)
        self._limits = ClipLimits(1e-3, 1e3)
        self._clip = self._limits.start(plan.clip_norm)
        self._residuals: dict[str, Flat] = {}
        self._beacon = b""
        self._state: State = NOTHING
        self._number = 0
        self.view: View | None = None
        """The rows of the last round as the rule was shown them, with the extra ones."""
        self.rows: RowAngles | None = None
        """What the last round showed of its rows, before the rule had its say; lengths in the parameters' unit."""

    def branch(self) -> MaskedRounds:
        """The same rounds for a part of the clients: C and what they feed back stay, the rule remembers nothing."""
        other = copy.copy(self)
        other._residuals, other._state = dict(self._residuals), NOTHING
        return other

    def rehearsal(self, secret: int) -> MaskedRounds:
        """The same rounds to try something on, with other groups, roundings and sketches; these go on as they were."""
        other = copy.copy(self)
        other._residuals, other._seed = dict(self._residuals), self._seed + REHEARSED * (secret + 1)
        return other

    @property
    def upload_bytes(self) -> int:
        """Codes of one client and round."""
        return self._params().sent_bytes

    @property
    def sketch_bytes(self) -> int:
        """One sketch."""
        return self.plan.dim * self.lanes.dtype.itemsize

    def play(
        self,
        deltas: Mapping[str, Flat],
        own: Mapping[str, Flat] = NO_ROWS,
        quarters: Mapping[str, int] = ALIKE,
        uncut: Collection[str] = (),
    ) -> RoundResult:
        """The next round.

        Args:
            deltas: name -> float32 [D], of whoever takes part.
            own: extra rows of the server's own, likewise.
            quarters: weight class of those who do not count whole, 1 to 3.
            uncut: who cuts its update to C alone, not to the part of it that is asked for.

        Raises:
            TooFewClients: fewer than 4 clients, or too few for the rule.
        """
        self._number += 1
        number, params = self._number, self._params()
        if (number - 1) % REGROUP_EVERY == 0:
            self._beacon = self._digest("beacon", number)
        groups = form_groups(list(deltas), self._beacon)
        weights = {name: quarters.get(name, FULL) / FULL for name in deltas}
        encoded = {
            name: encode(
                delta,
                self._residuals.get(name),
                replace(params, clip_share=1.0) if name in uncut else params,
                secret=self._digest("dither", number, name),
                weight=weights[name],
            )
            for name, delta in deltas.items()
        }
        sketcher = self._terms(params).sketcher(self._digest("root", number), colluders(max(map(len, groups))))
        terms = self._terms(params)
        claims = {
            name: sketcher.claim(sketcher.of_codes(one.codes)) / terms.relative_length(quarters.get(name, FULL))
            for name, one in encoded.items()
        }
        norms = self._norms(sketcher, claims, params)
        extras = {name: sketch_of_update(row, params, sketcher) for name, row in own.items()}
        excluded = self._judge(params, claims, norms, extras)
        total, accepted = self._sum(groups, encoded, excluded)
        if self.plan.feedback:
            self._residuals |= {name: encoded[name].residual for name in accepted}
        result = RoundResult(None, excluded, self._clip, norms, tuple(accepted))
        if accepted:
            weight = sum(weights[name] for name in accepted)
            result.mean = decode_sum(total, len(accepted), params, weight=weight)
            result.summed = Summed(total, len(accepted), weight, params)
            seen = [norms[name][0] * self._clip for name in accepted]
            self._clip = follow_norms(
                self._clip, seen, self._limits, step=max_step(number + 1), keep_one_in=self.plan.keep_one_in
            )
        return result

    def _params(self) -> ChainParams:
        seed = self._digest("chain", self._number)
        share = clip_share(sketches=True, keep_one_in=self.plan.keep_one_in)
        return ChainParams(self._size, self.lanes, self._clip, seed, self.plan.keep_one_in, share)

    def _norms(self, sketcher: Sketcher, claims: Claims, params: ChainParams) -> dict[str, tuple[float, float]]:
        """By each half of the sketches, in units of C."""
        unit = self._terms(params).norm_unit
        norms = {name: sketcher.norms(claim) for name, claim in claims.items()}
        return {name: (many / unit, few / unit) for name, (many, few) in norms.items()}

    def _judge(
        self,
        params: ChainParams,
        claims: Claims,
        norms: Mapping[str, tuple[float, float]],
        extras: Claims,
    ) -> dict[str, str]:
        """The bound first, then the rule on who is left."""
        excluded = {name: "norm" for name, halves in norms.items() if max(halves) > NORM_BOUND}
        left = {name: claim for name, claim in claims.items() if name not in excluded}
        unit = code_rms(params.lanes) * params.sent**0.5
        view = view_of_claims(
            left, length=params.sent, norm_unit=unit, rounding=ROUNDING, longest=params.clip_share, extras=extras
        )
        self.rows = RowAngles(view.names, view.gram() * self._clip**2, view.cosine_error)
        self.view = view
        situation = Situation(tolerated(self.plan.attackers, len(left)), self._number, self._seed, self._state)
        verdict = rule_of(self.plan.rule).judge(view, situation)
        self._state = verdict.state
        return excluded | dict(verdict.excluded)

    def _sum(
        self, groups: list[tuple[str, ...]], encoded: Mapping[str, Encoded], excluded: Mapping[str, str]
    ) -> tuple[NDArray[np.uint32], list[str]]:
        """The groups' sums in lanes that wrap, added up; who is in them."""
        total = np.zeros(len(next(iter(encoded.values())).codes), dtype=np.uint32)
        accepted: list[str] = []
        for group in groups:
            chosen = [name for name in group if name not in excluded]
            if len(chosen) >= smallest_sum(len(group)):
                part = np.zeros(len(total), dtype=self.lanes.dtype)
                for name in chosen:
                    np.add(part, encoded[name].codes, out=part)
                total += part
                accepted += chosen
        return total, accepted

    def _terms(self, params: ChainParams) -> Terms:
        """What the sketch is made from; the rest of a round's header decides nothing here."""
        return Terms(
            header_digest=self._digest("header", self._number),
            previous_header_digest=bytes(32),
            nonce_commitment=bytes(32),
            server_key=bytes(32),
            length=params.sent,
            bits=self.lanes.bits,
            levels=self.lanes.levels,
            code_rms=code_rms(self.lanes),
            dim=self.plan.dim,
        )

    def _digest(self, *labels: object) -> bytes:
        return hashlib.sha256(repr((self._seed, *labels)).encode()).digest()
