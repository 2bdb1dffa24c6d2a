"""A model that stands still: sketches of one update, round after round, add up.

It moves by a unit in the last place, so that it is never the same; or, where that is noticed, in a direction that no
training notices, as far as an honest model might.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from roughfed.codec.plan import Lanes, plan_lanes
from roughfed.deploy.audit.active.attack import FINE, STRIDE, ActiveAttack, judged, word
from roughfed.deploy.audit.active.result import Loot, cosine, mean
from roughfed.deploy.audit.active.round import HonestRound, RoundTable
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused, Flat
from roughfed.deploy.audit.views import sketch_map
from roughfed.secagg.terms import sketch_lanes

ROUNDS = 10
"""As many numbers as parameters, and some more: 10 x 128 of 650."""

Seen = tuple[Flat, Flat]
"""Of one round: the map from updates to sketches, float32 [dim, D], and the victim's sketch, float32 [dim]."""


async def frozen(scene: AttackScene, *, stride: float) -> Loot:
    """As many sketches as it takes; nobody is left out. Guessing is what the first of them says."""
    scene.server.sees = "sketches"
    await scene.server.greet_again(scene.clients)
    seen: list[Seen] = []
    refusals: list[str] = []
    for lanes in (FINE, plan_lanes(len(scene.clients))):
        try:
            while len(seen) < ROUNDS:
                seen = [*seen, await _one(scene, lanes, stride)]
        except AttackRefused as refused:
            refusals.append(word(refused))
        if seen:
            break
    if not seen:
        return judged(scene, None, 0, tuple(refusals))
    loot = judged(scene, _solved(scene, seen), len(seen), tuple(refusals))
    truth, first = scene.truth(VICTIM), _solved(scene, seen[:1])
    guess = cosine(first, truth) if truth is not None else 0.0
    return Loot(loot.rounds, loot.reached, guess, loot.refused, loot.update)


def _solved(scene: AttackScene, seen: list[Seen]) -> Flat:
    """The update nearest to everybody's mean that has these sketches: float32 [D]."""
    known = [found for name in scene.clients if (found := scene.truth(name)) is not None]
    middle = mean(known)  # of a sum by the book
    matrix, claims = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    return middle + np.linalg.lstsq(matrix, claims - matrix @ middle, rcond=None)[0].astype(np.float32)


async def _one(scene: AttackScene, lanes: Lanes, stride: float) -> Seen:
    server, norm = scene.server, 1.5 * scene.usual_norm()
    opened = server.open(model(server.round, stride * norm), len(scene.clients), clip_norm=norm, lanes=lanes)
    server.ask(scene.clients, opened)
    book = HonestRound(RoundTable(server, opened, scene.clients))
    await book.agree_on_keys()
    await book.collect()
    server.end(scene.clients, opened)
    shown = sketch_lanes(book.sketches[VICTIM].codes, opened.secret.terms)
    return sketch_map(book.sketcher, opened.secret.params), book.sketcher.claim(shown).astype(np.float32)


FROZEN = ActiveAttack(
    "frozen model", "sketches on models one unit in the last place apart, added up", 4, 0, partial(frozen, stride=0.0)
)
DRIFTING = ActiveAttack(
    "drifting model",
    f"the same on models {STRIDE} of the clip norm apart, moved so that no training notices",
    4,
    0,
    partial(frozen, stride=STRIDE),
)
