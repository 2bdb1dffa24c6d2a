"""How long what a client sends may be: looked at before anything is parsed, so that no message makes others wait."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.errors import RemoteProtocolError, TooLarge
from roughfed.pb.v1 import federation_pb2 as fed
from roughfed.types import BINS, MOST_CONFUSED
from roughfed.wire.secagg import MAX_STAGE_BYTES
from roughfed.wire.updates import parse

_COUNT_BYTES = 6
"""Of a number that is counted, on the wire: every one in an evaluation is below 2^41, and in a statistic below 2^36."""

_SAYING_BYTES = 64 << 10
"""Of a statement without its lists: 64 metrics with names of 100 characters are the most of it."""

_BODIES = {
    "hello": 64 << 10,
    "heartbeat": 4 << 10,
    "job": 16 << 10,
    "evaluation": 1 << 20,
    "leave": 1 << 10,
    "choice": 1 << 10,
    **MAX_STAGE_BYTES,
}

_RUN, _ROUND = 0x0A, 0x10  # field number << 3 | wire type, of a statement's first two fields
_MOST_OF_RUN = 100


def _limits() -> dict[int, int]:
    fields = fed.ClientMessage.DESCRIPTOR.fields_by_name
    return {fields[name].number: size for name, size in _BODIES.items()}


_LIMITS, _OTHER = _limits(), 1 << 10


def parse_client_message(data: bytes) -> tuple[str | None, fed.ClientMessage]:
    """A message of a session, and what it is.

    Raises:
        TooLarge: it is longer than the longest of its kind; nothing was parsed, or no list of it was read.
        RemoteProtocolError: malformed.
    """
    _check(data, _first_field(data))
    message = parse(fed.ClientMessage, data)
    kind = message.WhichOneof("body")
    if kind is not None:
        _check(data, fed.ClientMessage.DESCRIPTOR.fields_by_name[kind].number)  # it may have begun with another one
    return kind, message


def _check(data: bytes, number: int) -> None:
    if len(data) > (most := _LIMITS.get(number, _OTHER)):
        raise TooLarge(f"a message of {len(data)} bytes, at most {most} allowed")


def _first_field(data: bytes) -> int:
    first, second = (*data[:2], 0, 0)[:2]
    return (first & 0x7F | (second << 7 if first & 0x80 else 0)) >> 3


def statement_bytes(statistics: Sequence[str], num_classes: int) -> int:
    """The longest statement that a round can need.

    Args:
        statistics: that the round asks for in the clear, as "name:length".
        num_classes: C; 0 for a regression.
    """
    values = sum(int(text.rpartition(":")[2]) for text in statistics)
    evaluation = 2 * num_classes + min(num_classes, MOST_CONFUSED) ** 2 + 3 * BINS
    return _SAYING_BYTES + _COUNT_BYTES * (values + 3 * evaluation)


def statement_round(body: bytes) -> tuple[str, int]:
    """Run and round that a serialized statement begins with; nothing else of it is looked at.

    Raises:
        RemoteProtocolError: reason "schema"; it does not begin so.
    """
    length = body[1] if len(body) > 1 else 0
    at = 2 + length
    if not 0 < length <= _MOST_OF_RUN or body[0] != _RUN or len(body) <= at or body[at] != _ROUND:
        raise RemoteProtocolError("a statement begins with run and round", reason="schema")
    number = 0
    for shift, byte in enumerate(body[at + 1 : at + 10]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return body[2:at].decode("utf-8", "replace"), number
    raise RemoteProtocolError("a statement begins with run and round", reason="schema")
