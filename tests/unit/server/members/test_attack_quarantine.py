"""Who is proved a liar, or silent too often, is not asked any more, until an operator releases it."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli import app as cli
from roughfed.journal import Journal
from roughfed.messages import Hello
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.masked.journal import SILENCES, Stages
from roughfed.server.masked.outcome import Result
from roughfed.server.members.sessions import ClientSession
from roughfed.server.observe.control import Control
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.round.updates import masked
from roughfed.server.round.updates.masked import MaskedUpdates
from roughfed.server.storage.store import SCHEMA, RoundRow, Store
from roughfed.transport import control_socket
from roughfed.transport.control_socket import answer
from roughfed.types import RoundHeader, Signed, Spec, TensorSpec
from roughfed.wire.session import encode_header
from tests.server_context import context

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
SILENT = "silent at unmask"


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    """A server that does not listen; a, b and c are connected."""
    store = Store(tmp_path / "state")
    with ThreadPoolExecutor(1) as executor:
        spec = Spec((TensorSpec("w", (10,)),))
        asyncio.run(store.create_run("run-1", spec, bytes(32), 0.0))
        made = context(FederationConfig(), store, KEY, executor, spec)
        for name in ("a", "b", "c"):
            made.clients.join(ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu")))
        yield made
        store.close()


def ends(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch, number: int, mute: str = "", **found: dict[str, str]
) -> None:
    """A masked round that found this comes to its end; the `mute` sent no advert."""
    header = encode_header(header_of(number))
    row = RoundRow(number, Signed(header, bytes(64), "server"), ("a", "b", "c"), 3, 0.0, None, None, None)

    async def unmasked(*_: object) -> Result:
        return Result(**found)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(masked, "unmasked", unmasked)
    monkeypatch.setattr(masked, "next_clip", lambda *_, **__: 1.0)
    machine = SimpleNamespace(groups=[], stage="done", out=set[str](), without_advert=lambda: set(mute.split()))
    monkeypatch.setattr(masked, "machine_of", lambda *_: machine)
    asyncio.run(MaskedUpdates(ctx, RoundState(row)).prepare_mean())


def header_of(number: int) -> RoundHeader:
    return RoundHeader(
        run="run-1",
        round=number,
        model_digest=bytes(32),
        model_version=0,
        spec_digest=bytes(32),
        previous_header_digest=bytes(32),
        codec="lanes",
        server_sees="sketches",
        roster_root=bytes(32),
        deadline_s=60.0,
        clip_norm=1.0,
    )


def ask(ctx: ServerContext, **request: str) -> dict[str, Any]:
    return asyncio.run(answer(Control(ctx, Status(ctx, Health(ctx)), lambda: None).operations, request))


def test_who_is_silent_three_times_is_suspended_while_the_server_runs(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, SILENCES + 1):
        assert ctx.clients.quarantined == {}
        ends(ctx, monkeypatch, number, noted={"a": SILENT, "gone": SILENT, "b": "no upload"})
    assert ctx.clients.quarantined == {"a": "silent in 3 rounds"}  # not one who was gone, nor one who failed otherwise
    assert "a is suspended (silent in 3 rounds)" in caplog.text
    assert Status(ctx, Health(ctx))()["quarantined"] == ctx.clients.quarantined


def test_who_sends_no_advert_three_times_is_suspended_too(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody waits for it, in each round."""
    for number in range(1, SILENCES + 1):
        ends(ctx, monkeypatch, number, mute="a gone")
    assert ctx.clients.quarantined == {"a": "silent in 3 rounds"}


