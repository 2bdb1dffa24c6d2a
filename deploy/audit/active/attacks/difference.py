"""Two sums on one model that differ by one client: their difference is its update."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from roughfed.codec.plan import Lanes, plan_lanes
from roughfed.deploy.audit.active.attack import FINE, STRIDE, ActiveAttack, judged, word
from roughfed.deploy.audit.active.result import Loot, mean
from roughfed.deploy.audit.active.round import HonestSum, play
from roughfed.deploy.audit.active.scene import VICTIM, AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused, Flat

PAIRS = 12


async def differences(scene: AttackScene, *, pairs: int, fine: bool, stride: float) -> Loot:
    """So many pairs of rounds: everybody, then everybody but the victim, who is excluded or not asked.

    Args:
        scene: of the attack.
        pairs: how many; their differences are averaged.
        fine: try codes as fine as a header may ask for, before those of an honest round.
        stride: how far the model moves each time, in clip norms; as of `model`.
    """
    scene.server.sees = "sums"
    await scene.server.greet_again(scene.clients)
    honest = plan_lanes(len(scene.clients))
    ways = [(lanes, asked) for lanes in ([FINE] if fine else []) + [honest] for asked in (True, False)]
    refusals: list[str] = []
    first = scene.server.round + 1
    found: list[Flat] = []
    for lanes, asked in ways:
        try:
            while len(found) < pairs:
                found = [*found, await _difference(scene, lanes, stride, asked=asked)]
        except AttackRefused as refused:
            refusals.append(word(refused))
        if found:
            break
    update = mean(found) if found else None
    return judged(scene, update, scene.server.round - first + 1, tuple(dict.fromkeys(refusals)))


async def _difference(scene: AttackScene, lanes: Lanes, stride: float, *, asked: bool) -> Flat:
    """Float32 [D]."""
    every = await _sum(scene, scene.clients, lanes, stride)
    rest = await _sum(scene, scene.clients if asked else scene.others, lanes, stride, rejected=asked)
    return every.total - rest.total


async def _sum(
    scene: AttackScene, names: Sequence[str], lanes: Lanes, stride: float, *, rejected: bool = False
) -> HonestSum:
    server = scene.server
    # Coarse codes are worth most where they just reach.
    norm = (1.5 if lanes is FINE else 1.1) * scene.usual_norm()
    opened = server.open(model(server.round, stride * norm), len(names), clip_norm=norm, lanes=lanes)
    return await play(server, opened, names, rejected=[VICTIM] if rejected else [])


DIFFERENCING = ActiveAttack(
    "differencing",
    "two sums on models one unit in the last place apart, with and without one client",
    5,
    0,
    partial(differences, pairs=1, fine=True, stride=0.0),
)
AVERAGED = ActiveAttack(
    f"differencing x {PAIRS}",
    f"{PAIRS} such pairs with the levels of an honest round",
    5,
    0,
    partial(differences, pairs=PAIRS, fine=False, stride=0.0),
)
MOVED = ActiveAttack(
    f"drift x {PAIRS}",
    f"{PAIRS} such pairs on models {STRIDE} of the clip norm apart, moved so that no training notices",
    5,
    0,
    partial(differences, pairs=PAIRS, fine=False, stride=STRIDE),
)
