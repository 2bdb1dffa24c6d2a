"""The chunk decoder, written by hand, beside the generated class: what it takes, the other one reads alike."""

from __future__ import annotations

from roughfed.errors import LocalProtocolError, RoughfedError
from roughfed.pb.v1 import tensor_pb2 as ten
from roughfed.wire.chunks import CHUNK_BYTES, decode_chunk, encode_chunk
from roughfed.wire.updates import encode_statement

from .values import SIGNED, STATEMENT

RUNS = 8000


def fuzz(data: bytes) -> None:
    try:
        chunk = decode_chunk(data)
    except LocalProtocolError:
        raise
    except RoughfedError:
        return
    assert len(chunk.data) <= min(CHUNK_BYTES, len(data))
    other = ten.Chunk.FromString(data)
    assert (chunk.offset, bytes(chunk.data)) == (other.offset, other.data)
    assert (chunk.update is not None) == other.HasField("update")
    if chunk.update is not None:
        assert (chunk.update.body, chunk.update.signature) == (other.update.statement, other.update.signature)


def seeds() -> list[bytes]:
    signed = SIGNED(encode_statement(STATEMENT))
    return [
        encode_chunk(0, b"12345678", signed),
        encode_chunk(1 << 20, bytes(40)),
        encode_chunk((1 << 64) - 1, b"x"),
        encode_chunk(300, b""),
    ]
