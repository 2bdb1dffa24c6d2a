"""Groups: their sizes, their two numbers, and who is in which; and which pairs mask."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import TooFewClients
from roughfed.secagg import messages as m
from roughfed.secagg.groups import (
    ALONE,
    HONEST,
    LARGEST,
    PREFERRED,
    SMALLEST,
    beacon,
    colluders,
    contributors,
    form_groups,
    group_sizes,
    promised_colluders,
    smallest_sum,
    threshold,
)
from roughfed.secagg.pairs import confirmed_pairs
from roughfed.secagg.roster import unusable_adverts

VALUE = beacon(bytes(32), b"r" * 32, b"n" * 32)
names = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=8), min_size=4, max_size=120, unique=True)


@pytest.mark.parametrize("clients", range(SMALLEST, 400))
def test_groups_hold_everybody_and_hide_everybody(clients: int) -> None:
    sizes = group_sizes(clients)
    assert sum(sizes) == clients
    assert sizes == sorted(sizes, reverse=True)
    if clients <= ALONE:
        assert sizes == [clients]
    else:
        assert len(sizes) >= 3
        assert min(sizes) >= 7
        assert max(sizes) <= LARGEST


def test_preferred_sizes_are_taken_where_they_add_up() -> None:
    assert group_sizes(21) == [7, 7, 7]
    assert group_sizes(24) == [10, 7, 7]
    assert group_sizes(48) == [16, 16, 16]
    assert all(g - threshold(g) == colluders(g) for g in PREFERRED)


@pytest.mark.parametrize("clients", [0, 1, 3])
def test_below_four_there_is_no_group(clients: int) -> None:
    with pytest.raises(TooFewClients) as caught:
        group_sizes(clients)
    assert (caught.value.needed, caught.value.got) == (4, clients)


@pytest.mark.parametrize("g", range(4, 65))
def test_two_sets_cannot_both_be_answered(g: int) -> None:
    """With fewer than 2t - g members that answer twice, t answers to each of two sets need more than g members."""
    t = threshold(g)
    assert 2 * t - g >= 2 or g == 4
    assert (g - (2 * t - g - 1)) + 2 * (2 * t - g - 1) < 2 * t
    assert t <= g
    assert smallest_sum(g) >= max(4, g / 2)


@pytest.mark.parametrize("g", range(4, 21))
def test_whatever_is_accepted_four_contributors_are_in_it(g: int) -> None:
    """The smallest sum that the rules allow may leave out every one that promised nothing last."""
    promised = contributors(g)
    assert promised - (g - smallest_sum(g)) >= min(SMALLEST, smallest_sum(g))
    assert SMALLEST <= promised <= g


def test_the_numbers_of_the_gate() -> None:
    assert {g: threshold(g) for g in (4, 5, 8, 16)} == {4: 3, 5: 4, 8: 6, 16: 11}
    assert {g: colluders(g) for g in (4, 5, 8, 16)} == {4: 1, 5: 2, 8: 3, 16: 5}
    assert {g: smallest_sum(g) for g in (4, 5, 8, 9, 16)} == {4: 4, 5: 4, 8: 4, 9: 5, 16: 8}
    promised = {4: 1, 5: 1, 7: 1, 8: 1, 10: 2, 13: 4, 16: 5, 20: 7}
    assert {g: promised_colluders(g) for g in promised} == promised


@pytest.mark.parametrize("g", range(4, 129))
def test_with_the_promised_colluders_every_sum_has_three_inputs_of_others(g: int) -> None:
    c = promised_colluders(g)
    assert 1 <= c <= colluders(g)
    assert smallest_sum(g) - c >= HONEST


@given(members=names, seed=st.randoms())
def test_who_is_in_which_group_follows_from_names_and_beacon(members: list[str], seed: object) -> None:
    groups = form_groups(members, VALUE)
    assert sorted(itertools.chain(*groups)) == sorted(members)
    assert all(list(group) == sorted(group) for group in groups)
    shuffled = list(members)
    seed.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    assert form_groups(shuffled, VALUE) == groups


def test_another_beacon_makes_other_groups() -> None:
    members = [f"c{i}" for i in range(40)]
    first = form_groups(members, VALUE)
    for other in (beacon(b"1" * 32, b"r" * 32, b"n" * 32), beacon(bytes(32), b"s" * 32, b"n" * 32)):
        assert form_groups(members, other) != first


def deals_of(size: int, false: set[tuple[int, int]]) -> dict[str, dict[str, m.Sealed]]:
    """What everybody publishes; (dealer, holder) in `false` has a false tag."""

    def sealed(a: int, b: int) -> m.Sealed:
        pair = f"{min(a, b)}-{max(a, b)}".encode()
        tag = b"false" if (a, b) in false else pair
        return m.Sealed(str(b), b"", b"", b"", tag, f"{a}>{b}".encode(), f"{b}>{a}".encode())

    return {str(a): {str(b): sealed(a, b) for b in range(size)} for a in range(size)}


def test_a_pair_needs_the_same_tags_from_both() -> None:
    assert confirmed_pairs(deals_of(4, set()), 3) == {a: tuple(b for b in "0123" if b != a) for a in "0123"}
    pairs = confirmed_pairs(deals_of(4, {(0, 1)}), 3)
    assert (pairs["0"], pairs["1"]) == (("2", "3"), ("2", "3"))
    deals = deals_of(4, set())
    del deals["3"]
    assert confirmed_pairs(deals, 3).keys() == {"0", "1", "2"}


def test_who_has_too_few_pairs_is_left_out_and_counts_for_nobody() -> None:
    """t = 4 of 5: client 0 lies to 1 and 2 and goes; 3 and 4 lose one mate, and everybody still has three."""
    assert confirmed_pairs(deals_of(5, {(0, 1), (0, 2)}), 4).keys() == {"1", "2", "3", "4"}
    # One more false tag among the rest leaves two of them with two mates: then nobody has three any more.
    assert confirmed_pairs(deals_of(5, {(0, 1), (0, 2), (1, 2)}), 4) == {}


@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))), st.integers(3, 6))
def test_pairs_are_mutual_and_enough_or_none(false: set[tuple[int, int]], t: int) -> None:
    pairs = confirmed_pairs(deals_of(7, false), t)
    for name, mates in pairs.items():
        assert len(mates) >= t - 1
        assert all(name in pairs[mate] for mate in mates)


WEAK = (
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
)


def advert(tag: int, **changes: bytes) -> m.Advertise:
    fields = {"header_digest": b"h" * 32, "mask_key": bytes([9, tag]) + bytes(30), "commitment": bytes([tag]) * 32}
    return m.Advertise(**(fields | {"sealing_key": bytes([7, tag]) + bytes(30)} | changes))


@pytest.mark.parametrize("field", ["mask_key", "sealing_key"])
@pytest.mark.parametrize("weak", WEAK)
def test_one_weak_key_does_not_stop_the_round(field: str, weak: bytes) -> None:
    adverts = [("a", advert(1)), ("b", advert(2, **{field: weak})), ("c", advert(3))]
    assert unusable_adverts(adverts, b"h" * 32) == {"b": "weak-key"}


def test_a_copied_key_and_another_round_keep_out_who_sent_them() -> None:
    adverts = [
        ("a", advert(1)),
        ("b", advert(2, mask_key=advert(1).mask_key)),
        ("c", advert(3, sealing_key=advert(3).mask_key)),
        ("d", advert(4, header_digest=b"x" * 32)),
        ("e", advert(5)),
    ]
    assert unusable_adverts(adverts, b"h" * 32) == {"b": "key-twice", "c": "key-twice", "d": "header"}
