"""Laws of the room `server/defence`: whoever is listed keeps them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import ConfigError, TooFewClients
from roughfed.server.defence import RULES, STRENGTH, View, check_rule, view_of_claims, view_of_files

seeds = st.integers(0, 2**32 - 1)
clients = st.integers(5, 14)


def rows_of(seed: int, n: int, *, size: int = 24, far: int = 0) -> dict[str, np.ndarray]:
    """n rows around a common direction; the first `far` of them go the other way, three times as far."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=size)
    rows = common + 0.5 * rng.normal(size=(n, size))
    rows[:far] *= -3
    return {f"c{i:02}": row for i, row in enumerate(rows)}


def view_of(rows: dict[str, np.ndarray]) -> View:
    return view_of_claims(rows, length=24, norm_unit=1.0)


def most(n: int) -> int:
    """The most attackers that every rule of the table can judge among n."""
    return max(f for f in range(n) if all(row.min_clients(f) <= n for row in RULES.values()))


@pytest.mark.parametrize("name", RULES)
@given(seed=seeds, n=clients, data=st.data())
def test_a_verdict_names_few_clients_and_follows_them(name: str, seed: int, n: int, data: st.DataObject) -> None:
    f = data.draw(st.integers(0, most(n)))
    rows = rows_of(seed, n, far=f)
    before = {key: row.copy() for key, row in rows.items()}

    excluded = RULES[name].select(view_of(rows), f)
    arrived = data.draw(st.permutations(sorted(rows)))

    assert excluded.keys() <= rows.keys()
    assert len(excluded) <= f
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", why) and len(why) <= 24 for why in excluded.values())
    for key, row in before.items():
        np.testing.assert_array_equal(rows[key], row)  # inputs are never changed
    assert list(RULES[name].select(view_of({key: rows[key] for key in arrived}), f).items()) == list(excluded.items())


@pytest.mark.parametrize("name", RULES)
@given(seed=seeds, n=clients, data=st.data())
def test_new_names_get_the_same_verdicts(name: str, seed: int, n: int, data: st.DataObject) -> None:
    """Nobody is judged by its name (rows of random numbers have no ties)."""
    f = most(n)
    rows = rows_of(seed, n, far=f)
    renamed = dict(zip(sorted(rows), data.draw(st.permutations(sorted(rows))), strict=True))
    excluded = RULES[name].select(view_of({renamed[key]: row for key, row in rows.items()}), f)
    assert excluded == {renamed[key]: why for key, why in RULES[name].select(view_of(rows), f).items()}


@pytest.mark.parametrize("name", RULES)
@given(seed=seeds, n=clients, scale=st.floats(1e-3, 1e3))
def test_a_common_shift_or_scale_changes_no_verdict(name: str, seed: int, n: int, scale: float) -> None:
    f = most(n)
    rows = rows_of(seed, n, far=f)
    shift = 5 * np.random.default_rng(seed).normal(size=24)
    moved = {key: scale * (row + shift) for key, row in rows.items()}
    assert RULES[name].select(view_of(moved), f) == RULES[name].select(view_of(rows), f)


@pytest.mark.parametrize("name", RULES)
@given(seed=seeds, n=st.integers(1, 14))
def test_with_no_attacker_expected_nobody_is_left_out(name: str, seed: int, n: int) -> None:
    assert RULES[name].select(view_of(rows_of(seed, n, far=n // 3)), 0) == {}


@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
@given(seed=seeds, n=clients, data=st.data())
def test_attackers_that_go_the_other_way_are_left_out(name: str, seed: int, n: int, data: st.DataObject) -> None:
    far = data.draw(st.integers(1, most(n)))
    assert RULES[name].select(view_of(rows_of(seed, n, far=far)), far).keys() == {f"c{i:02}" for i in range(far)}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("f", [1, 2, 5])
def test_too_few_clients_void_the_round(name: str, f: int) -> None:
    needed = RULES[name].min_clients(f)
    RULES[name].select(view_of(rows_of(f, needed)), f)
    if needed > 1:
        with pytest.raises(TooFewClients) as caught:
            RULES[name].select(view_of(rows_of(f, needed - 1)), f)
        assert (caught.value.needed, caught.value.got) == (needed, needed - 1)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_works_with_every_view_that_shows_enough(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    for sees, strength in STRENGTH.items():
        if strength < STRENGTH[RULES[name].needs]:
            with pytest.raises(ConfigError, match=name):
                check_rule(name, sees)
        else:
            check_rule(name, sees)
    rows = rows_of(7, 9, far=2)
    folder = tmp_path_factory.mktemp("spool")
    for key, row in rows.items():
        (folder / key).write_bytes(row.astype("<f4").tobytes())
    full = RULES[name].select(view_of_files({key: folder / key for key in rows}, size=24), 2)
    if RULES[name].needs != "updates":
        assert full == RULES[name].select(view_of(rows), 2)
