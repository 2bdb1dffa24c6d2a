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
from roughfed.server.federation import Federation
from roughfed.server.health import ALERTS, standing
from roughfed.server.health.reading import Disk, signs_of
from roughfed.server.health.standing import Health
from roughfed.server.schema import SCHEMA
from roughfed.server.status import status
from roughfed.types import Evaluation

from .test_federation import ROW, fed, session

__all__ = ["fed"]  # the fixture


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(client for client in found["clients"] if client["name"] == name)


def test_what_it_says_of_the_server(fed: Federation) -> None:
    fed.certificates = {"server": 5.0, "ca": 9.0}
    found = json.loads(json.dumps(status(fed)))
    assert (found["protocol"], found["schema"]) == (PROTOCOL, len(SCHEMA))
    assert found["certificates"] == [{"role": "ca", "expires_at": 9.0}, {"role": "server", "expires_at": 5.0}]
    assert found["deadline_at"] == pytest.approx(time.time() + 60, abs=5)
    assert 0 < found["disk"]["free_bytes"] <= found["disk"]["total_bytes"]
    assert found["disk"]["journal_bytes"] > 0
    assert isinstance(found["alerts"], list)
    fed.collection = None
    assert status(fed)["deadline_at"] is None


def test_what_it_says_of_a_client(fed: Federation) -> None:
    fed.members.join(alpha := session("alpha"))
    alpha.hear(Heartbeat("training", 0.5, Machine(rss_bytes=7, train_seconds=2.0)), samples=True)
    fed.quarantined = {"beta": "false-sketch"}
    found = status(fed)
    seen = one(found, "alpha")
    assert seen["since"] == pytest.approx(time.time(), abs=5)
    assert 0 <= seen["last_seen_s"] < 5
    assert (seen["machine"]["rss_bytes"], seen["machine"]["train_seconds"]) == (7, 2.0)
    assert (seen["accepted"], seen["excluded"], seen["held"]) == (0, 0, "")
    assert (one(found, "beta")["held"], one(found, "beta")["since"]) == ("false-sketch", None)
    fed.members.leave(alpha)
    gone = one(status(fed), "alpha")
    assert gone["connected"] is False
    assert 0 <= gone["last_seen_s"] < 5


def test_counts_are_over_all_rounds(fed: Federation) -> None:
    async def play() -> None:
        for number, sets, committed in (
            (1, {"alpha": "", "beta": "norm"}, True),
            (2, {"alpha": "", "beta": ""}, False),
            (3, {"alpha": "", "beta": "late"}, True),
        ):
            await fed.store.open_round(replace(ROW, round=number))
            await fed.store.set_sets(number, sets)
            if committed:
                await fed.store.commit(number, version=number, digest=bytes([number]) * 32, now=float(number))
            else:
                await fed.store.abandon(number, "too-few-updates", float(number))
            found = status(fed)
        assert [one(found, name)["accepted"] for name in ("alpha", "beta")] == [2, 0]
        assert [one(found, name)["excluded"] for name in ("alpha", "beta")] == [0, 1]
        assert [each["outcome"] for each in found["history"]] == ["committed", "abandoned", "committed"]
        assert [each["dropped"] for each in found["history"]] == [0, 0, 1]

    asyncio.run(play())


def test_rounds_that_are_abandoned_are_played_again(fed: Federation) -> None:
    """A page that says "round 12 of 10" is not believed any more."""
    found: list[tuple[int, int]] = []

    async def play() -> None:
        version = 0
        for number in range(1, fed.config.round.rounds + 3):
            await fed.store.open_round(replace(ROW, round=number))
            fed.row = None
            said = status(fed)
            found.append((said["round"], said["last_round"]))
            if number in (1, 4):
                await fed.store.abandon(number, "too-few-updates", float(number))
            else:
                version += 1
                await fed.store.commit(number, version=version, digest=bytes([version]) * 32, now=float(number))
            said = status(fed)
            found.append((said["round"], said["last_round"]))

    rounds = fed.config.round.rounds
    assert status(fed)["last_round"] == rounds
    asyncio.run(play())
    assert found[:3] == [(1, rounds), (1, rounds + 1), (2, rounds + 1)]
    assert [last for _, last in found[7:]] == [rounds + 2] * len(found[7:])
    assert found[-1] == (rounds + 2, rounds + 2)


def test_a_measurement_that_comes_later_is_in_the_history(fed: Federation) -> None:
    async def play() -> None:
        for number in range(1, 5):
            await fed.store.open_round(replace(ROW, round=number))
            await fed.store.commit(number, version=number, digest=bytes([number]) * 32, now=float(number))
            status(fed)
            measured = Evaluation(bytes([number]) * 32, 10, 5.0, (5, 5), (number, number))
            await fed.store.add_evaluations(number, [("", measured)])
        assert [each["accuracy"] for each in status(fed)["history"]] == [0.2, 0.4, 0.6, 0.8]

    asyncio.run(play())


