"""FoolsGold against a slow reading of the paper, what it remembers, and the numbers that it is kept in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.errors import LocalProtocolError, TooFewClients
from roughfed.server.defence import Situation, Verdict, view_of_arrays, view_of_claims, view_of_files
from roughfed.server.defence.history import AGE, DIM
from roughfed.server.defence.rules.foolsgold import judge, trusted
from roughfed.server.defence.verdict import Coefficients

seeds = st.integers(0, 2**32 - 1)
SIZE = 4000


def paper(history: np.ndarray) -> np.ndarray:
    """Algorithm 1, entry by entry."""
    n = len(history)

    def cosine(i: int, j: int) -> float:
        return float(history[i] @ history[j] / (np.linalg.norm(history[i]) * np.linalg.norm(history[j])))

    cs = [[cosine(i, j) if i != j else 0.0 for j in range(n)] for i in range(n)]
    v = [max(row) for row in cs]
    for i in range(n):
        for j in range(n):
            if v[j] > v[i]:
                cs[i][j] *= v[i] / v[j]
    alpha = [min(1.0, max(0.0, 1 - max(row))) for row in cs]
    alpha = [min(a / max(alpha), 0.99) for a in alpha]
    return np.array([min(1.0, max(0.0, math.log(a / (1 - a)) + 0.5)) if a > 0 else 0.0 for a in alpha])


@given(seed=seeds, n=st.integers(2, 9), size=st.integers(3, 30))
def test_trust_is_that_of_the_paper(seed: int, n: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    history = rng.normal(size=(n, size)) + rng.normal(size=size)
    np.testing.assert_allclose(trusted(history), paper(history), atol=1e-9)


def played(rounds: int, *, hostile: int = 4, honest: int = 8, leave: int = 0, f: int = 4) -> list[Verdict]:
    """Honest clients with data of their own, and sybils with one aim and noise that differs in every update."""
    rng = np.random.default_rng(9)
    own = rng.normal(size=(honest, SIZE)) + 0.5 * rng.normal(size=SIZE)
    aim = rng.normal(size=SIZE)
    verdicts: list[Verdict] = []
    for number in range(1, rounds + 1):
        rows = {f"h{i}": own[i] + rng.normal(size=SIZE) for i in range(leave if number > 1 else 0, honest)}
        rows |= {f"s{i}": aim + 2.0 * rng.normal(size=SIZE) for i in range(hostile)}
        state = verdicts[-1].state if verdicts else {}
        view = view_of_arrays({name: row.astype(np.float32) for name, row in rows.items()}, kind="updates")
        verdicts.append(judge(view, Situation(f, number, seed=77, state=state)))
    return verdicts


def share_of(verdict: Verdict, kind: str) -> float:
    assert isinstance(verdict.combine, Coefficients)
    assert sum(verdict.combine.by_name.values()) == pytest.approx(1.0)
    return sum(weight for name, weight in verdict.combine.by_name.items() if name.startswith(kind))


def test_sybils_that_repeat_lose_their_voice_as_the_rounds_go_on() -> None:
    """In one round their noise hides them; over the rounds it averages out and what they want is left."""
    verdicts = played(14)
    shares = [share_of(verdict, "s") for verdict in verdicts]
    assert shares[0] > 0.1
    assert shares[-1] < 0.02
    assert {f"s{i}" for i in range(4)} == verdicts[-1].excluded.keys()
    assert not any(name.startswith("h") for verdict in verdicts for name in verdict.excluded)


def test_the_same_round_again_is_judged_alike_and_another_key_hardly_differs() -> None:
    first, again = played(3)[-1], played(3)[-1]
    assert first.combine == again.combine
    assert all((first.state[key] == again.state[key]).all() for key in first.state)


def test_nobody_suspected_is_remembered_all_the_same() -> None:
    verdict = played(2, f=0)[-1]
    assert (verdict.combine, verdict.excluded) == (None, {})
    assert sorted(verdict.state) == sorted(["key", *(f"sum/h{i}" for i in range(8)), *(f"sum/s{i}" for i in range(4))])


def test_who_is_away_for_long_is_forgotten() -> None:
    verdicts = played(AGE + 2, leave=3)
    assert {f"sum/h{i}" for i in range(3)} <= verdicts[AGE].state.keys()
    assert {f"sum/h{i}" for i in range(3)}.isdisjoint(verdicts[AGE + 1].state)


def test_where_all_are_alike_the_round_is_void() -> None:
    with pytest.raises(TooFewClients):
        judge(view_of_arrays({f"c{i}": np.ones(50, dtype=np.float32) for i in range(5)}), Situation(1))
    with pytest.raises(TooFewClients) as caught:
        judge(view_of_arrays({"c0": np.ones(5, dtype=np.float32)}), Situation(1))
    assert (caught.value.needed, caught.value.got) == (2, 1)


@pytest.mark.parametrize("size", [1, DIM, 200_000])
def test_the_numbers_of_a_row_keep_inner_products(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(size)
    rows = (rng.normal(size=(6, size)) + rng.normal(size=size)).astype("<f4")
    rows *= np.repeat([1.0, 0.1], [size - size // 2, size // 2]).astype("<f4")  # layers of unequal scale
    for at, row in enumerate(rows):
        (tmp_path / f"c{at}").write_bytes(row.tobytes())
    view = view_of_files({f"c{at}": tmp_path / f"c{at}" for at in range(6)}, size=size)
    found = view.projected(DIM, seed=5)
    assert found.shape == (6, DIM)
    np.testing.assert_array_equal(
        found, view_of_arrays(dict(zip(view.names, rows, strict=True))).projected(DIM, seed=5)
    )
    np.testing.assert_array_equal(view.only(["c4", "c1"]).projected(DIM, seed=5), found[[1, 4]])
    norm = np.linalg.norm(rows.astype(float), axis=1)
    off = (found @ found.T - rows.astype(float) @ rows.astype(float).T) / np.outer(norm, norm)
    assert np.abs(off).max() < (5 / DIM**0.5 if size > DIM else 1e-9)
    np.testing.assert_allclose(found[0] + found[1], slow(rows[0].astype(float) + rows[1], 5), atol=1e-3)  # linear


def slow(row: np.ndarray, seed: int) -> np.ndarray:
    """Coordinate by coordinate: number d mod DIM, with the sign that the seed gives tile by tile of whole multiples."""
    width = DIM * ((1 << 16) // DIM)
    found = np.zeros(DIM)
    for start in range(0, len(row), width):
        signs = np.random.default_rng([seed, start // width]).integers(0, 2, width, dtype=np.int8)
        for at, value in enumerate(row[start : start + width].tolist(), start):
            found[at % DIM] += -value if signs[at - start] else value
    return found


def test_sketches_cannot_be_projected() -> None:
    with pytest.raises(LocalProtocolError, match="sketches"):
        view_of_claims({"c0": np.ones(4)}, length=4, norm_unit=1.0).projected(DIM, seed=0)
