"""What happens outside a round: clients come, go, are revoked, say no; watchers wait on events."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from roughfed.config.federation import FederationConfig, RoundSettings
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import IdentityError, RemoteProtocolError
from roughfed.messages import Hello, JobUpdate, Leave
from roughfed.server.cohort.collection import Collection
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.members import certificate_status
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.events import RoundEvents, revoke
from roughfed.server.storage.store import RoundRow, Store
from roughfed.types import Job, RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import encode_header
from tests.server_context import context, in_round

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
HEADER = RoundHeader(
    "run-1", 3, bytes(32), 0, bytes(32), bytes(32), "identity", "updates", bytes(32), 60.0, job_digest=bytes(32)
)
ROW = RoundRow(
    3, Signed(encode_header(HEADER), bytes(64), "server"), ("alpha", "beta", "gamma"), 3, 5.0, None, None, None
)


def session(name: str) -> ClientSession:
    return ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu"))


def waiting(one: ClientSession) -> list[object]:
    return [one.queue.get_nowait() for _ in range(one.queue.qsize())]


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    """A server in the middle of round 3, 60 seconds before its deadline."""
    store = Store(tmp_path)
    config = FederationConfig(round=RoundSettings(evaluate_every=2))
    with ThreadPoolExecutor(1) as executor:
        spec = Spec((TensorSpec("w", (10,)),))
        asyncio.run(store.create_run("run-1", spec, bytes(32), 0.0))
        made = context(config, store, KEY, executor, spec)
        RoundEvents(made)
        in_round(made, ROW)
        yield made
        store.close()


def round_of(ctx: ServerContext) -> RoundState:
    assert ctx.state.round is not None
    return ctx.state.round


def collection_of(ctx: ServerContext) -> Collection:
    assert ctx.state.collection is not None
    return ctx.state.collection


def events_of(ctx: ServerContext) -> RoundEvents:
    assert isinstance(ctx.intake.listener, RoundEvents)
    return ctx.intake.listener


def test_who_comes_back_gets_the_job_that_it_still_owes(ctx: ServerContext) -> None:
    ctx.clients.join(one := session("alpha"))
    (job,) = waiting(one)
    assert isinstance(job, Job)
    assert (job.header, job.train, job.evaluate, job.model_bytes) == (ROW.header, True, True, 40)
    assert 0 < job.seconds_left <= 60
    assert round_of(ctx).identity_keys == {"alpha": KEY.public_key}  # it may upload, too


def test_the_same_client_gets_the_same_seed_and_others_get_others(ctx: ServerContext) -> None:
    seeds: dict[str, set[int]] = {}
    for name in (*ROW.cohort, *ROW.cohort):
        ctx.clients.join(one := session(name))
        (job,) = waiting(one)
        assert isinstance(job, Job)
        seeds.setdefault(name, set()).add(job.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == 3


@pytest.mark.parametrize("settled", ["received", "refused", "judged", "no round", "stranger"])
def test_who_owes_nothing_gets_no_job(ctx: ServerContext, settled: str) -> None:
    match settled:
        case "received":
            collection_of(ctx).receive("alpha", 0.0)
        case "refused":
            events_of(ctx).refused("alpha", RemoteProtocolError("no", reason="not-finite"))
        case "judged":
            round_of(ctx).row = RoundRow(3, ROW.header, ROW.cohort, 3, 5.0, {"alpha": "late"}, None, None)
        case "no round":
            round_of(ctx).collection = None
    ctx.clients.join(one := session("stranger" if settled == "stranger" else "alpha"))
    assert waiting(one) == []


def test_a_lost_client_is_waited_for_a_moment_only(ctx: ServerContext) -> None:
    ctx.clients.join(one := session("alpha"))
    for name in ("beta", "gamma"):
        collection_of(ctx).receive(name, 0.0)
    now = time.monotonic()
    assert collection_of(ctx).decide(now).until == collection_of(ctx).deadline
    ctx.clients.leave(one)
    assert collection_of(ctx).decide(now).until < now + 10
    ctx.clients.join(session("alpha"))
    assert collection_of(ctx).decide(now).until == collection_of(ctx).deadline


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (JobUpdate(3, "accepted"), None),
        (JobUpdate(2, "failed", "trainer"), None),
        (JobUpdate(4, "refused", "policy"), None),
        (JobUpdate(3, "failed", "out-of-memory"), "client-failed: out-of-memory"),
        (JobUpdate(3, "refused", "policy"), "client-refused: policy"),
        (JobUpdate(3, "failed", "x" * 1000), "client-failed: " + "x" * 85),
    ],
)
def test_a_clients_word_on_its_job_settles_it(ctx: ServerContext, update: JobUpdate, reason: str | None) -> None:
    events_of(ctx).on_message(session("alpha"), update)
    events_of(ctx).on_message(session("stranger"), update)
    assert collection_of(ctx).refused == ({} if reason is None else {"alpha": reason})


def test_the_revoked_are_cut_at_once_and_not_waited_for(ctx: ServerContext) -> None:
    ctx.clients.join(one := session("alpha"))
    for name in ("beta", "gamma"):
        collection_of(ctx).receive(name, 0.0)
    revoke(ctx, "alpha")
    assert one.close_reason == "revoked"
    assert ctx.clients.seen.left_at("alpha") is None, "nobody is told that it went: it is not expected back"
    assert waiting(one)[-1] is None
    assert collection_of(ctx).decide(time.monotonic()).action == "close"
    with pytest.raises(IdentityError):
        ctx.clients.join(session("alpha"))
    revoke(ctx, "beta")  # its receipt stands: it is in the journal
    assert collection_of(ctx).received == {"beta", "gamma"}


def test_a_client_cannot_say_how_many_are_connected(ctx: ServerContext) -> None:
    for name, phase in (("alpha", "connected"), ("beta", "training"), ("gamma", "training")):
        ctx.clients.join(one := session(name))
        one.phase = phase
    states = ctx.clients.states()
    assert (states["connected"], states["training"]) == (3, 2)


def test_the_authority_is_asked_once_for_each_certificate(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def judge(client: str, serial: int) -> str:
        asked.append((client, serial))
        return "revoked" if serial == 13 else ""

    read: list[bytes] = []

    def load(certificate: bytes) -> SimpleNamespace:
        read.append(certificate)
        return SimpleNamespace(serial_number=int(certificate), not_valid_before_utc=datetime.now(UTC))

    monkeypatch.setattr(certificate_status, "load_certificate", load)
    ctx.clients.callers.judge = judge

    async def scenario() -> None:
        for certificate in (b"1", b"1", b"2", b"2", b"1"):
            await ctx.clients.admit("alpha", certificate)
        for _ in range(2):  # a refusal is never remembered as an answer
            with pytest.raises(IdentityError):
                await ctx.clients.admit("beta", b"13")
        revoke(ctx, "alpha")
        with pytest.raises(IdentityError):
            await ctx.clients.admit("alpha", b"2")

    asyncio.run(scenario())
    assert asked == [("alpha", 1), ("alpha", 2), ("alpha", 1), ("beta", 13), ("beta", 13)]
    assert read == [b"1", b"2", b"1", b"13"]  # one that comes again with each call is not parsed again


def test_a_change_before_the_wait_is_not_lost_and_the_wait_ends_in_time(ctx: ServerContext) -> None:
    async def scenario() -> None:
        ctx.state.wake()
        await asyncio.wait_for(ctx.state.sleep_until_change(), 5)
        began = time.monotonic()
        await ctx.state.sleep_until_change(began + 0.02)
        await ctx.state.sleep_until_change(began - 1)
        assert 0.02 <= time.monotonic() - began < 5
        asyncio.get_running_loop().call_later(0.01, ctx.clients.join, session("alpha"))
        await asyncio.wait_for(ctx.state.sleep_until_change(), 5)
        assert ctx.clients.names() == ["alpha"]

    asyncio.run(scenario())


def test_watchers_hear_of_progress_until_they_leave(ctx: ServerContext) -> None:
    first, second = ctx.state.watch(), ctx.state.watch()
    ctx.state.changed()
    assert first.is_set()
    assert second.is_set()
    ctx.state.unwatch(first)
    ctx.state.unwatch(first)
    first.clear()
    ctx.state.enter("aggregate")
    assert not first.is_set()
    assert ctx.state.phase == "aggregate"
    assert ctx.state.phase_seconds["waiting"] >= 0


def test_who_takes_its_leave_is_away_and_not_waited_for_until_it_is_back(ctx: ServerContext) -> None:
    async def play() -> None:
        alpha = session("alpha")
        ctx.clients.join(alpha)
        events_of(ctx).on_message(alpha, Leave("window", 3600.0))
        assert alpha.close_reason == "away"
        assert ctx.clients.away["alpha"] == pytest.approx(time.time() + 3600, abs=60)
        assert "alpha" not in collection_of(ctx).pending()
        assert collection_of(ctx).refused["alpha"] == "client-away: window"
        ctx.clients.join(session("alpha"))
        assert "alpha" not in ctx.clients.away

    asyncio.run(play())
