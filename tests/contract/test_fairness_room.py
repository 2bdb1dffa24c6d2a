"""Laws of the room `server/fairness`: whoever is listed keeps them, in the clear and as weight classes. N clients."""

import math
from statistics import fmean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.config.fairness import OPTIONS, Fairness
from roughfed.secagg.adverts import FULL
from roughfed.secagg.weight_class import (
    LARGEST,
    LOSS_POINTS,
    Table,
    drawn,
    expected,
    loss_at,
    loss_point,
    read_table,
    write_table,
)
from roughfed.server.defence.view import reader
from roughfed.server.fairness import RULES
from roughfed.server.fairness.curve import row, table, usual
from roughfed.server.fairness.step import LOW, curb
from roughfed.server.fairness.weights import factors
from roughfed.server.storage.slices import mean_slice

TILTED = [name for name, rule in RULES.items() if rule.strength]
finite = st.floats(0.001, 100)
losses = st.lists(finite, min_size=1, max_size=12)
claims = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))
strengths, caps = st.floats(0, 20), st.floats(1.01, 4)


def named(values: list[float]) -> dict[str, float | None]:
    return {f"c{at}": value for at, value in enumerate(values)}


def weigh(name: str, values: list[float], strength: float, cap: float = 3.0) -> list[float]:
    return list(factors(RULES[name], named(values), strength=strength, cap=cap).values())


def test_the_settings_know_the_rules_and_their_strengths() -> None:
    assert list(OPTIONS) == list(RULES)
    for name, rule in RULES.items():
        assert (rule.strength in OPTIONS[name]) == bool(rule.strength)
        assert ("step" in OPTIONS[name]) == rule.curbs
        chosen = Fairness.model_validate({"rule": name, rule.strength: 2.5} if rule.strength else {"rule": name})
        assert chosen.strength == (2.5 if rule.strength else 0.0)


@pytest.mark.parametrize("name", RULES)
@given(values=losses, strength=strengths, data=st.data())
def test_weights_follow_the_clients(name: str, values: list[float], strength: float, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    found = weigh(name, values, strength)
    assert weigh(name, [values[i] for i in order], strength) == [found[i] for i in order]


@pytest.mark.parametrize("name", TILTED)
@given(values=losses, strength=strengths, cap=caps)
def test_a_higher_loss_never_counts_for_less(name: str, values: list[float], strength: float, cap: float) -> None:
    found = weigh(name, values, strength, cap)
    assert sorted(found) == [found[i] for i in np.argsort(values, kind="stable")]
    assert all(0 <= weight <= cap for weight in found)


@pytest.mark.parametrize("name", RULES)
@given(values=losses, seed=st.integers(0, 2**32 - 1))
def test_without_strength_it_is_fedavg_to_the_bit(name: str, values: list[float], seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(len(values), 9)).astype(np.float32)
    counts = np.random.default_rng(seed).integers(1, 100, len(values)).astype(float).tolist()
    fair = [count * factor for count, factor in zip(counts, weigh(name, values, 0.0), strict=True)]
    fills = [reader(each) for each in rows]
    np.testing.assert_array_equal(mean_slice(fills, fair, 0, 9), mean_slice(fills, counts, 0, 9))
    assert curb(fair, values, np.linalg.norm(rows, axis=1).tolist(), q=0.0, lr=0.1) == 1.0


@pytest.mark.parametrize("name", TILTED)
@given(values=st.lists(finite, min_size=2, max_size=12), strength=st.floats(0.1, 5), by=st.floats(0.1, 10))
def test_what_all_losses_have_in_common_changes_nothing(
    name: str, values: list[float], strength: float, by: float
) -> None:
    moved = [v * by for v in values] if name == "q-fedavg" else [v + by for v in values]
    np.testing.assert_allclose(weigh(name, moved, strength), weigh(name, values, strength), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", TILTED)
@given(honest=st.lists(finite, min_size=3, max_size=9), lie=claims, strength=strengths, cap=caps)
def test_a_lie_buys_the_cap_and_no_more(
    name: str, honest: list[float], lie: float | None, strength: float, cap: float
) -> None:
    everybody = {**named(honest), "liar": lie}
    found = factors(RULES[name], everybody, strength=strength, cap=cap)
    assert 0 <= found["liar"] <= cap
    assert all(math.isfinite(weight) for weight in found.values())
    known = [loss for loss in everybody.values() if loss is not None and math.isfinite(loss)]
    middle = min(honest, key=lambda loss: abs(loss - median(known)))
    assert found["liar"] <= cap * max(found[f"c{honest.index(middle)}"], 1.0) * (1 + 1e-9)
    assert factors(RULES[name], {**named(honest), "x": None}, strength=strength, cap=cap)["x"] == 1.0


def slow_weights(name: str, values: list[float], strength: float) -> list[float]:
    """As the papers have them, without a cap, adding up to 1."""
    found = [v**strength if name == "q-fedavg" else math.exp(strength * v) for v in values]
    return [each / sum(found) for each in found]


@pytest.mark.parametrize("name", TILTED)
@given(values=st.lists(st.floats(0.9, 1.1), min_size=1, max_size=9), strength=st.floats(0, 4))
def test_weights_are_those_of_the_papers_where_no_cap_cuts_them(
    name: str, values: list[float], strength: float
) -> None:
    found = weigh(name, values, strength, cap=4.0)
    np.testing.assert_allclose([w / sum(found) for w in found], slow_weights(name, values, strength), rtol=1e-9)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 8), q=st.floats(0, 3), lr=st.floats(0.01, 1))
