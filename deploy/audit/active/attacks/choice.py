"""Questions that nobody needs: which of these models fits your data best? Of models that are made to ask for labels.

A model of zero weights and biases log q loses, on a client with label shares p, the cross-entropy of q under p. So an
answer says of 15 differences of log q that p lies on one side. What all answers leave is a convex part of the simplex;
a walk in it (hit and run: Smith, "Efficient Monte Carlo procedures for generating points uniformly distributed over
bounded regions", 1984) says where its middle is, and what to ask next.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from roughfed.deploy.audit.active.attack import ActiveAttack, word
from roughfed.deploy.audit.active.result import Loot, error
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene
from roughfed.deploy.audit.active.server import AttackRefused
from roughfed.deploy.audit.active.trainer import NUM_CLASSES, SPEC, part_of
from roughfed.digest import content_digest
from roughfed.messages import Choose
from roughfed.rng import generator
from roughfed.types import Signed
from roughfed.wire.cluster_choice import MOST_MODELS, QUESTION_DOMAIN, Question, encode_question

Rows = NDArray[np.float64]

QUESTIONS = 20
SECONDS = 8.0
WALKERS = 400
STEPS = 60


async def choices(scene: AttackScene) -> Loot:
    """As many questions as it takes, in runs of different names where one run does not allow them."""
    server = scene.server
    truth = np.bincount(part_of(0, scene.learning).labels, minlength=NUM_CLASSES) / scene.learning.images
    guess = np.full(NUM_CLASSES, 1 / NUM_CLASSES)
    region, refusals, asked = Region(), list[str](), 0
    for run in ("run-a", "run-c"):
        server.run = run
        try:
            await server.greet_again([VICTIM])
            while asked < QUESTIONS:
                await _ask(scene, region, asked + 1)
                asked += 1
        except AttackRefused as refused:
            refusals.append(word(refused))
    if not asked:
        return Loot(0, None, 1.0, tuple(refusals), measure="error")
    return Loot(asked, error(region.middle(), truth, guess), 1.0, tuple(refusals), measure="error")


async def _ask(scene: AttackScene, region: Region, number: int) -> None:
    """One question, and what its answer says."""
    server = scene.server
    shares = region.candidates(number)
    digests: list[bytes] = []
    for row in shares:
        flat = np.zeros(SPEC.size, dtype=np.float32)
        flat[-NUM_CLASSES:] = np.log(row)
        data = flat.tobytes()
        digests.append(content_digest(data))
        server.models[digests[-1]] = data
    body = encode_question(Question(server.run, number, SPEC.digest, tuple(digests)))
    server.send(VICTIM, Choose(Signed(body, server.sign(QUESTION_DOMAIN, body), "server"), SECONDS))
    answer = await server.choice(VICTIM, number)
    await asyncio.to_thread(region.learn, shares, answer.place - 1, number)


class Region:
    """Label shares that fit all answers: points of the simplex, float64 [walkers, C]."""

    def __init__(self) -> None:
        """All of it."""
        self._cuts = np.eye(NUM_CLASSES)  # p >= 0; each row: cut . p >= 0
        self._points = generator(0, "audit", "simplex").dirichlet(np.ones(NUM_CLASSES), size=WALKERS)

    def middle(self) -> Rows:
        """The mean, [C]."""
        return self._points.mean(axis=0)

    def candidates(self, number: int) -> Rows:
        """Shares to be told apart by the next question, [16, C]."""
        drawn = generator(number, "audit", "candidates").choice(WALKERS, MOST_MODELS, replace=False)
        return np.maximum(self._points[drawn], 1e-4)

    def learn(self, shares: Rows, place: int, number: int) -> None:
        """The model in this place fits best."""
        cuts = np.log(shares[place]) - np.delete(np.log(shares), place, axis=0)  # [15, C]
        self._cuts = np.concatenate([self._cuts, cuts])
        rng = generator(number, "audit", "walk")
        fits = self._points[(self._points @ cuts.T >= 0).all(axis=1)]
        # The chosen model's own shares lose least at themselves, so they always fit this answer; not each earlier one.
        own = shares[place] / shares[place].sum()
        starts = fits if len(fits) else own[None]
        points = starts[rng.integers(len(starts), size=WALKERS)].copy()
        for _ in range(STEPS):
            points = self._step(points, rng)
        self._points = points

    def _step(self, points: Rows, rng: np.random.Generator) -> Rows:
        """Hit and run: along a random line, to a random place of what is allowed of it."""
        ways = rng.normal(size=points.shape)
        ways -= ways.mean(axis=1, keepdims=True)  # stays on the simplex
        slack, rate = points @ self._cuts.T, ways @ self._cuts.T  # [walkers, cuts]
        with np.errstate(divide="ignore", invalid="ignore"):
            limits = -slack / rate
        high = np.where(rate < 0, limits, np.inf).min(axis=1)
        low = np.where(rate > 0, limits, -np.inf).max(axis=1)
        at = low + rng.random(len(points)) * (high - low)
        return points + np.where(high > low, at, 0.0)[:, None] * ways


CHOICES = ActiveAttack(
    "unsolicited choices", f"label shares, from {QUESTIONS} questions for the best model", 1, 0, choices, update=False
)
