"""Tiers of clients: who sends which coordinates, how means are merged, who is seated, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec.chain import decode_merged, decode_sum, encode
from roughfed.codec.plan import ChainParams, Summed, plan_lanes
from roughfed.config import FederationConfig
from roughfed.deploy.plan import plan
from roughfed.errors import ConfigError, RemoteProtocolError
from roughfed.masked_round import maskings_of
from roughfed.messages import Hello
from roughfed.server.cohort.tiers import assign_tiers, check_hello, check_tiers, drawn
from roughfed.server.round.updates.plain import merged_means
from roughfed.tiers import (
    LOUDEST,
    completed,
    feeds_back,
    header_for,
    length_of,
    loudness,
    merged,
    pieces_of,
    ranges_of,
)
from roughfed.types import ClientTier, Signed, Spec, TensorSpec
from roughfed.upload_format import sending_of, sendings_of
from roughfed.wire.session import decode_header, encode_header
from tests.unit.client_tiers import HEADS, SPEC, THIN, D, header, masked

# -- coordinates -------------------------------------------------------------------------------------------------------


def test_neighbours_are_joined_and_everything_is_one_range() -> None:
    assert ranges_of(SPEC, ()) == ((0, 21),)
    assert ranges_of(SPEC, ("b.*",)) == ((7, 15),)
    assert ranges_of(SPEC, ("head", "a")) == ((0, 7), (15, 21))
    assert ranges_of(SPEC, ("nothing",)) == ()


ranges = st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True).map(
    lambda cuts: tuple(zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False))
)


@settings(max_examples=25)
@given(found=ranges, start=st.integers(0, 60), length=st.integers(1, 60))
def test_the_pieces_of_a_slice_are_its_coordinates(found: tuple[tuple[int, int], ...], start: int, length: int) -> None:
    whole = [at for low, high in found for at in range(low, high)]
    got = [
        (at, place + at - low)
        for low, high, place in pieces_of(found, start, start + length)
        for at in range(low, high)
    ]
    assert got == [(at, place) for place, at in enumerate(whole) if start <= at < start + length]


@settings(max_examples=25)
@given(data=st.data(), count=st.integers(1, 4))
def test_merged_means_are_those_of_a_slow_reference_whatever_the_slices(data: st.DataObject, count: int) -> None:
    size, parts, total, weight = 60, [], np.zeros(60), np.zeros(60)
    for _ in range(count):
        found = data.draw(ranges)
        values = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=length_of(found)).astype(np.float32)
        w = data.draw(st.sampled_from([0.25, 1.0, 3.0, 7.5]))
        parts.append((reader(values), w, found))
        at = np.concatenate([np.arange(*one) for one in found])
        total[at] += w * values.astype(np.float64)
        weight[at] += w
    wanted = np.divide(total, weight, out=np.zeros(size), where=weight > 0).astype(np.float32)
    mean, cut = merged(parts, size), data.draw(st.integers(1, 59))
    np.testing.assert_array_equal(mean(0, size), wanted)
    np.testing.assert_array_equal(np.concatenate([mean(0, cut), mean(cut, size)]), wanted)


def test_what_a_subset_says_is_right_in_the_mean_over_all_subsets() -> None:
    """One of 4 neighbours: over the four choices the merged mean is that of all, up to where it is held back."""
    rng = np.random.default_rng(1)
    base, few = rng.normal(size=(2, 16)).astype(np.float32)
    for share, factor in ((0.25, 1.0), (1.0, 4.0)):
        assert loudness(4, share) == factor
        means = [
            completed(reader(base), [(reader(few[k::4].copy()), np.arange(k, 16, 4), factor)])(0, 16) for k in range(4)
        ]
        np.testing.assert_allclose(np.mean(means, axis=0), base + share * (few - base), atol=1e-6)
    assert loudness(16, 0.9) == LOUDEST


def reader(values: np.ndarray) -> Any:
    return lambda start, stop: values[start:stop]


def test_masked_sums_of_a_subset_correct_the_mean_in_the_mean_over_the_rounds() -> None:
    """Many seeds of the rotation: the merged mean is that of all clients, and no tier hears of another's lanes."""
    size, clients = 64, 6
    deltas = np.random.default_rng(3).normal(size=(clients, size)).astype(np.float32) * 0.05 + 0.1
    wanted, found = deltas.mean(axis=0), np.zeros(size)
    seeds = 120
    for number in range(seeds):
        seed = number.to_bytes(32, "big")
        base = summed(deltas[:4], ChainParams(size, plan_lanes(4), 1.5, seed), number)
        few = summed(deltas[4:], ChainParams(size, plan_lanes(2), 2.0, seed, 4), number)
        found += decode_merged(base, [few]) / seeds
    assert np.abs(found - wanted).max() < 0.03 < np.abs(deltas[:4].mean(axis=0) - wanted).max()
    alone = decode_sum(base.code_sums, 4, base.params)
    np.testing.assert_allclose(decode_merged(base, []), alone, atol=1e-6)


