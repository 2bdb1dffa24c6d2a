"""Key agreement: published vectors, weak keys refused, and one key for each purpose and context."""

import hashlib
import hmac
import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.crypto import agreement
from roughfed.crypto.agreement import (
    MASK,
    SEAL,
    SELF,
    TAG,
    KeyPair,
    derive,
    directed_info,
    exchange,
    key_tag,
    member_info,
    pair_info,
)
from roughfed.errors import LocalProtocolError, RemoteProtocolError

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "secagg" / "agreement.json").read_text())
HEADER, OTHER = bytes(range(32)), bytes(32)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 by hand."""
    prk = hmac.digest(salt, ikm, hashlib.sha256)
    out, block = b"", b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([i]), hashlib.sha256)
        out += block
    return out[:length]


@pytest.mark.parametrize("vector", VECTORS["rfc7748"], ids=lambda v: v["source"])
def test_exchange_as_published(vector: dict[str, str]) -> None:
    private, public, shared = (bytes.fromhex(vector[k]) for k in ("private", "public", "shared"))
    assert exchange(private, public) == shared


@pytest.mark.parametrize(("private", "public"), VECTORS["public_of"].items())
def test_the_public_half_as_published(private: str, public: str) -> None:
    key = KeyPair.from_private_bytes(bytes.fromhex(private))
    assert key.public.hex() == public
    assert key.is_public(bytes.fromhex(public))
    assert not key.is_public(bytes.fromhex(public)[:-1])
    assert not key.is_public(bytes(32))


@pytest.mark.parametrize("public", VECTORS["low_order"])
def test_points_of_low_order_are_refused(public: str) -> None:
    with pytest.raises(RemoteProtocolError, match="low order") as caught:
        exchange(KeyPair.generate(os.urandom).private, bytes.fromhex(public))
    assert caught.value.reason == "key"


def test_an_all_zero_result_is_refused_even_where_the_library_lets_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless:
        def exchange(self, public: object) -> bytes:
            return bytes(32)

    public = KeyPair.generate(os.urandom).public
    monkeypatch.setattr(agreement, "_private_key", lambda _: Careless())
    with pytest.raises(RemoteProtocolError, match="low order"):
        exchange(bytes(32), public)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused(size: int) -> None:
    key = KeyPair.generate(os.urandom)
    with pytest.raises(RemoteProtocolError, match=f"{size} bytes, want 32") as caught:
        exchange(key.private, bytes(size))
    assert caught.value.reason == "key"
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        exchange(bytes(size), key.public)
    with pytest.raises(LocalProtocolError, match=f"{size} bytes, want 32"):
        KeyPair.from_private_bytes(bytes(size))


def test_both_sides_agree_and_a_third_does_not() -> None:
    a, b, c = (KeyPair.generate(os.urandom) for _ in range(3))
    assert exchange(a.private, b.public) == exchange(b.private, a.public)
    assert exchange(a.private, b.public) != exchange(c.private, b.public)


def test_derive_is_hkdf_over_purpose_and_info() -> None:
    rfc = VECTORS["rfc5869"]
    assert hkdf(*(bytes.fromhex(rfc[k]) for k in ("ikm", "salt", "info")), 42).hex() == rfc["okm"]
    secret = bytes(range(32))
    for length in (16, 32, 42, 100):
        assert derive(secret, MASK, b"info", length) == hkdf(secret, b"roughfed hkdf v1", MASK + b"info", length)


@pytest.mark.parametrize(("name", "purpose"), [("mask", MASK), ("self", SELF), ("seal", SEAL), ("tag", TAG)])
def test_derived_keys_are_frozen(name: str, purpose: bytes) -> None:
    vector, info = VECTORS["derive"], bytes.fromhex(VECTORS["info"]["pair"])
    assert derive(bytes.fromhex(vector["secret"]), purpose, info).hex() == vector[name]


def test_the_tag_comes_from_the_key_and_not_from_the_secret_beside_it() -> None:
    vector, info = VECTORS["derive"], bytes.fromhex(VECTORS["info"]["pair"])
    assert key_tag(bytes.fromhex(vector["mask"]), info).hex() == vector["key_tag_of_mask"]
    assert len({vector[k] for k in ("mask", "self", "seal", "tag", "key_tag_of_mask")}) == 5


@pytest.mark.parametrize("purpose", [b"", b"\0", b"mask", b"ma\0sk\0", b"ma\0sk"])
def test_a_purpose_ends_in_its_only_zero_byte(purpose: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="purpose"):
        derive(bytes(32), purpose, b"")


def test_a_short_secret_makes_no_key() -> None:
    with pytest.raises(LocalProtocolError, match="31 bytes"):
        derive(bytes(31), MASK, b"")


def test_infos_are_frozen() -> None:
    v = VECTORS["info"]
    header = bytes.fromhex(v["header_digest"])
    assert pair_info(header, v["group"], v["a"], v["b"]).hex() == v["pair"]
    assert directed_info(header, v["group"], v["b"], v["a"]).hex() == v["directed"]
    assert member_info(header, v["group"], v["a"]).hex() == v["member"]
    assert v["pair"] == v["header_digest"] + "00000003" + "0004" + b"pair".hex() + "0005" + b"alpha".hex() + "0004" + (
        b"beta".hex()
    )


@given(a=NAMES, b=NAMES, c=NAMES, d=NAMES, groups=st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)))
def test_an_info_is_symmetric_and_stands_for_one_pair_only(
    a: str, b: str, c: str, d: str, groups: tuple[int, int]
) -> None:
    if a == b or c == d:
        return
    assert pair_info(HEADER, groups[0], a, b) == pair_info(HEADER, groups[0], b, a)
    same = groups[0] == groups[1] and {a, b} == {c, d}
    assert (pair_info(HEADER, groups[0], a, b) == pair_info(HEADER, groups[1], c, d)) == same


def test_all_contexts_differ() -> None:
    names = ["a", "ab", "b", "abc", "bc", "c"]
    infos = [
        make(header, group, *pair)
        for header, group in itertools.product((HEADER, OTHER), (0, 1))
        for make, pairs in (
            (pair_info, itertools.combinations(names, 2)),
            (directed_info, itertools.permutations(names, 2)),
            (member_info, ((name,) for name in names)),
        )
        for pair in pairs
    ]
    assert len(set(infos)) == len(infos) == 4 * (15 + 30 + 6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pair_info(HEADER, 0, "a", "a"),
        lambda: directed_info(HEADER, 0, "a", "a"),
        lambda: pair_info(HEADER[:-1], 0, "a", "b"),
        lambda: member_info(HEADER + b"\0", 0, "a"),
        lambda: member_info(HEADER, -1, "a"),
        lambda: member_info(HEADER, 2**32, "a"),
        lambda: member_info(HEADER, 0, ""),
    ],
    ids=["itself", "to-itself", "short", "long", "negative", "large", "nameless"],
)
def test_what_is_no_context_is_refused(make: object) -> None:
    with pytest.raises(LocalProtocolError):
        make()  # pyright: ignore[reportCallIssue]


def test_neither_repr_nor_errors_nor_equality_show_the_private_half() -> None:
    private = bytes(range(1, 33))
    key = KeyPair.from_private_bytes(private)
    with pytest.raises(RemoteProtocolError) as refused:
        exchange(private, bytes(32))
    with pytest.raises(LocalProtocolError) as short:
        derive(private[:20], MASK, b"")
    for text in (repr(key), str(key), str(refused.value), repr(refused.value), str(short.value)):
        assert private[:16].hex() not in text
        assert repr(private[:16])[2:-1] not in text
    assert key == KeyPair(bytes(32), key.public)
