"""The newest header that a client accepted, shown to the server at hello (`roughfed.messages.Seen`)."""

from __future__ import annotations

from roughfed.errors import RemoteProtocolError
from roughfed.messages import Seen
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.pb.v1 import secagg_pb2 as sec
from roughfed.types import Signed
from roughfed.wire.updates import parse

MAX_BYTES = 48 << 10
"""Of header and roster entry together, so that a hello stays below its 64 KiB (`roughfed.wire.sizes`): a header has
some hundred bytes, and some more for each tier of clients."""


def seen_message(value: Seen | None) -> fed.SeenHeader | None:
    """To its message; None where there is nothing to show, or it is longer than a server reads."""
    if value is None or len(value.header.body) + len(value.server) > MAX_BYTES:
        return None
    header = sec.Signed(body=value.header.body, signature=value.header.signature, signer=value.header.signer)
    return fed.SeenHeader(header=header, server=parse(sec.SignedRosterEntry, value.server))


def seen_value(m: fed.SeenHeader) -> Seen:
    """The message as a value; nothing in it is believed yet.

    Raises:
        RemoteProtocolError: reason "size".
    """
    if m.ByteSize() > MAX_BYTES + 1024:
        raise RemoteProtocolError(f"a header that was seen, of {m.ByteSize()} bytes", reason="size")
    return Seen(Signed(m.header.body, m.header.signature, m.header.signer), m.server.SerializeToString())
