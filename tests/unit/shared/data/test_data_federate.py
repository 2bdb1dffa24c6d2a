"""Every client takes its own share of one division, as rough as asked."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.data import Dataset, digits, load
from roughfed.data.dataset import concatenate
from roughfed.data.federate import federate, holdings, planted_wrong
from roughfed.data.rough import mislabelled
from roughfed.data.roughness import NOISE_KINDS, NOISE_MAPS, SCENARIOS, Roughness, roughness
from roughfed.data.stream import Tasks
from roughfed.errors import ConfigError
from roughfed.rng import generator

CLIENTS = 6

MIXTURES = st.fixed_dictionaries(
    {
        "scenario": st.sampled_from(list(SCENARIOS)),
        "imbalance": st.sampled_from([0.0, 1.0, 7.0, 30.0]),
        "class_order": st.sampled_from(["auto", "reversed", "random"]),
        "noise": st.sampled_from([0.0, 0.2, 0.55, 1.0]),
        "noise_kind": st.sampled_from(NOISE_KINDS),
        "noisy_clients": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        "tasks": st.sampled_from([0, 1, 3, 10]),
        "rounds_per_task": st.integers(1, 4),
        "stagger": st.integers(0, 5),
        "partition": st.sampled_from(["iid", "dirichlet", "shards"]),
    }
)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Reading the images takes ten times as long as dividing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "read_table", cache(digits.read_table))
        yield


def everybody(seed: int, options: dict[str, Any], clients: int = CLIENTS) -> list[tuple[Dataset | Tasks, Dataset]]:
    return [federate("digits", clients=clients, index=i, seed=seed, **options) for i in range(clients)]


def whole_of(train: Dataset | Tasks) -> Dataset:
    return train.whole if isinstance(train, Tasks) else train


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "shards", "quantity-skew"])
def test_shares_are_disjoint_and_cover_the_training_part(partition: str) -> None:
    shares = [(whole_of(train), test) for train, test in everybody(3, {"partition": partition})]
    ids = np.concatenate([part.ids for share in shares for part in share])
    np.testing.assert_array_equal(np.sort(ids), np.sort(load("digits", seed=3)[0].ids))
    for train, test in shares:
        assert len(test) == max(round(0.2 * (len(train) + len(test))), 1)


def test_holdings_are_what_the_clients_hold() -> None:
    counts = holdings("digits", clients=CLIENTS, seed=3, alpha=0.3)
    assert counts.shape == (CLIENTS, 10)
    for i in range(CLIENTS):
        train, test = federate("digits", clients=CLIENTS, index=i, seed=3, alpha=0.3)
        train = whole_of(train)
        assert np.bincount(np.concatenate([train.y, test.y]), minlength=10).tolist() == counts[i].tolist()


def test_alpha_and_seed_change_the_division() -> None:
    base = holdings("digits", clients=CLIENTS, seed=3)
    assert not np.array_equal(base, holdings("digits", clients=CLIENTS, seed=4))
    assert not np.array_equal(base, holdings("digits", clients=CLIENTS, seed=3, alpha=5.0))
    np.testing.assert_array_equal(base, holdings("digits", clients=CLIENTS, seed=3, alpha=0.5, partition="dirichlet"))


def test_two_hundred_clients_all_get_something_to_train_on_and_to_hold_out() -> None:
    for index in (0, 77, 199):
        train, test = federate("digits", clients=200, index=index, seed=0)
        assert min(len(whole_of(train)), len(test)) >= 1


@given(options=MIXTURES, seed=st.integers(0, 3))
@settings(max_examples=40)
def test_the_union_over_clients_and_tasks_is_the_whole_and_everybody_computes_the_same(
    options: dict[str, Any], seed: int
) -> None:
    division = everybody(seed, options)
    rough = roughness("digits", options["scenario"], options)
    source = load("digits", seed=seed)[0]
    given = dict(zip(source.ids.tolist(), source.y.tolist(), strict=True))
    parts = [part for train, test in division for part in (whole_of(train), test)]
    together = concatenate(parts)
    assert len(np.unique(together.ids)) == len(together)
    true = together.y if together.true_y is None else together.true_y
    assert [given[i] for i in together.ids.tolist()] == true.tolist()
    counts = holdings("digits", clients=CLIENTS, seed=seed, **options)
    assert np.bincount(true, minlength=10).tolist() == counts.sum(axis=0).tolist()
    if rough.imbalance == 1:
        assert len(together) == len(source)
    else:
        assert counts.sum(axis=0).max() / counts.sum(axis=0).min() == pytest.approx(rough.imbalance, rel=0.35)
    for train, test in division:
        assert test.true_y is None
        if isinstance(train, Tasks):
            assert train.num_tasks == rough.tasks
            found = concatenate([train.parts[task] for task in range(train.num_tasks)])
            np.testing.assert_array_equal(found.ids, train.whole.ids)
            for task in range(train.num_tasks):
                assert set(train.parts[task].y.tolist()) <= set(train.classes(task))
    again, _ = federate("digits", clients=CLIENTS, index=2, seed=seed, **options)
    np.testing.assert_array_equal(whole_of(again).ids, whole_of(division[2][0]).ids)
    np.testing.assert_array_equal(whole_of(again).y, whole_of(division[2][0]).y)


@given(options=MIXTURES, seed=st.integers(0, 3))
@settings(max_examples=40)
def test_as_many_labels_are_wrong_as_asked_and_they_can_be_listed(options: dict[str, Any], seed: int) -> None:
    rough = roughness("digits", options["scenario"], options)
    trains = [whole_of(train) for train, _ in everybody(seed, options)]
    noisy = [train for train in trains if train.true_y is not None]
    assert len(noisy) == (max(1, round(rough.noisy_clients * CLIENTS)) if rough.noise else 0)
    for train in noisy:
        true = train.true_y
        assert true is not None
        named = np.isin(true, list(NOISE_MAPS["digits"])).sum() if rough.noise_kind == "asymmetric" else len(train)
        assert (train.y != true).sum() == round(rough.noise * named)
    listed = planted_wrong("digits", clients=CLIENTS, seed=seed, **options)
    wrong = {int(i): int(y) for t in noisy for i, y, true in zip(t.ids, t.y, t.true_y, strict=True) if y != true}
    assert dict(zip(listed.ids.tolist(), listed.y.tolist(), strict=True)) == wrong
    assert len(listed) == len(wrong)
    assert listed.input_shape == (1, 8, 8)


def test_the_scenarios_are_as_rough_as_they_say() -> None:
    assert roughness("digits", "clean", {}) == Roughness()
    assert roughness("digits", "long-tail", {}) == Roughness(imbalance=20)
    assert roughness("fashion-mnist", "long-tail", {}) == Roughness(imbalance=100)
    assert roughness("digits", "noisy", {}) == Roughness(noise=0.4, noisy_clients=0.5)
    assert roughness("digits", "continual", {}) == Roughness(tasks=5)
    assert roughness("digits", "rough", {}) == Roughness(imbalance=10, noise=0.3, noisy_clients=0.5, tasks=2)
    mixed = roughness("digits", "noisy", {"imbalance": 50, "tasks": 2, "noise": 0.1, "noisy_clients": 0, "alpha": 1})
    assert mixed == Roughness(imbalance=50, tasks=2, noise=0.1, noisy_clients=0.5)


def test_roughness_leaves_the_rest_of_the_division_alone() -> None:
    """The same examples at the same clients, held out alike, whatever their labels and whenever they come."""
    clean, noisy = everybody(3, {}), everybody(3, {"noise": 0.4, "tasks": 5})
    for (train, test), (rough, held) in zip(clean, noisy, strict=True):
        np.testing.assert_array_equal(np.sort(whole_of(train).ids), np.sort(whole_of(rough).ids))
        np.testing.assert_array_equal(test.ids, held.ids)
        np.testing.assert_array_equal(test.y, held.y)


def test_clients_reach_a_task_at_different_times_and_the_first_at_once() -> None:
    trains = [train for train, _ in everybody(0, {"tasks": 5, "rounds_per_task": 3, "stagger": 2})]
    streams = [train for train in trains if isinstance(train, Tasks)]
    assert sorted(stream.delay for stream in streams) == [0, 0, 1, 1, 2, 2]
    assert {stream.task(1) for stream in streams} == {0}
    assert {stream.task(4) for stream in streams} == {0, 1}
    assert {stream.task(100) for stream in streams} == {4}
    assert streams[0].labels == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))


def test_wrong_labels_of_a_source_follow_its_map() -> None:
    y = np.repeat(np.arange(10), 50)
    clean = Dataset(np.zeros((500, 1), dtype=np.float32), y, np.arange(500), 10, "fashion-mnist")
    noisy = mislabelled(clean, "asymmetric", 0.4, generator(0), NOISE_MAPS["fashion-mnist"])
    changed = noisy.y != y
    assert changed.sum() == 100  # 40 % of the five classes, 20 % overall: the published protocol
    pairs = {(int(a), int(b)) for a, b in zip(y[changed], noisy.y[changed], strict=True)}
    assert pairs == {(0, 6), (2, 4), (3, 1), (5, 7), (9, 7)}
    assert noisy.true_y is y
    around = mislabelled(clean, "asymmetric", 0.4, generator(0))
    assert (around.y != y).sum() == 200


def test_attackers_are_no_data() -> None:
    with pytest.raises(ConfigError, match="attackers are clients") as caught:
        federate("digits", clients=2, index=0, seed=0, scenario="poisoned")
    assert "demo --scenario poisoned" in caught.value.cure


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
        ({"imbalance": 0.5}, "out of range"),
        ({"imbalance": float("inf")}, "out of range"),
        ({"noise": 1.5}, "out of range"),
        ({"noise": 0.1, "noisy_clients": -1.0}, "out of range"),
        ({"noise": 0.1, "noise_kind": "white"}, "white"),
        ({"class_order": "alphabetical"}, "alphabetical"),
        ({"tasks": 11}, "cannot make 11 tasks"),
        ({"tasks": 2, "rounds_per_task": -1}, "out of range"),
        ({"tasks": 2, "stagger": -1}, "out of range"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, object], word: str) -> None:
    settings = {"clients": 2, "index": 0, "seed": 0} | change
    with pytest.raises(ConfigError, match=word):
        federate("digits", **settings)  # pyright: ignore[reportArgumentType]
