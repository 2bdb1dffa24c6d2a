"""The quantised way down: bit-identical parameters on both sides, nothing lost in the long run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.codec import blocks
from roughfed.codec.downlink import apply, payload_bytes, quantise
from roughfed.errors import LocalProtocolError, RemoteProtocolError

F32 = np.float32


def normal(size: int, *, of: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(of).normal(size=size) * scale).astype(F32)


@settings(max_examples=40)
@given(size=st.integers(1, 70_000), of=st.integers(0, 2**32 - 1), exponent=st.integers(-30, 30))
def test_server_and_client_hold_the_same_bits(size: int, of: int, exponent: int) -> None:
    update, error = normal(size, of=of, scale=10.0**exponent), np.zeros(size, F32)
    wanted = update.copy()
    server = normal(size, of=of + 1)
    client = server.copy()
    payload = quantise(update, error)
    server += update  # the decoded update, as the optimizer's last step
    apply(payload, client)
    assert client.tobytes() == server.tobytes()
    assert len(payload) == payload_bytes(size) == blocks.payload_bytes(size)
    largest = np.repeat([np.abs(wanted[i : i + 128]).max() for i in range(0, size, 128)], 128)[:size]
    assert (np.abs(update - wanted) <= largest * F32(0.5001 / 127)).all()
    np.testing.assert_array_equal(error, wanted - update)


def test_a_million_parameters_take_a_quarter() -> None:
    assert payload_bytes(1_000_000) / 4_000_000 < 0.26


def test_it_is_deterministic() -> None:
    first = quantise(normal(1000), normal(1000, of=1))
    assert first == quantise(normal(1000), normal(1000, of=1))


def test_error_feedback_brings_the_whole_update_over_time() -> None:
    """A block with one large value hides small ones; fed back, they arrive."""
    update = np.full(128, 1e-4, F32)
    update[0] = 1.0
    params, error = np.zeros(128, F32), np.zeros(128, F32)
    alone = np.zeros(128, F32)
    for _ in range(500):
        apply(quantise(update.copy(), error), params)
        apply(quantise(update.copy(), np.zeros(128, F32)), alone)
    assert not alone[1:].any()
    np.testing.assert_allclose(params, 500 * update, atol=1 / 127)
    assert np.abs(error).max() <= 1 / 127


def test_noise_is_as_small_as_eight_bits_make_it() -> None:
    update = normal(100_000)
    wanted = update.copy()
    quantise(update, np.zeros(100_000, F32))
    assert np.sum((update - wanted) ** 2) / np.sum(wanted**2) < 1e-4


def test_blocks_of_zeros_and_of_subnormals_are_zeros() -> None:
    update, error = np.zeros(300, F32), np.zeros(300, F32)
    update[130] = 1e-44
    payload = quantise(update, error)
    assert not any(payload)
    assert not update.any()
    assert error[130] == F32(1e-44)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    update = np.zeros(300, F32)
    update[200] = value
    with pytest.raises(LocalProtocolError, match="NaN or infinite"):
        quantise(update, np.zeros(300, F32))


def test_other_types_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="update float64"):
        quantise(np.zeros(3), np.zeros(3, F32))
    with pytest.raises(LocalProtocolError, match=r"error float32 \(4,\)"):
        quantise(np.zeros(3, F32), np.zeros(4, F32))


def scale_of(number: float) -> bytes:
    return F32(number).tobytes()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "size"),
        (scale_of(1) + bytes(129), "size"),
        (scale_of(1) + bytes(127), "size"),
        (scale_of(-1) + bytes(128), "not-finite"),
        (scale_of(np.nan) + bytes(128), "not-finite"),
        (scale_of(np.inf) + bytes(128), "not-finite"),
        (scale_of(3e38) + bytes(128), "not-finite"),
        (scale_of(1) + bytes(127) + b"\x80", "schema"),
    ],
)
def test_malformed_payloads_change_nothing(payload: bytes, reason: str) -> None:
    params = normal(128)
    before = params.copy()
    with pytest.raises(RemoteProtocolError) as caught:
        apply(payload, params)
    assert caught.value.reason == reason
    assert params.tobytes() == before.tobytes()
