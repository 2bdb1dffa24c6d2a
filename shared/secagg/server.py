"""The server's side of one group in one round: collects, disputes, names the sets, unmasks, checks.

The machine does no I/O and holds no upload: `finish` is given a way to read them. Which clients are accepted beyond the
protocol's own rules (the defence) is told to `name_sets`. A group that cannot finish is void, alone; the others count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from roughfed.crypto.identity import verify
from roughfed.crypto.masks import Lanes, sum_masks
from roughfed.crypto.merkle import merkle_root
from roughfed.errors import IdentityError, LocalProtocolError, RemoteProtocolError
from roughfed.secagg import messages as m
from roughfed.secagg.disputes import Disputes
from roughfed.secagg.evidence import Bulletin, Recovery, judge_complaint, opened_pair
from roughfed.secagg.groups import colluders, smallest_sum, threshold
from roughfed.secagg.pairs import confirmed_pairs
from roughfed.secagg.roster import make_cohort, most_colluders, roster_digest, view_digest
from roughfed.secagg.stage import Stage
from roughfed.secagg.terms import Terms, Wire, sketch_lanes
from roughfed.secagg.unmasking import Claim, Outcome, Secrets, Timing, false_pairs, is_true, recover, untimed
from roughfed.sketch.buckets import NORM_BOUND, Sketcher
from roughfed.types import Signed

M = TypeVar("M")

PROOF_BOUND = 2.0
"""A signed sketch above this many C is a proof; above NORM_BOUND it only excludes."""


class GroupRound:
    """One group."""

    def __init__(
        self,
        terms: Terms,
        group: int,
        adverts: Sequence[Signed],
        keys: Mapping[str, bytes],
        wire: Wire,
        *,
        cohort: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Begin with the group's roster.

        Args:
            terms: of the round.
            group: number of the group.
            adverts: sorted by signer.
            keys: Ed25519 keys by name, from the CA-signed roster entries.
            wire: values to bytes and back.
            cohort: everybody in the round (`roster.make_cohort`); without it, the group is alone.
        """
        self.stage = Stage.DEALING
        self.names = tuple(advert.signer for advert in adverts)
        self.threshold = threshold(len(self.names))
        everybody = cohort or make_cohort(adverts)
        self._most_colluders = most_colluders(everybody)
        self.proofs: dict[str, str] = {}
        self.noted: dict[str, str] = {}
        self._terms, self._keys, self._wire, self._group = terms, keys, wire, group
        self._roster_digest = roster_digest(group, adverts, everybody)
        self._adverts = {a.signer: wire.decode(m.Advertise, a.body) for a in adverts}
        self._shares: dict[str, Signed] = {}
        self._deals: dict[str, dict[str, m.Sealed]] = {}
        self._board: Bulletin | None = None
        self._openings: set[tuple[str, str, str]] = set()
        self._statements: dict[str, Signed] = {}
        self._sketcher: Sketcher | None = None
        self._root = self._sets_digest = b""
        self._claims: dict[str, Claim] = {}
        self._disputes = Disputes(colluders(len(self.names)))
        self._unsettled: set[str] = set()
        self.verdicts: dict[str, str] = {}
        self._sets: m.Sets | None = None
        self._agreed: dict[str, Signed] = {}
        self._answers: dict[str, m.Unmask] = {}

    # -- share --------------------------------------------------------------------------------------------------------

    def take_shares(self, signed: Signed) -> bool:
        """One dealer's shares; whether they are new.

        Raises:
            RemoteProtocolError: late, twice with other bytes, or not one for each member.
        """
        value = self._take(m.Shares, m.SHARES_DOMAIN, signed, stage=Stage.DEALING)
        holders = tuple(sealed.holder for sealed in value.sealed)
        if value.roster_digest != self._roster_digest or holders != self.names:
            raise RemoteProtocolError("the shares are for another roster, or not one for each member", reason="shares")
        if (known := self._shares.get(signed.signer)) is not None:
            if known.body != signed.body:
                raise RemoteProtocolError("other shares than before", reason="conflict")
            return False
        self._shares[signed.signer] = signed
        self._deals[signed.signer] = {sealed.holder: sealed for sealed in value.sealed}
        return True

    def close_dealing(self) -> m.Deals:
        """U2 is who dealt; everything they dealt goes to all of them."""
        self._enter(Stage.DEALING, Stage.MASKING)
        header = self._terms.header_digest
        pairs = confirmed_pairs(self._deals, self.threshold)
        self._board = Bulletin(header, self._group, self.names, self._roster_digest, self._adverts, self._deals, pairs)
        self._note(set(self.names) - set(self.dealers), "no shares")
        return m.Deals(tuple(self._shares[name] for name in self.dealers))

    @property
    def dealers(self) -> tuple[str, ...]:
        """U2, by name."""
        return tuple(sorted(self._shares))

    def take_opening(self, signed: Signed) -> bool:
        """An opened key: a complaint, or an answer in a dispute."""
        value = self._take(m.Opening, m.OPENING_DOMAIN, signed)
        if self._board is None:
            raise RemoteProtocolError("an opening before the shares are dealt", reason="order")
        if (said := (signed.signer, value.kind, value.against)) in self._openings:
            return False
        if value.against not in self.names:
            raise RemoteProtocolError("an opening about nobody of this group", reason="order")
        self._judge_opening(self.board, signed.signer, value)
        self._openings.add(said)
        return True

    def _judge_opening(self, board: Bulletin, name: str, value: m.Opening) -> None:
        match value.kind:
            case "sealing" if self.stage is Stage.MASKING:
                if (fault := judge_complaint(board, name, value)) is not None:
                    self.proofs.setdefault(*fault)
            case "pair" if self.stage is Stage.SKETCHING:
                pair = (name, value.against) if name < value.against else (value.against, name)
                if self._disputes.knows(pair) and (key := opened_pair(board, name, value)) is not None:
                    self._disputes.opened(pair, key)
            case _:
                raise RemoteProtocolError(f"an opening of kind {value.kind} in {self.stage.name}", reason="order")

    # -- masked input and sketch --------------------------------------------------------------------------------------

    def close_masking(self, statements: Mapping[str, Signed]) -> None:
        """U3 is who uploaded, of those who are not left out; by the statements that they signed about their uploads.

        One over another view than this group's is a proof: everybody was dealt the same. Without any it does not count.
        """
        self._enter(Stage.MASKING, Stage.SKETCHING if self._terms.dim else Stage.JUDGING)
        view = view_digest(self._roster_digest, [self._shares[name] for name in self.dealers])
        for name in sorted(statements.keys() & self.board.pairs.keys()):
            if (signed_view := self._view_of(statements[name])) == view:
                self._statements[name] = statements[name]
            elif signed_view:
                self.proofs.setdefault(name, "false-view")
        self._note(self.board.pairs.keys() - self._statements.keys() - self.proofs.keys(), "no upload")

    def _view_of(self, statement: Signed) -> bytes:
        try:
            return self._wire.decode(m.Statement, statement.body).view_digest
        except RemoteProtocolError:
            return b""

    @property
    def uploaded(self) -> tuple[str, ...]:
        """U3, by name."""
        return tuple(self._statements)

    @property
    def uploads_root(self) -> bytes:
        """Merkle root of the statements of U3: this group's leaf under the root of the round."""
        return merkle_root([signed.digest for signed in self._statements.values()])

    def seed_for(self, root: bytes, path: Sequence[bytes], index: int, count: int) -> m.Seed:
        """The seed message of the group; `root` is over the uploads of all groups."""
        self._root = root
        self._sketcher = self._terms.sketcher(root, self._most_colluders)
        header, dim = self._terms.header_digest, self._terms.dim
        statements = tuple(self._statements.values())
        return m.Seed(header, self._group, root, tuple(path), index, count, dim, statements)

    def take_sketch(self, signed: Signed) -> bool:
        """A client's sketch and those of its pair masks; whether it is new.

        Raises:
            RemoteProtocolError: another seed, wrong lengths, or not one for each mate that uploaded.
        """
        value = self._take(m.Sketch, m.SKETCH_DOMAIN, signed, stage=Stage.SKETCHING)
        name, terms = signed.signer, self._terms
        if name not in self._statements or value.seed_root != self._root:
            raise RemoteProtocolError("a sketch without an upload, or under another seed", reason="sketch")
        if name in self._claims:
            if self._claims[name].signed.body != signed.body:
                raise RemoteProtocolError("another sketch than before", reason="conflict")
            return False
        wanted = [mate for mate in self.board.mates(name) if mate in self._statements]
        pairs = {member: sketch_lanes(lanes, terms) for member, lanes in value.pairs}
        lengths = {len(lanes) for lanes in (sketch_lanes(value.codes, terms), *pairs.values())}
        if [member for member, _ in value.pairs] != wanted or lengths != {terms.dim}:
            raise RemoteProtocolError("the sketches are not one for each mate that uploaded", reason="sketch")
        self._claims[name] = Claim(signed, sketch_lanes(value.codes, terms), pairs)
        self._disputes.compare(name, self._claims)
        return True

    def conflicts(self) -> list[tuple[str, m.Conflict]]:
        """Whom to ask about which pair: both sides of every new pair whose two sketches differ."""
        return self._disputes.ask(self._claims)

    def has_conflicts(self) -> bool:
        """Whether there is a pair whose sketches differ that nobody was asked about yet."""
        return self.stage is Stage.SKETCHING and self._disputes.new

    def close_sketching(self) -> None:
        """Settle the disputes: an opened key tells who lied.

        Where nobody opens, both are left out and noted, unless one of them is proved a liar already.
        """
        self._enter(Stage.SKETCHING, Stage.JUDGING)
        self._note(self._statements.keys() - self._claims.keys(), "no sketch")
        if self._claims:
            for liar in sorted(self._disputes.liars(self._claims, self.sketcher.of_mask)):
                self.proofs.setdefault(liar, "false-pair-sketch")
        for a, b in self._disputes.unsettled():
            if not {a, b} & self.proofs.keys():
                self._unsettled |= {a, b}
                self._note({a}, f"dispute with {b}")
                self._note({b}, f"dispute with {a}")
        for name, halves in self.norms().items():
            if max(halves) > PROOF_BOUND:
                self.proofs.setdefault(name, "over-bound")

    def claims(self) -> dict[str, NDArray[np.float64]]:
        """What each client says about its update: float64 [dim], in units of codes (see `Sketcher.claim`).

        Divided by what its weight class makes of the length of an update: so they compare, and all bounds hold alike.
        """
        found = {name: self.sketcher.claim(claim.codes) for name, claim in sorted(self._claims.items())}
        return {n: c / self._terms.relative_length(self._adverts[n].weight_quarters) for n, c in found.items()}

    def norms(self) -> dict[str, tuple[float, float]]:
        """Estimated norm of each update by the two halves of its sketch, in units of C."""
        estimates = {name: self.sketcher.norms(claim) for name, claim in self.claims().items()}  # none without sketches
        return {name: (a / self._terms.norm_unit, b / self._terms.norm_unit) for name, (a, b) in estimates.items()}

    # -- sets, consistency, unmask ------------------------------------------------------------------------------------

    def name_sets(self, rejected: Mapping[str, str]) -> m.Sets | None:
        """A and X: the protocol's own exclusions, then the defence's (name -> reason). None: too few, void."""
        if self.stage is not Stage.JUDGING:
            raise LocalProtocolError(f"sets in {self.stage.name}")
        far = self._beyond_bound()
        reasons = {name: self._reason(name, far) or rejected.get(name, "") for name in self.dealers}
        self.verdicts = dict.fromkeys(self.names, "no-shares") | reasons
        accepted = tuple(name for name, why in reasons.items() if not why)
        if len(accepted) < smallest_sum(len(self.names)):
            self.stage = Stage.DONE
            return None
        excluded = tuple((name, why) for name, why in reasons.items() if why)
        statements = tuple(self._statements[name] for name in accepted)
        self._sets = m.Sets(self._terms.header_digest, self._group, accepted, excluded, self._root, statements)
        self.stage = Stage.AGREEING
        return self._sets

    def eligible(self) -> dict[str, NDArray[np.float64]]:
        """The claims of those whom the protocol itself accepts: what a defence may choose from."""
        far = self._beyond_bound()
        return {name: claim for name, claim in self.claims().items() if not self._reason(name, far)}

    def _beyond_bound(self) -> set[str]:
        return {name for name, halves in self.norms().items() if max(halves) > NORM_BOUND}

    def _reason(self, name: str, far: set[str]) -> str:
        """Why the protocol itself keeps a dealer out of the sum; "" when it does not."""
        rules = (
            ("left-out", name not in self.board.pairs),
            (self.proofs.get(name, ""), name in self.proofs),
            ("dropped", name not in self._statements),
            ("no-sketch", bool(self._terms.dim) and name not in self._claims),
            ("dispute", name in self._unsettled),
            ("norm", name in far),
        )
        return next((why for why, holds in rules if holds), "")

    def sets_signed(self, signed: Signed) -> None:
        """The bytes of the sets as they are sent, after they are journaled."""
        self._sets_digest = signed.digest

    def take_consistency(self, signed: Signed) -> bool:
        """One member's signature over the sets; whether it is new."""
        value = self._take(m.Consistency, m.CONSISTENCY_DOMAIN, signed, stage=Stage.AGREEING)
        if value.sets_digest != self._sets_digest:
            raise RemoteProtocolError("a signature over other sets", reason="sets")
        new = signed.signer not in self._agreed
        self._agreed[signed.signer] = signed
        return new

    def unmask_request(self) -> m.UnmaskRequest | None:
        """The members' signatures, once there are t of them."""
        if len(self._agreed) < self.threshold:
            return None
        self.stage = Stage.UNMASKING
        return m.UnmaskRequest(tuple(self._agreed[name] for name in sorted(self._agreed)))

    def take_unmask(self, signed: Signed) -> bool:
        """One member's shares; whether they are new."""
        value = self._take(m.Unmask, m.UNMASK_DOMAIN, signed, stage=Stage.UNMASKING)
        if value.sets_digest != self._sets_digest:
            raise RemoteProtocolError("shares for other sets", reason="sets")
        if (known := self._answers.setdefault(signed.signer, value)) != value:
            raise RemoteProtocolError("another answer than before", reason="conflict")
        return known is value

    @property
    def agrees(self) -> bool:
        """Enough members have signed the sets."""
        return len(self._agreed) >= self.threshold

    @property
    def owing(self) -> set[str]:
        """Whose message this stage waits for; nobody's where the server or the uploads are awaited."""
        match self.stage:
            case Stage.DEALING:
                return set(self.names) - self._shares.keys()
            case Stage.SKETCHING:
                return (self._statements.keys() - self._claims.keys()) | self._disputes.owing()
            case Stage.AGREEING:
                return self.board.pairs.keys() - self._agreed.keys()
            case Stage.UNMASKING:
                return self._agreed.keys() - self._answers.keys()
            case _:
                return set()

    def finish(self, read: Callable[[str], Lanes], time: Timing = untimed) -> Outcome:
        """Unmask the sum and hold every accepted upload against its sketch.

        `read`: name -> masked lanes, [D + tail], once for each accepted client. `time`: goes around "shares", "unmask".
        """
        was, self.stage = self.stage, Stage.DONE
        if (sets := self._sets) is None:
            return self._void("too-few-accepted")
        self._note(self.board.pairs.keys() - self._agreed.keys(), "no signature over the sets")
        self._note(self._agreed.keys() - self._answers.keys() if was is Stage.UNMASKING else (), "silent at unmask")
        if len(self._answers) < self.threshold:
            return self._void("too-few-answers")
        recovery = Recovery(self.board, self.threshold, self.proofs)
        with time("shares"):
            secrets = recover(recovery, sets, self._answers)
        if secrets is None:
            return self._void("a secret could not be put together")
        total, false = self._check(sets, read, secrets)
        if false:
            return self._void("a sketch was false")
        with time("unmask"):
            sum_masks(total, secrets.masks())
        total, tail = total[: self._terms.length], total[self._terms.length :]
        if int(total.max(initial=0)) > len(sets.accepted) * (self._terms.levels - 1):
            self._note({""}, "a sum beyond the range of honest codes")
        return Outcome(total, sets.accepted, "", dict(self.proofs), dict(self.noted), tail)

    def _check(self, sets: m.Sets, read: Callable[[str], Lanes], secrets: Secrets) -> tuple[Lanes, set[str]]:
        """The masked sum, and the accepted whose sketches are false (all that are, are proved)."""
        total = np.zeros(self._terms.lanes, dtype=self._terms.dtype)
        false: set[str] = set()
        if self._terms.dim:
            liars = false_pairs(self._claims, self.sketcher, secrets)
            self.proofs |= {liar: self.proofs.get(liar, "false-pair-sketch") for liar in liars}
            false |= liars & set(sets.accepted)
        for name in sets.accepted:
            lanes = read(name)
            if self._terms.dim and not is_true(name, lanes, self._claims, at=self.sketcher, secrets=secrets):
                self.proofs.setdefault(name, "false-sketch")
                false.add(name)
            np.add(total, lanes, out=total)
        return total, false

    @property
    def board(self) -> Bulletin:
        """What the group has published."""
        if self._board is None:
            raise LocalProtocolError("nothing is dealt yet")
        return self._board

    @property
    def sketcher(self) -> Sketcher:
        """S of this round."""
        if self._sketcher is None:
            raise LocalProtocolError("there is no seed yet")
        return self._sketcher

    def _note(self, names: Iterable[str], what: str) -> None:
        for name in names:
            self.noted.setdefault(name, what)

    def _take(self, kind: type[M], domain: bytes, signed: Signed, *, stage: Stage | None = None) -> M:
        if stage is not None and self.stage is not stage:
            raise RemoteProtocolError(f"{kind.__name__} in {self.stage.name}", reason="late")
        if (key := self._keys.get(signed.signer)) is None or signed.signer not in self.names:
            raise IdentityError(f"{signed.signer[:63]!r} is not in this group", reason="foreign")
        verify(key, domain, signed.body, signed.signature)
        value = self._wire.decode(kind, signed.body)
        header = getattr(value, "header_digest", self._terms.header_digest)
        if header != self._terms.header_digest:
            raise RemoteProtocolError("a message of another round", reason="header")
        return value

    def _enter(self, current: Stage, following: Stage) -> None:
        if self.stage is not current:
            raise LocalProtocolError(f"from {self.stage.name} to {following.name}")
        self.stage = following

    def _void(self, why: str) -> Outcome:
        return Outcome(None, (), why, dict(self.proofs), dict(self.noted))
