"""What the metrics are told of the present: clients, their machines, the disk; and looks that fail."""

from __future__ import annotations

import asyncio
import math
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.messages import Heartbeat, Hello, Machine
from roughfed.server.context.server import ServerContext
from roughfed.server.members.sessions import ClientSession
from roughfed.server.metrics.stopwatch import Spent, Stopwatch
from roughfed.server.observe import gauges
from roughfed.server.observe.gauges import keep_gauges, metrics_of, tell, tell_storage
from roughfed.server.observe.health.active_alerts import Health
from roughfed.server.observe.status import Status
from roughfed.server.storage.store import Store
from roughfed.types import Spec, TensorSpec
from tests.server_context import context
from tests.unit.server.metrics.test_metrics import samples

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
MODES = ("updates", "sketches", "sums")


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[ServerContext]:
    with ThreadPoolExecutor(1) as executor:
        yield from federation(tmp_path, executor, "updates")


def federation(folder: Path, executor: ThreadPoolExecutor, sees: str) -> Iterator[ServerContext]:
    store = Store(folder)
    config = FederationConfig.model_validate({"privacy": {"server_sees": sees}, "round": {"min_clients": 3}})
    spec = Spec((TensorSpec("w", (10,)),))
    asyncio.run(store.create_run("run-1", spec, bytes(32), 0.0))
    yield context(config, store, KEY, executor, spec, metrics=metrics_of(config))
    store.close()


def join(ctx: ServerContext, name: str, machine: Machine | None = None, phase: str = "idle") -> None:
    session = ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu"))
    ctx.clients.join(session)
    session.hear(Heartbeat(phase, 0.0, machine), samples=not ctx.config.privacy.masked)


def page(ctx: ServerContext) -> dict[str, float]:
    return {name.removeprefix("roughfed_"): value for name, value in samples(ctx.metrics.render()).items()}


def parts(found: dict[str, float], name: str) -> list[float]:
    return [found[f"{name}{{part={part}}}"] for part in ("lowest", "median", "highest")]


def test_clients_by_what_they_do_and_who_is_not_waited_for(ctx: ServerContext) -> None:
    join(ctx, "ann", phase="training")
    join(ctx, "bob")
    ctx.clients.away |= {"cat": time.time() + 60, "dan": time.time() - 60, "bob": time.time() + 60}
    ctx.clients.quarantined = {"eve": "false-sketch"}
    ctx.state.paused = True
    tell(ctx)
    found = page(ctx)

    expected = {"connected": 2, "training": 1, "idle": 1, "away": 1, "quarantined": 1, "uploading": 0}
    assert {state: found[f"clients{{state={state}}}"] for state in expected} == expected
    assert (found["clients_needed"], found["paused"]) == (3, 1)


def test_machines_are_shown_all_together_for_those_who_tell(ctx: ServerContext) -> None:
    now = time.time()
    join(ctx, "ann", Machine(rss_bytes=100, train_seconds=1.0, gpu_memory_bytes=7, gpu_utilization=0.5, time=now))
    join(ctx, "bob", Machine(rss_bytes=300, train_seconds=9.0, time=now - 40))
    join(ctx, "cat")
    tell(ctx)
    found = page(ctx)

    assert parts(found, "fleet_resident_bytes") == [100, 200, 300]
    assert parts(found, "fleet_train_seconds") == [1, 5, 9]
    assert parts(found, "fleet_gpu_memory_bytes") == [7, 7, 7]
    assert parts(found, "fleet_gpu_utilization_ratio") == [0.5, 0.5, 0.5]
    assert parts(found, "fleet_clock_skew_seconds") == pytest.approx([-40, -20, 0], abs=5)
    assert all(math.isnan(value) for value in parts(found, "fleet_cert_expiry_timestamp_seconds"))

    for session in ctx.clients.all():
        ctx.clients.leave(session)
    tell(ctx)
    assert all(math.isnan(value) for value in parts(page(ctx), "fleet_resident_bytes"))


def test_the_certificate_that_ends_first_is_the_lowest(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"ann": 2e9, "bob": 1.8e9, "gone": 1.7e9}
    monkeypatch.setattr(ctx.clients.seen, "ends", ends.get)
    for name in ("ann", "bob", "cat"):
        join(ctx, name)
    tell(ctx)
    assert parts(page(ctx), "fleet_cert_expiry_timestamp_seconds") == [1.8e9, 1.9e9, 2e9]


def test_the_disk_and_what_of_it_is_ours(ctx: ServerContext) -> None:
    (ctx.store.folder / "models" / "x").write_bytes(bytes(500))
    tell_storage(ctx)
    found = page(ctx)
    assert found["blob_store_bytes"] == 500
    assert found["journal_bytes"] > 0
    assert 0 < found["disk_free_bytes"] <= found["disk_size_bytes"]


