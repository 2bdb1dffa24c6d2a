"""A run of another name: what is told once a run is told again, and one client is not there."""

from __future__ import annotations

import numpy as np

from roughfed.deploy.audit.active.attack import ActiveAttack, word
from roughfed.deploy.audit.active.result import Loot, error
from roughfed.deploy.audit.active.round import play
from roughfed.deploy.audit.active.scene import AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused
from roughfed.deploy.audit.active.trainer import NUM_CLASSES, part_of

COUNTS = (f"class-count:{NUM_CLASSES}",)


async def renamed(scene: AttackScene) -> Loot:
    """Class counts of everybody in one run, of everybody but the victim in the next: the difference."""
    server, norm = scene.server, 2 * scene.usual_norm()
    truth = np.bincount(part_of(0, scene.learning).labels, minlength=NUM_CLASSES).astype(np.float64)
    opened = server.open(model(), len(scene.clients), clip_norm=norm, statistics=COUNTS)
    every = np.array((await play(server, opened, scene.clients)).sums["class-count"])
    guess = every / len(scene.clients)
    server.run = "run-b"
    try:
        await server.greet_again(scene.others)
        opened = server.open(model(1), len(scene.others), clip_norm=norm, statistics=COUNTS)
        rest = np.array((await play(server, opened, scene.others)).sums["class-count"])
    except AttackRefused as refused:
        return Loot(2, None, 1.0, (word(refused),), measure="error")
    found = every - rest if rest.any() else guess
    refusals = () if rest.any() else ("the others: their class counts are not told again",)
    return Loot(2, error(found, truth, guess), 1.0, refusals, measure="error")


RENAMED = ActiveAttack(
    "renamed run", "class counts of one client, from two runs of different names", 5, 0, renamed, update=False
)
