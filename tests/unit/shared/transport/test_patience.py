"""Waits between tries: jittered, growing, bounded, without end."""

from itertools import accumulate, islice

import numpy as np
import pytest

from roughfed.transport.patience import CEILING_S, FIRST_S, waits


@pytest.mark.parametrize(("first_s", "ceiling_s"), [(FIRST_S, CEILING_S), (0.1, 10.0), (5.0, 5.0), (0.3, 1.0)])
def test_each_wait_is_uniform_below_what_was_waited_so_far(first_s: float, ceiling_s: float) -> None:
    runs = np.array(
        [
            list(islice(waits(np.random.default_rng(seed), first_s=first_s, ceiling_s=ceiling_s), 40))
            for seed in range(2000)
        ]
    )  # [seeds, tries]
    before = np.cumsum(runs, axis=1) - runs
    ceilings = np.minimum(np.maximum(before, first_s), ceiling_s)
    shares = runs / ceilings
    assert (shares >= 0).all()
    assert (shares <= 1).all()
    np.testing.assert_allclose(shares.mean(axis=0), 1 / 2, rtol=0.06)
    np.testing.assert_allclose(shares.std(axis=0), 1 / 12**0.5, rtol=0.06)
    assert (ceilings[:, -1] == ceiling_s).all()  # it does grow


@pytest.mark.parametrize("outage_s", [0.2, 1.0, 4.0, 30.0])
def test_nobody_is_away_much_longer_than_the_server_was(outage_s: float) -> None:
    back = []
    for seed in range(2000):
        moments = accumulate(waits(np.random.default_rng(seed)))
        back.append(next(moment for moment in moments if moment >= outage_s))
    assert max(back) <= outage_s + max(outage_s, FIRST_S)
    assert np.median(back) < outage_s + max(outage_s, FIRST_S) / 2


def test_clients_that_lost_the_same_server_do_not_come_back_in_step() -> None:
    back = [sum(islice(waits(np.random.default_rng(seed)), 8)) for seed in range(100)]
    assert len({round(moment, 2) for moment in back}) > 80


def test_it_never_gives_up() -> None:
    assert max(islice(waits(np.random.default_rng(0)), 10_000)) <= CEILING_S
