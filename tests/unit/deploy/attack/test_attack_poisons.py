"""Poisoned updates: laws of the table, and each formula against a slow one, coordinate by coordinate."""

import itertools
import math
from dataclasses import replace
from statistics import NormalDist, fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.deploy.attack.poison import POISONS, PoisonContext
from roughfed.deploy.attack.poison.alie import z_max

LISTED = """
label-flip targeted-flip sign-flip sign-flip-10 gaussian alie ipm ipm-10 min-max min-sum mimic backdoor dba edge-case
neurotoxin free-zero free-noise free-replay-global free-replay-own nan huge wrong-shape inflated-count twins
"""
BROKEN = {name for name, poison in POISONS.items() if poison.refused}
WRONG_DATA = {"label-flip", "targeted-flip"}


def scene_of(peers: int, size: int, seed: int, *, clients: int = 20, attackers: int = 4) -> PoisonContext:
    rng = np.random.default_rng(seed)
    related = (rng.normal(size=(peers + attackers, size)) + rng.normal(size=size)).astype(np.float32)
    return PoisonContext(
        related[:peers],
        related[-1],
        clients,
        attackers,
        rng,
        last_global=related.mean(axis=0),
        last_own=related[-2],
        fellows=related[peers:],
    )


def frozen(scene: PoisonContext) -> PoisonContext:
    for array in (scene.peers, scene.own, scene.last_global, scene.last_own, scene.fellows):
        assert array is not None
        array.setflags(write=False)
    return scene


def test_every_attack_of_the_list_is_a_row() -> None:
    assert list(POISONS) == LISTED.split()


@pytest.mark.parametrize("name", POISONS)
@given(peers=st.integers(1, 9), size=st.integers(2, 40), jitter=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 9999))
def test_an_update_is_float32_and_of_the_models_length(
    name: str, peers: int, size: int, jitter: float, seed: int
) -> None:
    scene, poison = frozen(scene_of(peers, size, seed)), POISONS[name]
    made = poison.craft(scene, jitter=jitter if poison.colludes else 0.0)

    assert made.dtype == np.float32
    assert made.shape == (size - (name == "wrong-shape"),)
    assert made.flags.writeable  # an array of its own
    assert np.isfinite(made).all() == (name != "nan")


