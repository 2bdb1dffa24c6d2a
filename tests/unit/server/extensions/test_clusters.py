"""Who is in which cluster and whose turn it is: laws of the pure parts."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.deploy.plan_words import choice_bits
from roughfed.server.extensions.clusters.bipartition import RowAngles, Split, SplitLimits, agreement, look, where_next
from roughfed.server.extensions.clusters.choices import Choosing, chosen, drawn_again, is_due
from roughfed.server.extensions.clusters.journal import ClusterJournal
from roughfed.server.extensions.clusters.members import ClusterState, by_cluster, next_turn, over, settled
from roughfed.server.storage.lineage import DEFAULT
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Signed, Spec, TensorSpec

NAMES = [f"c{number:02d}" for number in range(24)]
memberships = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["0", "1", "2", "3"]), max_size=24)


# -- members and turns -------------------------------------------------------------------------------------------------


@given(wanted=memberships, smallest=st.integers(1, 8))
def test_nobody_is_lost_and_no_small_cluster_is_left_beside_a_large_one(wanted: dict[str, str], smallest: int) -> None:
    places = settled(wanted, smallest)
    sizes = {cluster: len(members) for cluster, members in by_cluster(places).items()}
    assert places.keys() == wanted.keys()
    assert set(places.values()) <= {*wanted.values(), DEFAULT}
    assert all(size >= smallest for cluster, size in sizes.items() if cluster != DEFAULT)
    assert sizes.get(DEFAULT, smallest) >= smallest or len(sizes) == 1
    assert settled(places, smallest) == places


@given(
    depths=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    present=st.lists(st.integers(0, 6), min_size=5, max_size=5),
)
def test_the_cluster_that_is_behind_plays_until_all_are_done(depths: list[int], present: list[int]) -> None:
    turns = [0] * len(depths)
    played: list[str] = []
    for _ in range(60):
        standings = [ClusterState(str(at), depth, turns[at], NAMES[: present[at]]) for at, depth in enumerate(depths)]
        if (cluster := next_turn(standings, rounds=4, needed=3)) is None:
            break
        at = int(cluster)
        able = [depth for i, depth in enumerate(depths) if present[i] >= 3 and depth < 4]
        assert present[at] >= 3
        assert depths[at] == min(able)
        depths[at], turns[at] = depths[at] + 1, turns[at] + 1
        played.append(cluster)
    assert all(depth >= 4 or present[at] < 3 for at, depth in enumerate(depths))
    assert over(standings, rounds=4) == all(depth >= 4 for depth in depths)


def test_a_cluster_whose_rounds_fail_holds_up_no_other() -> None:
    depths, failed = [0, 0, 0], 0
    played: list[str] = []
    for _ in range(9):
        standings = [
            ClusterState(str(at), depth, depth + failed * (at == 0), NAMES[:3], failed * (at == 0))
            for at, depth in enumerate(depths)
        ]
        played.append(cluster := next_turn(standings, rounds=3, needed=3) or "")
        if cluster == "0":
            failed += 1
        else:
            depths[int(cluster)] += 1
    assert depths == [0, 3, 3]
    assert played.count("0") == 3
    assert next_turn([ClusterState("0", 0, failed, NAMES, failed)], rounds=3, needed=3) == "0"  # nobody else is left


def test_abandoned_rounds_count_until_one_is_committed(tmp_path: Path) -> None:
    store = Store(tmp_path)

    async def play() -> None:
        await store.create_run("run-1", Spec((TensorSpec("w", (1,)),)), bytes(32), 1.0)
        outcomes = [("0", True), ("1", False), ("0", False), ("1", False), ("0", True), ("2", False), ("2", True)]
        for at, (cluster, committed) in enumerate(outcomes):
            header = Signed(bytes([at]), bytes(64), "server")
            await store.open_round(RoundRow(at + 1, header, (), 1, 1.0, None, None, None, cluster=cluster))
            if committed:
                version = store.latest_model()[0] + 1
                await store.commit(at + 1, version=version, digest=bytes([version]) * 32, now=1.0)
            else:
                await store.abandon(at + 1, "too-few-adverts", 1.0)

    asyncio.run(play())
    assert ClusterJournal(store.journal).failed() == {"1": 2}
    store.close()


def test_without_anybody_nothing_is_over() -> None:
    assert not over([], rounds=1)
    assert next_turn([], rounds=1, needed=1) is None


# -- splitting ---------------------------------------------------------------------------------------------------------


def rounds_of(
    parts: Sequence[int], *, within: float, between: float, seed: int, dim: int = 128, count: int = 3
) -> list[RowAngles]:
    """Rounds in which clients of one part have much in common: sketches of vectors with these cosines."""
    rng = np.random.default_rng(seed)
    part = np.repeat(np.arange(len(parts)), parts)
    wanted = np.where(np.equal.outer(part, part), within, between) + (1 - within) * np.eye(len(part))
    root = np.linalg.cholesky(wanted + 1e-9 * np.eye(len(part)))
    found: list[RowAngles] = []
    for _ in range(count):
        sketches = root @ rng.normal(size=(len(part), dim)) / dim**0.5 * rng.uniform(0.8, 1.2, size=(len(part), 1))
        found.append(RowAngles(tuple(NAMES[: len(part)]), sketches @ sketches.T, dim**-0.5))
    return found


def judged(rounds: list[RowAngles], *, f: int = 2, **limits: object) -> Split:
    return look(rounds, 1.0, rounds[0].names, SplitLimits(**limits), f)  # type: ignore[arg-type]


@given(small=st.integers(7, 10), large=st.integers(7, 12), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_two_clusters_are_told_apart_by_their_sketches(small: int, large: int, seed: int) -> None:
    large = max(large, small + 1)
    found = judged(rounds_of([small, large], within=0.6, between=-0.3, seed=seed))
    assert found.why == "split"
    assert found.parts == (tuple(NAMES[small : small + large]), tuple(NAMES[:small]))  # the larger part stays
    assert found.unsure == ()


@given(within=st.floats(0.0, 0.9), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_one_cluster_is_never_split(within: float, seed: int) -> None:
    assert judged(rounds_of([20], within=within, between=within, seed=seed), eps1=1.0).why in ("together", "moving")


@pytest.mark.parametrize(
    ("parts", "changes", "why"),
    [
        ([8, 9], {"window": 4}, "rounds"),
        ([6, 6], {}, "clients"),
        ([6, 14], {}, "small"),  # six could not hide
        ([7, 13], {"f": 7}, "small"),  # seven could be attackers, all of them
        ([8, 9], {"eps1": 0.1}, "moving"),
        ([8, 9], {"eps2": 0.99, "first": 10.0}, "standing"),
        ([8, 9], {"separation": 1.5}, "together"),
        ([8, 9], {}, "split"),
    ],
)
def test_what_speaks_against_a_split(parts: list[int], changes: dict[str, object], why: str) -> None:
    rounds = rounds_of(parts, within=0.6, between=-0.3, seed=5)
    f, first = int(str(changes.pop("f", 2))), float(str(changes.pop("first", 1.0)))
    found = look(rounds, first, rounds[0].names, SplitLimits(**changes), f)  # type: ignore[arg-type]
    assert found.why == why
    assert (found.parts != ((), ())) == (why == "split")


def test_one_odd_round_splits_nobody() -> None:
    calm = rounds_of([17], within=0.3, between=0.3, seed=1, count=2)
    odd = rounds_of([8, 9], within=0.99, between=-0.99, seed=2, count=1)
    assert judged([*calm, *odd], eps1=1.0).why == "together"


def test_f_clients_between_the_parts_hold_up_nothing_and_are_on_trial() -> None:
    rounds = rounds_of([9, 9], within=0.6, between=-0.3, seed=3)
    for rows in rounds:  # two attackers: half of what one cluster does, half of what the other does
        for at in (0, 17):
            mixed = rows.gram[1] + rows.gram[16]
            rows.gram[at], rows.gram[:, at] = mixed, mixed
            rows.gram[at, at] = rows.gram[1, 1] + rows.gram[16, 16] + 2 * rows.gram[1, 16]
    found = judged(rounds, f=2)
    assert found.why == "split"
    assert set(found.unsure) == {NAMES[0], NAMES[17]}
    assert {*NAMES[1:9]} <= set(found.parts[0]) or {*NAMES[1:9]} <= set(found.parts[1])
    assert judged(rounds, f=1).why == "together"  # more than are expected: it is no cluster


def test_who_was_away_is_not_judged() -> None:
    whole = rounds_of([9, 9], within=0.6, between=-0.3, seed=4)
    here = list(range(17))
    without = [RowAngles(rows.names[:17], rows.gram[np.ix_(here, here)], rows.error) for rows in whole]
    found = judged([whole[0], *without[1:]])
    assert found.why == "split"
    assert all(NAMES[17] not in part for part in found.parts)


# -- newcomers ---------------------------------------------------------------------------------------------------------


def test_a_newcomer_is_held_against_the_members() -> None:
    rounds = rounds_of([9, 9], within=0.6, between=-0.3, seed=7)
    seen = agreement(rounds, NAMES[0], NAMES[1:9])
    other = agreement(rounds, NAMES[0], NAMES[9:18])
    assert seen is not None
    assert other is not None
    assert seen[0] > 0.5 * seen[1] > 0 > other[0]
    assert seen[2] == 3
    assert agreement(rounds, "stranger", NAMES[1:9]) is None


@pytest.mark.parametrize(
    ("score", "tried", "where"),
    [
        (0.5, {}, "0"),  # it agrees
        (0.1, {}, "1"),  # on to the next
        (0.1, {"1": -0.2}, "2"),
        (0.1, {"1": -0.2, "2": 0.15}, "2"),  # all were tried: the best
        (0.1, {"1": -0.2, "2": 0.1}, "0"),  # of equals where it is
    ],
)
def test_where_a_newcomer_goes(score: float, tried: dict[str, float], where: str) -> None:
    assert where_next("0", score, between=0.6, tried=tried, clusters=["0", "1", "2"]) == where


# -- choosing ----------------------------------------------------------------------------------------------------------


def asked(said: dict[str, str], *, number: int = 1, everybody: bool = True) -> Choosing:
    models = tuple((str(at), at, bytes([at]) * 32) for at in range(3))
    return Choosing(number, 0, everybody, tuple(NAMES[:4]), models, open=False, said=said)


@pytest.mark.parametrize(
    ("choosing", "depth", "again"),
    [
        (asked({"c00": "0", "c01": "1", "c02": "2"}), 0, []),
        (asked({"c00": "0", "c01": "0"}), 0, ["1", "2"]),
        (asked({"c00": "0", "c01": "0"}), 1, []),  # trained already
        (asked({"c00": "0", "c01": "0"}, number=7), 0, []),  # often enough
        (asked({"c00": "0", "c01": "0"}, everybody=False), 0, []),
        (asked({"c00": "0"}), 0, []),  # one alone makes no two clusters
    ],
)
def test_models_that_too_few_chose_are_drawn_again_before_anything_is_trained(
    choosing: Choosing, depth: int, again: list[str]
) -> None:
    smallest = 1
    assert drawn_again(choosing, depths={"0": depth, "1": 0, "2": 0}, smallest=smallest) == again


def test_who_says_nothing_stays_and_a_newcomer_is_in_the_default() -> None:
    found = chosen(asked({"c00": "2", "c01": "9"}), {"c01": "1", "c09": "2"}, DEFAULT, ["0", "1", "2"])
    assert found == {"c00": "2", "c01": "1", "c02": "0", "c03": "0", "c09": "2"}


def test_everybody_is_asked_again_after_so_many_rounds_of_a_cluster() -> None:
    assert is_due(None, {}, 5)
    assert not is_due(asked({}), {"0": 5, "1": 4}, 5)
    assert is_due(asked({}), {"0": 5, "1": 5}, 5)


@pytest.mark.parametrize(("models", "told"), [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4)])
def test_an_answer_tells_so_many_bits(models: int, told: int) -> None:
    assert choice_bits(models) == told
