"""The hand-made chunk codec against the generated class, and against bytes that nobody honest sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import RemoteProtocolError
from roughfed.pb.v1 import tensor_pb2
from roughfed.types import Signed
from roughfed.wire.chunks import CHUNK_BYTES, LEAST_BYTES, chunk_length, decode_chunk, encode_chunk

offsets = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**32, 2**63, 2**64 - 1]))
updates = st.none() | st.builds(Signed, st.binary(max_size=300), st.binary(max_size=80), st.just(""))


def generated(offset: int, data: bytes, update: Signed | None) -> bytes:
    message = tensor_pb2.Chunk(offset=offset, data=data)
    if update is not None:
        message.update.CopyFrom(tensor_pb2.SignedUpdate(statement=update.body, signature=update.signature))
    return message.SerializeToString()


@given(offset=offsets, data=st.binary(max_size=600), update=updates)
def test_both_codecs_write_the_same_bytes_and_read_one_another(offset: int, data: bytes, update: Signed | None) -> None:
    ours = encode_chunk(offset, memoryview(data), update)
    assert ours == generated(offset, data, update)

    chunk = decode_chunk(ours)
    assert (chunk.offset, bytes(chunk.data), chunk.update) == (offset, data, update)

    parsed = tensor_pb2.Chunk.FromString(ours)
    assert (parsed.offset, parsed.data, parsed.HasField("update")) == (offset, data, update is not None)


@given(message=st.binary(max_size=200))
def test_arbitrary_bytes_are_a_chunk_or_a_refusal(message: bytes) -> None:
    try:
        chunk = decode_chunk(message)
    except RemoteProtocolError:
        return
    parsed = tensor_pb2.Chunk.FromString(message)  # stricter than the generated class, never laxer
    assert (parsed.offset, parsed.data) == (chunk.offset, chunk.data)


@given(
    data=st.binary(min_size=1, max_size=60),
    cut=st.integers(0, 200),
    flip=st.integers(0, 200),
    bit=st.integers(0, 7),
)
def test_damage_to_a_real_chunk_never_escapes_as_another_error(data: bytes, cut: int, flip: int, bit: int) -> None:
    whole = encode_chunk(300, data, Signed(b"statement", bytes(64), ""))
    damaged = bytearray(whole)
    damaged[flip % len(whole)] ^= 1 << bit
    for message in (whole[: cut % len(whole)], bytes(damaged)):
        try:
            chunk = decode_chunk(message)
        except RemoteProtocolError:
            continue
        assert len(chunk.data) <= len(message)


MALFORMED = {
    "ends after a tag": b"\x08",
    "ends inside a number": b"\x08\x80\x80",
    "a number of eleven bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "a number beyond 64 bits": b"\x08" + b"\xff" * 9 + b"\x02",
    "more data announced than there is": b"\x12\x05abcd",
    "a length near 2^64": b"\x12" + b"\xff" * 9 + b"\x01",
    "offset twice": b"\x08\x01\x08\x02",
    "data twice": b"\x12\x01a\x12\x01b",
    "an unknown field": b"\x20\x01",
    "the offset as a fixed64": b"\x09" + bytes(8),
    "field number 0": b"\x00\x00",
    "a group": b"\x0b\x0c",
    "an update that is no message": b"\x1a\x02\xff\xff",
    "one byte too much": encode_chunk(0, bytes(CHUNK_BYTES + 1)),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_chunks_are_refused(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode_chunk(message)
    assert refused.value.reason == "schema"


def test_a_full_chunk_is_allowed_and_its_data_is_a_view_of_the_message() -> None:
    message = encode_chunk(CHUNK_BYTES, bytes(CHUNK_BYTES), Signed(b"s", b"t", ""))
    chunk = decode_chunk(message)
    assert len(chunk.data) == CHUNK_BYTES
    assert isinstance(chunk.data, memoryview)
    assert chunk.data.obj is message


def test_an_empty_message_is_an_empty_chunk_as_in_proto3() -> None:
    assert encode_chunk(0, b"") == b""
    chunk = decode_chunk(b"")
    assert (chunk.offset, len(chunk.data), chunk.update) == (0, 0, None)


def cut(size: int, start: int, *, careful: bool = True) -> list[tuple[int, int]]:
    """(offset, length) of the chunks of a try that begins at `start`."""
    chunks: list[tuple[int, int]] = []
    offset = start
    while offset < size:
        length = min(chunk_length(offset, start=start, careful=careful), size - offset)
        chunks.append((offset, length))
        offset += length
    return chunks


@given(start=st.integers(0, 1 << 24).map(lambda quads: 4 * quads), size=st.integers(1, 8 << 20))
def test_a_cut_loses_a_quarter_of_what_a_try_has_moved_at_most(start: int, size: int) -> None:
    for offset, length in cut(start + size, start):
        assert 0 < length <= max(LEAST_BYTES, (offset - start) // 4)
        assert length <= CHUNK_BYTES
        assert length % 4 == 0 or offset + length == start + size  # no float32 is cut in two


def test_a_long_transfer_has_few_chunks_and_one_that_goes_on_has_the_same() -> None:
    whole = cut(1 << 28, 0)
    assert len(whole) <= 256 + 16
    again = cut(1 << 28, 123 << 20)
    assert len(set(again) & set(whole)) >= 133 - 5


@given(start=st.integers(0, 1 << 24).map(lambda quads: 4 * quads), size=st.integers(1, 8 << 20))
def test_without_a_cut_a_transfer_has_as_few_chunks_as_can_be(start: int, size: int) -> None:
    chunks = cut(start + size, start, careful=False)
    assert len(chunks) <= size // CHUNK_BYTES + 2
    assert all(0 < length <= CHUNK_BYTES for _, length in chunks)
    assert all((offset + length) % CHUNK_BYTES == 0 for offset, length in chunks[:-1])  # who resumes gets the same
    assert len(cut(4_000_000, 0)) <= 20
