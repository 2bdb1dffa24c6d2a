"""What the server decides in a masked round, in this order.

"questions" may come several times or never, and "agreed" once for each group. In the journal a fact is its kind and a
JSON body: `encode`, `decode`.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from roughfed.errors import RemoteProtocolError
from roughfed.types import Signed


@dataclass(frozen=True, slots=True)
class RosterDrawn:
    """Nobody's advert is waited for any more: the groups are drawn."""


@dataclass(frozen=True, slots=True)
class SharesDealt:
    """Nobody's shares are waited for any more."""


@dataclass(frozen=True, slots=True)
class UploadsClosed:
    """Whose upload is here: client -> its signed statement."""

    statements: Mapping[str, Signed]


@dataclass(frozen=True, slots=True)
class QuestionsAsked:
    """Two sketches of one pair differ: both are asked to open its key."""


@dataclass(frozen=True, slots=True)
class SketchesClosed:
    """Nobody's sketch is waited for any more."""


@dataclass(frozen=True, slots=True)
class SetsJudged:
    """Who is left out of the sums: client -> reason."""

    rejected: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GroupAgreed:
    """Enough members of a group signed its sets; it is asked to unmask its sum."""

    number: int


Fact = RosterDrawn | SharesDealt | UploadsClosed | QuestionsAsked | SketchesClosed | SetsJudged | GroupAgreed

KINDS: Mapping[type[Fact], str] = {
    RosterDrawn: "roster",
    SharesDealt: "dealt",
    UploadsClosed: "masked",
    QuestionsAsked: "questions",
    SketchesClosed: "sketched",
    SetsJudged: "judged",
    GroupAgreed: "agreed",
}
"""What a fact is called in the journal, and among what is `done` in a round."""


def encode(fact: Fact) -> bytes:
    """The body of a fact in the journal."""
    match fact:
        case UploadsClosed(statements):
            pairs = {name: (signed.body, signed.signature) for name, signed in sorted(statements.items())}
            return json.dumps({n: [b64encode(part).decode() for part in pair] for n, pair in pairs.items()}).encode()
        case SetsJudged(rejected):
            return json.dumps(dict(rejected)).encode()
        case GroupAgreed(number):
            return str(number).encode()
        case _:
            return b""


def decode(kind: str, body: bytes) -> Fact:
    """A fact out of the journal.

    Raises:
        RemoteProtocolError: reason "storage"; no fact is called so.
    """
    match kind:
        case "masked":
            found: Mapping[str, list[str] | str] = json.loads(body)
            pairs = ((n, pair) for n, pair in found.items() if isinstance(pair, list))  # protocol 1 had digests alone
            return UploadsClosed({n: Signed(b64decode(text), b64decode(sig), n) for n, (text, sig) in pairs})
        case "judged":
            return SetsJudged(json.loads(body))
        case "agreed":
            return GroupAgreed(int(body))
        case _:
            bare: Mapping[str, Fact] = {
                KINDS[each]: each() for each in (RosterDrawn, SharesDealt, QuestionsAsked, SketchesClosed)
            }
            if (fact := bare.get(kind)) is None:
                raise RemoteProtocolError(f"the journal of a masked round has a fact {kind!r}", reason="storage")
            return fact
