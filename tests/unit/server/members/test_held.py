"""The operator's quarantine: it outlives a restart, keeps a client out of the rounds and connected, and is told."""

import asyncio
import json
import logging
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from roughfed.client.session import is_quarantined
from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli import app as cli
from roughfed.messages import ASKED, HELD, Heartbeat, Hello
from roughfed.server.context.server import ServerContext
from roughfed.server.masked.journal import Stages
from roughfed.server.members.authority import Authority
from roughfed.server.members.quarantine import MOST_WORDS
from roughfed.server.members.sessions import ClientSession
from roughfed.server.observe.control import Control
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.round.events import RoundEvents
from roughfed.server.storage.store import RoundRow, Store
from roughfed.transport.control_socket import answer
from roughfed.types import RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import encode_header
from tests.server_context import context, in_round
from tests.unit.documents import blocks, commands
from tests.unit.server.members.test_authority import Newcomer

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
HEADER = RoundHeader("run-1", 3, bytes(32), 0, bytes(32), bytes(32), "identity", "updates", bytes(32), 60.0)
ROW = RoundRow(3, Signed(encode_header(HEADER), bytes(64), "server"), ("a", "b", "c"), 3, 5.0, None, None, None)


def make(store: Store, executor: ThreadPoolExecutor) -> ServerContext:
    spec = Spec((TensorSpec("w", (10,)),))
    made = context(FederationConfig(), store, KEY, executor, spec)
    RoundEvents(made)
    return made


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    """A server in the middle of round 3; a, b and c are connected, and a's update is here."""
    store = Store(tmp_path / "state")
    with ThreadPoolExecutor(1) as executor:
        asyncio.run(store.create_run("run-1", Spec((TensorSpec("w", (10,)),)), bytes(32), 0.0))
        asyncio.run(store.open_round(ROW))
        made = make(store, executor)
        collection = in_round(made, ROW).collection
        assert collection is not None
        for name in ROW.cohort:
            made.clients.join(session(name))
        collection.receive("a", time.monotonic())
        yield made
        store.close()


def allowed(ctx: ServerContext) -> set[str]:
    """Who may upload."""
    assert ctx.state.round is not None
    return set(ctx.state.round.identity_keys)


def session(name: str) -> ClientSession:
    return ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu"))


def ask(ctx: ServerContext, **request: str) -> dict[str, Any]:
    return asyncio.run(answer(Control(ctx, Status(ctx, Health(ctx)), lambda: None).operations, request))


def told(ctx: ServerContext, name: str) -> list[str]:
    """The phases that a client was sent."""
    session = ctx.clients.get(name)
    assert session is not None
    waiting = [session.queue.get_nowait() for _ in range(session.queue.qsize())]
    return [message.phase for message in waiting if isinstance(message, Heartbeat)]


def test_it_is_told_shown_and_not_waited_for(ctx: ServerContext) -> None:
    collection = ctx.state.collection
    assert collection is not None
    assert ask(ctx, op="quarantine", name="b", because="odd losses") == {
        "quarantined": "b", "because": "by the operator: odd losses", "connected": True,
    }  # fmt: skip
    assert (told(ctx, "b"), told(ctx, "a")) == ([HELD], [])
    assert collection.pending() == {"c"}
    assert (collection.refused, allowed(ctx)) == ({"b": "quarantined"}, {"a", "c"})
    shown = Status(ctx, Health(ctx))()
    assert shown["quarantined"] == {"b": "by the operator: odd losses"}
    assert {c["name"]: c["held"] for c in shown["clients"]} == {"a": "", "b": "by the operator: odd losses", "c": ""}
    assert ctx.clients.able() == {"a", "c"}
    assert ctx.clients.get("b") is not None


def test_what_it_has_delivered_stays(ctx: ServerContext) -> None:
    collection = ctx.state.collection
    assert collection is not None
    ask(ctx, op="quarantine", name="a")
    assert (collection.received, collection.refused) == ({"a"}, {})


def test_who_comes_back_gets_no_job_and_hears_why_not(ctx: ServerContext) -> None:
    ask(ctx, op="quarantine", name="b")
    ctx.clients.join(again := session("b"))
    waiting = [again.queue.get_nowait() for _ in range(again.queue.qsize())]
    assert waiting == [Heartbeat(HELD)]
    assert "b" not in allowed(ctx)


