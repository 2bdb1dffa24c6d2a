"""A beacon that nobody drew: groups "of the round before" that put one client among colluders.

The server looks for a beacon that puts as many colluders into the victim's group as a sum needs beside it; the honest
others of the group are excluded, answer, and hide nobody: the sum is of the victim and of colluders.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Sequence
from functools import partial

from roughfed.deploy.audit.active.attack import ActiveAttack, judged, word
from roughfed.deploy.audit.active.result import Loot
from roughfed.deploy.audit.active.round import HonestRound, RoundTable, play
from roughfed.deploy.audit.active.scene import AttackScene, model
from roughfed.deploy.audit.active.server import AttackRefused

GROUP = 7
COHORT = 3 * GROUP
"""The smallest cohort that has several groups, in each of which 2 may collude."""

COLLUDERS = 3
HONEST = GROUP - COLLUDERS


async def beacon(scene: AttackScene, *, missed: int) -> Loot:
    """Two rounds in which all are in one group, then one with groups of an invented beacon.

    Args:
        scene: of the attack.
        missed: rounds between, of the last of which the beacon is said to be.
    """
    server, colluders = scene.server, scene.members[:COLLUDERS]
    server.sees = "sums"
    await server.greet_again(scene.clients)
    norm = 1.5 * scene.usual_norm()
    first = server.open(model(), GROUP, clip_norm=norm)
    server.ask(scene.clients, first)
    book = HonestRound(RoundTable(server, first, scene.clients, colluders))
    await book.agree_on_keys()
    await book.unmask(await book.collect())
    server.end(scene.clients, first)
    drawn, beacon = first.header.round, book.machine.tiers[0].beacon
    second = server.open(model(1), GROUP, clip_norm=norm, epoch_round=drawn, epoch_beacon=beacon)
    await play(server, second, scene.clients, members=colluders)
    group = [*scene.clients, *(member.name for member in colluders)]
    rest = [member.name for member in scene.members[COLLUDERS:]]
    invented = await asyncio.to_thread(search, group, rest)
    drawn = server.round + missed
    opened = server.open(model(2), COHORT, skip=missed, clip_norm=norm, epoch_round=drawn, epoch_beacon=invented)
    try:
        summed = await play(server, opened, scene.clients, members=scene.members, rejected=scene.others)
    except AttackRefused as refused:
        return judged(scene, None, 3, (word(refused),))
    return judged(scene, summed.total, 3)


def search(group: Sequence[str], rest: Sequence[str]) -> bytes:
    """A beacon by which exactly these form a group."""
    for number in itertools.count():
        value = hashlib.sha256(number.to_bytes(8, "big")).digest()
        places = [hashlib.sha256(value + name.encode()).digest() for name in group]
        low, high = min(places), max(places)
        others = [hashlib.sha256(value + name.encode()).digest() for name in rest]
        before = sum(place < low for place in others)
        if before % GROUP == 0 and not any(low < place < high for place in others):
            return value
    raise AssertionError("unreachable")


BEACON = ActiveAttack(
    "invented beacon",
    "groups of a beacon that nobody drew, so that enough colluders are with one client",
    HONEST,
    COHORT - HONEST,
    partial(beacon, missed=0),
    needs=f"{COLLUDERS} of {COHORT}",
)
MISSED = ActiveAttack(
    "invented round",
    "the same beacon, of a round that never was, in which the client cannot have been",
    HONEST,
    COHORT - HONEST,
    partial(beacon, missed=1),
    needs=f"{COLLUDERS} of {COHORT}",
)