def summed(deltas: np.ndarray, params: ChainParams, number: int) -> Summed:
    codes = [
        encode(delta, None, params, secret=bytes([at]) * 16 + number.to_bytes(16, "big")).codes.astype(np.uint32)
        for at, delta in enumerate(deltas)
    ]
    return Summed(np.sum(codes, axis=0, dtype=np.uint32), len(codes), float(len(codes)), params)


def test_what_is_sent_in_the_clear_follows_from_the_header() -> None:
    read = decode_header(encode_header(header(THIN, HEADS)))
    found = sendings_of(D, read, SPEC)
    assert [(name, one.size, one.length) for name, one in found.items()] == [
        ("", 21, 21),
        ("thin", found["thin"].size, 21),
        ("heads", 13, 13),
    ]
    assert found["thin"].size in (5, 6)
    again = sending_of(bytes([1]) * 32, header_for(read, "thin"), SPEC)
    assert not np.array_equal(found["thin"].places, again.places)
    delta = np.arange(21, dtype=np.float32)
    np.testing.assert_array_equal(found["thin"].taken(delta), found["thin"].places)
    with pytest.raises(RemoteProtocolError, match="trains no tensor"):
        sendings_of(D, header(ClientTier("x", 1, ("nothing",), codec="identity")), SPEC)


def test_means_in_the_clear_are_merged_as_masked_ones() -> None:
    found = sendings_of(D, header(THIN, HEADS), SPEC)
    rng = np.random.default_rng(2)
    base, few, heads = (rng.normal(size=one.size).astype(np.float32) for one in found.values())
    parts = [
        (one, reader(values), weight)
        for one, values, weight in zip(found.values(), (base, few, heads), (6.0, 2.0, 4.0), strict=True)
    ]
    wanted = base.astype(np.float64)
    places = found["thin"].places
    wanted[places] += 4 * 0.25 * (few - base[places])
    at = np.r_[0:7, 15:21]
    wanted[at] = (8 * wanted[at] + 4 * heads) / 12
    np.testing.assert_allclose(merged_means(parts, 21)(0, 21), wanted, rtol=1e-5)
    alone = merged_means(parts[1:2], 21)(0, 21)
    np.testing.assert_allclose(alone[places], few, rtol=1e-6)
    assert np.count_nonzero(alone) == len(places)


def test_only_where_nobody_sends_the_rest_is_it_said_later() -> None:
    alone = ClientTier("alone", 4, ("head",), codec="lanes")
    dense = ClientTier("dense", 1, ("head",), codec="lanes")
    assert feeds_back(masked())
    assert not feeds_back(header_for(masked(THIN), "thin"))
    assert feeds_back(header_for(masked(alone), "alone"))
    assert not feeds_back(header_for(masked(alone, dense), "alone"))
    assert feeds_back(header_for(masked(alone, dense), "dense"))


def test_classes_of_the_same_tensors_share_a_rotation_and_nothing_else() -> None:
    terms = {"codec": "lanes", "levels": 16, "lane_bits": 8, "clip_norm": 1.0, "epoch_round": 1}
    read = masked(ClientTier("thin", 4, **terms), ClientTier("heads", 1, ("head",), **terms))
    signed = Signed(encode_header(read), bytes(64), "server")
    whole, thin, heads = maskings_of(signed, read, spec=SPEC, server_key=D)
    assert whole.params.seed == thin.params.seed != heads.params.seed
    assert len({one.terms.header_digest for one in (whole, thin, heads)}) == 3
    assert [one.terms.tier for one in (whole, thin, heads)] == [1, 2, 3]
    assert (heads.params.size, heads.ranges, thin.ranges) == (6, ((15, 21),), ((0, 21),))


@pytest.mark.parametrize("dim", [128, 130])
def test_a_class_of_few_tensors_shows_no_more_than_a_quarter_of_them(dim: int) -> None:
    """Where as many numbers are seen as are sent, the sketch of a classifier is the update, and its labels."""
    model = Spec((TensorSpec("body", (5000,)), TensorSpec("head", (515,))))
    terms = {"codec": "lanes", "levels": 16, "lane_bits": 8, "clip_norm": 1.0, "epoch_round": 1}
    sketches = {"server_sees": "sketches", "sketch_dim": 128}
    read = replace(masked(ClientTier("heads", 1, ("head",), sketch_dim=dim, **terms)), **sketches)
    signed = Signed(encode_header(read), bytes(64), "server")
    if dim == 128:
        assert maskings_of(signed, read, spec=model, server_key=D)[1].terms.dim == dim
        return
    with pytest.raises(RemoteProtocolError, match="130 buckets for 515 codes"):
        maskings_of(signed, read, spec=model, server_key=D)


# -- who sits where ----------------------------------------------------------------------------------------------------


