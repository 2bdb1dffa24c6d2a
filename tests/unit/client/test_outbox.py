"""What a client says of itself, and when: phases that last, progress, and nothing of an old stream."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from roughfed.client import outbox as module
from roughfed.client.metrics import ClientMetrics
from roughfed.client.outbox import Outbox
from roughfed.messages import ClientMessage, Heartbeat, Hello

HELLO = Hello("1", 1, b"", b"", (), "")


def said(act: Callable[[Outbox], Awaitable[None]]) -> list[ClientMessage]:
    """What is in the stream a while after `act`."""

    async def scenario() -> list[ClientMessage]:
        outbox, found = Outbox(ClientMetrics()), list[ClientMessage]()
        await act(outbox)
        told = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * module.PHASE_S, told.set)
        await told.wait()
        outbox.send(HELLO)  # the last one
        async for message in outbox.messages(lambda message: message):
            if message is HELLO:
                return found
            found.append(message)
        raise AssertionError("the stream ended")

    return asyncio.run(scenario())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHASE_S", 0.02)


def test_of_phases_that_follow_at_once_the_last_is_told() -> None:
    async def act(outbox: Outbox) -> None:
        for phase in ("downloading", "training", "uploading"):
            outbox.enter(phase, 0.0)

    assert said(act) == [Heartbeat("uploading", 0.0)]


def test_phases_that_last_are_all_told_in_their_order() -> None:
    async def act(outbox: Outbox) -> None:
        for phase in ("downloading", "training"):
            outbox.enter(phase, 0.0)
            lasted = asyncio.Event()
            asyncio.get_running_loop().call_later(2 * module.PHASE_S, lasted.set)
            await lasted.wait()

    assert said(act) == [Heartbeat("downloading", 0.0), Heartbeat("training", 0.0)]


def test_progress_of_a_phase_that_is_not_told_yet_goes_with_it() -> None:
    async def act(outbox: Outbox) -> None:
        outbox.enter("training", 0.0)
        outbox.progress(0.5)
        outbox.progress(1.0)

    assert said(act) == [Heartbeat("training", 1.0)]


def test_a_new_stream_begins_with_hello_and_the_phase_and_hears_it_once() -> None:
    hello = Hello("2", 1, b"", b"", (), "")

    async def act(outbox: Outbox) -> None:
        outbox.enter("training", 0.0)
        outbox.restart(hello)

    assert said(act) == [hello, Heartbeat("training", 0.0)]