@pytest.mark.parametrize("name", sorted(POISONS.keys() - {"nan", "gaussian", "free-noise"}))
def test_whoever_knows_the_same_sends_the_same(name: str) -> None:
    first, second = (POISONS[name].craft(scene_of(5, 30, 3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", [name for name, poison in POISONS.items() if poison.colludes])
def test_jitter_makes_copies_differ_by_as_much_as_was_asked_for(name: str) -> None:
    scene = scene_of(5, 1000, 3)
    plain = POISONS[name].craft(scene)
    one, other = (POISONS[name].craft(scene, jitter=0.2) for _ in range(2))
    size = np.linalg.norm(plain)
    assert np.linalg.norm(one - plain) == pytest.approx(0.2 * size, rel=1e-4)
    assert np.linalg.norm(one - other) == pytest.approx(0.2 * math.sqrt(2) * size, rel=0.1)


@pytest.mark.parametrize("name", [name for name, poison in POISONS.items() if poison.colludes == "must"])
def test_without_others_it_is_no_attack(name: str) -> None:
    own = np.arange(1.0, 7.0, dtype=np.float32)
    made = POISONS[name].craft(PoisonContext(own[None], own, 20, 4, np.random.default_rng(0)))
    np.testing.assert_allclose(made, own)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("sign-flip", -1), ("inflated-count", -1), ("sign-flip-10", -10), ("backdoor", 5), ("dba", 5), ("edge-case", 5)],
)
def test_the_own_update_is_multiplied(name: str, factor: float) -> None:
    scene = scene_of(3, 12, 1)
    np.testing.assert_array_equal(POISONS[name].craft(scene), scene.own * np.float32(factor))


@pytest.mark.parametrize("name", sorted(WRONG_DATA))
def test_where_the_data_are_poisoned_the_update_is_sent_as_it_was_trained(name: str) -> None:
    scene = scene_of(3, 12, 1)
    np.testing.assert_array_equal(POISONS[name].craft(scene), scene.own)
    assert POISONS[name].data


# -- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clients", "attackers"), [(20, 4), (50, 24), (10, 1), (5, 3), (2, 1)])
def test_alie_lies_z_deviations_below_each_mean(clients: int, attackers: int) -> None:
    scene = scene_of(7, 9, 5, clients=clients, attackers=attackers)
    z = max(1.5, z_max(clients, attackers))
    wanted = [fmean(column) - z * pstdev(column) for column in scene.peers.T.tolist()]
    np.testing.assert_allclose(POISONS["alie"].craft(scene), wanted, rtol=1e-5, atol=1e-6)


def test_z_is_what_the_paper_says() -> None:
    """Its own example: 50 workers, 24 of them corrupted, so that 2 supporters are needed of 26."""
    assert z_max(50, 24) == pytest.approx(NormalDist().inv_cdf(24 / 26))
    assert 1.4 < z_max(50, 24) < 1.45
    assert z_max(2, 1) == -math.inf


@pytest.mark.parametrize(("name", "epsilon"), [("ipm", 0.5), ("ipm-10", 10.0)])
def test_the_inner_product_with_the_true_mean_is_negative(name: str, epsilon: float) -> None:
    scene = scene_of(7, 9, 5)
    wanted = [-epsilon * fmean(column) for column in scene.peers.T.tolist()]
    np.testing.assert_allclose(POISONS[name].craft(scene), wanted, rtol=1e-5, atol=1e-6)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


@given(peers=st.integers(2, 8), size=st.integers(2, 12), seed=st.integers(0, 9999))
def test_min_max_goes_just_as_far_as_two_honest_updates_are_apart(peers: int, size: int, seed: int) -> None:
    scene = scene_of(peers, size, seed)
    made = POISONS["min-max"].craft(scene)
    limit = max(distance(a, b) for a, b in itertools.combinations(scene.peers, 2))
    assert max(distance(made, peer) for peer in scene.peers) == pytest.approx(limit, rel=1e-4)
    along_deviation(scene, made)


@given(peers=st.integers(2, 8), size=st.integers(2, 12), seed=st.integers(0, 9999))
def test_min_sum_has_the_largest_sum_of_an_honest_update(peers: int, size: int, seed: int) -> None:
    scene = scene_of(peers, size, seed)
    made = POISONS["min-sum"].craft(scene)
    limit = max(sum(distance(a, b) ** 2 for b in scene.peers) for a in scene.peers)
    assert sum(distance(made, peer) ** 2 for peer in scene.peers) == pytest.approx(limit, rel=1e-4)
    along_deviation(scene, made)


def along_deviation(scene: PoisonContext, made: np.ndarray) -> None:
    """It lies from the mean against the standard deviations, by one gamma in all coordinates."""
    wide = scene.peers.astype(np.float64)
    gammas = (wide.mean(axis=0) - made) / wide.std(axis=0)
    assert gammas.min() > 0
    reach = float(np.abs(wide).max() / wide.std(axis=0).min())
    np.testing.assert_allclose(gammas, gammas.mean(), rtol=1e-4, atol=1e-5 * reach)


def test_mimic_copies_whoever_lies_farthest_where_they_differ_most() -> None:
    rng = np.random.default_rng(2)
    axis = rng.normal(size=50)
    places = np.array([0.1, -0.2, 0.0, 3.0, -0.1])
    peers = (np.outer(places, axis) + 0.01 * rng.normal(size=(5, 50))).astype(np.float32)
    made = POISONS["mimic"].craft(PoisonContext(peers, peers[0], 20, 4, rng))
    np.testing.assert_array_equal(made, peers[3])


@given(peers=st.integers(1, 8), seed=st.integers(0, 9999))
def test_mimic_is_an_honest_update(peers: int, seed: int) -> None:
    scene = scene_of(peers, 10, seed)
    made = POISONS["mimic"].craft(scene)
    assert any((made == peer).all() for peer in scene.peers)


def test_noise_has_the_length_of_an_honest_update_and_no_direction() -> None:
    scene = scene_of(7, 20_000, 5)
    made = POISONS["gaussian"].craft(scene).astype(np.float64)
    norms = np.linalg.norm(scene.peers, axis=1)
    assert norms.min() < np.linalg.norm(made) < norms.max()
    assert abs(made.mean() / made.std()) < 0.03
    assert abs(made @ scene.own) / np.linalg.norm(made) / np.linalg.norm(scene.own) < 0.03


# -- free-riders ------------------------------------------------------------------------------------------------------


def test_free_riders_send_what_they_have_without_training() -> None:
    scene = scene_of(3, 20_000, 1)
    assert scene.last_global is not None
    assert scene.last_own is not None
    assert not POISONS["free-zero"].craft(scene).any()
    np.testing.assert_array_equal(POISONS["free-replay-global"].craft(scene), scene.last_global)
    np.testing.assert_array_equal(POISONS["free-replay-own"].craft(scene), scene.last_own)
    disguised = POISONS["free-noise"].craft(scene)
    assert np.linalg.norm(disguised) == pytest.approx(np.linalg.norm(scene.last_global), rel=1e-4)
    loud = np.abs(scene.last_global) > np.median(np.abs(scene.last_global))
    assert np.linalg.norm(disguised[loud]) > 2 * np.linalg.norm(disguised[~loud])  # its scale, where it moved


def test_before_there_is_anything_to_send_again_they_send_zeros_or_the_first() -> None:
    own = np.arange(1.0, 7.0, dtype=np.float32)
    first = PoisonContext(own[None], own, 20, 4, np.random.default_rng(0))
    for name in ("free-noise", "free-replay-global"):
        assert not POISONS[name].craft(first).any()
    np.testing.assert_array_equal(POISONS["free-replay-own"].craft(first), own)


def test_twins_send_what_the_first_of_them_trained() -> None:
    scene = scene_of(3, 12, 1)
    assert scene.fellows is not None
    np.testing.assert_array_equal(POISONS["twins"].craft(scene), scene.fellows[0])


# -- broken ones ------------------------------------------------------------------------------------------------------


def test_broken_updates_are_as_broken_as_they_say() -> None:
    scene = scene_of(3, 12, 1)
    assert {"nan", "huge", "wrong-shape"} == BROKEN
    assert np.isnan(POISONS["nan"].craft(scene)).sum() == 1
    huge = POISONS["huge"].craft(scene)
    assert (np.abs(huge) == np.float32(1e30)).all()
    assert (huge * scene.own < 0).all()


def test_neurotoxin_keeps_away_from_what_the_honest_move_most() -> None:
    scene = scene_of(3, 200, 1)
    assert scene.last_global is not None
    made = POISONS["neurotoxin"].craft(scene)
    by_size = sorted(range(200), key=lambda at: -abs(scene.last_global[at]))  # pyright: ignore[reportOptionalSubscript]
    assert (made[by_size[:10]] == 0).all()  # a twentieth of them
    np.testing.assert_array_equal(made[by_size[10:]], scene.own[by_size[10:]] * np.float32(5))
    first = POISONS["neurotoxin"].craft(replace(scene, last_global=None))
    np.testing.assert_array_equal(first, scene.own * np.float32(5))
