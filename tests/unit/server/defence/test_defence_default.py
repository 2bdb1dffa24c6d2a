"""The default defence: what speaks against a row, over the rounds, and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.server.defence import Situation, View, view_of_arrays, view_of_claims
from roughfed.server.defence.evidence import (
    DECAY,
    FORGOTTEN,
    EvidenceTotals,
    agreement,
    floored,
    parties,
    pulls,
    typical,
)
from roughfed.server.defence.memory import pack, unpack
from roughfed.server.defence.rules.default import judge
from roughfed.server.defence.verdict import NOTHING, State, Verdict

D = 4000
N, F = 20, 4
seeds = st.integers(0, 2**32 - 1)


def honest(rng: np.random.Generator, n: int = N, *, common: float = 0.4, size: int = D) -> np.ndarray:
    """n updates whose cosines are about common^2, with lengths that differ by up to 3 times; float32 [n, size]."""
    shared, own = rng.normal(size=size), rng.normal(size=(n, size))
    lengths = np.exp(rng.uniform(-0.55, 0.55, size=(n, 1)))
    return (lengths * (common * shared + (1 - common**2) ** 0.5 * own)).astype(np.float32)


def named(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {f"c{at:02}": row for at, row in enumerate(rows)}


def view_of(rows: np.ndarray, root: np.ndarray | None = None) -> View:
    return view_of_arrays(named(rows), kind="updates", extras={} if root is None else {"root": root})


def gram_of(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float64) @ rows.astype(np.float64).T


def play(rounds: list[np.ndarray], *, f: int = F, roots: list[np.ndarray] | None = None) -> list[Verdict]:
    """One verdict after another, each with what the one before left."""
    state: State = NOTHING
    found: list[Verdict] = []
    for number, rows in enumerate(rounds, 1):
        view = view_of(rows, None if roots is None else roots[number - 1])
        found.append(judge(view, Situation(f, number, state=unpack(pack(state)))))
        state = found[-1].state
    return found


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.2])
@given(seed=seeds)
def test_copies_are_one_party_with_noise_or_without(jitter: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = honest(rng)
    crafted = rows[F:].mean(0) - 1.5 * rows[F:].std(0)
    noise = rng.normal(size=(F, D))
    rows[:F] = crafted + jitter * np.linalg.norm(crafted) / D**0.5 * noise
    first = parties(gram_of(rows))
    assert len(set(first[:F])) == 1
    assert first[0] == min(range(F), key=lambda at: float(np.linalg.norm(rows[at])))  # the shortest counts
    assert (first[F:] == np.arange(F, N)).all()


@given(seed=seeds, common=st.floats(0.0, 0.98))
def test_clients_that_agree_are_no_copies(seed: int, common: float) -> None:
    """Even where nearly everything is common: what they have beyond it is not."""
    rows = honest(np.random.default_rng(seed), common=common)
    assert (parties(gram_of(rows)) == np.arange(N)).all()


def test_rounded_sketches_of_clients_that_all_but_agree_are_no_copies() -> None:
    """Across their common direction such rows are short, and most of what their sketches show there is rounding."""
    found, dim, rounding = {True: 0, False: 0}, 64, 0.3
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = honest(rng, common=0.9)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        sketches = (rows @ rng.normal(size=(D, dim)) + rounding**0.5 * rng.normal(size=(N, dim))) / dim**0.5
        gram = gram_of(sketches)
        np.fill_diagonal(gram, np.maximum(gram.diagonal() - rounding, rounding))  # as `view_of_claims` does
        for known in found:
            first = parties(gram, dim**-0.5, rounding) if known else parties(gram)
            found[known] += int((first != np.arange(N)).any())
    assert found[True] == 0
    assert found[False] > 10  # so many there would be


def test_pairs_of_clients_with_like_data_are_no_copies() -> None:
    rng = np.random.default_rng(1)
    rows = honest(rng)
    rows[1::2] = 0.6 * rows[::2] + 0.8 * rows[1::2]  # cosine 0.6 beyond the common part, and more
    assert (parties(gram_of(rows)) == np.arange(N)).all()


def test_zeros_are_nobodys_copy() -> None:
    rows = honest(np.random.default_rng(2))
    rows[:3] = 0
    assert (parties(gram_of(rows))[3:] == np.arange(3, N)).all()


@given(seed=seeds)
def test_a_victim_that_is_mimicked_counts_once(seed: int) -> None:
    rows = honest(np.random.default_rng(seed))
    rows[:F] = rows[9]
    verdict = judge(view_of(rows), Situation(F))
    copies = {name for name, why in verdict.excluded.items() if why == "copy"}
    assert len(copies) == F
    assert copies < {"c00", "c01", "c02", "c03", "c09"}


# -- agreement --------------------------------------------------------------------------------------------------------


@given(seed=seeds, f=st.integers(0, 4))
def test_agreement_is_a_trimmed_mean_of_cosines(seed: int, f: int) -> None:
    rows = honest(np.random.default_rng(seed), 11, size=30)
    rows[4] = rows[5]
    first = np.array([0, 1, 2, 3, 4, 4, 6, 7, 8, 9, 10])
    cosine = gram_of(rows) / np.outer(floored(gram_of(rows)), floored(gram_of(rows)))
    for at, value in enumerate(agreement(gram_of(rows), first, f)):
        others = sorted(cosine[at, j] for j in range(11) if first[j] == j and j != first[at])
        kept = others[min(f, (len(others) - 1) // 2) :]
        kept = kept[: len(kept) - min(f, (len(others) - 1) // 2)]
        assert value == pytest.approx(np.mean(kept), abs=1e-12)


def test_colluders_hardly_raise_their_own_agreement() -> None:
    rows = honest(np.random.default_rng(3))
    before = agreement(gram_of(rows), np.arange(N), F)
    rows[:F] += 3 * np.random.default_rng(4).normal(size=D)
    after = agreement(gram_of(rows), np.arange(N), F)
    assert (after[:F] < before[F:].min()).all()


def test_the_typical_norm_and_its_floor() -> None:
    gram = np.diag([0.0, 0.0, 1.0, 4.0, 9.0, 16.0])
    assert typical(gram) == 2.5  # of 1, 2, 3, 4
    assert floored(gram).tolist() == [0.75, 0.75, 1.0, 2.0, 3.0, 4.0]
    assert typical(np.zeros((3, 3))) == 0.0
    assert floored(np.zeros((2, 2))).tolist() == [1.0, 1.0]


# -- pulling together -------------------------------------------------------------------------------------------------


def test_a_pull_is_what_others_add_beyond_the_middle() -> None:
    """Against vectors: residuals across the geometric median and against it, the f best products, cut at 1.5 norms."""
    rows = honest(np.random.default_rng(11), 9, size=50).astype(np.float64)
    rows[0] *= 5
    rows[1] *= -1
    rows[3] = rows[2]
    first = np.array([0, 1, 2, 2, 4, 5, 6, 7, 8])
    found = pulls(rows @ rows.T, first, 2)
    usual = typical(rows @ rows.T)
    cut = np.array([row * min(1, 1.5 * usual / np.linalg.norm(row)) / usual for row in rows])
    heads = [0, 1, 2, 4, 5, 6, 7, 8]
    centre = cut[heads].mean(axis=0)
    for _ in range(3000):  # Weiszfeld on the vectors themselves
        near = 1 / np.linalg.norm(cut[heads] - centre, axis=1)
        centre = near @ cut[heads] / near.sum()
    centre /= np.linalg.norm(centre)
    beyond = [row - max(row @ centre, 0) * centre for row in cut]
    for at in range(9):
        best = sorted((j for j in heads if first[at] != j), key=lambda j, at=at: -beyond[at] @ beyond[j])[:2]
        with_it = np.mean([max(0, beyond[at] @ beyond[j]) for j in best])
        without = max(0, beyond[best[0]] @ beyond[best[1]])
        assert found[at] == pytest.approx(min(with_it, without), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alike", [0.6, 0.7, 0.8])
def test_near_copies_of_a_client_do_not_shut_it_out(alike: float, seed: int) -> None:
    """Four attackers send the victim's update with noise of their own: nearer to it than to one another."""
    rng = np.random.default_rng(seed)
    state, out, hostile = NOTHING, 0, 0
    ways = rng.normal(size=(20, D))
    for number in range(1, 16):
        rows = 0.5 * rng.normal(size=D) + 0.87 * (0.8 * rng.normal(size=(20, D)) + 0.6 * ways)
        for at in range(4):
            rows[at] = alike * rows[19] + (1 - alike**2) ** 0.5 * rng.normal(size=D)
        view = view_of_arrays({f"c{at:02}": row.astype(np.float32) for at, row in enumerate(rows)})
        verdict = judge(view, Situation(4, number, 0, state))
        state = verdict.state
        out += "c19" in verdict.excluded
        hostile += len(verdict.excluded.keys() & {"c00", "c01", "c02", "c03"})
    assert out <= 3
    assert alike < 0.8 or hostile > 4 * out


