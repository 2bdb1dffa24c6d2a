"""Two sums on one model that differ by one client: their difference is its update."""

from __future__ import annotations

from collections.abc import Sequence

from roughfed.codec.plan import Lanes, plan_lanes
from roughfed.deploy.audit.active.attack import FINE, Attack, judged, word
from roughfed.deploy.audit.active.result import Loot, mean
from roughfed.deploy.audit.active.round import Summed, play
from roughfed.deploy.audit.active.scene import VICTIM, Scene, model
from roughfed.deploy.audit.active.server import Flat, Refused

PAIRS = 12


async def once(scene: Scene) -> Loot:
    """Two rounds, in the way that shows most of those that clients go along with."""
    return await differences(scene, 1)


async def many(scene: Scene) -> Loot:
    """The same with levels of an honest round, again and again: rounding averages out."""
    return await differences(scene, PAIRS, fine=False)


async def differences(scene: Scene, pairs: int, *, fine: bool = True) -> Loot:
    """So many pairs of rounds: everybody, then everybody but the victim, who is excluded or not asked."""
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
                found = [*found, await _difference(scene, lanes, asked=asked)]
        except Refused as refused:
            refusals.append(word(refused))
        if found:
            break
    update = mean(found) if found else None
    return judged(scene, update, scene.server.round - first + 1, tuple(dict.fromkeys(refusals)))


async def _difference(scene: Scene, lanes: Lanes, *, asked: bool) -> Flat:
    """Float32 [D]."""
    every = await _sum(scene, scene.clients, lanes, rejected=False)
    rest = await _sum(scene, scene.clients if asked else scene.others, lanes, rejected=asked)
    return every.total - rest.total


async def _sum(scene: Scene, names: Sequence[str], lanes: Lanes, *, rejected: bool) -> Summed:
    server = scene.server
    spread = 1.5 if lanes is FINE else 1.1  # coarse codes are worth most where they just reach
    opened = server.open(model(server.round), len(names), clip_norm=spread * scene.usual_norm(), lanes=lanes)
    return await play(server, opened, names, rejected=[VICTIM] if rejected else [])


DIFFERENCING = Attack("differencing", "two sums on one model, with and without one client", 5, 0, once)
MANY_ROUNDS = Attack(f"differencing x {PAIRS}", f"{PAIRS} such pairs with the levels of an honest round", 5, 0, many)
