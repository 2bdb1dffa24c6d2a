"""A member that colludes: the server knows its keys, so it plays the member's part itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from roughfed.client.members.credential_files import Credentials
from roughfed.crypto.masks import Lanes
from roughfed.deploy.audit.active.server import ActiveServer, Opened
from roughfed.digest import content_digest
from roughfed.messages import ServerStage
from roughfed.secagg.client import ClientRound, Policy
from roughfed.secagg.messages import SHARES_DOMAIN, Shares
from roughfed.secagg.terms import Party
from roughfed.types import Signed, UpdateStatement
from roughfed.wire.secagg import STAGE_VALUES, StageWire, decode_stage
from roughfed.wire.updates import UPDATE_DOMAIN, encode_statement


@dataclass(frozen=True, slots=True)
class Colluder:
    """The papers of an enrolled client of which no agent runs."""

    papers: Credentials

    @property
    def name(self) -> str:
        """Enrolled name."""
        return self.papers.name

    def state(self, said: UpdateStatement, *, name: str = "") -> Signed:
        """A statement under this member's signature, also one that is said to be another's."""
        body = encode_statement(said)
        return Signed(body, self.papers.identity.sign(UPDATE_DOMAIN, body), name or self.name)

    def take_seat(self, server: ActiveServer, opened: Opened) -> Seated:
        """Begin a masked round."""
        own = self.papers
        party = Party(own.name, own.identity.sign, server.open_member, StageWire())
        machine = Colluding(opened.secret.terms, party, os.urandom(32), Policy(largest_dim=4096))
        return Seated(self, opened, machine)


class Colluding(ClientRound):
    """A member's machine in the hands of whoever attacks."""

    @property
    def mask_secret(self) -> bytes:
        """X25519, of the pair masks."""
        return self._mask.private

    def _count(self, statements: Sequence[Signed], names: Sequence[str]) -> None:
        """Whoever the server says."""

    def spoil(self, deal: Signed, holders: Sequence[str]) -> Signed:
        """This member's deal with false tags for some members."""
        value = decode_stage(Shares, deal.body)
        sealed = tuple(replace(one, pair_tag=os.urandom(32)) if one.holder in holders else one for one in value.sealed)
        spoilt = self._me.signed(SHARES_DOMAIN, replace(value, sealed=sealed))
        self._own_deal = spoilt.body
        return spoilt


@dataclass(slots=True)
class Seated:
    """A colluder in one masked round: by the book, unless its attack says otherwise."""

    member: Colluder
    opened: Opened
    machine: Colluding

    def hear(self, stage: ServerStage) -> Sequence[Signed]:
        """What it answers."""
        signed = Signed(stage.body, stage.signature, "") if stage.signature else None
        return self.machine.receive(decode_stage(STAGE_VALUES[stage.kind], stage.body), signed)

    def upload(self) -> tuple[Signed, bytes]:
        """An update of zeros, masked: in a sum it stands for nothing."""
        terms = self.opened.secret.terms
        codes: Lanes = np.full(terms.lanes, terms.zero, dtype=terms.dtype)
        codes[terms.length :] = 0
        data = self.machine.mask(codes).tobytes()
        header = self.opened.header
        said = UpdateStatement(
            run=header.run,
            round=header.round,
            client=self.member.name,
            header_digest=self.opened.signed.digest,
            digest=content_digest(data),
            size_bytes=len(data),
            num_examples=0,
            view_digest=self.machine.view_digest,
        )
        statement = self.member.state(said)
        self.machine.uploaded(statement)
        return statement, data