def config(**tables: Any) -> FederationConfig:
    tiers = {"tiers": {"thin": {"fraction": 0.25}, "heads": {"tensors": ["head"]}}}
    return FederationConfig.model_validate({"defence": {"rule": "none"}, "model": {"app": "a.py:c"}} | tiers | tables)


def hellos(**counts: int) -> dict[str, Hello]:
    place = {"standard": "", "flexible": "thin"}
    return {
        f"{name}-{at}": Hello("1", 1, b"", b"", (), "", place.get(name, name), standard_if_few=name == "flexible")
        for name, count in counts.items()
        for at in range(count)
    }


CLEAR = {"privacy": {"server_sees": "updates"}}
FEW = "too few of tier thin"
SEATINGS: dict[str, tuple[dict[str, Any], dict[str, int], dict[str, int], set[str]]] = {
    "enough of all": ({}, {"standard": 4, "thin": 4, "heads": 4}, {"": 4, "thin": 4, "heads": 4}, set()),
    "too few thin": ({}, {"standard": 4, "thin": 3}, {"": 4}, {f"{FEW}: 3 of 4"}),
    "flexible ones fall back": ({}, {"standard": 4, "thin": 1, "flexible": 2}, {"": 6}, {f"{FEW}: 3 of 4"}),
    "and may make up the standard tier": ({}, {"standard": 2, "flexible": 2}, {"": 4}, set()),
    "too few standard": ({}, {"standard": 3, "thin": 4}, {"thin": 4}, {"too few of the standard tier: 3 of 4"}),
    "in the clear one is enough": (CLEAR, {"standard": 1, "thin": 1}, {"": 1, "thin": 1}, set()),
    "the defence needs its rows": (
        {"defence": {"rule": "multi-krum", "f": 1}}, {"standard": 6, "thin": 4}, {"": 6},
        {f"{FEW}: 4 of 5"},
    ),
    "no tiers, no seats": ({"tiers": {}}, {"standard": 2}, {"": 2}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", SEATINGS)
def test_clients_are_seated_or_told_why_not(name: str) -> None:
    tables, counts, seated, standing = SEATINGS[name]
    found = assign_tiers(config(**tables), hellos(**counts))
    assert {place: len(found.of(place)) for place in set(found.tiers.values())} == seated
    assert set(found.standing.values()) == standing
    assert found.tiers.keys() | found.standing.keys() == hellos(**counts).keys()


def test_a_cohort_has_its_share_of_each_class() -> None:
    found = assign_tiers(config(), hellos(standard=30, thin=10, heads=4))
    cohort = drawn(found, invited=22, seed=1, round_number=1)
    assert {place: sum(found.tiers[name] == place for name in cohort) for place in ("", "thin", "heads")} == {
        "": 15, "thin": 5, "heads": 4,
    }  # fmt: skip
    assert (
        drawn(found, invited=22, seed=1, round_number=1) == cohort != drawn(found, invited=22, seed=1, round_number=2)
    )


def test_a_class_that_there_is_not_is_refused_at_hello() -> None:
    check_hello(config(), hellos(thin=1)["thin-0"])
    with pytest.raises(RemoteProtocolError, match=r"no tier 'fat'.*thin, heads"):
        check_hello(config(), hellos(fat=1)["fat-0"])


def test_classes_are_held_against_the_model() -> None:
    check_tiers(config(privacy={"server_sees": "sums"}), SPEC)
    private = Spec(tuple(t for t in SPEC.tensors if t.name != "head"))
    with pytest.raises(ConfigError, match="'head' of tier heads matches no tensor that clients send"):
        check_tiers(config(privacy={"server_sees": "sums"}), private)
    with pytest.raises(ConfigError, match="tier heads sends 6 coordinates, too few for the 128 numbers"):
        check_tiers(config(tiers={"heads": {"tensors": ["head"]}}), SPEC)
    measured = Spec((*private.tensors, TensorSpec("head", (6,), kind="buffer")))
    with pytest.raises(ConfigError, match="trains no parameter"):
        check_tiers(config(privacy={"server_sees": "sums"}), measured)


def test_a_plan_says_of_each_class_what_it_sends_and_whether_it_is_large_enough() -> None:
    found = plan(config(privacy={"server_sees": "sums"}), size=21, spec=SPEC, of_tier={"": 25, "thin": 3})
    standard, thin, heads = found.tiers
    assert (standard.update_bytes, standard.refused) == (32, "")
    assert sum(standard.groups) == 25
    assert (thin.groups, thin.needs, thin.refused) == ((), 4, "too few of tier thin: 3 of 4")
    assert thin.update_bytes == 8 < standard.update_bytes
    assert (heads.size, heads.clients, heads.groups) == (6, 4, (4,))
    clear = plan(config(privacy={"server_sees": "updates"}), size=21, spec=SPEC)
    assert [(one.needs, one.update_bytes) for one in clear.tiers] == [(1, 84), (1, 24), (1, 24)]
    with pytest.raises(ConfigError, match="no tier 'fat'"):
        plan(config(), of_tier={"fat": 3})
