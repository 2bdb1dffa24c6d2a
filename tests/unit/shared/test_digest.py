"""The content hash."""

from hypothesis import given
from hypothesis import strategies as st

from roughfed.digest import DIGEST_BYTES, content_digest, hasher


@given(pieces=st.lists(st.binary(max_size=100), max_size=8))
def test_pieces_hash_like_the_whole(pieces: list[bytes]) -> None:
    running = hasher()
    for piece in pieces:
        running.update(memoryview(piece))
    whole = b"".join(pieces)
    assert running.digest() == content_digest(whole) == content_digest(memoryview(whole))
    assert len(running.digest()) == DIGEST_BYTES


def test_it_is_blake3_for_ever() -> None:
    assert content_digest(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert content_digest(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
