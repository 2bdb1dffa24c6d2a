"""The agent around one job: every way out of it is told to the server, and none ends the client."""

import asyncio
import errno
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from roughfed.client import job_runner, runner
from roughfed.client.app import Agent
from roughfed.client.connection.reconnect import when_asked
from roughfed.client.context import ClientContext, Inbox, SessionContext
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.local.trainer_process import LocalTrainer
from roughfed.client.members.credential_files import Credentials
from roughfed.client.policy import Rules
from roughfed.client.round.steps import check_metrics
from roughfed.client.rules.checks import check_name
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore, SavedUpdate
from roughfed.config.client import ClientConfig, ClientSettings, PolicySettings
from roughfed.errors import ConfigError, IdentityError, StaleRound, StorageError, TrainerError
from roughfed.messages import ClientMessage, JobUpdate, Reconnect, RoundClosed
from roughfed.trainer_client import Description
from roughfed.types import Job, Signed, Spec, TensorSpec

DESCRIPTION = Description(Spec((TensorSpec("w", (2,)),)), "classification", 1, 0, 2, "cpu", "app", {})
JOB = Job(Signed(b"", bytes(64), "server"), {}, seed=0, evaluate=False, train=True, model_bytes=8, seconds_left=9.0)
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def outcome(folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[ClientMessage]:
    """What the server hears after a job that raises `error`, without the phases."""

    async def do_job(ctx: ClientContext, session: SessionContext, job: Job, inbox: Inbox) -> None:
        raise error

    monkeypatch.setattr(job_runner, "do_job", do_job)
    store = ClientStore(folder)
    agent = Agent(Setup(ClientConfig(), folder, folder, cast(LocalTrainer, None)), store, DESCRIPTION)
    agent.ctx.enter("training", 0.5)
    await agent.session._runner._work(cast(SessionContext, SimpleNamespace(rules=Rules(PolicySettings()))), JOB)
    said = [agent._outbox._messages.get_nowait() for _ in range(agent._outbox._messages.qsize())]
    store.close()
    assert agent._outbox.phase.phase == "idle"
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


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({f"m{i}": 1.0 for i in range(65)}, "65 metrics; at most 64"),
        ({"x" * 101: 1.0}, "101 characters .* at most 100"),
    ],
)
def test_metrics_that_the_server_would_refuse_are_refused_here(metrics: dict[str, float], words: str) -> None:
    with pytest.raises(TrainerError, match=words) as caught:
        check_metrics(metrics)
    assert caught.value.reason == "metrics"


def test_as_many_metrics_as_the_server_takes_pass() -> None:
    check_metrics({"x" * 98 + f"{i:02}": 1.0 for i in range(64)})


class Papers:
    name, folder = "alpha", Path("papers")


@pytest.mark.parametrize("name", ["", "alpha"])
def test_a_name_is_the_enrolled_one_or_none(name: str) -> None:
    check_name(ClientConfig(client=ClientSettings(name=name)), cast(Credentials, Papers()))


def test_another_clients_settings_are_refused() -> None:
    config = ClientConfig(client=ClientSettings(name="beta"))
    with pytest.raises(ConfigError, match="enrolled as alpha") as caught:
        check_name(config, cast(Credentials, Papers()))
    assert caught.value.key == "client.name"


class Started(Exception):
    """The trainer was asked: the client takes part."""


class Trainer:
    on_progress = None

    async def describe(self) -> Description:
        raise Started

    async def stop(self) -> None:
        """Nothing runs."""


@pytest.mark.parametrize(("receipt", "limit", "goes_on"), [(True, 1, False), (False, 1, True), (True, 2, True)])
def test_a_client_that_may_not_take_part_any_more_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receipt: bool, limit: int, goes_on: bool
) -> None:
    store = ClientStore(tmp_path)
    store.update_path(1).write_bytes(b"bytes")
    asyncio.run(store.save_update(SavedUpdate("run-1", 1, bytes(32), bytes(32), Signed(b"", b"", "alpha"))))
    if receipt:
        asyncio.run(store.save_receipt("run-1", 1, b"receipt"))
    store.close()
    monkeypatch.setattr("roughfed.client.members.credential_files.load", lambda folder: Papers())
    config = ClientConfig(policy=PolicySettings(max_rounds=limit))
    work = runner.run(Setup(config, tmp_path, tmp_path, cast(LocalTrainer, Trainer())))
    if not goes_on:
        assert asyncio.run(work) == "max-rounds"
        return
    with pytest.raises(Started):
        asyncio.run(work)


@pytest.mark.parametrize("verdict", ["accepted", "excluded", "late"])
def test_the_last_round_ends_the_client_whatever_became_of_its_update(tmp_path: Path, verdict: str) -> None:
    store = ClientStore(tmp_path)
    config = ClientConfig(policy=PolicySettings(max_rounds=1))
    agent = Agent(Setup(config, tmp_path, tmp_path, cast(LocalTrainer, None)), store, DESCRIPTION)

    async def closed(number: int) -> object:
        message = RoundClosed(number, "committed", 1, bytes(32), verdict, "")
        return await agent.session.accept(message, cast(Credentials, None))

    async def play() -> None:
        assert await closed(1) is None  # it gave nothing to this one
        await store.save_update(SavedUpdate("run-1", 2, bytes(32), bytes(32), Signed(b"", b"", "alpha")))
        assert await closed(2) == "max-rounds"

    asyncio.run(play())
    store.close()


def test_the_limit_ends_a_client_that_stays_in_whichever_run_it_is_reached(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    config = ClientConfig(policy=PolicySettings(max_rounds=6), client=ClientSettings(stay=3))
    agent = Agent(Setup(config, tmp_path, tmp_path, cast(LocalTrainer, None)), store, DESCRIPTION)

    async def play() -> None:
        for run, number in [*(("run-1", n) for n in range(1, 6)), ("run-2", 1)]:
            await store.save_update(SavedUpdate(run, number, bytes(32), bytes(32), Signed(b"", b"", "alpha")))
        welcome = SimpleNamespace(run="run-2")
        joined = SimpleNamespace(disclosed=DisclosureRecord(store.journal), rules=agent.session.rules, welcome=welcome)
        agent.session.context = cast(SessionContext, joined)
        closed = RoundClosed(1, "committed", 1, bytes(32), "accepted", "")
        assert await agent.session.accept(closed, cast(Credentials, None)) == "max-rounds"

    asyncio.run(play())
    store.close()


@pytest.mark.parametrize(
    ("asked", "shortest", "longest"),
    [
        (Reconnect(30.0, "superseded"), 30.0, 45.0),
        (Reconnect(0.0, "superseded"), 30.0, 30.0),
        (Reconnect(1.0, "the server is restarting"), 0.5, 1.5),
    ],
)
def test_a_superseded_session_is_a_warning_and_a_long_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: Reconnect, shortest: float, longest: float
) -> None:
    with caplog.at_level(logging.WARNING):
        assert shortest <= when_asked(asked, tmp_path) <= longest
    assert ("run twice" in caplog.text) == (asked.reason == "superseded")