def test_one_attacker_pulls_with_nobody() -> None:
    rows = honest(np.random.default_rng(3), 9, size=50).astype(np.float64)
    rows[0] = rows[1] + 0.1 * rows[2]
    assert not pulls(rows @ rows.T, np.arange(9), 1).any()


@pytest.mark.parametrize("jitter", [0.3, 0.4, 0.5])
@given(seed=seeds)
def test_who_adds_noise_to_copies_is_left_out_at_once(jitter: float, seed: int) -> None:
    """As copies or for the pull: between the two no noise is left that would let them in."""
    rng = np.random.default_rng(seed)
    rows = honest(rng)
    crafted = rows[F:].mean(0) - 1.5 * rows[F:].std(0)
    rows[:F] = crafted + jitter * np.linalg.norm(crafted) / D**0.5 * rng.normal(size=(F, D))
    excluded = play([rows])[-1].excluded
    assert len(excluded.keys() & {f"c{at:02}" for at in range(F)}) >= F - 1
    assert "together" in excluded.values() or "copy" in excluded.values()


@given(seed=seeds)
def test_who_pulls_together_is_left_out_and_who_is_odd_alone_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    goal, oddity = rng.normal(size=(2, D))
    rounds = [honest(rng) for _ in range(8)]
    for rows in rounds:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        rows[:F] += 1.1 * goal * lengths[:F] / D**0.5  # what they are trained to do beside the task
        rows[-1] = 0.3 * rows[-1] + 0.9 * oddity * lengths[-1] / D**0.5
    last = play(rounds)[-1]
    assert last.excluded.keys() == {f"c{at:02}" for at in range(F)}
    assert sorted(last.excluded.values())[1:] == ["together"] * (F - 1)
    assert min(last.excluded.values()) in ("together", "long")  # one may be longer still than it pulls
    assert last.scores["c19"] < 1


