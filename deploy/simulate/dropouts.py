"""Losing clients while a simulation runs: who vanishes now, when they are back, and time that nobody need sit out."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from roughfed.deploy.simulate.dropout_outcomes import Losses
from roughfed.messages import ClientMessage, ClientStage
from roughfed.server.context.clock import RoundClock
from roughfed.server.context.server import ServerContext
from roughfed.server.round.events import release
from roughfed.server.round.updates.masked import until_all_downloaded

HANGS_S = 600.0
"""A client that is not lost and is silent for so long hangs: then time goes on."""


class Fate(Protocol):
    """What may happen to the clients of a simulation."""

    def stage(self, name: str) -> str:
        """The stage of the open round before which a client is lost; "" if it is not."""
        ...

    @property
    def silent(self) -> bool:
        """Whether a lost client keeps its session."""
        ...

    def vanished(self, name: str) -> None:
        """A client is lost."""
        ...

    async def round_over(self) -> None:
        """Return when the round that is open is over."""
        ...


class Losing:
    """The losses of a run as they happen."""

    def __init__(self, ctx: ServerContext, losses: Losses, seed: int) -> None:
        """Nobody is lost yet; the federation gets a clock that waits for nobody who is."""
        self._ctx, self._losses, self._seed = ctx, losses, seed
        self._round = 0
        self._lost: dict[str, str] = {}
        self._gone: set[str] = set()
        self.released = 0
        ctx.state.clock = LosingClock(self)

    @property
    def silent(self) -> bool:
        """Whether a lost client keeps its session."""
        return self._losses.silent

    def of(self, number: int, cohort: tuple[str, ...]) -> tuple[dict[str, str], str]:
        """Who is lost in a round, each at which stage; and under which name the round is counted."""
        sees = self._ctx.config.privacy.server_sees
        lost = self._losses.lost(number, sorted(cohort), seed=self._seed, server_sees=sees)
        return lost, self._losses.label(number, sees)

    def stage(self, name: str) -> str:
        """As of `Fate`."""
        if (round_ := self._ctx.state.round) is None:
            return ""
        if round_.number != self._round:
            self._round, self._gone = round_.number, set()
            self._lost, _ = self.of(round_.number, round_.row.cohort)
        return self._lost.get(name, "")

    def vanished(self, name: str) -> None:
        """As of `Fate`; the server looks anew whom it waits for."""
        self._gone.add(name)
        self._ctx.state.wake()

    async def round_over(self) -> None:
        """As of `Fate`."""
        number, event = self._round, self._ctx.state.watch()
        try:
            while (round_ := self._ctx.state.round) is not None and round_.number == number and round_.collection:
                event.clear()
                await event.wait()
        finally:
            self._ctx.state.unwatch(event)

    async def forgive(self) -> None:
        """Release whoever the server suspends because it was silent too often, as an operator would."""
        event = self._ctx.state.watch()
        try:
            while True:
                event.clear()
                for name in sorted(self._ctx.stages.suspended()) if self._ctx.clients.quarantined else ():
                    await release(self._ctx, name)
                    self.released += 1
                await event.wait()
        finally:
            self._ctx.state.unwatch(event)

    def in_vain(self) -> bool:
        """Whether the server waits for time alone: for those who are gone, or before it tries again."""
        ctx = self._ctx
        if (round_ := ctx.state.round) is None:
            return False
        if (outcome := round_.row.outcome) is not None:
            return outcome != "committed" and ctx.state.phase == "waiting"
        owing = self._owing()
        alone = bool(owing) and round_.number == self._round and owing <= self._gone
        return alone and not until_all_downloaded(ctx, round_)

    def _owing(self) -> set[str] | frozenset[str]:
        """Whom the server waits for in the open round."""
        ctx = self._ctx
        if (round_ := ctx.state.round) is None:
            return frozenset()
        if (machine := round_.masked) is not None and ("dealt" not in machine.done or "masked" in machine.done):
            return machine.owing()
        return frozenset() if round_.collection is None else round_.collection.pending()


class LosingClock(RoundClock):
    """Goes to the end of a wait that is in vain at once, and stands while anybody is waited for who is not lost.

    So how fast this machine is, and what else it does, decides nothing: no deadline meets a client that is not lost.
    """

    def __init__(self, losing: Losing) -> None:
        """It is the machine's time still."""
        self._losing, self._ahead = losing, 0.0

    def __call__(self) -> float:
        """What time it is."""
        return time.monotonic() + self._ahead

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """As of `RoundClock`; whatever makes a wait vain wakes the server, which then waits anew."""
        if until is None:
            await super().wait(event, until)
            return
        if not event.is_set() and self._losing.in_vain():
            self._ahead += max(0.0, until - self())
            await asyncio.sleep(0)
            return
        began = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), HANGS_S)
        self._ahead += began - time.monotonic() if event.is_set() else max(0.0, until - self())


def is_of(message: ClientMessage, stage: str) -> bool:
    """Whether this is what a client that is lost before `stage` does not say any more."""
    return isinstance(message, ClientStage) and message.kind == stage
