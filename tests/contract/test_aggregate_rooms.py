"""Laws of the rooms `server/aggregate` and `server/optimize`: whoever is listed keeps them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roughfed.server.aggregate import WEIGHTINGS
from roughfed.server.aggregate.weights import COUNT_CAP
from roughfed.server.optimize import RULES
from roughfed.server.optimize.adaptive import OptimizerOptions
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


rules = st.sampled_from(list(RULES))
options = st.builds(
    OptimizerOptions,
    lr=st.floats(0.01, 10),
    momentum=st.floats(0, 0.99),
    beta1=st.floats(0, 0.99),
    beta2=st.floats(0, 0.999),
    tau=st.floats(1e-4, 1),
)


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(0, 40), how=options, cut=st.integers(0, 40))
def test_steps_are_functions_of_each_coordinate(
    name: str, seed: int, size: int, how: OptimizerOptions, cut: int
) -> None:
    rule, rng = RULES[name], np.random.default_rng(seed)
    params, *deltas = rng.normal(size=(4, size)).astype(np.float32)
    pieces = (slice(None, cut), slice(cut, None))
    state = rule.init(size, how)
    parts = [(params[s].copy(), rule.init(len(params[s]), how)) for s in pieces]
    assert len(state) == len(rule.keeps)
    for delta in deltas:
        before = [vector.copy() for vector in (params, delta, *state)]
        result, after = rule.apply(params, delta, state, how)
        for vector, kept in zip((params, delta, *state), before, strict=True):
            np.testing.assert_array_equal(vector, kept)  # no argument is changed
        for vector in (result, *after):
            assert (vector.dtype, vector.shape) == (np.float32, (size,))
        parts = [rule.apply(p, delta[s], t, how) for s, (p, t) in zip(pieces, parts, strict=True)]
        np.testing.assert_array_equal(np.concatenate([p for p, _ in parts]), result)  # slices may be stepped apart
        for at, vector in enumerate(after):
            np.testing.assert_array_equal(np.concatenate([t[at] for _, t in parts]), vector)
        params, state = result, after


@pytest.mark.parametrize("name", RULES)
@given(how=options, size=st.integers(0, 20))
def test_the_first_step_goes_with_the_update_and_none_goes_nowhere(name: str, how: OptimizerOptions, size: int) -> None:
    rule = RULES[name]
    params = np.linspace(-1, 1, size, dtype=np.float32)
    still, _ = rule.apply(params, np.zeros_like(params), rule.init(size, how), how)
    np.testing.assert_array_equal(still, params)
    moved, _ = rule.apply(np.zeros_like(params), params, rule.init(size, how), how)
    np.testing.assert_array_equal(np.sign(moved), np.sign(params))


def slow_step(name: str, x: float, delta: float, memory: dict[str, float], o: OptimizerOptions) -> float:
    """One coordinate, in double precision, as the papers write it."""
    if name == "sgd":
        return x + o.lr * delta
    if name == "fedavgm":
        memory["m"] = o.momentum * memory.get("m", 0.0) + delta
        return x + o.lr * memory["m"]
    m, v = memory.get("m", 0.0), memory.get("v", o.tau**2)
    memory["m"] = m = o.beta1 * m + (1 - o.beta1) * delta
    square, sign = delta**2, float(np.sign(v - delta**2))
    assume(name != "fedyogi" or not 0 < abs(v - square) < 1e-5 * square)  # in float32 its sign is another one there
    memory["v"] = v = {
        "fedadam": o.beta2 * v + (1 - o.beta2) * square,
        "fedyogi": v - (1 - o.beta2) * square * sign,
        "fedadagrad": v + square,
    }[name]
    return x + o.lr * m / (v**0.5 + o.tau)


@given(name=rules, how=options, deltas=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8))
def test_steps_are_those_of_the_papers(name: str, how: OptimizerOptions, deltas: list[float]) -> None:
    rule = RULES[name]
    params, state = np.zeros(1, np.float32), rule.init(1, how)
    wanted, memory = 0.0, dict[str, float]()
    for delta in deltas:
        params, state = rule.apply(params, np.full(1, delta, np.float32), state, how)
        wanted = slow_step(name, wanted, delta, memory, how)
    np.testing.assert_allclose(params[0], wanted, rtol=1e-3, atol=1e-3 * how.lr)
