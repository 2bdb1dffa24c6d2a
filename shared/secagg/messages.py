"""What the stages carry, as plain values. `roughfed.wire.secagg` turns them into the bytes that get signed.

Lanes are bytes here (little-endian); the machines give them their type.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.types import Signed

ADVERTISE_DOMAIN = b"roughfed advertise v1\0"
SHARES_DOMAIN = b"roughfed shares v1\0"
STATEMENT_DOMAIN = b"roughfed update v1\0"
SEED_DOMAIN = b"roughfed seed v1\0"
SKETCH_DOMAIN = b"roughfed sketch-claim v1\0"
SETS_DOMAIN = b"roughfed sets v1\0"
CONSISTENCY_DOMAIN = b"roughfed consistency v1\0"
OPENING_DOMAIN = b"roughfed opening v1\0"
UNMASK_DOMAIN = b"roughfed unmask v1\0"


@dataclass(frozen=True, slots=True)
class Advertise:
    """A client's public keys for the round, and the commitment to its self-mask secret.

    `weight_quarters`: the public weight class of its update, 1 to 4. `statics`: it still has its static statistics to
    give; `evaluates`: it will evaluate the base model; `trains`: its training works out what the header asks for
    (`roughfed.secagg.statistics`).
    """

    header_digest: bytes
    mask_key: bytes
    sealing_key: bytes
    commitment: bytes
    weight_quarters: int = 4
    tier: int = 1
    statics: bool = False
    evaluates: bool = False
    trains: bool = False


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is in the receiver's group. `cohort` has every advert of the round: (name, digest of its body), by name."""

    header_digest: bytes
    group: int
    adverts: tuple[Signed, ...]
    members: tuple[bytes, ...]
    cohort: tuple[tuple[str, bytes], ...]
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """One holder's shares of one dealer.

    Three tags say which keys the dealer has with the holder (the pair's mask, the sealing keys out and in) without
    telling them: a key that is opened later can be held against what *both* published.
    """

    holder: str
    ciphertext: bytes
    self_hash: bytes
    mask_hash: bytes
    pair_tag: bytes
    out_tag: bytes
    in_tag: bytes


@dataclass(frozen=True, slots=True)
class Shares:
    """What one dealer sends: one `Sealed` for each member, by name; the own one has the hashes alone."""

    header_digest: bytes
    roster_digest: bytes
    sealed: tuple[Sealed, ...]


@dataclass(frozen=True, slots=True)
class Deals:
    """All dealers' signed `Shares`, sent to every member; whoever is missing dealt nothing (and is not in U2)."""

    shares: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What the machines read of the statement that a client signs about its upload (`UpdateStatement`).

    `view_digest`: of the roster and of all deals as this client saw them (`roughfed.secagg.roster.view_digest`). Only
    statements of one view are ever summed: their masks cancel, and everybody knows who could have masked with whom.
    """

    client: str
    view_digest: bytes


@dataclass(frozen=True, slots=True)
class Seed:
    """The root of all uploads of the round, and the group's place under it.

    `statements`: signed, of the group's U3, by name. Their Merkle root is leaf `index` of `count`, one a group.
    """

    header_digest: bytes
    group: int
    root: bytes
    path: tuple[bytes, ...]
    index: int
    count: int
    dim: int
    statements: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A client's sketch and, for each pair that masks, the sketch of the pair's mask."""

    seed_root: bytes
    codes: bytes
    pairs: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """The server's question: this member signed another sketch of your common mask. Show the key."""

    member: str
    sketch: Signed


@dataclass(frozen=True, slots=True)
class Opening:
    """A key that settles a dispute with `against`: `kind` is "pair" (K of the pair) or "sealing" (of a bad share)."""

    header_digest: bytes
    kind: str
    against: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Sets:
    """Accepted and excluded (with reasons); together they are U2, the clients that dealt shares.

    `statements`: signed, of the accepted, by name: who is counted has signed that it uploaded, and under which view.
    """

    header_digest: bytes
    group: int
    accepted: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]
    seed_root: bytes
    statements: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Consistency:
    """A client saw exactly these sets."""

    sets_digest: bytes


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """At least t members' signatures over the same sets."""

    consistency: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class Unmask:
    """Shares: (dealer, share) of b for the accepted, of the mask secret for the excluded."""

    sets_digest: bytes
    self_mask: tuple[tuple[str, bytes], ...]
    mask_secret: tuple[tuple[str, bytes], ...]


Message = (
    Advertise
    | Roster
    | Shares
    | Deals
    | Statement
    | Seed
    | Sketch
    | Conflict
    | Opening
    | Sets
    | Consistency
    | UnmaskRequest
    | Unmask
)
