"""A model that stands still but for a unit in the last place: sketches of one update, round after round, add up."""

from __future__ import annotations

import numpy as np

from roughfed.deploy.audit.active.attack import FINE, Attack, judged, word
from roughfed.deploy.audit.active.result import Loot
from roughfed.deploy.audit.active.round import Book, Table
from roughfed.deploy.audit.active.scene import VICTIM, Scene, model
from roughfed.deploy.audit.active.server import Flat, Refused
from roughfed.deploy.audit.views import sketch_map
from roughfed.secagg.terms import sketch_lanes

ROUNDS = 8
"""As many numbers as parameters, and some more: 8 x 128 of 650."""


async def frozen(scene: Scene) -> Loot:
    """As many sketches as it takes; nobody is left out, and no sum is looked at."""
    server = scene.server
    server.sees = "sketches"
    norm = 1.5 * scene.usual_norm()
    matrices: list[Flat] = []
    claims: list[Flat] = []
    refusals = ()
    try:
        for step in range(ROUNDS):
            matrix, claim = await _one(scene, step, norm)
            matrices.append(matrix)
            claims.append(claim)
    except Refused as refused:
        refusals = (word(refused),)
    if not claims:
        return judged(scene, None, 0, refusals)
    found = np.linalg.lstsq(np.concatenate(matrices), np.concatenate(claims), rcond=None)[0]
    return judged(scene, found.astype(np.float32), len(claims), refusals)


async def _one(scene: Scene, step: int, norm: float) -> tuple[Flat, Flat]:
    """One round: the map from updates to sketches, float32 [dim, D], and the victim's sketch, float32 [dim]."""
    server = scene.server
    opened = server.open(model(step), len(scene.clients), clip_norm=norm, lanes=FINE)
    server.ask(scene.clients, opened)
    book = Book(Table(server, opened, scene.clients))
    await book.agree_on_keys()
    await book.collect()
    server.end(scene.clients, opened)
    lanes = sketch_lanes(book.sketches[VICTIM].codes, opened.secret.terms)
    return sketch_map(book.sketcher, opened.secret.params), book.sketcher.claim(lanes).astype(np.float32)


FROZEN = Attack("frozen model", "sketches on models that are one unit in the last place apart, added up", 4, 0, frozen)
