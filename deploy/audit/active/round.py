"""A masked round by the book, as an attack plays it: with whom it likes, and leaving out whom it likes.

The server's own machine (`roughfed.server.masked.stages`) does the work; what is not by the book is in the attacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from roughfed.codec.chain import decode_sum
from roughfed.deploy.audit.active.member import Colluder, Seated
from roughfed.deploy.audit.active.server import ActiveServer, Opened
from roughfed.messages import ServerStage
from roughfed.secagg import statistics
from roughfed.secagg.messages import Sketch
from roughfed.secagg.unmasking import Outcome
from roughfed.server.masked.decisions import (
    GroupAgreed,
    RosterDrawn,
    SetsJudged,
    SharesDealt,
    SketchesClosed,
    UploadsClosed,
)
from roughfed.server.masked.stages import MaskedRound, ServerSide
from roughfed.sketch.buckets import Sketcher
from roughfed.types import Signed
from roughfed.wire.secagg import decode_stage

Flat = NDArray[np.float32]
T = TypeVar("T")


@dataclass
class RoundTable:
    """Everybody at a masked round, real clients and colluders, each asked and answered for alike."""

    server: ActiveServer
    opened: Opened
    clients: Sequence[str]
    members: Sequence[Colluder] = ()
    seated: dict[str, Seated] = field(default_factory=dict[str, Seated])

    def __post_init__(self) -> None:
        """Colluders take their seats; clients are asked."""
        self.seated = {m.name: m.take_seat(self.server, self.opened) for m in self.members}

    @property
    def names(self) -> list[str]:
        """All, sorted."""
        return sorted([*self.clients, *self.seated])

    def entry(self, name: str) -> bytes:
        """A roster entry."""
        return self.seated[name].member.papers.member if name in self.seated else self.server.member(name)

    async def advert(self, name: str) -> Signed:
        """Who takes part, with which keys."""
        if name in self.seated:
            return self.seated[name].machine.advert
        return await self.server.next(name, "advertise")

    async def upload(self, name: str) -> tuple[Signed, bytes]:
        """Statement and masked lanes."""
        if name in self.seated:
            return self.seated[name].upload()
        return await self.server.upload(name, self.opened)

    async def said(self, stages: Mapping[str, ServerStage], kind: str) -> dict[str, Signed]:
        """Say a stage to each of these, and take what they answer.

        Raises:
            Refused: one of them does not.
        """
        answers: dict[str, Signed] = {}
        for name, stage in stages.items():
            if name in self.seated:
                answers[name] = next(iter(self.seated[name].hear(stage)))
            else:
                self.server.send(name, stage)
        waited = [name for name in stages if name not in self.seated]
        found = await together([self.server.next(name, kind) for name in waited])
        return answers | dict(zip(waited, found, strict=True))

    def tell(self, stages: Mapping[str, ServerStage]) -> None:
        """Say a stage that needs no answer."""
        for name, stage in stages.items():
            if name in self.seated:
                self.seated[name].hear(stage)
            else:
                self.server.send(name, stage)


async def together(waiting: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """All of them; the first refusal ends it."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class HonestSum:
    """What a round by the book gave: the sum of the accepted updates, float32 [D], and of their statistics."""

    accepted: tuple[str, ...]
    total: Flat
    sums: Mapping[str, tuple[int, ...]]


class HonestRound:
    """One masked round by the book."""

    def __init__(self, table: RoundTable) -> None:
        """Nothing is said yet."""
        self.table = table
        opened, server = table.opened, table.server
        brings = ServerSide(server.sign, server.open_member, opened.nonce)
        self.sketches: dict[str, Sketch] = {}
        self.machine = MaskedRound([opened.secret], frozenset(table.names), brings)

    async def agree_on_keys(self) -> None:
        """Adverts, roster, shares, deals."""
        table, machine = self.table, self.machine
        for name in table.names:
            machine.take("advertise", await table.advert(name), table.entry(name))
        for signed in (await table.said(dict(machine.apply(RosterDrawn())), "shares")).values():
            machine.take("shares", signed)
        table.tell(dict(machine.apply(SharesDealt())))

    async def collect(self) -> dict[str, bytes]:
        """Uploads; with sketches, also these."""
        table, machine = self.table, self.machine
        uploads = {name: await table.upload(name) for name in table.names}
        seeds = dict(machine.apply(UploadsClosed({name: said for name, (said, _) in uploads.items()})))
        for name, signed in (await table.said(seeds, "sketch")).items():
            machine.take("sketch", signed)
            self.sketches[name] = decode_stage(Sketch, signed.body)
        if machine.sketches:
            machine.apply(SketchesClosed())
        return {name: data for name, (_, data) in uploads.items()}

    async def unmask(self, uploads: Mapping[str, bytes], rejected: Sequence[str] = ()) -> HonestSum:
        """Sets, signatures, shares: the sum of the first client's group, but for the rejected."""
        table, machine = self.table, self.machine
        sets = dict(machine.apply(SetsJudged(dict.fromkeys(rejected, "norm"))))
        for signed in (await table.said(sets, "consistency")).values():
            machine.take("consistency", signed)
        group = machine.group_of[table.clients[0]]
        number = machine.groups.index(group)
        for signed in (await table.said(dict(machine.apply(GroupAgreed(number))), "unmask")).values():
            machine.take("unmask", signed)
        dtype = table.opened.secret.terms.dtype
        return self._summed(group.finish(lambda name: np.frombuffer(uploads[name], dtype=dtype)))

    def _summed(self, found: Outcome) -> HonestSum:
        masking, count = self.table.opened.secret, len(found.accepted)
        if found.total is None:
            raise AssertionError(f"the group is void: {found.void}")
        mean = decode_sum(found.total, count, masking.params)
        sums, _ = statistics.decode_sum(found.tail, count, masking.statistics, levels=masking.terms.levels)
        return HonestSum(found.accepted, mean * np.float32(count), sums)

    @property
    def sketcher(self) -> Sketcher:
        """S of the round."""
        return self.machine.groups[0].sketcher


async def play(
    server: ActiveServer,
    opened: Opened,
    clients: Sequence[str],
    *,
    members: Sequence[Colluder] = (),
    rejected: Sequence[str] = (),
    seed: int = 1,
) -> HonestSum:
    """A whole masked round by the book.

    Raises:
        Refused: a client does not go along.
    """
    server.ask(clients, opened, seed=seed)
    book = HonestRound(RoundTable(server, opened, clients, members))
    await book.agree_on_keys()
    summed = await book.unmask(await book.collect(), rejected)
    server.end(clients, opened)
    return summed