def test_a_liar_is_quarantined_at_once_and_after_a_restart(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(ctx, monkeypatch, 1, proofs={"b": "false-sketch"})
    ends(ctx, monkeypatch, 2)
    assert ctx.clients.quarantined == {"b": "false-sketch"}
    again = context(ctx.config, ctx.store, KEY, ctx.executor, ctx.spec)
    assert again.clients.quarantined == {"b": "false-sketch"}


def test_a_released_client_is_asked_again_and_what_it_did_stays_on_record(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, SILENCES + 1):
        ends(ctx, monkeypatch, number, noted={"a": SILENT}, proofs={"b": "bad-share"} if number == 1 else {})
    assert ctx.clients.quarantined == {"a": "silent in 3 rounds", "b": "bad-share"}
    assert ask(ctx, op="release", name="b") == {"released": "b", "was": "bad-share"}
    assert ask(ctx, op="release", name="a") == {"released": "a", "was": "silent in 3 rounds"}
    assert ctx.clients.quarantined == ctx.stages.quarantined() == {}
    kept = ctx.store.journal.read("SELECT client, round, reason, released_at FROM proofs")
    assert [(r["client"], r["round"], r["reason"]) for r in kept] == [("b", 1, "bad-share")]
    assert kept[0]["released_at"] > 0

    ends(ctx, monkeypatch, 4, noted={"a": SILENT}, proofs={"b": "false-sketch"})
    assert ctx.clients.quarantined == {"b": "false-sketch"}  # a proof counts again; silence is counted anew
    assert len(ctx.store.journal.read("SELECT * FROM proofs")) == 2


def test_a_round_that_is_concluded_again_after_a_restart_takes_no_release_back(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"noted": {"a": SILENT}, "proofs": {"b": "bad-deal"}}
    for number in (1, 2, 3):
        ends(ctx, monkeypatch, number, **found)
    for name in ("a", "b"):
        ask(ctx, op="release", name=name)
    ends(ctx, monkeypatch, 3, **found)
    assert ctx.clients.quarantined == {}


def test_nobody_is_released_who_is_not_quarantined(ctx: ServerContext) -> None:
    answer = ask(ctx, op="release", name="a")
    assert "a is not quarantined" in answer["error"]
    assert answer["reason"] == "config"


def test_the_command_releases_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fed.toml").touch()
    (tmp_path / "state").mkdir()
    with closing(Store(tmp_path / "state")) as store:
        prove(Stages(store.journal), "b")
    where = ["--dir", str(tmp_path), "--json"]
    assert cli.run(["release", "b", *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"released": "b", "was": "bad-deal"}
    assert cli.run(["release", "b", *where]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["cause"] == "b is not quarantined"


def test_the_command_asks_a_running_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, object]] = []

    def answer(_: Path, op: str, **arguments: object) -> dict[str, object]:
        asked.append({"op": op, **arguments})
        return {"quarantined": {"b": "bad-deal"}} if op == "status" else {"released": "b", "was": "bad-deal"}

    monkeypatch.setattr(control_socket, "is_running", lambda _: True)
    monkeypatch.setattr(control_socket, "ask", answer)
    assert cli.run(["release", "b", "--dir", str(tmp_path)]) == 0
    assert "released b, which was quarantined: bad-deal" in capsys.readouterr().out
    assert cli.run(["release", "a", "--dir", str(tmp_path)]) == 2
    assert asked == [{"op": "status"}, {"op": "release", "name": "b"}, {"op": "status"}]


def test_nowhere_is_nobody_to_release(tmp_path: Path) -> None:
    assert cli.run(["release", "b", "--dir", str(tmp_path)]) == 6


def test_an_older_journal_keeps_its_proofs(tmp_path: Path) -> None:
    before = next(number for number, step in enumerate(SCHEMA) if "first_proofs" in step)
    with closing(Journal(tmp_path / "journal.db", SCHEMA[:before])), sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("INSERT INTO proofs VALUES ('b', 2, 'bad-deal', 5.0)")
        db.executemany("INSERT INTO notes VALUES (?, 'a', ?)", [(n, SILENT) for n in range(3)])
    db.close()
    with closing(Store(tmp_path)) as store:
        stages = Stages(store.journal)
        assert stages.proofs() == {"b": (2, "bad-deal")}
        assert stages.quarantined() == {"a": "silent in 3 rounds", "b": "bad-deal"}


def prove(stages: Stages, name: str) -> None:
    asyncio.run(stages.note_end(1, proofs={name: "bad-deal"}, now=1.0))