def test_a_release_lifts_all_of_it(ctx: ServerContext) -> None:
    ask(ctx, op="quarantine", name="b", because="one")
    ask(ctx, op="quarantine", name="b", because="two")
    asyncio.run(ctx.stages.note_end(3, proofs={"b": "bad-deal"}, now=1.0))
    ctx.clients.quarantined = ctx.stages.quarantined()
    assert ctx.clients.quarantined == {"b": "bad-deal"}  # what is proved is said first
    assert ask(ctx, op="release", name="b") == {"released": "b", "was": "bad-deal"}
    assert ctx.clients.quarantined == {}
    assert told(ctx, "b")[-1] == ASKED
    rows = ctx.store.journal.read("SELECT because, released_at FROM held ORDER BY seq")
    assert [(row["because"], row["released_at"] is not None) for row in rows] == [("one", True), ("two", True)]


def test_it_outlives_a_restart(ctx: ServerContext) -> None:
    ask(ctx, op="quarantine", name="b", because="odd losses")
    assert make(ctx.store, ctx.executor).clients.quarantined == {"b": "by the operator: odd losses"}


@pytest.mark.parametrize(
    ("name", "because", "words"),
    [
        ("b", "x" * (MOST_WORDS + 1), f"a reason of {MOST_WORDS + 1} characters"),
        ("b", "two\nlines", "cannot be shown"),
        ("b", "\x1b[31mred", "cannot be shown"),
        ("../b", "", "name"),
        ("", "", "name"),
    ],
)
def test_what_cannot_be_shown_is_refused(ctx: ServerContext, name: str, because: str, words: str) -> None:
    assert words in ask(ctx, op="quarantine", name=name, because=because)["error"]
    assert ctx.clients.quarantined == {}


def test_a_reason_is_no_label_of_a_metric(ctx: ServerContext) -> None:
    ask(ctx, op="quarantine", name="b", because="odd-losses-of-b")
    assert b"odd-losses" not in ctx.metrics.render()


@pytest.mark.parametrize("text", ["", "odd losses"])
def test_the_commands_without_a_server(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fed.toml").touch()
    Store(tmp_path / "state").close()
    where = ["--dir", str(tmp_path), "--json"]
    why = f"by the operator{text and ': '}{text}"
    assert cli.run(["quarantine", "b", "--because", text, *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"quarantined": "b", "because": why, "connected": False}
    with closing(Store(tmp_path / "state")) as store:
        assert Stages(store.journal).quarantined() == {"b": why}
    assert cli.run(["release", "b", *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"released": "b", "was": why}
    assert cli.run(["quarantine", "b", "--because", "x" * 999, *where]) == 2
    assert cli.run(["quarantine", "b c", *where]) == 3


def test_a_name_that_nobody_has_is_refused_where_the_ca_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fed.toml").touch()
    Store(tmp_path / "state").close()
    now = datetime.now(UTC)
    authority = Authority.create(tmp_path / "state" / "ca", "fed", now=now)
    where = ["--dir", str(tmp_path), "--json"]
    assert cli.run(["quarantine", "hospital-a", *where]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["cure"] == "members: nobody"
    Newcomer().enroll(authority, authority.invite("hospital-a", now=now), now=now)
    assert cli.run(["quarantine", "hosptal-a", *where]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["cause"], error["cure"]) == ("there is no member 'hosptal-a'", "did you mean hospital-a?")
    with closing(Store(tmp_path / "state")) as store:
        assert Stages(store.journal).quarantined() == {}
    assert cli.run(["quarantine", "hospital-a", *where]) == 0


def test_the_lines_of_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "state").close()
    (block,) = [b for b in blocks("sh") if b.about.endswith("test_held.py::test_the_lines_of_the_document")]
    for line in commands(block):
        assert cli.run(shlex.split(line)[1:]) == 0


def test_where_nobody_is_there_is_nobody_to_hold(tmp_path: Path) -> None:
    assert cli.run(["quarantine", "b", "--dir", str(tmp_path)]) == 6


def test_a_client_lets_go_of_what_it_does_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert is_quarantined(Heartbeat(HELD))
    assert "keeps this client out of the rounds" in caplog.text
    assert not is_quarantined(Heartbeat(ASKED))
    assert "has released this client" in caplog.text
    assert not is_quarantined(Heartbeat("idle"))
