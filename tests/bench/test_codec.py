"""The masked codec at 10 million parameters, on one core. CPU time: what others do on this machine does not count."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from roughfed.codec.chain import decode_sum, encode
from roughfed.codec.downlink import apply, quantise
from roughfed.codec.plan import ChainParams, plan_lanes
from roughfed.codec.rotation import rotate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = 10_000_000


def best_of(work: Callable[[], object], times: int = 8) -> float:
    """Least CPU seconds of this thread, compilation aside."""
    work()
    spent = []
    for _ in range(times):
        start = time.thread_time()
        work()
        spent.append(time.thread_time() - start)
    return min(spent)


@pytest.fixture(scope="module")
def delta() -> np.ndarray:
    return np.random.default_rng(0).normal(size=SIZE).astype(np.float32)


@pytest.mark.parametrize("keep_one_in", [1, 16])
def test_the_chain(delta: np.ndarray, keep_one_in: int) -> None:
    params = ChainParams(SIZE, plan_lanes(16), float(np.linalg.norm(delta)), bytes(32), keep_one_in)
    work, residual = np.empty(params.layout.padded, np.float32), np.zeros(SIZE, np.float32)
    codes = encode(delta, None, params, secret=bytes(32)).codes
    seconds = {
        "rotate": best_of(lambda: rotate(work, params.layout, params.seed)),
        "encode": best_of(lambda: encode(delta, residual, params, secret=bytes(32), work=work)),
        "decode_sum": best_of(lambda: decode_sum(codes, 1, params)),
    }
    print({name: round(spent, 4) for name, spent in seconds.items()})
    assert seconds["rotate"] <= 0.06
    assert seconds["encode"] <= 0.1
    assert seconds["decode_sum"] <= 0.1


def test_the_downlink(delta: np.ndarray) -> None:
    error, params = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    update = delta.copy()
    payload = quantise(update, error)
    seconds = {
        "quantise": best_of(lambda: quantise(update, error), 3),
        "apply": best_of(lambda: apply(payload, params), 3),
    }
    print({name: round(spent, 4) for name, spent in seconds.items()})
    assert seconds["quantise"] <= 0.3
    assert seconds["apply"] <= 0.1
