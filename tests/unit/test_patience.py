"""Waits between tries: jittered, growing, bounded, without end."""

from itertools import islice

import numpy as np
import pytest

from roughfed.transport.patience import CEILING_S, FIRST_S, waits


@pytest.mark.parametrize(("first_s", "ceiling_s"), [(FIRST_S, CEILING_S), (0.1, 10.0), (5.0, 5.0), (0.3, 1.0)])
def test_each_wait_is_uniform_below_a_doubling_ceiling(first_s: float, ceiling_s: float) -> None:
    runs = np.array(
        [
            list(islice(waits(np.random.default_rng(seed), first_s=first_s, ceiling_s=ceiling_s), 20))
            for seed in range(2000)
        ]
    )  # [seeds, tries]
    ceilings = np.minimum(first_s * 2.0 ** np.arange(20), ceiling_s)
    assert (runs >= 0).all()
    assert (runs <= ceilings).all()
    np.testing.assert_allclose(runs.mean(axis=0), ceilings / 2, rtol=0.06)
    np.testing.assert_allclose(runs.std(axis=0), ceilings / 12**0.5, rtol=0.06)


def test_clients_that_lost_the_same_server_do_not_come_back_in_step() -> None:
    second = [list(islice(waits(np.random.default_rng(seed)), 4))[3] for seed in range(100)]
    assert len({round(wait, 2) for wait in second}) > 80


def test_it_never_gives_up() -> None:
    assert max(islice(waits(np.random.default_rng(0)), 10_000)) <= CEILING_S