@given(seed=seeds)
def test_a_victim_is_not_shut_out_by_shortened_copies_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds = [honest(rng) for _ in range(10)]
    for rows in rounds:
        rows[:F] = 0.7 * rows[9]
    out = sum("c09" in verdict.excluded for verdict in play(rounds))
    assert out < 10  # its update counts under one name or another in every round
    assert all(len(v.excluded.keys() & {"c00", "c01", "c02", "c03", "c09"}) == F for v in play(rounds))


# -- over the rounds --------------------------------------------------------------------------------------------------


@given(seed=seeds)
def test_who_turns_its_update_round_is_left_out_and_nobody_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds = [honest(rng, common=0.3) for _ in range(6)]
    for rows in rounds:
        rows[:F] *= -1
    for verdict in play(rounds)[1:]:
        assert verdict.excluded.keys() == {f"c{at:02}" for at in range(F)}
        assert set(verdict.excluded.values()) <= {"together", "disagrees"}


@given(seed=seeds)
def test_who_is_always_long_is_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds = [honest(rng) for _ in range(4)]
    for rows in rounds:
        rows[0] *= 3.5 * np.median(np.linalg.norm(rows, axis=1)) / np.linalg.norm(rows[0])
    assert play(rounds)[-1].excluded == {"c00": "long"}


@pytest.mark.parametrize("common", [0.05, 0.3, 0.6, 0.95])
def test_honest_clients_are_hardly_ever_left_out(common: float) -> None:
    rng = np.random.default_rng(5)
    out = sum(len(v.excluded) for _ in range(5) for v in play([honest(rng, common=common) for _ in range(10)]))
    assert out <= 10  # 1 % of 1,000


def test_a_client_that_behaves_again_is_back() -> None:
    rng = np.random.default_rng(6)
    rounds = [honest(rng) for _ in range(40)]
    for rows in rounds[:3]:
        rows[0] *= -1
    verdicts = play(rounds)
    assert "c00" in verdicts[2].excluded
    assert "c00" not in verdicts[-1].excluded


