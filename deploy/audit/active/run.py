"""Every attack, played: against clients with sixty images, and for the image against clients with one."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from roughfed.codec.chain import warm
from roughfed.codec.plan import plan_lanes
from roughfed.deploy.audit.active.attack import FINE, ActiveAttack
from roughfed.deploy.audit.active.attacks import ATTACKS
from roughfed.deploy.audit.active.result import AttackResult, Loot
from roughfed.deploy.audit.active.scene import model, scene
from roughfed.deploy.audit.active.server import Flat
from roughfed.deploy.audit.active.trainer import EPOCH, ONE_IMAGE, SPEC, Learning, part_of

Progress = Callable[[int, int, str], None]
"""Told (done, of how many, what comes next)."""

STEPS = 60
"""Iterations of the inversion, as of an audit of what an honest server sees."""


def run_attacks(progress: Progress, attacks: Sequence[ActiveAttack] = tuple(ATTACKS.values())) -> list[AttackResult]:
    """Play them.

    Args:
        progress: told before each.
        attacks: which.
    """
    logging.getLogger("roughfed").addHandler(logging.NullHandler())  # the clients' complaints are in the results
    for lanes in (FINE, plan_lanes(7)):
        warm(lanes)  # compiled once a machine: no client must seem silent for it
    found: list[AttackResult] = []
    for done, attack in enumerate(attacks):
        progress(done, len(attacks), attack.name)
        found.append(play(attack))
    progress(len(attacks), len(attacks), "done")
    return found


def play(attack: ActiveAttack) -> AttackResult:
    """One of them, each time in a federation of its own."""
    loot = asyncio.run(raid(attack, EPOCH))
    psnr = guess = None
    if attack.update:
        image = asyncio.run(raid(attack, ONE_IMAGE)).update
        psnr, guess = (None, None) if image is None else rebuild(image)
    return AttackResult(
        attack.name,
        attack.says,
        attack.needs,
        loot.rounds,
        loot.measure,
        loot.reached,
        loot.guess,
        loot.refused,
        loot.succeeded,
        psnr,
        guess,
    )


async def raid(attack: ActiveAttack, learning: Learning) -> Loot:
    """In a fresh federation."""
    with tempfile.TemporaryDirectory(prefix="roughfed-audit-") as folder:
        async with scene(Path(folder), honest=attack.honest, colluders=attack.colluders, learning=learning) as found:
            return await attack.play(found)


def rebuild(update: Flat) -> tuple[float, float]:
    """PSNR of the victim's one image, rebuilt from what was found of its update, and of the mean image; dB."""
    import torch

    from roughfed.deploy.audit.inversion import WEIGHTS
    from roughfed.deploy.audit.inversion import InversionAttack as Inversion
    from roughfed.deploy.audit.trials import psnr
    from roughfed.deploy.audit.victim import Victim, open_data
    from roughfed.deploy.audit.views import ClientView
    from roughfed.models import build

    data, shape = part_of(0, ONE_IMAGE), part_of(0, ONE_IMAGE).input_shape
    _, known = open_data(data.name, None, 0)
    net = build("logistic", shape, data.num_classes, 0)
    flat = torch.from_numpy(model())
    with torch.no_grad():
        for parameter, place in zip(net.parameters(), SPEC.slices().values(), strict=True):
            parameter.copy_(flat[place].reshape(parameter.shape))
    inversion = Inversion(Victim(net), ClientView(1, mean=update), data.labels, known, shape)
    truth = data.x.reshape(1, -1)
    rebuilt = inversion.rebuild("smooth", weight=WEIGHTS["smooth"], steps=STEPS)
    return psnr(known, rebuilt, truth), psnr(known, np.asarray(known.mean[None]), truth)
