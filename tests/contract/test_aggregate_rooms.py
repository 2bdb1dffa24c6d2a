"""Laws of the rooms `server/aggregate` and `server/optimize`: whoever is listed keeps them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.server.aggregate import WEIGHTINGS
from roughfed.server.aggregate.weights import COUNT_CAP
from roughfed.server.optimize import RULES
from roughfed.types import UpdateStatement

counts = st.lists(st.integers(1, 2**40), min_size=1, max_size=12)


def statements(counts: list[int]) -> list[UpdateStatement]:
    return [UpdateStatement("r", 1, f"c{i}", bytes(32), bytes(32), 4, count) for i, count in enumerate(counts)]


@pytest.mark.parametrize("name", WEIGHTINGS)
@given(counts=counts, data=st.data())
def test_weights_are_positive_bounded_and_follow_the_clients(name: str, counts: list[int], data: st.DataObject) -> None:
    weigh = WEIGHTINGS[name]
    weights = weigh(statements(counts))
    assert len(weights) == len(counts)
    assert all(weight > 0 and np.isfinite(weight) for weight in weights)
    order = data.draw(st.permutations(range(len(counts))))
    assert weigh(statements([counts[i] for i in order])) == [weights[i] for i in order]


@pytest.mark.parametrize("name", WEIGHTINGS)
@given(counts=st.lists(st.integers(1, 1000), min_size=3, max_size=12), claim=st.integers(1, 2**40))
def test_no_claim_buys_more_than_a_cap(name: str, counts: list[int], claim: int) -> None:
    """What one client claims cannot lift it above COUNT_CAP times what the median client counts."""
    weights = WEIGHTINGS[name](statements([*counts, claim]))
    assert max(weights) / np.median(weights) <= COUNT_CAP * (1 + 1e-9)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_nobody_has_no_weights(name: str) -> None:
    assert WEIGHTINGS[name]([]) == []


def test_examples_weigh_in_proportion_below_the_cap() -> None:
    assert WEIGHTINGS["examples"](statements([10, 20, 30])) == [10, 20, 30]
    assert WEIGHTINGS["examples"](statements([10, 20, 1000])) == [10, 20, 60]


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 40), lr=st.floats(0.01, 10), cut=st.integers(0, 40))
def test_a_step_is_a_function_of_each_coordinate(name: str, seed: int, size: int, lr: float, cut: int) -> None:
    rng = np.random.default_rng(seed)
    params, delta = rng.normal(size=(2, size)).astype(np.float32)
    before = params.copy(), delta.copy()
    result = RULES[name](params, delta, lr)

    assert result.dtype == np.float32
    assert result.shape == params.shape
    np.testing.assert_array_equal(params, before[0])
    np.testing.assert_array_equal(delta, before[1])
    parts = [RULES[name](params[s], delta[s], lr) for s in (slice(None, cut), slice(cut, None))]
    np.testing.assert_array_equal(np.concatenate(parts), result)  # slices may be stepped apart
    np.testing.assert_array_equal(RULES[name](params, np.zeros_like(delta), lr), params)


@given(seed=st.integers(0, 2**32 - 1), lr=st.floats(0.01, 10))
def test_sgd_goes_lr_times_the_delta(seed: int, lr: float) -> None:
    params, delta = np.random.default_rng(seed).normal(size=(2, 20)).astype(np.float32)
    wanted = params.astype(np.float64) + lr * delta.astype(np.float64)
    np.testing.assert_allclose(RULES["sgd"](params, delta, lr), wanted, rtol=1e-5, atol=1e-6)
