"""Regression over rounds on updates: what sums and sketches say about a client's habit, its mean update.

A client's update is (what all do) + (its habit) + (what it does this round), the last two of equal norm: data that
differ between clients make the habit, batches and the moving model the rest. The attacker wants the habits; guessing is
the mean of all clients.

n clients, D parameters, R rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.chain import encode
from roughfed.deploy.audit.regression import REGROUP_EVERY, Curve, Rows, drawn, equations, names_of
from roughfed.deploy.audit.views import chain_params, make_sketcher, sketch_map
from roughfed.rng import generator
from roughfed.secagg.groups import group_sizes

LENGTHS = 4
"""The updates of this regression have so many times the sketch's numbers: small, so that one sees where it ends."""

SKETCHED = 8
"""Clients whose sketches are looked at; each is solved alone."""


def updates(habits: Rows, seed: int, number: int) -> NDArray[np.float32]:
    """All updates of a round, float32 [n, D]: parts of norm about 1."""
    size: int = habits.shape[1]
    common = generator(seed, "common", number).normal(size=size)
    own = generator(seed, "own", number).normal(size=habits.shape)
    return ((common + own) / np.sqrt(size) + habits).astype(np.float32)


def make_habits(clients: int, size: int, seed: int) -> Rows:
    """Habits of norm about 1 with mean zero, float64 [n, D]."""
    habits = generator(seed, "habits").normal(size=(clients, size)) / np.sqrt(size)
    return habits - habits.mean(axis=0)


def from_sums(habits: Rows, *, every: int, rounds: int, seed: int) -> Curve:
    """Habits by ridge regression on exact group sums.

    Args:
        habits: float64 [n, D].
        every: rounds for which groups stay.
        rounds: R.
        seed: of groups and updates.
    """
    names = names_of(len(habits))
    schedule = drawn(names, every=every, seed=seed)
    normal, right = np.zeros((len(names), len(names))), np.zeros_like(habits)
    noise = group_sizes(len(names))[0]  # in a sum of g, g times one client's own part; the habit has norm 1
    name = "sums, redrawn every round" if every == 1 else f"sums, redrawn every {every}"
    curve = Curve(name)
    for number in range(1, rounds + 1):
        rows, all_updates = equations(schedule(number), names), updates(habits, seed, number).astype(np.float64)
        deviations = all_updates - all_updates.mean(axis=0)  # what all do is known: the sum of all sums
        normal += rows.T @ rows
        right += rows.T @ (rows @ deviations)
        found = cast("Rows", np.linalg.solve(normal + noise * np.eye(len(names)), right))
        curve.error.append(_share(found, habits))
    return curve


def from_sketches(habits: Rows, *, dim: int, rounds: int, seed: int, entropy: Callable[[int], bytes]) -> Curve:
    """Habits by ridge regression on real sketches of real codes, a new sketch every round; float64 [n, D] in."""
    count, size = habits.shape
    normal, right = np.zeros((size, size)), np.zeros((size, count))
    curve = Curve(f"sketches of {dim}")
    for number in range(1, rounds + 1):
        deltas = updates(habits, seed, number)
        params = chain_params(size, max(count, 4), float(np.linalg.norm(deltas, axis=1).max()), seed + number)
        sketcher = make_sketcher(params, dim, max(count, 4), seed + number)
        codes = (encode(delta, None, params, secret=entropy(32)).codes for delta in deltas)
        claims = np.array([sketcher.claim(sketcher.of_codes(c)) for c in codes])  # [n, dim]
        matrix = sketch_map(sketcher, params).astype(np.float64)  # [dim, D]
        unit = np.sqrt(np.square(matrix).sum(axis=1, keepdims=True))  # of a row; its buckets are scaled alike
        matrix, claims = matrix / unit, claims / unit[:, 0]
        normal += matrix.T @ matrix
        right += matrix.T @ (claims - claims.mean(axis=0)).T
        found = cast("Rows", np.linalg.solve(normal + np.eye(size), right)).T  # own part and habit are alike: weight 1
        curve.error.append(_share(found, habits - habits.mean(axis=0)))
    return curve


def habit_curves(*, clients: int, dim: int, rounds: int, seed: int, entropy: Callable[[int], bytes]) -> list[Curve]:
    """All three ways to learn the clients' mean updates."""
    habits = make_habits(clients, LENGTHS * dim, seed)
    return [
        from_sums(habits, every=1, rounds=rounds, seed=seed),
        from_sums(habits, every=REGROUP_EVERY, rounds=rounds, seed=seed),
        from_sketches(habits[:SKETCHED], dim=dim, rounds=rounds, seed=seed, entropy=entropy),
    ]


def _share(found: Rows, habits: Rows) -> float:
    """Error as a share of that of guessing the mean of all clients, which is zero here."""
    return float(np.linalg.norm(found - habits) / np.linalg.norm(habits))