def broken(*_: object, **__: object) -> Any:
    raise OSError(28, "No space left on device")


def test_a_disk_that_does_not_tell_is_unknown_and_not_empty(
    ctx: ServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", broken)
    tell_storage(ctx)
    found = page(ctx)
    assert math.isnan(found["disk_free_bytes"])
    assert math.isnan(found["disk_size_bytes"])


@pytest.mark.parametrize("where", ["clients.all", "clients.states", "store.sizes", "metrics.clients", "metrics.disk"])
def test_the_watch_goes_on_whatever_fails(ctx: ServerContext, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """One look fails; the next one tells again."""
    what, _, name = where.rpartition(".")
    target: Any = getattr(ctx, what)
    works = getattr(type(target), name).__get__(target)
    if what == "metrics":  # they are safe by themselves: it is the registry under them that fails
        target, name = ctx.metrics._telemetry, "set"
        works = target.set
    looks = threading.Event()

    def fail(*args: object, **kwargs: object) -> Any:
        looks.set()
        raise RuntimeError("broken")

    monkeypatch.setattr(gauges, "FASTEST_S", 0.01)
    monkeypatch.setattr(gauges, "SLOWEST_S", 0.02)
    monkeypatch.setattr(gauges, "DISK_S", 0.0)
    join(ctx, "ann")
    setattr(target, name, fail)

    async def play() -> None:
        task = asyncio.create_task(keep_gauges(ctx))
        await asyncio.to_thread(looks.wait, 10)
        setattr(target, name, works)
        event = asyncio.Event()
        tell_needed = ctx.metrics.needed
        ctx.metrics.needed = lambda count: (tell_needed(count), event.set())
        event.clear()
        await asyncio.wait_for(event.wait(), 10)
        event.clear()
        await asyncio.wait_for(event.wait(), 10)  # a whole look after it works again
        assert not task.done()
        task.cancel()

    asyncio.run(play())
    assert page(ctx)["clients{state=connected}"] == 1


ABOUT_A_CLIENT = {
    "name", "connected", "state", "back_at", "progress", "device", "software", "in_cohort", "since", "last_seen_s",
    "expires_at", "accepted", "excluded", "machine", "clock_skew_s", "held",
}  # fmt: skip


@pytest.mark.parametrize("sees", MODES)
def test_a_status_says_of_a_client_what_the_mode_lets_it(tmp_path: Path, sees: str) -> None:
    with ThreadPoolExecutor(1) as executor:
        for ctx in federation(tmp_path, executor, sees):
            join(ctx, "ann", Machine(rss_bytes=1, train_seconds=2.0, samples=640, time=time.time()))
            (ann,) = Status(ctx, Health(ctx))()["clients"]
            assert ann.keys() == ABOUT_A_CLIENT
            assert ann["machine"]["train_seconds"] == 2.0
            assert ann["machine"]["samples"] == (640 if sees == "updates" else None)


# -- the seconds of a round --------------------------------------------------------------------------------------------


def test_a_stopwatch_adds_up_over_threads_and_is_emptied_when_it_is_read() -> None:
    watch = Stopwatch()
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            with watch.time("decode", "lanes"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(KeyError), watch.time("sign"):
        raise KeyError
    found = watch.take()
    assert found.keys() == {Spent("decode", "lanes"), Spent("sign")}
    assert all(seconds > 0 for seconds in found.values())
    assert watch.take() == {}


def test_what_a_round_spent_is_told_by_kind_of_work(ctx: ServerContext) -> None:
    ctx.metrics.worked({Spent("decode", "int8"): 0.5, Spent("verify"): 0.25})
    found = page(ctx)
    assert found["codec_seconds_sum{codec=int8,op=decode}"] == 0.5
    assert found["crypto_seconds_sum{op=verify}"] == 0.25


PAGES = {
    "/": "page", "/metrics": "metrics", "/healthz": "healthz", "/api/status": "status", "/api/rounds": "rounds",
    "/api/events": "events", "/page.css": "static", "/x/charts.js": "static", "/etc/passwd": "other",
    "/" + 5000 * "a": "other",
}  # fmt: skip


@pytest.mark.parametrize(("path", "name"), PAGES.items(), ids=[path[:20] for path in PAGES])
def test_pages_are_counted_by_their_names(ctx: ServerContext, path: str, name: str) -> None:
    ctx.metrics.http(path, 200)
    ctx.metrics.http(path, "777")
    found = page(ctx)
    assert found[f"http_requests_total{{code=200,page={name}}}"] == 1
    assert found[f"http_requests_total{{code=other,page={name}}}"] == 1
