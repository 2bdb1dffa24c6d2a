"""Laws of the room `shared/codec`: whoever is in CODECS keeps them."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec import CHAIN, CODECS
from roughfed.errors import LocalProtocolError, RemoteProtocolError

names = pytest.mark.parametrize("name", CODECS)


def vector(size: int, of: int = 0) -> np.ndarray:
    return np.random.default_rng(of).normal(size=size).astype(np.float32)


def whole(name: str, payload: bytes, size: int) -> np.ndarray:
    CODECS[name].check(payload, size)
    return CODECS[name].decode(payload, 0, size, size=size)


def test_names_are_kebab_case_and_apart_from_the_chain() -> None:
    assert all(name == name.lower().replace("_", "-") for name in CODECS)
    assert CHAIN not in CODECS
    assert all(set(row.modes) <= {"updates", "sketches", "sums"} for row in CODECS.values())


@names
@settings(max_examples=30)
@given(size=st.integers(1, 3000), of=st.integers(0, 2**32 - 1), exponent=st.integers(-3, 4), data=st.data())
def test_slices_are_parts_of_the_whole(name: str, size: int, of: int, exponent: int, data: st.DataObject) -> None:
    codec, delta = CODECS[name], vector(size, of) * np.float32(10.0**exponent)
    before = delta.copy()
    payload = codec.encode(delta)
    np.testing.assert_array_equal(delta, before)
    assert payload == codec.encode(delta)
    assert len(payload) <= codec.max_bytes(size)
    decoded = whole(name, payload, size)
    assert decoded.dtype == np.float32
    assert decoded.shape == (size,)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    np.testing.assert_array_equal(codec.decode(payload, start, stop, size=size), decoded[start:stop])
    np.testing.assert_array_equal(codec.decode(memoryview(payload), start, stop, size=size), decoded[start:stop])


@names
@given(size=st.integers(1, 3000), of=st.integers(0, 2**32 - 1))
def test_decoding_is_contractive(name: str, size: int, of: int) -> None:
    """|x - decode(x)| <= |x|, the condition of error feedback; exact if it says so; zero stays zero."""
    delta = vector(size, of)
    lost = np.linalg.norm(delta - whole(name, CODECS[name].encode(delta), size))
    assert lost <= np.linalg.norm(delta) * (0 if not CODECS[name].lossy else 1)
    assert not whole(name, CODECS[name].encode(np.zeros(size, np.float32)), size).any()


@names
def test_what_is_lost_arrives_with_feedback(name: str) -> None:
    delta, size = vector(2000), 2000
    residual, arrived = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for _ in range(200):
        wanted = delta + residual
        said = whole(name, CODECS[name].encode(wanted), size)
        arrived += said
        residual = wanted - said
    assert np.linalg.norm(arrived / 200 - delta) < 0.2 * np.linalg.norm(delta)


@names
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_not_sent(name: str, value: float) -> None:
    delta = vector(500)
    delta[300] = value
    with pytest.raises(LocalProtocolError):
        CODECS[name].encode(delta)


@names
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_not_taken(name: str, value: float) -> None:
    payload = bytearray(CODECS[name].encode(np.ones(64, np.float32)))
    patterns = {"fp16": np.float16(value).tobytes(), "int8": np.float32(value).tobytes()}
    pattern = patterns.get(name, np.float32(value).tobytes())
    payload[: len(pattern)] = pattern if name != "top-k" else payload[: len(pattern)]
    if name == "top-k":
        payload[-4:] = pattern
    with pytest.raises(RemoteProtocolError) as caught:
        CODECS[name].check(payload, 64)
    assert caught.value.reason == "not-finite"


@names
@given(payload=st.binary(max_size=300), size=st.integers(1, 80))
def test_any_bytes_are_refused_or_decode_to_finite_numbers(name: str, payload: bytes, size: int) -> None:
    try:
        CODECS[name].check(payload, size)
    except RemoteProtocolError:
        return
    decoded = CODECS[name].decode(payload, 0, size, size=size)
    assert np.isfinite(decoded).all()


@names
@given(payload=st.data())
def test_other_lengths_are_refused(name: str, payload: st.DataObject) -> None:
    size = payload.draw(st.integers(1, 300))
    extra = payload.draw(st.integers(1, 64))
    good = CODECS[name].encode(vector(size))
    with pytest.raises(RemoteProtocolError) as caught:
        CODECS[name].check(good + bytes(extra), size)
    assert caught.value.reason == "size"
    with pytest.raises(RemoteProtocolError):
        CODECS[name].check(good[:-1], size)


@names
def test_a_long_payload_is_refused_before_anything_is_allocated(name: str) -> None:
    payload = bytes(32 << 20)
    CODECS[name].check(CODECS[name].encode(vector(500)), 500)  # imports and caches
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            CODECS[name].check(payload, 1000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "places",
    [[3, 3], [5, 4], [0, 64], [0, 2**32 - 1]],
)
def test_places_that_repeat_descend_or_lie_outside_are_refused(places: list[int]) -> None:
    payload = np.array(places, "<u4").tobytes() + np.ones(2, "<f4").tobytes()
    with pytest.raises(RemoteProtocolError) as caught:
        CODECS["top-k"].check(payload, 64)
    assert caught.value.reason == "schema"


def test_top_k_sends_the_largest_and_the_first_of_equal_ones() -> None:
    delta = np.zeros(96, np.float32)  # three are sent
    delta[[10, 20, 30, 40]] = (1, -5, 1, -1)
    decoded = whole("top-k", CODECS["top-k"].encode(delta), 96)
    assert np.flatnonzero(decoded).tolist() == [10, 20, 30]
    assert decoded[20] == -5


@pytest.mark.parametrize(("name", "most"), [("identity", 1.0), ("fp16", 0.5), ("int8", 0.26), ("top-k", 0.063)])
def test_bytes_beside_float32(name: str, most: float) -> None:
    assert CODECS[name].max_bytes(1_000_000) / 4_000_000 <= most


def test_halves_saturate_instead_of_becoming_infinite() -> None:
    decoded = whole("fp16", CODECS["fp16"].encode(np.float32([1e9, -1e9, 1])), 3)
    assert decoded.tolist() == [65504, -65504, 1]
