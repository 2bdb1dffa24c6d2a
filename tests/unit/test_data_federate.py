"""Every client takes its own share of one division."""

import numpy as np
import pytest

from roughfed.data import load
from roughfed.data.federate import SCENARIOS, federate, holdings
from roughfed.errors import ConfigError, NotBuiltYet

CLIENTS = 6


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "shards", "quantity-skew"])
def test_shares_are_disjoint_and_cover_the_training_part(partition: str) -> None:
    shares = [federate("digits", clients=CLIENTS, index=i, seed=3, partition=partition) for i in range(CLIENTS)]
    ids = np.concatenate([part.ids for share in shares for part in share])
    np.testing.assert_array_equal(np.sort(ids), np.sort(load("digits", seed=3)[0].ids))
    for train, test in shares:
        assert len(test) == max(round(0.2 * (len(train) + len(test))), 1)


def test_holdings_are_what_the_clients_hold() -> None:
    counts = holdings("digits", clients=CLIENTS, seed=3, alpha=0.3)
    assert counts.shape == (CLIENTS, 10)
    for i in range(CLIENTS):
        train, test = federate("digits", clients=CLIENTS, index=i, seed=3, alpha=0.3)
        assert np.bincount(np.concatenate([train.y, test.y]), minlength=10).tolist() == counts[i].tolist()


def test_alpha_and_seed_change_the_division() -> None:
    base = holdings("digits", clients=CLIENTS, seed=3)
    assert not np.array_equal(base, holdings("digits", clients=CLIENTS, seed=4))
    assert not np.array_equal(base, holdings("digits", clients=CLIENTS, seed=3, alpha=5.0))
    np.testing.assert_array_equal(base, holdings("digits", clients=CLIENTS, seed=3, alpha=0.5, partition="dirichlet"))


def test_two_hundred_clients_all_get_something_to_train_on_and_to_hold_out() -> None:
    for index in (0, 77, 199):
        train, test = federate("digits", clients=200, index=index, seed=0)
        assert min(len(train), len(test)) >= 1


@pytest.mark.parametrize("scenario", [name for name, waits_for in SCENARIOS.items() if waits_for])
def test_scenarios_of_later_versions_are_refused_by_name(scenario: str) -> None:
    with pytest.raises(NotBuiltYet, match=scenario):
        federate("digits", clients=2, index=0, seed=0, scenario=scenario)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"partition": "dirichelt"}, "dirichelt"),
        ({"scenario": "clena"}, "clena"),
        ({"index": 2}, "client 2 of 2"),
        ({"index": -1}, "client -1"),
        ({"clients": 5000}, "5000 clients"),
        ({"alpha": 0.0}, "positive"),
        ({"test_fraction": 1.0}, "between 0 and 1"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], word: str) -> None:
    settings = {"clients": 2, "index": 0, "seed": 0} | change
    with pytest.raises(ConfigError, match=word):
        federate("digits", **settings)  # pyright: ignore[reportArgumentType]
