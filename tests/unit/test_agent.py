"""The agent around one job: every way out of it is told to the server, and none ends the client."""

import asyncio
import errno
import os
from pathlib import Path
from typing import cast

import pytest

from roughfed.child import Description
from roughfed.client import app
from roughfed.client.app import Agent, Setup, check_name
from roughfed.client.enrolled import Enrolled
from roughfed.client.session import LocalTrainer, Membership
from roughfed.client.store import ClientStore
from roughfed.config.client import Client, ClientConfig
from roughfed.errors import ConfigError, IdentityError, StaleRound, StorageError, TrainerError
from roughfed.messages import ClientMessage, JobUpdate
from roughfed.types import Job, Signed, Spec, TensorSpec

DESCRIPTION = Description(Spec((TensorSpec("w", (2,)),)), "classification", 1, 0, 2, "cpu", "app", {})
JOB = Job(Signed(b"", bytes(64), "server"), {}, seed=0, evaluate=False, train=True, model_bytes=8, seconds_left=9.0)
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def outcome(folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[ClientMessage]:
    """What the server hears after a job that raises `error`, without the phases."""

    async def take_part(me: Membership, job: Job) -> None:
        raise error

    monkeypatch.setattr(app, "take_part", take_part)
    store = ClientStore(folder)
    agent = Agent(Setup(ClientConfig(), folder, folder, cast(LocalTrainer, None)), store, DESCRIPTION)
    agent.enter("training", 0.5)
    await agent._work(cast(Membership, None), JOB)
    said = [agent._outbox.get_nowait() for _ in range(agent._outbox.qsize())]
    store.close()
    assert agent._phase.phase == "idle"
    return [message for message in said if isinstance(message, JobUpdate)]


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (TrainerError("no", reason="diverged"), "failed", "diverged"),
        (StorageError("cannot write: No space left on device"), "refused", "storage"),
        (IdentityError("no", reason="chain"), "refused", "chain"),
        (FULL, "failed", "internal"),
        (KeyError("bug"), "failed", "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_goes_wrong_in_a_job_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, state: str, reason: str
) -> None:
    (told,) = asyncio.run(outcome(tmp_path, error, monkeypatch))
    assert isinstance(told, JobUpdate)
    assert (told.state, told.reason) == (state, reason)


def test_a_bug_keeps_its_words_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (told,) = asyncio.run(outcome(tmp_path, KeyError("/home/alice/secret"), monkeypatch))
    assert isinstance(told, JobUpdate)
    assert "alice" not in told.detail


def test_a_round_that_went_on_without_this_client_is_no_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(outcome(tmp_path, StaleRound("over"), monkeypatch)) == []


class Papers:
    name, folder = "alpha", Path("papers")


@pytest.mark.parametrize("name", ["", "alpha"])
def test_a_name_is_the_enrolled_one_or_none(name: str) -> None:
    check_name(ClientConfig(client=Client(name=name)), cast(Enrolled, Papers()))


def test_another_clients_settings_are_refused() -> None:
    config = ClientConfig(client=Client(name="beta"))
    with pytest.raises(ConfigError, match="enrolled as alpha") as caught:
        check_name(config, cast(Enrolled, Papers()))
    assert caught.value.key == "client.name"
