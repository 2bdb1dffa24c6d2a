"""Who owes an answer in a masked round is waited for, and how long: a server with a clock of the test's."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.server.cohort.collection import REJOIN_GRACE_S, Collection
from roughfed.server.round.updates import masked
from roughfed.server.round.updates.masked import STAGE_S, MaskedUpdates, until_all_downloaded

DEADLINE = 600.0
ABC: tuple[str, ...] = ("a", "b", "c")


class Game:
    """What `MaskedUpdates` sees of a server: clients in phases, and what happens at which second."""

    def __init__(self, phases: Mapping[str, str], happens: dict[float, Callable[["Game"], None]] | None = None) -> None:
        self.now, self.stopping = 0.0, False
        self.sessions = {name: SimpleNamespace(phase=phase) for name, phase in phases.items()}
        self.collection = Collection(frozenset(ABC), 3, 3, DEADLINE)
        self.machine = SimpleNamespace(group_of={}, done=set[str](), tiers=[], maskings=[], groups=[], stage="")
        self.machine.owing = lambda: self.owing
        self.machine.apply = self.decided
        self.owing = {"c"}
        self._happens = dict(happens or {})
        self.ctx: Any = SimpleNamespace(
            state=self,
            clients=SimpleNamespace(get=self.sessions.get),
            extensions=SimpleNamespace(in_time=self.in_time, check=lambda: None),
            executor=SimpleNamespace(submit=lambda *_: None),
            trace=SimpleNamespace(stage=lambda _: None),
        )
        self.round: Any = SimpleNamespace(collection=self.collection, masked=None, number=1)

    def clock(self) -> float:
        return self.now

    def in_time(self, seconds: float, share: float) -> float:
        assert 0 < share <= 1
        return seconds

    def lose(self, name: str) -> None:
        del self.sessions[name]
        self.collection.lost([name], self.now)

    async def sleep_until_change(self, until: float) -> None:
        assert until > self.now  # no busy loop
        moment = min([until, *self._happens])
        self.now = max(self.now, moment)
        if (event := self._happens.pop(moment, None)) is not None:
            event(self)

    def decided(self, _: object) -> None:
        raise Decided

    def waits(self) -> float:
        """Until when it waits for what is owed before it decides."""
        with pytest.MonkeyPatch.context() as patch, suppress(Decided):
            patch.setattr(masked, "machine_of", lambda *_: self.machine)
            asyncio.run(MaskedUpdates(self.ctx, self.round).set_up())
        return self.now

    def leisure(self) -> float:
        return until_all_downloaded(self.ctx, self.round)


class Decided(Exception):
    """Nothing is waited for any more."""


def enter(phase: str, name: str = "a") -> Callable[[Game], None]:
    def change(game: Game) -> None:
        game.sessions[name].phase = phase

    return change


def answer(game: Game) -> None:
    game.owing = set()


def test_who_is_here_has_the_stages_time_and_who_is_gone_a_grace() -> None:
    assert Game(dict.fromkeys(ABC, "training")).waits() == STAGE_S
    assert Game(dict.fromkeys(ABC, "training"), {1.0: lambda game: game.lose("c")}).waits() == 1 + REJOIN_GRACE_S
    assert Game(dict.fromkeys(ABC, "training"), {4.0: answer}).waits() == 4


def test_while_everybody_downloads_a_connection_that_broke_has_time() -> None:
    phases = dict.fromkeys(ABC, "downloading")
    back = Game(phases, {1.0: lambda game: game.lose("c"), 90.0: answer})
    assert back.waits() == 90
    never = Game(phases, {1.0: lambda game: game.lose("c"), 50.0: enter("training")})
    assert never.waits() == 50  # its grace is over, and the first one will soon wait for its masks
    assert Game(phases | {"b": "idle"}).waits() == DEADLINE


@pytest.mark.parametrize("phase", ["training", "uploading", "agreeing"])
def test_there_is_no_leisure_once_somebody_has_the_model(phase: str) -> None:
    game = Game(dict.fromkeys(ABC, "downloading"))
    assert game.leisure() == DEADLINE
    enter(phase, "b")(game)
    assert game.leisure() == 0
    game.collection.refuse("b", "why")  # nobody waits for it
    assert game.leisure() == DEADLINE


def test_there_is_none_where_nobody_downloads() -> None:
    assert Game(dict.fromkeys(ABC, "idle")).leisure() == 0
    assert Game({}).leisure() == 0
