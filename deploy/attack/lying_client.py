"""A client that lies in a masked round: the honest machine of its side, with what it says changed before it is signed.

Everything that it does not lie about is true, so that a test sees what one lie at one place costs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from roughfed.crypto.masks import Lanes
from roughfed.secagg import messages as m
from roughfed.secagg.client import NOTHING, ClientRound, Gives, Policy
from roughfed.secagg.terms import Party, Terms
from roughfed.types import Signed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lie:
    """What a client says instead of the truth; each from what it would say honestly, None where it is honest.

    Attributes:
        shares: the shares that it deals, with their tags.
        lanes: the masked bytes that it uploads, [D + tail].
        sketch: the sketches of its codes and of its pairs.
        unmask: the shares that it gives back.
        complaints: keys that it opens when it is dealt its shares.
        silent: the server's message that it does not answer.
    """

    shares: Callable[[LyingRound, m.Shares], m.Shares] | None = None
    lanes: Callable[[LyingRound, Lanes], Lanes] | None = None
    sketch: Callable[[LyingRound, m.Sketch], m.Sketch] | None = None
    unmask: Callable[[LyingRound, m.Unmask], m.Unmask] | None = None
    complaints: Callable[[LyingRound], Iterable[m.Opening]] | None = None
    silent: type[m.Message] | None = None


class LyingRound(ClientRound):
    """`ClientRound` with one lie; after a restart it tells the same one, since all follows from the same secret."""

    def __init__(
        self, lie: Lie, terms: Terms, me: Party, secret: bytes, policy: Policy, *, gives: Gives = NOTHING
    ) -> None:
        """As ClientRound."""
        super().__init__(terms, me, secret, policy, gives=gives)
        self.lie = lie

    def receive(self, message: m.Message, signed: Signed | None = None) -> Sequence[Signed]:
        """What an honest client answers, changed."""
        answers = super().receive(message, signed)
        if self.lie.silent is not None and isinstance(message, self.lie.silent):
            return ()
        match message:
            case m.Roster():
                answers = self._changed(answers, m.Shares, m.SHARES_DOMAIN, self.lie.shares)
                self._own_deal = answers[0].body  # or it would not know its own deal again
            case m.Seed():
                answers = self._changed(answers, m.Sketch, m.SKETCH_DOMAIN, self.lie.sketch)
            case m.UnmaskRequest():
                answers = self._changed(answers, m.Unmask, m.UNMASK_DOMAIN, self.lie.unmask)
            case m.Deals() if self.lie.complaints is not None:
                extra = (self._me.signed(m.OPENING_DOMAIN, opening) for opening in self.lie.complaints(self))
                answers = [*answers, *extra]
            case _:
                pass
        return answers

    def mask(self, codes: Lanes) -> Lanes:
        """What an honest client uploads, changed."""
        lanes = super().mask(codes)
        return lanes if self.lie.lanes is None else self.lie.lanes(self, lanes)

    def _changed(
        self, answers: Sequence[Signed], kind: type[Any], domain: bytes, change: Callable[[Any, Any], m.Message] | None
    ) -> Sequence[Signed]:
        if change is None:
            return answers
        wire = self._me.wire
        return [self._me.signed(domain, change(self, wire.decode(kind, answer.body))) for answer in answers]


class Liar:
    """Makes the machines of a client's masked rounds: honest ones at first, then lying ones (`Setup.machine`)."""

    def __init__(self, lie: Lie, *, after: int = 0) -> None:
        """`after`: rounds that this process takes part in before it begins to lie."""
        self._lie, self._after = lie, after
        self._rounds: list[bytes] = []

    def __call__(
        self, terms: Terms, me: Party, secret: bytes, policy: Policy, *, gives: Gives = NOTHING
    ) -> ClientRound:
        """The machine of one round; taken up again after a break, the round counts once."""
        if terms.header_digest not in self._rounds:
            self._rounds.append(terms.header_digest)
        if self._rounds.index(terms.header_digest) < self._after:
            return ClientRound(terms, me, secret, policy, gives=gives)
        log.info("%s lies in this round", me.name)
        return LyingRound(self._lie, terms, me, secret, policy, gives=gives)
