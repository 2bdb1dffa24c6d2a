"""One job at a time: what begins it, what goes on with it, what ends it; each row of the table of transitions."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roughfed.client import job_runner
from roughfed.client.context import ClientContext, Inbox, SessionContext
from roughfed.client.job_runner import TRANSITIONS, Event, JobRunner, JobState
from roughfed.messages import RoundClosed, ServerStage
from roughfed.types import Job, Signed

SESSION = cast(SessionContext, None)
STAGE = ServerStage("roster", b"", b"")


def job(name: bytes = b"one") -> Job:
    return Job(Signed(name, b"", ""), {}, 0, evaluate=False, train=True, model_bytes=0, seconds_left=9.0)


def closed(verdict: str = "accepted", number: int = 0) -> RoundClosed:
    return RoundClosed(number, "committed", 1, bytes(32), verdict, "")


class Scene:
    """A runner whose jobs last until the test ends them, and note what they hear."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done, self.started, self.inboxes, self.gone = (
            asyncio.Event(),
            asyncio.Event(),
            list[Inbox](),
            list[bytes](),
        )
        self.stubborn, self.let_go = False, asyncio.Event()

        async def do_job(_ctx: ClientContext, _session: SessionContext, one: Job, inbox: Inbox) -> None:
            self.inboxes.append(inbox)
            self.started.set()
            try:
                await self.done.wait()
            finally:
                self.gone.append(one.header.body)
                if self.stubborn:
                    await self.let_go.wait()

        monkeypatch.setattr(job_runner, "do_job", do_job)
        ctx = SimpleNamespace(send=lambda _: None, enter=lambda *_: None, resumed=asyncio.Event())
        hours = SimpleNamespace(check=lambda _: None)
        self.resumed = ctx.resumed
        self.runner = JobRunner(cast(Any, ctx), cast(Any, hours), cast(Any, None))

    async def begin(self, one: Job) -> None:
        self.started.clear()
        self.runner.start(SESSION, one)
        await self.started.wait()

    async def finish(self) -> None:
        self.done.set()
        self.let_go.set()
        assert self.runner.task is not None
        await asyncio.wait({self.runner.task})


def play(monkeypatch: pytest.MonkeyPatch, scenario: Callable[[Scene], Any]) -> None:
    async def work() -> None:
        scene = Scene(monkeypatch)
        await scenario(scene)
        await scene.runner.end()

    asyncio.run(work())


def test_a_job_begins_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        assert scene.runner.state is JobState.IDLE
        await scene.begin(job())
        assert scene.runner.state is JobState.WORKING
        await scene.finish()
        assert scene.runner.state is JobState.IDLE

    play(monkeypatch, scenario)


def test_the_same_job_goes_on_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.begin(job())
        scene.runner.start(SESSION, job())
        assert scene.resumed.is_set()
        assert scene.inboxes[0].get_nowait() == "again"
        await scene.begin(job(b"two"))
        assert scene.gone == [b"one"]
        assert len(scene.inboxes) == 2
        assert scene.runner.state is JobState.WORKING

    play(monkeypatch, scenario)


def test_a_job_that_is_done_is_begun_anew_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.begin(job())
        await scene.finish()
        scene.done.clear()
        await scene.begin(job())
        assert len(scene.inboxes) == 2
        assert not scene.resumed.is_set()

    play(monkeypatch, scenario)


def test_stages_reach_the_job_that_is_under_way_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        scene.runner.accept(STAGE)
        await scene.begin(job())
        assert scene.inboxes[0].empty()
        scene.runner.accept(STAGE)
        assert scene.inboxes[0].get_nowait() is STAGE
        await scene.finish()
        scene.runner.accept(STAGE)
        assert scene.inboxes[0].empty()

    play(monkeypatch, scenario)


@pytest.mark.parametrize(
    ("verdict", "state"), [("accepted", JobState.WORKING), ("late", JobState.ENDING), ("absent", JobState.ENDING)]
)
def test_the_end_of_its_round_is_told_to_a_job_and_ends_one_that_is_late(
    monkeypatch: pytest.MonkeyPatch, verdict: str, state: JobState
) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.begin(job())
        scene.runner.close_round(closed(verdict, number=7))
        assert scene.inboxes[0].empty()  # of another round
        scene.runner.close_round(closed(verdict))
        assert scene.inboxes[0].get_nowait() is None
        assert scene.runner.state is state

    play(monkeypatch, scenario)


def test_a_job_that_was_let_go_counts_as_under_way_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Scene) -> None:
        scene.stubborn = True
        await scene.begin(job())
        scene.runner.stop()
        assert scene.runner.state is JobState.ENDING
        scene.runner.start(SESSION, job())
        assert len(scene.inboxes) == 1  # two of one masked round would write over one another
        assert scene.runner.state is JobState.ENDING
        await scene.finish()
        assert scene.runner.state is JobState.IDLE

    play(monkeypatch, scenario)


def test_every_state_can_begin_and_end() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.START} == set(JobState)
    assert {state for state, event in TRANSITIONS if event is Event.DONE} == set(JobState) - {JobState.IDLE}
