"""The status of a server: what it holds, and that asking often costs little."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from roughfed.config.federation import FederationConfig, Identity, Privacy
from roughfed.crypto.certificates import load_private, new_tls_key
from roughfed.messages import PROTOCOL, Heartbeat, Machine
from roughfed.server.context.server import ServerContext
from roughfed.server.observe.health import ALERTS, active_alerts
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.health.inputs import Certificates, Disk
from roughfed.server.observe.health.reading import inputs_of
from roughfed.server.observe.status import Status
from roughfed.server.storage.schema import SCHEMA
from roughfed.types import Evaluation
from tests.unit.server.context.test_federation import ROW, ctx, round_of, session

__all__ = ["ctx"]  # the fixture


@pytest.fixture
def status(ctx: ServerContext) -> Status:
    return Status(ctx, Health(ctx))


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(client for client in found["clients"] if client["name"] == name)


def test_what_it_says_of_the_server(ctx: ServerContext, status: Status) -> None:
    status.health.certificates.ends = {"server": 5.0, "ca": 9.0}
    found = json.loads(json.dumps(status()))
    assert (found["protocol"], found["schema"]) == (PROTOCOL, len(SCHEMA))
    assert found["certificates"] == [{"role": "ca", "expires_at": 9.0}, {"role": "server", "expires_at": 5.0}]
    assert found["deadline_at"] == pytest.approx(time.time() + 60, abs=5)
    assert 0 < found["disk"]["free_bytes"] <= found["disk"]["total_bytes"]
    assert found["disk"]["journal_bytes"] > 0
    assert isinstance(found["alerts"], list)
    round_of(ctx).collection = None
    assert status()["deadline_at"] is None


def test_what_it_says_of_a_client(ctx: ServerContext, status: Status) -> None:
    ctx.clients.join(alpha := session("alpha"))
    alpha.hear(Heartbeat("training", 0.5, Machine(rss_bytes=7, train_seconds=2.0)), samples=True)
    ctx.clients.quarantined = {"beta": "false-sketch"}
    found = status()
    seen = one(found, "alpha")
    assert seen["since"] == pytest.approx(time.time(), abs=5)
    assert 0 <= seen["last_seen_s"] < 5
    assert (seen["machine"]["rss_bytes"], seen["machine"]["train_seconds"]) == (7, 2.0)
    assert (seen["accepted"], seen["excluded"], seen["held"]) == (0, 0, "")
    assert (one(found, "beta")["held"], one(found, "beta")["since"]) == ("false-sketch", None)
    ctx.clients.leave(alpha)
    gone = one(status(), "alpha")
    assert gone["connected"] is False
    assert 0 <= gone["last_seen_s"] < 5


def test_counts_are_over_all_rounds(ctx: ServerContext, status: Status) -> None:
    async def play() -> None:
        for number, sets, committed in (
            (1, {"alpha": "", "beta": "norm"}, True),
            (2, {"alpha": "", "beta": ""}, False),
            (3, {"alpha": "", "beta": "gone"}, True),
        ):
            await ctx.store.open_round(replace(ROW, round=number))
            await ctx.store.set_sets(number, sets)
            if committed:
                await ctx.store.commit(number, version=number, digest=bytes([number]) * 32, now=float(number))
            else:
                await ctx.store.abandon(number, "too-few-updates", float(number))
            found = status()
        assert [one(found, name)["accepted"] for name in ("alpha", "beta")] == [2, 0]
        assert [one(found, name)["excluded"] for name in ("alpha", "beta")] == [0, 1]
        assert [each["outcome"] for each in found["history"]] == ["committed", "abandoned", "committed"]
        assert [each["dropped"] for each in found["history"]] == [0, 0, 1]
        assert [each["gone"] for each in found["history"]] == [0, 0, 1]

    asyncio.run(play())


def test_clients_that_fail_or_are_left_out_round_after_round_are_named(ctx: ServerContext, status: Status) -> None:
    """Also while rounds go on without them, and as long as they are here."""
    sets = {"alpha": "client-failed: not-finite", "beta": "disagrees", "gamma": ""}
    defence = {"rule": "default", "f": 1, "judged": 2, "scores": {}, "excluded": {"beta": "disagrees"}}

    async def play() -> None:
        for number in range(1, 6):
            await ctx.store.open_round(replace(ROW, round=number))
            await ctx.store.set_sets(number, sets)
            await ctx.store.commit(number, version=number, digest=bytes([number]) * 32, now=float(number))
            await ctx.store.set_summary(number, {"defence": defence})

    asyncio.run(play())
    for name in sets:
        ctx.clients.join(session(name))
    found = {each["name"]: each["text"] for each in status()["alerts"]}
    assert "alpha (client-failed: not-finite)" in found["ClientFails"]
    assert "beta in 5 of its last 5 rounds" in found["ClientLeftOut"]
    assert "as many as it is meant to hold against (1)" in found["ClientLeftOut"]
    ctx.clients.quarantined = {"alpha": "by the operator", "beta": "by the operator"}
    assert not {"ClientFails", "ClientLeftOut"} & {each["name"] for each in status()["alerts"]}


def test_rounds_that_are_abandoned_are_played_again(ctx: ServerContext, status: Status) -> None:
    """A page that says "round 12 of 10" is not believed any more."""
    found: list[tuple[int, int]] = []

    async def play() -> None:
        version = 0
        for number in range(1, ctx.config.round.rounds + 3):
            await ctx.store.open_round(replace(ROW, round=number))
            ctx.state.round = None
            said = status()
            found.append((said["round"], said["last_round"]))
            if number in (1, 4):
                await ctx.store.abandon(number, "too-few-updates", float(number))
            else:
                version += 1
                await ctx.store.commit(number, version=version, digest=bytes([version]) * 32, now=float(number))
            said = status()
            found.append((said["round"], said["last_round"]))

    rounds = ctx.config.round.rounds
    assert status()["last_round"] == rounds
    asyncio.run(play())
    assert found[:3] == [(1, rounds), (1, rounds + 1), (2, rounds + 1)]
    assert [last for _, last in found[7:]] == [rounds + 2] * len(found[7:])
    assert found[-1] == (rounds + 2, rounds + 2)


def test_a_measurement_that_comes_later_is_in_the_history(ctx: ServerContext, status: Status) -> None:
    async def play() -> None:
        for number in range(1, 5):
            await ctx.store.open_round(replace(ROW, round=number))
            await ctx.store.commit(number, version=number, digest=bytes([number]) * 32, now=float(number))
            status()
            measured = Evaluation(bytes([number]) * 32, 10, 5.0, (5, 5), (number, number))
            await ctx.store.add_evaluations(number, [("", measured)])
        assert [each["accuracy"] for each in status()["history"]] == [0.2, 0.4, 0.6, 0.8]

    asyncio.run(play())


@pytest.fixture
def counted(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The queries to the journal."""
    queries: list[str] = []
    read = ctx.store.journal.read

    def counting(sql: str, *args: object) -> list[Any]:
        queries.append(sql)
        return read(sql, *args)

    monkeypatch.setattr(ctx.store.journal, "read", counting)
    return queries


