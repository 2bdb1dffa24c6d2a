"""For whom the operator vouches the default spares, unless the update is far too long, while its key is the same."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.cli import app as cli
from roughfed.deploy.cli.status_client import of_one, standing
from roughfed.errors import ConfigError, IdentityError
from roughfed.journal import Journal
from roughfed.messages import Hello
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import RULES, Situation, view_of_arrays
from roughfed.server.defence.findings import weights_of
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.vouched import spared, tell_ignored, vouch, vouched, withdraw
from roughfed.server.members.sessions import ClientSession
from roughfed.server.observe.control import Control
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.round.events import RoundEvents, vouch_for
from roughfed.server.storage.store import Store
from roughfed.transport import control_socket
from roughfed.transport.control_socket import answer
from roughfed.types import Spec, TensorSpec
from tests.server_context import context
from tests.unit.documents import blocks, commands

KEY, OTHER_KEY = (IdentityKey.from_private_bytes(bytes([at]) * 32) for at in (1, 2))
CLEAR = {"privacy": {"server_sees": "updates"}}
OTHER_RULES = ["multi-krum", "dnc", "krum", "norm-bound", "bulyan", "flame", "foolsgold"]
"""Those that leave out by name, and those that give weights."""


def speak_for(journal: Journal, name: str, because: str = "") -> None:
    asyncio.run(vouch(journal, name, because, 5.0, identity_key=KEY.public_key))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state")) as made:
        asyncio.run(made.create_run("run-1", Spec((TensorSpec("w", (10,)),)), bytes(32), 0.0))
        yield made


def views(odd_length: float = 1.0) -> Iterator[Any]:
    """Rounds of ten clients, of which c0 goes backwards, and c1 somewhere else."""
    rng = np.random.default_rng(5)
    for _ in range(8):
        rows = np.ones((10, 60)) + 0.2 * rng.normal(size=(10, 60))
        rows[0] *= -odd_length
        rows[1] = -rows[1]
        yield view_of_arrays({f"c{at}": row.astype(np.float32) for at, row in enumerate(rows)})


def last(rule: ConfiguredRule, odd_length: float = 1.0) -> Verdict:
    verdict = Verdict()
    for number, view in enumerate(views(odd_length), start=1):
        verdict = rule.judge(view, rule.situation(number, 10))
        rule.memory.keep(number, verdict, judged=10, tolerated=2)
        asyncio.run(rule.memory._journal.write(lambda db: None))
    return verdict


def test_whoever_is_vouched_for_counts(store: Store) -> None:
    rule = ConfiguredRule.of(FederationConfig.model_validate({**CLEAR, "defence": {"f": 2}}), store.journal)
    assert {"c0", "c1"} <= last(rule).excluded.keys()
    speak_for(store.journal, "c0", "another machine")
    found = last(rule)
    assert "c0" not in found.excluded.keys() | found.suspects
    assert "c1" in found.excluded


@pytest.mark.parametrize("odd_length", [1.0, 9.0])
@pytest.mark.parametrize("name", OTHER_RULES)
def test_under_another_rule_nobody_is_spared(store: Store, name: str, odd_length: float) -> None:
    config = FederationConfig.model_validate({**CLEAR, "defence": {"rule": name, "f": 1}})
    rule = ConfiguredRule.of(config, store.journal)
    plain = last(rule, odd_length)
    speak_for(store.journal, "c0")
    again = ConfiguredRule.of(config, store.journal)
    found = last(again, odd_length)
    assert (again.situation(9, 10).vouched, again.vouched()) == (set(), {})
    assert (found.excluded, found.suspects, weights_of(found)) == (plain.excluded, plain.suspects, weights_of(plain))


def test_one_that_is_vouched_for_takes_no_place_among_the_f() -> None:
    *_, view = views()
    judge = RULES["default"].judge
    state, plain = {}, Verdict()
    for number, each in enumerate(views(), start=1):
        plain = judge(each, Situation(1, number, 0, state))
        state = plain.state
    (worst,) = plain.excluded
    (other,) = {"c0", "c1"} - {worst}
    assert set(judge(view, Situation(1, 9, 0, state, frozenset({worst}))).excluded) == {other}


def test_a_vouched_update_that_is_far_too_long_stays_out(store: Store) -> None:
    rule = ConfiguredRule.of(FederationConfig.model_validate({**CLEAR, "defence": {"f": 2}}), store.journal)
    speak_for(store.journal, "c0")
    found = last(rule, odd_length=9.0)
    assert found.excluded["c0"] == "long"
    assert "c0" in found.suspects
    assert spared(Verdict({"a": "long"}, suspects={"a", "b", "c"}), {"a", "b"}).suspects == {"a", "c"}


@pytest.fixture
def ctx(store: Store) -> Iterator[ServerContext]:
    with ThreadPoolExecutor(1) as executor:
        made = context(FederationConfig(), store, KEY, executor, Spec((TensorSpec("w", (10,)),)))
        RoundEvents(made)
        come(made, "c0")
        yield made


def come(ctx: ServerContext, name: str, key: IdentityKey = KEY) -> None:
    """A client connects."""

    async def join() -> None:
        ctx.clients.join(ClientSession(name, key.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu")))
        await ctx.store.journal.write(lambda db: None)

    asyncio.run(join())


def ask(ctx: ServerContext, **request: str) -> dict[str, Any]:
    return asyncio.run(answer(Control(ctx, Status(ctx, Health(ctx)), lambda: None).operations, request))


def test_it_is_shown_outlives_a_restart_and_ends(ctx: ServerContext) -> None:
    assert ask(ctx, op="vouch", name="c0", because="rare cancers")["vouched"] == "c0"
    assert ask(ctx, op="status")["defence"]["vouched"] == {"c0": "rare cancers"}
    again = ConfiguredRule.of(ctx.config, ctx.store.journal)
    assert again.situation(1, 10).vouched == {"c0"}
    assert ask(ctx, op="withdraw-vouch", name="c0")["withdrawn"] == "c0"
    assert vouched(ctx.store.journal) == {}
    assert json.loads(json.dumps(ask(ctx, op="status")))["defence"]["vouched"] == {}


def test_what_cannot_be_is_refused(store: Store) -> None:
    with pytest.raises(IdentityError):
        speak_for(store.journal, "../x")
    with pytest.raises(ConfigError, match="characters"):
        speak_for(store.journal, "c0", "two\nlines")
    with pytest.raises(ConfigError, match="nobody vouched"):
        asyncio.run(withdraw(store.journal, "c0"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"defence": {"rule": "none"}}, "no defence is set"),
        ({"defence": {"f": 0}}, "defence.f = 0"),
        ({"privacy": {"server_sees": "sums"}, "defence": {"rule": "median"}}, "median spares nobody"),
        *(({**CLEAR, "defence": {"rule": name}}, f"{name} spares nobody, only default") for name in OTHER_RULES),
    ],
)
def test_vouching_where_it_would_change_nothing_is_refused(store: Store, settings: dict[str, Any], why: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        made = context(FederationConfig.model_validate(settings), store, KEY, executor, Spec((TensorSpec("w", (10,)),)))
        come(made, "c0")
        assert why in ask(made, op="vouch", name="c0")["error"]
    assert vouched(store.journal) == {}


def test_vouches_that_the_settings_make_nothing_of_are_told_at_a_start(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tell_ignored(store.journal, "flame", 2)
    speak_for(store.journal, "c0")
    tell_ignored(store.journal, "default", 2)
    assert not caplog.records
    with ThreadPoolExecutor(1) as executor, caplog.at_level(logging.WARNING):
        config = FederationConfig.model_validate({**CLEAR, "defence": {"rule": "flame", "f": 2}})
        made = context(config, store, KEY, executor, Spec((TensorSpec("w", (10,)),)))
        assert "does not spare c0" in caplog.text
        assert ask(made, op="status")["defence"]["vouched"] == {}
        assert ask(made, op="withdraw-vouch", name="c0")["withdrawn"] == "c0"


def test_a_vouch_is_for_a_key_and_ends_with_it(ctx: ServerContext, caplog: pytest.LogCaptureFixture) -> None:
    ask(ctx, op="vouch", name="c0")
    come(ctx, "c0")
    assert ctx.defence.situation(1, 10).vouched == {"c0"}
    come(ctx, "c0", OTHER_KEY)
    assert ctx.defence.situation(1, 10).vouched == set()
    assert "c0 came back with another key" in caplog.text
    come(ctx, "c0")
    assert vouched(ctx.store.journal) == {}


def test_the_receipt_of_another_key_is_never_on_disk_before_the_vouch_has_ended(ctx: ServerContext) -> None:
    ask(ctx, op="vouch", name="c0")
    journal, seen = ctx.store.journal, list[int]()

    async def join_and_send() -> None:
        hello = Hello("1", 1, b"", b"", (), "cpu")
        ctx.clients.join(ClientSession("c0", OTHER_KEY.public_key, bytes(32), hello))
        count = "SELECT COUNT(*) FROM vouched"
        await journal.write(lambda db: seen.append(db.execute(count).fetchone()[0]))

    asyncio.run(join_and_send())
    assert seen == [0]


def test_another_key_that_comes_while_a_vouch_is_written_ends_it(ctx: ServerContext) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(vouch_for(ctx, "c0", ""))
            await asyncio.sleep(0)  # it has read the key
            hello = Hello("1", 1, b"", b"", (), "cpu")
            ctx.clients.join(ClientSession("c0", OTHER_KEY.public_key, bytes(32), hello))
        await ctx.store.journal.write(lambda db: None)

    asyncio.run(both())
    assert vouched(ctx.store.journal) == {}


def test_of_a_client_whose_key_is_not_known_nothing_is_believed(ctx: ServerContext) -> None:
    assert "its key is not known" in ask(ctx, op="vouch", name="c1")["error"]
    assert "name" in ask(ctx, op="vouch", name="../c1")["error"]
    assert vouched(ctx.store.journal) == {}


def test_a_revocation_ends_it(ctx: ServerContext) -> None:
    ask(ctx, op="vouch", name="c0")
    assert ask(ctx, op="revoke", name="c0")["revoked"] == "c0"
    assert vouched(ctx.store.journal) == {}


def test_it_is_shown_of_one_client_even_while_that_is_away(ctx: ServerContext) -> None:
    come(ctx, "c1")
    ask(ctx, op="vouch", name="c1", because="rare cancers")
    status = {**ask(ctx, op="status"), "clients": []}
    found = of_one(status, "c1")
    assert found is not None
    assert dict(standing(found))["vouched for"].startswith("by the operator (rare cancers): the defence spares it")
    assert of_one(status, "c2") is None


def test_a_vouch_is_withdrawn_while_no_server_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fed.toml").touch()
    with closing(Store(tmp_path / "state")) as store:
        speak_for(store.journal, "c0", "rare cancers")
    where = ["--dir", str(tmp_path), "--json"]
    assert cli.run(["vouch", "c0", "--withdraw", "--because", "x", *where]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["key"] == "--because"
    assert cli.run(["vouch", "c0", *where]) == 6  # only a server knows its key
    capsys.readouterr()
    assert cli.run(["vouch", "c0", "--withdraw", *where]) == 0
    assert json.loads(capsys.readouterr().out) == {"vouched": False, "name": "c0"}
    with closing(Store(tmp_path / "state")) as store:
        assert vouched(store.journal) == {}
    assert cli.run(["vouch", "c0", "--withdraw", *where]) == 2
    assert cli.run(["vouch", "c0", "--withdraw", "--dir", str(tmp_path / "elsewhere")]) == 6


def test_the_lines_of_the_document(ctx: ServerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[dict[str, str]] = []

    def asked(folder: Path, op: str, **request: str) -> dict[str, Any]:
        said.append(vouched(ctx.store.journal))
        return ask(ctx, op=op, **request)

    come(ctx, "hospital-c")
    monkeypatch.setattr(control_socket, "ask", asked)
    monkeypatch.setattr(control_socket, "is_running", lambda folder: True)
    (block,) = [b for b in blocks("sh") if b.about.endswith("test_defence_vouched.py::test_the_lines_of_the_document")]
    for line in commands(block):
        assert cli.run(shlex.split(line)[1:]) == 0
    assert said == [{}, {"hospital-c": "the only children's hospital; asked on Monday"}]
    assert vouched(ctx.store.journal) == {}
