"""Sealed messages: published and frozen bytes, and every change of them refused."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto.sealing import OVERHEAD_BYTES, open_sealed, seal, sealing_aad
from roughfed.errors import LocalProtocolError, RemoteProtocolError

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "secagg" / "sealing.json").read_text())
HEADER, ROSTER, KEY = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))


def aad(**changed: object) -> bytes:
    own = {"header_digest": HEADER, "group": 3, "sender": "beta", "receiver": "alpha", "roster_digest": ROSTER}
    return sealing_aad(**{**own, **changed})  # pyright: ignore[reportArgumentType]


def test_gcm_as_published() -> None:
    v = {k: bytes.fromhex(x) for k, x in VECTORS["gcm"].items() if k != "source"}
    sealed = seal(v["key"], v["plaintext"], aad=v["aad"], entropy=lambda _: v["nonce"])
    assert sealed == v["nonce"] + v["ciphertext"] + v["tag"]
    assert open_sealed(v["key"], sealed, aad=v["aad"]) == v["plaintext"]


def test_a_sealed_message_is_frozen() -> None:
    v = VECTORS["seal"]
    assert aad().hex() == v["aad"]
    nonce, plaintext, key = (bytes.fromhex(v[k]) for k in ("nonce", "plaintext", "key"))
    sealed = seal(key, plaintext, aad=aad(), entropy=lambda _: nonce)
    assert sealed.hex() == v["sealed"]
    assert len(sealed) == len(plaintext) + OVERHEAD_BYTES
    assert open_sealed(key, sealed, aad=aad()) == plaintext


@pytest.mark.parametrize("bad", VECTORS["bad"])
def test_bad_vectors_are_refused(bad: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        open_sealed(KEY, bytes.fromhex(VECTORS["bad"][bad]), aad=aad())
    assert caught.value.reason == "sealing"


@pytest.mark.parametrize(
    "changed",
    [
        {"header_digest": ROSTER},
        {"group": 4},
        {"sender": "bet"},
        {"receiver": "alphb"},
        {"sender": "alpha", "receiver": "beta"},
        {"roster_digest": HEADER},
    ],
    ids=["round", "group", "sender", "receiver", "direction", "roster"],
)
def test_a_message_opens_in_its_own_place_only(changed: dict[str, object]) -> None:
    sealed = seal(KEY, b"two shares", aad=aad(), entropy=os.urandom)
    with pytest.raises(RemoteProtocolError) as caught:
        open_sealed(KEY, sealed, aad=aad(**changed))
    assert caught.value.reason == "sealing"


@given(plaintext=st.binary(max_size=100), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(plaintext: bytes, at: int, bit: int) -> None:
    sealed = bytearray(seal(KEY, plaintext, aad=b"aad", entropy=os.urandom))
    assert open_sealed(KEY, bytes(sealed), aad=b"aad") == plaintext
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        open_sealed(KEY, bytes(sealed), aad=b"aad")


def test_sealing_twice_never_repeats_a_nonce() -> None:
    sealed = {seal(KEY, b"same", aad=b"", entropy=os.urandom) for _ in range(100)}
    assert len({s[:12] for s in sealed}) == 100


def test_another_key_does_not_open_it() -> None:
    sealed = seal(KEY, b"x", aad=b"", entropy=os.urandom)
    with pytest.raises(RemoteProtocolError):
        open_sealed(bytes(32), sealed, aad=b"")


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_only_full_length_keys_are_taken(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        seal(bytes(size), b"", aad=b"", entropy=os.urandom)
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        open_sealed(bytes(size), bytes(40), aad=b"")


def test_a_place_needs_its_digests_and_two_parties() -> None:
    for changed in ({"roster_digest": b""}, {"header_digest": bytes(31)}, {"sender": "alpha"}):
        with pytest.raises(LocalProtocolError):
            aad(**changed)


def test_errors_tell_no_secret() -> None:
    secret = b"a secret share, 33 bytes of it..."
    sealed = seal(KEY, secret, aad=b"", entropy=os.urandom)
    with pytest.raises(RemoteProtocolError) as caught:
        open_sealed(KEY, sealed[:-1], aad=b"")
    for hidden in (secret.decode(), KEY.hex(), sealed.hex()):
        assert hidden not in repr(caught.value)