def test_asked_again_it_reads_nothing_that_has_not_changed(
    ctx: ServerContext, status: Status, counted: list[str]
) -> None:
    for number in range(200):
        ctx.clients.join(session(f"client-{number:03d}"))
    status()
    first = len(counted)
    counted.clear()
    for _ in range(10):
        status()
    assert first > 5
    assert counted == []

    asyncio.run(ctx.store.set_finished("rounds"))
    assert status()["finished"] == "rounds"


def test_alerts_are_judged_once_a_second_and_when_the_run_changes(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float] = []
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    health = Health(ctx, clock=lambda: 7.0)
    monkeypatch.setattr(health._active, "judge", lambda inputs: judged.append(moment[0]) or [])
    for moment[0] in (1000.0, 1000.1, 1000.9, 1001.0, 1001.5):
        health.alerts()
    assert judged == [1000.0, 1001.0]
    ctx.state.paused = True
    health.alerts()
    assert judged == [1000.0, 1001.0, 1001.5]


def test_a_server_that_cannot_be_judged_has_a_status_and_is_judged_again(
    ctx: ServerContext, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a journal of another time")

    round_of(ctx).collection, ctx.state.paused, ctx.state.started_at = None, True, time.time() - 7200
    (said,) = status()["alerts"]
    assert said["name"] == "RunPaused"
    with monkeypatch.context() as broke:
        broke.setattr(active_alerts, "inputs_of", broken)
        ctx.state.stopping = True  # else it would not be judged again within a second
        assert status()["alerts"] == [said]
    ctx.state.paused = False
    assert status()["alerts"] == []


def test_a_watch_over_health_tells_the_metrics_and_ends_quietly(ctx: ServerContext, tmp_path: Path) -> None:
    async def watch() -> None:
        told = asyncio.Event()
        standing: list[dict[tuple[str, str], bool]] = []

        def alerts(found: dict[tuple[str, str], bool]) -> None:
            standing.append(found)
            told.set()

        ctx.metrics.alerts = alerts  # pyright: ignore[reportAttributeAccessIssue]
        task = asyncio.create_task(Health(ctx).keep_watch())
        await asyncio.wait_for(told.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert standing[0] == {(name, rule.severity): False for name, rule in ALERTS.items()}
        assert not ctx.state._watchers

    asyncio.run(watch())


def test_enough_clients_of_which_no_class_has_enough_are_waited_for(ctx: ServerContext, status: Status) -> None:
    config = FederationConfig(privacy=Privacy(server_sees="sketches"), tiers={"thin": {"fraction": 0.25}})  # pyright: ignore[reportArgumentType]
    ctx.settings.config, round_of(ctx).collection = config, None
    for number in range(config.clients_to_start):
        one_ = session(f"c{number}")
        place = "thin" if number % 2 else ""
        ctx.clients.join(replace(one_, hello=replace(one_.hello, tier=place)))
    found = status()
    assert found["waiting"].startswith("waiting: ")
    assert "thin" in found["waiting"]


def test_who_is_away_until_an_hour_is_not_missed_before_it(ctx: ServerContext, status: Status) -> None:
    """Clients that train at night are no alert by day; the status still says for whom the server waits."""
    round_of(ctx).collection = None

    def missed_since(now: float) -> float | None:
        return inputs_of(ctx, Disk(), (), Certificates(0.0), now=now, since=since).waiting_since

    since: dict[str, float] = {}
    assert missed_since(100.0) == 100.0
    ctx.clients.away = {f"c{number}": 5000.0 for number in range(ctx.config.clients_to_start)}
    assert missed_since(200.0) is None
    assert status()["waiting"]
    ctx.clients.quarantined = {"c0": "false-sketch"}  # whoever is not asked any more does not count
    assert missed_since(300.0) == 300.0
    ctx.clients.quarantined = {}
    assert missed_since(4999.0) is None
    assert missed_since(5001.0) == 5001.0


def certificate(days: int, *, left: float) -> bytes:
    """One that is valid for so many days in all, and has so many left."""
    key, end = load_private(new_tls_key()), datetime.now(UTC) + timedelta(days=left)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alpha")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=days), end).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(("days", "left", "due"), [(7, 5.0, False), (7, 1.0, True), (90, 5.0, True)])
def test_a_certificate_is_due_by_its_own_life_not_by_what_is_set_now(
    ctx: ServerContext, days: int, left: float, due: bool
) -> None:
    """Who raises `identity.certificate_days` from 7 to 90 gets no alert for every client that has five days left."""
    ctx.clients.join(session("alpha"))
    ctx.clients.seen.certificate("alpha", certificate(days, left=left))
    for config in (ctx.config, FederationConfig(identity=Identity(certificate_days=90))):
        ctx.settings.config = config
        found = ALERTS["ClientCertExpiring"].judge(
            inputs_of(ctx, Disk(), (), Health(ctx).certificates, now=time.time(), since={}), False
        )
        assert (found is not None) is due