def test_the_papers_step_is_algorithm_2(seed: int, n: int, q: float, lr: float) -> None:
    rng = np.random.default_rng(seed)
    deltas, values, lipschitz = rng.normal(size=(n, 5)), rng.uniform(0.9, 1.1, n), 1 / lr
    gradients = -lipschitz * deltas  # the paper's Delta w, L (w - w_k)
    above = (values**q)[:, None] * gradients
    below = q * values ** (q - 1) * (gradients**2).sum(axis=1) + lipschitz * values**q
    wanted = -above.sum(axis=0) / below.sum()

    weights = weigh("q-fedavg", values.tolist(), q, cap=4.0)
    norms = np.linalg.norm(deltas, axis=1).tolist()
    mean = np.average(deltas, axis=0, weights=weights)
    np.testing.assert_allclose(mean * curb(weights, values.tolist(), norms, q=q, lr=lr), wanted, rtol=1e-9, atol=1e-12)


def test_a_claim_to_have_no_loss_does_not_bring_the_papers_step_to_a_stand() -> None:
    values, norms = [1.0] * 9, [1.0] * 10
    weights = weigh("q-fedavg", [*values, 0.0], 0.1)
    honest = curb(weigh("q-fedavg", values, 0.1), values, norms[:9], q=0.1, lr=0.1)
    assert curb(weights, [*values, 0.0], norms, q=0.1, lr=0.1) > honest / (1 + LOW / 9)


# -- as weight classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TILTED)
@given(typical=finite, strength=strengths, cap=caps, loss=finite)
def test_expected_classes_are_the_rules_weights(
    name: str, typical: float, strength: float, cap: float, loss: float
) -> None:
    found = read_table(write_table(table_of(name, typical, strength, cap)))
    middle = loss_at(loss_point(typical))  # what the histogram makes of one client
    quarters = expected(found, {3: loss})
    exact = factors(RULES[name], {"x": loss, "y": middle, "z": middle}, strength=strength, cap=cap)["x"]
    between = min(0.018 * strength * loss, 3.0) if name == "term" else 0.0  # of straight lines between half octaves
    wanted = min(max(exact, cap / FULL), cap) * FULL / cap
    assert quarters == pytest.approx(min(max(wanted, 1), FULL), rel=math.expm1(between) + 2e-4)
    assert found.usual == pytest.approx(max(1.0, FULL / cap), abs=1e-4)


def table_of(name: str, typical: float, strength: float, cap: float) -> Table:
    counts = [0] * LOSS_POINTS
    counts[loss_point(typical)] = 4
    found = table(RULES[name], {3: counts}, strength=strength, cap=cap)
    assert found is not None
    return found


@pytest.mark.parametrize("name", RULES)
@given(typical=finite, strength=strengths, cap=caps)
def test_a_row_is_in_bounds_and_never_falls(name: str, typical: float, strength: float, cap: float) -> None:
    found = row(RULES[name], typical, strength=strength, cap=cap)
    assert len(found) == LOSS_POINTS
    assert list(found) == sorted(found)
    assert 1 / LARGEST <= found[0] <= found[-1] <= LARGEST
    assert row(RULES[name], typical, strength=0.0, cap=cap) == (usual(cap),) * LOSS_POINTS


def test_classes_are_the_expected_weight_in_the_mean() -> None:
    rng = np.random.default_rng(7)
    for quarters in (1.0, 1.3333, 2.5, 3.9, 4.0):
        found = [drawn(quarters, rng.bytes(32)) for _ in range(4000)]
        assert set(found) <= {math.floor(quarters), math.ceil(quarters)}
        assert fmean(found) == pytest.approx(quarters, abs=4 * 0.5 / math.sqrt(4000))


@pytest.mark.parametrize("name", TILTED)
def test_what_liars_gain_in_a_masked_round(name: str) -> None:
    """Four of twenty claim the largest loss in the histogram and name the largest class."""
    honest = np.random.default_rng(1).lognormal(0.0, 0.5, 16)
    counts = np.bincount([loss_point(loss) for loss in [*honest, *[1e9] * 4]], minlength=LOSS_POINTS).tolist()
    for cap in (2.0, 3.0, 4.0):
        found = table(RULES[name], {1: counts}, strength=2.0, cap=cap)
        assert found is not None
        quarters = [expected(found, {1: float(loss)}) for loss in honest]
        share = 4 * FULL / (4 * FULL + sum(quarters))
        assert share <= 4 * cap / (4 * cap + 16 * 0.75)  # even where all honest ones were a quarter below the typical
        assert fmean(quarters) > 0.75 * FULL / cap
