"""Chunks by hand: the bytes of the message `Chunk`, without the copies that a generated class makes.

A generated message copies `data` when it is set, when it is serialized, and again at every access. The layout is
fixed (proto/v1/tensor.proto), so we write the two field headers ourselves and hand out a view; a test holds the
result against the generated class, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from roughfed.errors import RemoteProtocolError
from roughfed.types import Signed
from roughfed.wire.updates import decode_signed_update, encode_signed_update

CHUNK_BYTES = 1 << 20
"""Payload of one chunk: large enough to amortise a call's cost, a quarter of gRPC's default message limit."""

LEAST_BYTES = 1 << 16
"""Payload of the first chunks of a careful transfer."""

_OFFSET, _DATA, _UPDATE = 0x08, 0x12, 0x1A  # field number << 3 | wire type


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a flat vector.

    Attributes:
        offset: position of its first byte in the whole vector.
        data: the bytes, a view into the received message.
        update: only on the first chunk of an upload: the signed statement.
    """

    offset: int
    data: memoryview
    update: Signed | None = None


def chunk_length(offset: int, *, start: int, careful: bool) -> int:
    """Length of the next chunk of a transfer.

    A careful transfer begins with short chunks: a cut in the middle of one loses little beside what was moved before,
    a quarter at most, or `LEAST_BYTES`. Each chunk costs both sides a message, so that is for peers whose transfers
    were cut before. Chunks end at multiples of their length, a power of two, so that who began elsewhere gets the same
    ones.

    Args:
        offset: where it begins.
        start: where this try of the transfer began.
        careful: whether an earlier transfer with this peer was cut.

    Returns:
        1 to `CHUNK_BYTES`; the end of the data is for the caller to see.
    """
    if not careful:
        return CHUNK_BYTES - offset % CHUNK_BYTES
    length = min(CHUNK_BYTES, 1 << max(LEAST_BYTES.bit_length(), ((offset - start) // 4).bit_length()) - 1)
    return length - offset % length


def encode_chunk(offset: int, data: bytes | memoryview, update: Signed | None = None) -> bytes:
    """Serialize one chunk with a single copy of the data."""
    head = (bytes([_OFFSET]) + _varint(offset)) if offset else b""  # proto3 leaves zeros out
    body = (bytes([_DATA]) + _varint(len(data))) if len(data) else b""
    tail = b""
    if update is not None:
        statement = encode_signed_update(update)
        tail = bytes([_UPDATE]) + _varint(len(statement)) + statement
    return b"".join((head, body, data, tail))


def decode_chunk(message: bytes) -> Chunk:
    """Parse one chunk without copying its data.

    Raises:
        RemoteProtocolError: not a Chunk, a field twice, or more data than CHUNK_BYTES.
    """
    view, at = memoryview(message), 0
    offset, data, update = 0, view[:0], None
    seen: set[int] = set()
    while at < len(view):
        tag = view[at]
        if tag in seen:
            raise _malformed(f"field {tag >> 3} twice")
        seen.add(tag)
        value, at = _read_varint(view, at + 1)
        if tag == _OFFSET:
            offset = value
            continue
        if tag not in (_DATA, _UPDATE) or at + value > len(view):
            raise _malformed(f"tag {tag} with {value} bytes, {len(view) - at} left")
        piece, at = view[at : at + value], at + value
        if tag == _DATA:
            data = piece
        else:
            update = decode_signed_update(bytes(piece))
    if len(data) > CHUNK_BYTES:
        raise _malformed(f"{len(data)} bytes of data, at most {CHUNK_BYTES} allowed")
    return Chunk(offset, data, update)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _malformed("it ends inside a number")
        byte, at = view[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                raise _malformed("a number beyond 64 bits")
            return value, at
    raise _malformed("a number beyond 64 bits")


def _malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"malformed chunk: {what}", reason="schema")
