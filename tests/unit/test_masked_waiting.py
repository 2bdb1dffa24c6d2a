"""Who owes an answer in a masked round is waited for, and how long: a server with a clock of the test's."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roughfed.server.collection import REJOIN_GRACE_S, Collection
from roughfed.server.masked.drive import STAGE_S, waiting, while_all_download

DEADLINE = 600.0
ABC: tuple[str, ...] = ("a", "b", "c")


class Fed:
    """What `waiting` sees of a federation: clients in phases, and what happens at which second."""

    def __init__(self, phases: Mapping[str, str], happens: dict[float, Callable[["Fed"], None]] | None = None) -> None:
        self.now, self.stopping = 0.0, False
        self.sessions = {name: SimpleNamespace(phase=phase) for name, phase in phases.items()}
        self.members = SimpleNamespace(get=self.sessions.get)
        self.collection = Collection(frozenset(ABC), 3, 3, DEADLINE)
        self.masked = SimpleNamespace(seats={})
        self.owing = {"c"}
        self._happens = dict(happens or {})

    def clock(self) -> float:
        return self.now

    def in_time(self, seconds: float, *, share: float) -> float:
        assert 0 < share <= 1
        return seconds

    def check_order(self) -> None:
        pass

    def lose(self, name: str) -> None:
        del self.sessions[name]
        self.collection.lost([name], self.now)

    async def sleep_until_change(self, until: float) -> None:
        assert until > self.now  # no busy loop
        moment = min([until, *self._happens])
        self.now = max(self.now, moment)
        if (event := self._happens.pop(moment, None)) is not None:
            event(self)

    def waits(self) -> float:
        """Until when it waits for what is owed."""
        leisure = partial(while_all_download, cast(Any, self))
        asyncio.run(waiting(cast(Any, self), lambda: self.owing, leisure=leisure))
        return self.now


def enter(phase: str, name: str = "a") -> Callable[[Fed], None]:
    def change(fed: Fed) -> None:
        fed.sessions[name].phase = phase

    return change


def answer(fed: Fed) -> None:
    fed.owing = set()


def test_who_is_here_has_the_stages_time_and_who_is_gone_a_grace() -> None:
    assert Fed(dict.fromkeys(ABC, "training")).waits() == STAGE_S
    assert Fed(dict.fromkeys(ABC, "training"), {1.0: lambda fed: fed.lose("c")}).waits() == 1 + REJOIN_GRACE_S
    assert Fed(dict.fromkeys(ABC, "training"), {4.0: answer}).waits() == 4


def test_while_everybody_downloads_a_connection_that_broke_has_time() -> None:
    phases = dict.fromkeys(ABC, "downloading")
    back = Fed(phases, {1.0: lambda fed: fed.lose("c"), 90.0: answer})
    assert back.waits() == 90
    never = Fed(phases, {1.0: lambda fed: fed.lose("c"), 50.0: enter("training")})
    assert never.waits() == 50  # its grace is over, and the first one will soon wait for its masks
    assert Fed(phases | {"b": "idle"}).waits() == DEADLINE


@pytest.mark.parametrize("phase", ["training", "uploading", "agreeing"])
def test_there_is_no_leisure_once_somebody_has_the_model(phase: str) -> None:
    fed = Fed(dict.fromkeys(ABC, "downloading"))
    assert while_all_download(cast(Any, fed)) == DEADLINE
    enter(phase, "b")(fed)
    assert while_all_download(cast(Any, fed)) == 0
    fed.collection.refuse("b", "why")  # nobody waits for it
    assert while_all_download(cast(Any, fed)) == DEADLINE


def test_there_is_none_where_nobody_downloads() -> None:
    assert while_all_download(cast(Any, Fed(dict.fromkeys(ABC, "idle")))) == 0
    assert while_all_download(cast(Any, Fed({}))) == 0