@pytest.fixture
def counted(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The queries to the journal."""
    queries: list[str] = []
    read = fed.store.journal.read

    def counting(sql: str, *args: object) -> list[Any]:
        queries.append(sql)
        return read(sql, *args)

    monkeypatch.setattr(fed.store.journal, "read", counting)
    return queries


def test_asked_again_it_reads_nothing_that_has_not_changed(fed: Federation, counted: list[str]) -> None:
    for number in range(200):
        fed.members.join(session(f"client-{number:03d}"))
    status(fed)
    first = len(counted)
    counted.clear()
    for _ in range(10):
        status(fed)
    assert first > 5
    assert counted == []

    asyncio.run(fed.store.set_finished("rounds"))
    assert status(fed)["finished"] == "rounds"


def test_alerts_are_judged_once_a_second_and_when_the_run_changes(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[float] = []
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    health = Health(fed, clock=lambda: 7.0)
    monkeypatch.setattr(health._standing, "judge", lambda signs: judged.append(moment[0]) or [])
    for moment[0] in (1000.0, 1000.1, 1000.9, 1001.0, 1001.5):
        health.alerts()
    assert judged == [1000.0, 1001.0]
    fed.paused = True
    health.alerts()
    assert judged == [1000.0, 1001.0, 1001.5]


def test_a_server_that_cannot_be_judged_has_a_status_and_is_judged_again(
    fed: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a journal of another time")

    fed.collection, fed.paused, fed.started_at = None, True, time.time() - 7200
    (said,) = status(fed)["alerts"]
    assert said["name"] == "RunPaused"
    with monkeypatch.context() as broke:
        broke.setattr(standing, "signs_of", broken)
        fed.stopping = True  # else it would not be judged again within a second
        assert status(fed)["alerts"] == [said]
    fed.paused = False
    assert status(fed)["alerts"] == []


def test_a_watch_over_health_tells_the_metrics_and_ends_quietly(fed: Federation, tmp_path: Path) -> None:
    async def watch() -> None:
        told = asyncio.Event()
        counts: list[dict[str, int]] = []

        def alerts(found: dict[str, int]) -> None:
            counts.append(found)
            told.set()

        fed.metrics.alerts = alerts  # pyright: ignore[reportAttributeAccessIssue]
        task = asyncio.create_task(fed.health.keep_watch())
        await asyncio.wait_for(told.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert counts[0] == {"critical": 0, "warning": 0, "info": 0}
        assert not fed._watchers

    asyncio.run(watch())


def test_enough_clients_of_which_no_class_has_enough_are_waited_for(fed: Federation) -> None:
    config = FederationConfig(privacy=Privacy(server_sees="sketches"), classes={"thin": {"fraction": 0.25}})  # pyright: ignore[reportArgumentType]
    fed.config, fed.collection = config, None
    for number in range(config.clients_to_start):
        one_ = session(f"c{number}")
        place = "thin" if number % 2 else ""
        fed.members.join(replace(one_, hello=replace(one_.hello, client_class=place)))
    found = status(fed)
    assert found["waiting"].startswith("waiting: ")
    assert "thin" in found["waiting"]


def test_who_is_away_until_an_hour_is_not_missed_before_it(fed: Federation) -> None:
    """Clients that train at night are no alert by day; the status still says for whom the server waits."""
    fed.collection = None

    def missed_since(now: float) -> float | None:
        return signs_of(fed, Disk(), now=now, since=since).waiting_since

    since: dict[str, float] = {}
    assert missed_since(100.0) == 100.0
    fed.away = {f"c{number}": 5000.0 for number in range(fed.config.clients_to_start)}
    assert missed_since(200.0) is None
    assert status(fed)["waiting"]
    fed.quarantined = {"c0": "false-sketch"}  # whoever is not asked any more does not count
    assert missed_since(300.0) == 300.0
    fed.quarantined = {}
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
    fed: Federation, days: int, left: float, due: bool
) -> None:
    """Who raises `identity.certificate_days` from 7 to 90 gets no alert for every client that has five days left."""
    fed.members.join(session("alpha"))
    fed.health.seen.certificate("alpha", certificate(days, left=left))
    for config in (fed.config, FederationConfig(identity=Identity(certificate_days=90))):
        fed.config = config
        found = ALERTS["ClientCertExpiring"].judge(signs_of(fed, Disk(), now=time.time(), since={}), False)
        assert (found is not None) is due