def test_a_newcomer_is_measured_by_the_rounds_it_was_in() -> None:
    """Late updates agree less than early ones: that is nobody's fault."""
    rng = np.random.default_rng(7)
    state: State = NOTHING
    for number in range(1, 31):
        rows = named(honest(rng, common=max(0.1, 0.8 - number / 30)))
        if number < 20:
            del rows["c19"]
        verdict = judge(view_of_arrays(rows, kind="updates"), Situation(F, number, state=state))
        state = verdict.state
        assert "c19" not in verdict.excluded


def test_the_root_speaks_against_who_disagrees_with_it() -> None:
    rng = np.random.default_rng(8)
    rounds, roots = [], []
    for _ in range(5):
        true, false = rng.normal(size=(2, D))
        rows = honest(rng, common=0.0) + 0.4 * true
        rows[:F] += 1.2 * false - 0.4 * true  # agree with one another, and with nobody else
        rounds.append(rows.astype(np.float32))
        roots.append((true + rng.normal(size=D)).astype(np.float32))
    assert set(play(rounds, roots=roots)[-1].excluded) == {f"c{at:02}" for at in range(F)}


@given(seed=seeds, f=st.integers(0, 9))
def test_never_more_than_f(seed: int, f: int) -> None:
    rng = np.random.default_rng(seed)
    rows = honest(rng)
    rows[: N // 2] *= -1
    verdict = judge(view_of(rows), Situation(f))
    assert len(verdict.excluded) <= f
    assert verdict.scores.keys() == (named(rows).keys() if f else set())
    assert all(verdict.scores[name] > 1 for name in verdict.excluded)


@pytest.mark.parametrize("f", [1, 4])
def test_rows_far_too_long_are_out_however_many(f: int) -> None:
    rows = honest(np.random.default_rng(9))
    lengths = np.linalg.norm(rows, axis=1)
    rows[:7] *= (6 * np.median(lengths) / lengths[:7])[:, None] * np.arange(1, 8)[:, None]
    assert judge(view_of(rows), Situation(f)).excluded == {f"c{at:02}": "long" for at in range(7)}
    assert judge(view_of(rows), Situation(0)).excluded == {}


def test_strong_evidence_goes_before_copies() -> None:
    """Colluders must not spend the server's quota on copies of one another while a worse one gets in."""
    rng = np.random.default_rng(10)
    rounds = [honest(rng) for _ in range(5)]
    for rows in rounds:
        rows[0] *= -1
        rows[5] = rows[6] = rows[7]
    assert play(rounds, f=1)[-1].excluded == {"c00": "disagrees"}


def test_figures_fade_and_names_are_forgotten() -> None:
    one = EvidenceTotals.after(NOTHING, ["a", "b"], np.array([[1.0], [2.0]]))
    two = EvidenceTotals.after(one.state(NOTHING, 1), ["a"], np.array([[1.0]]))
    assert two.sums.tolist() == [[1 + DECAY]]
    assert two.weight.tolist() == [1 + DECAY]
    assert two.state(one.state(NOTHING, 1), 2).keys() == {"a", "b"}
    assert two.state(one.state(NOTHING, 1), FORGOTTEN + 2).keys() == {"a"}


def test_the_memory_of_another_version_is_forgotten() -> None:
    old = {"a": np.array([3.0, 1.0, 2.0, 1.0])}
    assert EvidenceTotals.after(old, ["a"], np.array([[1.0]])).sums.tolist() == [[1.0]]


@pytest.mark.parametrize("n", [5, 7, 10, 20])
def test_sketches_of_unlike_updates_are_no_evidence(n: int) -> None:
    """Where nobody agrees with anybody, 128 numbers say by chance that some agree less."""
    rng = np.random.default_rng(n)
    out = rounds = 0
    for _ in range(30):
        state: State = NOTHING
        for number in range(1, 9):
            claims = {f"c{at:02}": rng.normal(size=128) for at in range(n)}
            view = view_of_claims(claims, length=10_000, norm_unit=250.0)
            verdict = judge(view, Situation(n // 5, number, state=state))
            state, out, rounds = verdict.state, out + len(verdict.excluded), rounds + n
    assert out <= rounds / 200
