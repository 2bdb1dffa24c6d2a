"""The newest header that a client has seen, as proof of a round that this server's journal may lack."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from roughfed.crypto.identity import verify
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.messages import Seen
from roughfed.types import RoundHeader, Signed
from roughfed.wire.enrolment import open_member
from roughfed.wire.session import HEADER_DOMAIN, decode_header

log = logging.getLogger(__name__)

NOBODY = bytes(32)
"""Root of the roster in a header that only asks for an evaluation (`roughfed.server.round.run`): no round has it."""


@dataclass(frozen=True, slots=True)
class HeaderProof:
    """A header of this run with the signature of a server of this federation."""

    header: RoundHeader
    signed: Signed


def proof_of(seen: Seen | None, *, run: str, ca_certificate: bytes, federation: str = "") -> HeaderProof | None:
    """What a client's word is worth: nobody but a server can have signed a header. None where it proves nothing."""
    if seen is None:
        return None
    try:
        server = open_member(seen.server, ca_certificate, federation=federation, dated=False)
        verify(server.identity_key, HEADER_DOMAIN, seen.header.body, seen.header.signature)
        header = decode_header(seen.header.body)
    except (IdentityError, RemoteProtocolError) as error:
        log.info("a header that a client has seen proves nothing: %s", error)
        return None
    if server.role != "server" or header.run != run or header.roster_root == NOBODY:
        return None
    return HeaderProof(header, Signed(seen.header.body, seen.header.signature, server.name))
