"""What the attacks of the corpus have at hand: a real masked round, held open, and the papers of everybody in it.

`c0` to `c4` are honest, `c5` is a member of the cohort whose own update of round 1 is held back, `x0` and `x1` are
members without a seat, and `r0` was revoked. An attack is one row: its name, what is done, what it is answered, and
under which counter and reason it must be found in the metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from roughfed.messages import ClientStage
from roughfed.secagg import messages as m
from roughfed.types import Signed, UpdateStatement
from roughfed.wire.chunks import decode_chunk
from roughfed.wire.secagg import CLIENT_STAGES, decode_stage, encode_stage
from roughfed.wire.session import encode_client_message
from roughfed.wire.updates import decode_statement

from .federation import Cluster
from .peer import Peer, Refusal
from .process import Server
from .relay import Relay

DOMAINS = {
    "advertise": m.ADVERTISE_DOMAIN, "shares": m.SHARES_DOMAIN, "opening": m.OPENING_DOMAIN, "sketch": m.SKETCH_DOMAIN,
    "consistency": m.CONSISTENCY_DOMAIN, "unmask": m.UNMASK_DOMAIN,
}  # fmt: skip
UPDATES, CALLS, STAGES = "updates_rejected_total", "refusals_total", "stages_rejected_total"
ENROLMENTS = "enrolments_total"
NOBODY = ""
"""Of a row that reaches no counter: it never got as far as a call, or it is no offence."""


@dataclass(frozen=True)
class Row:
    """An attack.

    Attributes:
        name: what is tried.
        how: does it; returns the answer: status and reason of a call, or what the test reads off it.
        answer: what that must be.
        counted: the counter, NOBODY for none.
        under: the label that the counter has it under.
    """

    name: str
    how: Callable[[Scene], object]
    answer: object
    counted: str
    under: str = ""


@dataclass
class Scene:
    """The federation under attack."""

    cluster: Cluster
    server: Server
    relay: Relay
    peers: dict[str, Peer]
    tokens: dict[str, Any] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    # -- stages: said in the session of a seated client ----------------------------------------------------------------

    def told(self, name: str, kind: str, number: int) -> Signed:
        """What a client really said."""
        return self.relay.word(name, kind, number).signed

    def say(self, name: str, kind: str, signed: Signed) -> None:
        self.relay.inject(name, encode_client_message(ClientStage(kind, signed)))

    def refusal(self, name: str, kind: str, signed: Signed) -> str:
        """Say it in this client's session; the reason that the server gives in its log."""
        self.say(name, kind, signed)
        return self.heard(name, kind)

    def heard(self, name: str, kind: str) -> str:
        """The reason of the next refusal of such a stage."""
        words = f"{kind} of {name} refused ("
        self.refused[words] += 1
        line = self.server.wait_line(words, count=self.refused[words])
        return line.partition(words)[2].partition(")")[0]

    def made(self, name: str, kind: str, value: Any) -> Signed:
        """A message that this client signs."""
        body = encode_stage(value)
        return Signed(body, self.relay.papers[name].identity.sign(DOMAINS[kind], body), name)

    def forged(self, name: str, kind: str, number: int, **changes: Any) -> Signed:
        """What a client said, with changes, under its own signature."""
        value = decode_stage(CLIENT_STAGES[kind], self.told(name, kind, number).body)
        return self.made(name, kind, replace(value, **changes))

    # -- uploads -------------------------------------------------------------------------------------------------------

    def update(self, name: str, number: int) -> tuple[UpdateStatement, Signed, bytes]:
        """The statement of a client, as it signed it, and its bytes."""
        chunks = [decode_chunk(raw) for raw in self.relay.sent[name, number]]
        signed = next(c.update for c in chunks if c.update is not None)
        return decode_statement(signed.body), signed, b"".join(bytes(c.data) for c in chunks)

    def job(self, number: int) -> Any:
        return self.relay.jobs["c5", number]


def as_answer(found: Any) -> Refusal:
    """A refusal as it is; anything else is an answer."""
    return found if isinstance(found, tuple) else ("OK", "")
