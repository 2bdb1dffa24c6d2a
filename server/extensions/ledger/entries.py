"""What the ledger says of each round, out of its facts and of the rounds before: totals, shares, levels.

The facts of a round are in its lines, so whoever has the lines can make them again (`check`): the same code writes and
replays, and floats are written as texts that read the same, so every score comes out the same to the last bit. Those of
a method that is not `exact` differ in their last digits between processors, and may.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from roughfed.server.extensions.contribution import METHODS, NOTHING, ScoreState, State
from roughfed.server.extensions.ledger.hash_chain import Entry, LedgerProblem
from roughfed.server.extensions.ledger.rewards import Rewards, given


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """What is known of one round that is over.

    Attributes:
        round: its number.
        about: what its last line says beside the rest: outcome, digests, and the like; plain JSON.
        verdicts: client -> "" (it counts) or the reason why not, of everybody who was asked.
        weights: client -> its share of the sum, 0..1; of whom none is known, nothing.
        method: of the scores; "" where the round was not scored.
        parts: client -> figures of the round.
        flags: client -> kind of free-rider, or "", of those that were looked at.
        evidence: client -> kind -> how much speaks for it; of the flagged.
        twins: client -> whose update it sent as well.
        beta: `reward.beta`.
        levels: `reward.levels`.
    """

    round: int
    about: Mapping[str, Any]
    verdicts: Mapping[str, str]
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    method: str = ""
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    twins: Mapping[str, str] = field(default_factory=dict[str, str])
    beta: float = 1.0
    levels: Sequence[float] = ()


@dataclass
class LedgerState:
    """Everything that is known after some rounds.

    Attributes:
        states: method -> what its rounds left.
        flags: client -> kind, of the free-riders as they were last seen.
        method: of the last round that was scored.
        given: shares and levels after the last round.
        standing: totals and intervals after it.
    """

    states: dict[str, State] = field(default_factory=dict[str, State])
    flags: dict[str, str] = field(default_factory=dict[str, str])
    method: str = ""
    given: Rewards = field(default_factory=Rewards)
    standing: ScoreState = field(default_factory=ScoreState)

    @property
    def exact(self) -> bool:
        """Whether the standing is the same on every machine to the last bit."""
        return not self.method or METHODS[self.method].exact

    def lines(self, facts: RoundFacts) -> list[dict[str, Any]]:
        """Take the next round.

        Args:
            facts: of the round; the rounds before were taken already.

        Returns:
            the entries of its clients, in the order of their names, and the one that ends the round.
        """
        self._take(facts)
        names = sorted({*facts.verdicts, *facts.parts})
        end = {
            "kind": "round",
            "round": facts.round,
            "clients": len(names),
            "method": facts.method,
            "reward": {"beta": facts.beta, "tiers": list(facts.levels)},
            **facts.about,
        }
        return [*(self._client(name, facts) for name in names), end]

    def _take(self, facts: RoundFacts) -> None:
        self.flags |= facts.flags
        for name, kind in facts.flags.items():
            if not kind:
                del self.flags[name]
        self.method = facts.method or self.method
        if facts.method and facts.parts:
            row = METHODS[facts.method]
            self.states[facts.method] = row.fold(self.states.get(facts.method, NOTHING), facts.parts)
        if self.method:
            self.standing = METHODS[self.method].standing(self.states.get(self.method, NOTHING))
        self.given = given(self.standing.totals, levels=facts.levels, beta=facts.beta, flagged=self.flags)

    def _client(self, name: str, facts: RoundFacts) -> dict[str, Any]:
        reason = facts.verdicts.get(name, "absent")
        entry: dict[str, Any] = {"kind": "client", "round": facts.round, "client": name, "reason": reason}
        known = {
            "weight": facts.weights,
            "parts": facts.parts,
            "flag": facts.flags,
            "evidence": facts.evidence,
            "twin": facts.twins,
            "total": self.standing.totals,
            "interval": self.standing.intervals,
            "share": self.given.shares,
            "tier": self.given.levels,
        }
        said = {key: _plain(values[name]) for key, values in known.items() if name in values}
        return entry | {key: value for key, value in said.items() if _sayable(value)}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value


def _sayable(value: Any) -> bool:
    """Whether JSON has it: an interval without ends, or a score that is no number, is left out."""
    if isinstance(value, dict):
        return all(map(_sayable, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return all(map(_sayable, cast("list[Any]", value)))
    return not isinstance(value, float) or math.isfinite(value)


OF_CLIENT = ("weight", "parts", "flag", "evidence", "twin")
FIXED = ("kind", "seq", "prev", "round", "key", "signature", "clients", "method", "reward")


def facts_of(clients: Sequence[Entry], end: Entry) -> RoundFacts:
    """The facts of a round, out of its lines.

    Raises:
        KeyError, TypeError, AttributeError: they are no such lines.
    """
    by_name = {key: {entry["client"]: entry[key] for entry in clients if key in entry} for key in OF_CLIENT}
    return RoundFacts(
        round=end["round"],
        about={key: value for key, value in end.items() if key not in FIXED},
        verdicts={entry["client"]: entry["reason"] for entry in clients},
        weights=by_name["weight"],
        method=end["method"],
        parts=by_name["parts"],
        flags=by_name["flag"],
        evidence=by_name["evidence"],
        twins=by_name["twin"],
        beta=end["reward"]["beta"],
        levels=end["reward"]["tiers"],
    )


def check(entries: Sequence[Entry]) -> tuple[LedgerState, LedgerProblem | None]:
    """Replay a ledger whose lines are in order, and hold every score against what the rounds before make of it.

    Returns:
        what is known after the last round that is right, and the first line that says something else.
    """
    book, clients = LedgerState(), list[tuple[int, Entry]]()
    for number, entry in enumerate(entries, start=1):
        if entry["kind"] == "client":
            clients.append((number, entry))
        elif entry["kind"] == "round":
            try:
                wanted = book.lines(facts_of([each for _, each in clients], entry))
            except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
                return book, LedgerProblem(number, "structure", f"a round of this ledger cannot be read ({error!r})")
            for (at, found), right in zip([*clients, (number, entry)], wanted, strict=True):
                if (wrong := _difference(found, right, exact=book.exact)) is not None:
                    return book, LedgerProblem(at, "score", wrong)
            clients = []
    return book, None


FOLDED = ("total", "interval", "share")
CLOSE, CLOSE_TO_NOTHING = 1e-7, 1e-9
"""What figures of a method that is not exact may differ by, relative to themselves and in all."""


def _difference(found: Entry, right: Entry, *, exact: bool) -> str | None:
    """What is wrong with an entry; where the method is exact floats are the same to the last bit, or it is wrong."""
    said = {key: value for key, value in found.items() if key not in ("seq", "prev", "key", "signature")}
    for key in sorted(said.keys() | right.keys()):
        if key not in said or key not in right or said[key] != right[key]:
            if not exact and key in FOLDED and _close(said.get(key), right.get(key)):
                continue
            return f"{key} is {said.get(key)!r}, and replay gives {right.get(key)!r}"
    return None


def _close(one: Any, other: Any) -> bool:
    """Whether two figures, or two lists of them, are the same but for the last digits."""
    ones, others = (cast("list[Any]", each if isinstance(each, list) else [each]) for each in (one, other))
    if len(ones) != len(others) or not all(isinstance(each, float) for each in (*ones, *others)):
        return False
    return all(math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE_TO_NOTHING) for a, b in zip(ones, others, strict=True))
