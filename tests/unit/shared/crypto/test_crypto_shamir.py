"""Shamir sharing: any t restore the secret, fewer say nothing, and wrong shares are told from right ones."""

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.crypto.agreement import directed_info
from roughfed.crypto.shamir import (
    PRIME,
    combine,
    combine_integers,
    decode_share,
    is_share,
    share_hash,
    split,
    split_integer,
)
from roughfed.errors import LocalProtocolError, RemoteProtocolError, TooFewClients

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "secagg" / "shamir.json").read_text())
SECRET = bytes(range(32))
INFO = directed_info(bytes(32), 0, "alpha", "beta")


def tape(numbers: Iterable[int]) -> Callable[[int], bytes]:
    """A source that gives these numbers, one each draw."""
    left = iter(numbers)
    return lambda size: next(left).to_bytes(size, "big")


def stream(seed: bytes) -> Callable[[int], bytes]:
    count = itertools.count(1)
    return lambda size: hashlib.shake_256(seed + next(count).to_bytes(4, "big")).digest(size)


def test_the_modulus_is_prime() -> None:
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47):  # Miller and Rabin
        powers = [pow(base, odd << i, PRIME) for i in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers


def test_shares_are_frozen_and_any_five_of_seven_restore_the_secret() -> None:
    v = VECTORS["split"]
    secret, shares = bytes.fromhex(v["secret"]), {int(x): bytes.fromhex(s) for x, s in v["shares"].items()}
    again = split(secret, list(shares), threshold=v["threshold"], entropy=stream(bytes.fromhex(v["entropy_seed"])))
    assert again == list(shares.values())
    for some in itertools.combinations(shares, 5):
        assert combine({x: shares[x] for x in some}, 5) == secret
    for some in itertools.combinations(shares, 4):
        assert combine({x: shares[x] for x in some}, 4) != secret


@settings(max_examples=60)
@given(secret=st.binary(min_size=32, max_size=32), data=st.data())
def test_any_t_of_n_shares_restore_the_secret(secret: bytes, data: st.DataObject) -> None:
    xs = data.draw(st.lists(st.integers(1, 65_535), min_size=2, max_size=24, unique=True))
    threshold = data.draw(st.integers(2, len(xs)))
    shares = dict(zip(xs, split(secret, xs, threshold=threshold, entropy=os.urandom), strict=True))
    chosen = data.draw(st.permutations(xs))[: data.draw(st.integers(threshold, len(xs)))]
    assert combine({x: shares[x] for x in chosen}, threshold) == secret


@pytest.mark.parametrize(("threshold", "n"), [(2, 4), (3, 4), (3, 6), (4, 4)])
def test_fewer_than_t_shares_say_nothing(threshold: int, n: int) -> None:
    """Over a small prime, for every secret: t - 1 shares take every value equally often."""
    prime = 7
    holders = range(1, n + 1)
    seen: dict[int, list[Counter[tuple[int, ...]]]] = {}
    for secret in range(prime):
        rows = [
            split_integer(secret, holders, threshold=threshold, entropy=tape(coefficients), prime=prime)
            for coefficients in itertools.product(range(prime), repeat=threshold - 1)
        ]
        views = itertools.combinations(range(n), threshold - 1)
        seen[secret] = [Counter(tuple(row[i] for i in view) for row in rows) for view in views]
    assert all(views == seen[0] for views in seen.values())
    assert all(set(view.values()) == {1} and len(view) == prime ** (threshold - 1) for view in seen[0])


def test_coefficients_are_uniform_because_large_draws_are_rejected() -> None:
    firsts = Counter[int]()
    for drawn in range(256):
        # With the secret 0 the share of holder 1 is the coefficient; 255 masks to 7, which is rejected.
        share, _ = split_integer(0, (1, 2), threshold=2, entropy=tape([drawn, 255, 0]), prime=7)
        firsts[share] += 1
    assert firsts == Counter({**dict.fromkeys(range(1, 7), 32), 0: 64})  # the 32 rejected ones drew 0 again
    assert split_integer(0, (1, 2), threshold=2, entropy=tape([2**257 - 1, PRIME, PRIME - 1]))[0] == PRIME - 1


def test_a_stuck_source_is_noticed() -> None:
    with pytest.raises(LocalProtocolError, match="stuck"):
        split(SECRET, (1, 2, 3), threshold=2, entropy=lambda size: b"\xff" * size)


@pytest.mark.parametrize(
    ("holders", "threshold", "match"),
    [
        ((1, 2, 2), 2, "same"),
        ((0, 1, 2), 2, "x-coordinates"),
        ((-1, 1, 2), 2, "x-coordinates"),
        ((1, 2, 65_536), 2, "x-coordinates"),
        ((1, 2, 3), 1, "threshold 1"),
        ((1, 2, 3), 0, "threshold 0"),
        ((1, 2, 3), 4, "threshold 4"),
        ((), 2, "threshold 2"),
    ],
)
def test_what_cannot_be_shared_is_refused(holders: tuple[int, ...], threshold: int, match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        split(SECRET, holders, threshold=threshold, entropy=os.urandom)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_secret_has_32_bytes(size: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{size} bytes"):
        split(bytes(size), (1, 2), threshold=2, entropy=os.urandom)


def test_too_few_shares_are_counted() -> None:
    shares = split(SECRET, (1, 2, 3, 4), threshold=3, entropy=os.urandom)
    with pytest.raises(TooFewClients) as caught:
        combine({1: shares[0], 4: shares[3]}, 3)
    assert (caught.value.needed, caught.value.got) == (3, 2)


@pytest.mark.parametrize("threshold", [-1, 0, 1])
def test_no_threshold_below_two_restores_anything(threshold: int) -> None:
    with pytest.raises(LocalProtocolError, match="threshold"):
        combine({1: bytes(33), 2: bytes(33)}, threshold)


@pytest.mark.parametrize("x", [0, -1, 65_536, PRIME + 1])
def test_coordinates_out_of_range_are_refused(x: int) -> None:
    with pytest.raises(LocalProtocolError, match="x-coordinates"):
        combine_integers({x: 1, 2: 1}, 2)
    with pytest.raises(LocalProtocolError, match="x-coordinates"):
        share_hash(bytes(33), x, of="self-mask", info=INFO)


@pytest.mark.parametrize("bad", VECTORS["bad"])
def test_bad_vectors_are_refused(bad: str) -> None:
    v = VECTORS["bad"][bad]
    with pytest.raises(RemoteProtocolError) as caught:
        combine({int(x): bytes.fromhex(s) for x, s in v["shares"].items()}, v["threshold"])
    assert caught.value.reason == "share"


@given(at=st.integers(0, 4), bit=st.integers(0, 255))
def test_a_wrong_share_never_restores_the_secret(at: int, bit: int) -> None:
    shares = dict(enumerate(split(SECRET, range(1, 6), threshold=5, entropy=os.urandom), start=1))
    value = int.from_bytes(shares[at + 1], "big") ^ (1 << bit)
    shares[at + 1] = (value % PRIME).to_bytes(33, "big")
    assert combine(shares, 5) != SECRET  # refused as out of range with probability 2^-247


def test_hashes_are_frozen_and_stand_for_one_share_only() -> None:
    v = VECTORS["hash"]
    share, info, x = bytes.fromhex(v["share"]), bytes.fromhex(v["info"]), v["x"]
    assert share_hash(share, x, of="self-mask", info=info).hex() == v["self-mask"]
    assert share_hash(share, x, of="mask-secret", info=info).hex() == v["mask-secret"]
    expected = bytes.fromhex(v["self-mask"])
    assert is_share(expected, share, x, of="self-mask", info=info)
    assert not is_share(expected, share, x, of="mask-secret", info=info)
    assert not is_share(expected, share, x + 1, of="self-mask", info=info)
    assert not is_share(expected, share, x, of="self-mask", info=INFO)
    assert not is_share(expected, share[:-1] + b"\0", x, of="self-mask", info=info)
    assert not is_share(expected[:-1], share, x, of="self-mask", info=info)


def test_errors_tell_no_share() -> None:
    share = (PRIME + 1).to_bytes(33, "big")
    texts: list[str] = []
    for bad in (share, share[:-1]):
        with pytest.raises(RemoteProtocolError) as caught:
            decode_share(bad, 3)
        texts.append(repr(caught.value))
    for text in texts:
        assert "holder 3" in text
        assert share[:16].hex() not in text
        assert str(PRIME + 1) not in text
