"""Whom the operator vouches for the defence spares, whatever the rule, unless the update is far too long."""

from __future__ import annotations

import asyncio
import json
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
from roughfed.errors import ConfigError, IdentityError
from roughfed.server.context.server import ServerContext
from roughfed.server.defence import RULES, Situation, view_of_arrays
from roughfed.server.defence.memory import ConfiguredRule
from roughfed.server.defence.verdict import Verdict
from roughfed.server.defence.vouched import spared, vouch, vouched, withdraw
from roughfed.server.observe.control import Control
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.storage.store import Store
from roughfed.transport import control_socket
from roughfed.transport.control_socket import answer
from roughfed.types import Spec, TensorSpec
from tests.server_context import context
from tests.unit.documents import blocks, commands

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
CLEAR = {"privacy": {"server_sees": "updates"}}


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


@pytest.mark.parametrize("name", ["default", "multi-krum", "dnc"])
def test_whoever_is_vouched_for_counts(store: Store, name: str) -> None:
    config = FederationConfig.model_validate({**CLEAR, "defence": {"rule": name, "f": 2}})
    rule = ConfiguredRule.of(config, store.journal)
    assert {"c0", "c1"} <= last(rule).excluded.keys()
    asyncio.run(vouch(store.journal, "c0", "another machine", 5.0))
    found = last(rule)
    assert "c0" not in found.excluded.keys() | found.suspects
    assert "c1" in found.excluded


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
    asyncio.run(vouch(store.journal, "c0", "", 5.0))
    assert last(rule, odd_length=9.0).excluded["c0"] == "long"
    assert spared(Verdict({"a": "long", "b": "copy"}), {"a", "b"}).excluded == {"a": "long"}


@pytest.fixture
def ctx(store: Store) -> Iterator[ServerContext]:
    with ThreadPoolExecutor(1) as executor:
        yield context(FederationConfig(), store, KEY, executor, Spec((TensorSpec("w", (10,)),)))


def ask(ctx: ServerContext, **request: str) -> dict[str, Any]:
    return asyncio.run(answer(Control(ctx, Status(ctx, Health(ctx)), lambda: None).operations, request))


def test_it_is_shown_outlives_a_restart_and_ends(ctx: ServerContext) -> None:
    assert ask(ctx, op="vouch", name="c0", because="rare cancers")["vouched"] == "c0"
    assert ask(ctx, op="status")["defence"]["vouched"] == {"c0": "rare cancers"}
    again = ConfiguredRule.of(ctx.config, ctx.store.journal)
    assert again.situation(1, 10).vouched == {"c0"}
    assert ask(ctx, op="withdraw", name="c0")["withdrawn"] == "c0"
    assert vouched(ctx.store.journal) == {}
    assert json.loads(json.dumps(ask(ctx, op="status")))["defence"]["vouched"] == {}


def test_what_cannot_be_is_refused(store: Store) -> None:
    with pytest.raises(IdentityError):
        asyncio.run(vouch(store.journal, "../x", "", 5.0))
    with pytest.raises(ConfigError, match="characters"):
        asyncio.run(vouch(store.journal, "c0", "two\nlines", 5.0))
    with pytest.raises(ConfigError, match="nobody vouched"):
        asyncio.run(withdraw(store.journal, "c0"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"defence": {"rule": "none"}}, "no defence is set"),
        ({**CLEAR, "defence": {"rule": "median"}}, "coordinates"),
        ({"privacy": {"server_sees": "sums"}, "defence": {"rule": "median"}}, "sums of groups"),
    ],
)
def test_vouching_where_it_would_change_nothing_is_refused(store: Store, settings: dict[str, Any], why: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        made = context(FederationConfig.model_validate(settings), store, KEY, executor, Spec((TensorSpec("w", (10,)),)))
        assert why in ask(made, op="vouch", name="c0")["error"]
    assert vouched(store.journal) == {}


def test_the_lines_of_the_document(ctx: ServerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[dict[str, str]] = []

    def asked(folder: Path, op: str, **request: str) -> dict[str, Any]:
        said.append(vouched(ctx.store.journal))
        return ask(ctx, op=op, **request)

    monkeypatch.setattr(control_socket, "ask", asked)
    (block,) = [b for b in blocks("sh") if b.about.endswith("test_defence_vouched.py::test_the_lines_of_the_document")]
    for line in commands(block):
        assert cli.run(shlex.split(line)[1:]) == 0
    assert said == [{}, {"hospital-c": "the only children's hospital; asked on Monday"}]
    assert vouched(ctx.store.journal) == {}
