"""The server's half of an edge, against a federation above that orders, withdraws, and ends: no process, no network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from roughfed.config.fairness import Fairness
from roughfed.config.federation import FederationConfig, Privacy, RoundSettings
from roughfed.config.trainer import TrainerSettings
from roughfed.crypto.identity import IdentityKey
from roughfed.deploy.edge.upstream_bridge import Middle
from roughfed.errors import ConfigError, IdentityError, TrainerError
from roughfed.messages import Hello
from roughfed.params import write_model
from roughfed.server.context.extension import IN_TIME
from roughfed.server.context.server import ServerContext
from roughfed.server.extensions.edge import extension
from roughfed.server.extensions.edge.extension import EdgeExtension
from roughfed.server.extensions.edge.upstream import Carried
from roughfed.server.members.sessions import ClientSession
from roughfed.server.observe.health.inputs import Certificates, Disk
from roughfed.server.observe.health.reading import inputs_of
from roughfed.server.storage.lineage import Version
from roughfed.server.storage.store import Store
from roughfed.training import FitResult, Turn
from roughfed.types import Spec, TensorSpec
from tests.server_context import context

KEY = IdentityKey.from_private_bytes(bytes([1]) * 32)
SPEC, OTHER = (Spec((TensorSpec("w", (size,)),)) for size in (10, 11))
PLAIN = TrainerSettings().model_dump()
SOON_S = 10.0


class Edge:
    """The server's half, its rounds under way, and the seam to the other half."""

    def __init__(self, ctx: ServerContext, middle: Middle, rounds: asyncio.Task[str], folder: Path) -> None:
        self.ctx, self.middle, self.rounds, self.folder = ctx, middle, rounds, folder
        self.extension = extension_of(ctx)

    def order(
        self, number: int = 1, *, settings: Mapping[str, object] = PLAIN, left: float = 60.0, spec: Spec = SPEC
    ) -> asyncio.Task[FitResult]:
        """A round of the federation above begins."""
        params = self.folder / f"{number}.safetensors"
        write_model(params, spec, [np.full(spec.size, number, np.float32)])
        turn = Turn(number, rounds=9, run="above", seconds_left=left)
        return asyncio.create_task(
            self.middle.fit(params, self.folder / "delta.f32", settings=settings, seed=1, turn=turn)
        )


def extension_of(ctx: ServerContext) -> EdgeExtension:
    return next(each for each in ctx.extensions.all if isinstance(each, EdgeExtension))


@asynccontextmanager
async def edge_in(folder: Path, *, finished: str | None = None) -> AsyncIterator[Edge]:
    """An edge that needs two clients, and has none."""
    store = Store(folder / "state")
    with ThreadPoolExecutor(1) as executor:
        first = write_model(store.folder / "models" / "first.safetensors", SPEC, [np.zeros(10, np.float32)])
        await store.create_run("here", SPEC, first, 0.0)
        await store.set_finished(finished)
        config = FederationConfig(round=RoundSettings(min_clients=2, rounds=3), privacy=Privacy(server_sees="updates"))
        middle = Middle(lambda: pytest.fail("nobody asks"))
        ctx = context(config, store, KEY, executor, SPEC, run="here", num_classes=2, above=middle)
        await ctx.extensions.prepare()
        rounds = asyncio.create_task(extension_of(ctx).run())
        try:
            yield Edge(ctx, middle, rounds, folder)
        finally:
            rounds.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await rounds
            store.close()


def at_an_edge(folder: Path, work: Callable[[Edge], Awaitable[None]], *, finished: str | None = None) -> None:
    async def run() -> None:
        async with asyncio.timeout(SOON_S), edge_in(folder, finished=finished) as one:
            await work(one)

    asyncio.run(run())


@pytest.mark.parametrize("sees", ["updates", "sketches"])
def test_an_edge_hands_models_on_whole(tmp_path: Path, sees: str) -> None:
    async def work(one: Edge) -> None:
        assert one.ctx.config.codec.downlink_of(sees) == "identity"

    assert FederationConfig().codec.downlink_of("sketches") != "identity", "or this shows nothing"
    at_an_edge(tmp_path, work)


async def phase(one: Edge, name: str) -> None:
    """Wait until the server's half is in a phase."""
    news = one.ctx.state.watch()
    while one.ctx.state.phase != name or one.extension._order is None:
        await news.wait()
        news.clear()
    one.ctx.state.unwatch(news)


def orders(one: Edge) -> list[tuple[int, int]]:
    """(round above, version here) of all that were taken."""
    return [(row["round"], row["version"]) for row in one.ctx.store.journal.read("SELECT * FROM orders")]


def test_settings_that_an_edge_cannot_follow_are_answered_at_once_and_once(tmp_path: Path) -> None:
    """With nothing to wait for, a server's half that looked at one order again would never let anybody else run."""

    async def work(one: Edge) -> None:
        for number in (1, 2):
            with pytest.raises(TrainerError, match='"scaffold" keeps a control variate') as told:
                await one.order(number, settings={**PLAIN, "method": "scaffold"})
            assert told.value.reason == "edge"
        with pytest.raises(TrainerError, match=r"followed here: trainer\.of_a_later_version: "):
            await one.order(3, settings={**PLAIN, "of_a_later_version": 1})
        assert orders(one) == []
        one.middle.ended("finished")
        assert await one.rounds == "finished"

    at_an_edge(tmp_path, work)


def test_a_model_of_other_tensors_ends_the_edge_with_a_cure(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        fit = one.order(spec=OTHER)
        with pytest.raises(ConfigError, match="other tensors than what is trained here") as told:
            await one.rounds
        assert (told.value.key, orders(one)) == ("model.private", [])
        fit.cancel()

    at_an_edge(tmp_path, work)


def test_too_few_clients_are_waited_for_until_the_sum_would_be_late(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        began = time.monotonic()
        with pytest.raises(TrainerError, match=r"no round could begin$") as told:  # how many are here is nobody's above
            await one.order(left=1.0)
        assert told.value.reason == "edge-round"
        assert time.monotonic() - began >= IN_TIME
        assert one.ctx.store.rounds() == []
        assert orders(one) == [(1, 1)]

    at_an_edge(tmp_path, work)


def test_an_order_that_is_withdrawn_is_left_and_the_same_round_asked_again_is_taken_up(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        fit = one.order(1)
        await phase(one, "waiting")
        first = one.extension._order
        fit.cancel()
        again = one.order(1)
        news = one.ctx.state.watch()
        while one.extension._order in (None, first):
            await news.wait()
            news.clear()
        await phase(one, "waiting")
        assert orders(one) == [(1, 1)]
        assert not again.done()
        again.cancel()
        with pytest.raises(TrainerError, match="no round could begin"):
            await one.order(2, left=0.2)
        assert orders(one) == [(1, 1), (2, 2)]
        assert one.ctx.store.model_path(one.ctx.store.lineage.head().digest).exists()

    at_an_edge(tmp_path, work)


def test_models_of_orders_that_came_to_nothing_do_not_pile_up(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        keep = max(2, one.ctx.config.model.keep_last)
        for number in range(1, keep + 4):
            with pytest.raises(TrainerError):
                await one.order(number, left=0.05)
        assert len(list((one.ctx.store.folder / "models").iterdir())) <= keep + 1

    at_an_edge(tmp_path, work)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_drain_ends_the_wait_for_an_order_or_for_clients(tmp_path: Path, ordered: bool) -> None:
    async def work(one: Edge) -> None:
        fit = one.order() if ordered else None
        if fit is not None:
            await phase(one, "waiting")
        one.ctx.state.stopping = True
        one.ctx.state.wake()
        with pytest.raises(asyncio.CancelledError):
            await one.rounds
        if fit is not None:
            fit.cancel()

    at_an_edge(tmp_path, work)


def test_learning_settings_and_the_number_of_rounds_are_those_above(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        with pytest.raises(TrainerError):
            await one.order(settings={**PLAIN, "lr": 0.125}, left=0.05)
        assert (one.ctx.config.trainer.lr, one.ctx.config.round.rounds) == (0.125, 9)
        assert one.ctx.config.round.min_clients == 2

    at_an_edge(tmp_path, work)


def test_learning_settings_that_cannot_stand_beside_the_edges_own_are_answered_with_the_reason(tmp_path: Path) -> None:
    """Its operator could not know: fed.toml was fine when the edge started."""

    async def work(one: Edge) -> None:
        own = {"privacy": Privacy(server_sees="sketches"), "fairness": Fairness(rule="term")}
        one.ctx.settings.config = one.ctx.config.model_copy(update=own)
        with pytest.raises(TrainerError, match=r"trainer\.self_weight = true and fairness\.rule = ") as told:
            await one.order(settings={**PLAIN, "self_weight": True})
        assert (told.value.reason, orders(one), one.ctx.config.trainer.self_weight) == ("edge", [], False)

    at_an_edge(tmp_path, work)


def test_a_client_half_that_is_refused_ends_the_rounds_with_its_error(tmp_path: Path) -> None:
    async def work(one: Edge) -> None:
        one.middle.ended(IdentityError("revoked", reason="revoked"))
        with pytest.raises(IdentityError, match="revoked"):
            await one.rounds
        assert one.ctx.store.finished() is None

    at_an_edge(tmp_path, work)


def test_a_run_that_was_over_is_over_again_where_nobody_is_above_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "GONE_S", 0.2)

    async def work(one: Edge) -> None:
        assert await one.rounds == "finished"
        assert one.ctx.clients.farewell is not None

    at_an_edge(tmp_path, work, finished="finished")


def test_a_run_that_was_over_goes_on_with_the_federation_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "GONE_S", 0.2)

    async def work(one: Edge) -> None:
        one.middle.welcomed(None)  # pyright: ignore[reportArgumentType]
        await asyncio.wait({one.rounds}, timeout=0.5)
        assert not one.rounds.done()
        with pytest.raises(TrainerError):
            await one.order(left=0.05)
        assert one.ctx.store.finished() is None

    at_an_edge(tmp_path, work, finished="finished")


@pytest.mark.parametrize(("left", "least", "most"), [(10.0, 8.9, 9.0), (1000.0, 60.0, 60.0), (-5.0, 0.0, 0.0)])
def test_time_is_a_share_of_what_is_left_above(tmp_path: Path, left: float, least: float, most: float) -> None:
    async def work(one: Edge) -> None:
        assert one.ctx.extensions.in_time(60.0) == 60.0  # no order is open
        fit = one.order()
        await phase(one, "waiting")
        assert one.extension._order is not None
        one.extension._order = replace(one.extension._order, until=time.monotonic() + left)
        assert least <= one.ctx.extensions.in_time(60.0) <= most
        assert one.ctx.extensions.in_time(60.0, share=0.5) <= max(0.0, min(60.0, left / 2))
        fit.cancel()

    at_an_edge(tmp_path, work)


def test_an_edge_that_waits_for_an_order_is_not_stalled(tmp_path: Path) -> None:
    """With enough clients here it would be, were it to open rounds by itself; what it has an order for, it has to."""

    async def work(one: Edge) -> None:
        for name in ("alpha", "beta"):
            one.ctx.clients.join(ClientSession(name, KEY.public_key, bytes(32), Hello("1", 1, b"", b"", (), "cpu")))
        since: dict[str, float] = {}
        assert inputs_of(one.ctx, Disk(), (), Certificates(0.0), now=1000.0, since=since).ready_since is None
        one.ctx.state.paused = True  # so that it stays where it is
        fit = one.order()
        await phase(one, "waiting")
        one.ctx.state.paused = False
        assert inputs_of(one.ctx, Disk(), (), Certificates(0.0), now=1000.0, since=since).ready_since == 1000.0
        one.ctx.state.paused = True
        fit.cancel()

    at_an_edge(tmp_path, work)


def test_a_round_that_commits_though_it_was_withdrawn_answers_the_same_order_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's half is cancelled while the sum is made: nobody hears it, and nobody is asked for it twice."""

    async def work(one: Edge) -> None:
        begun, go = asyncio.Event(), asyncio.Event()
        played: list[int] = []

        async def run_round(ctx: ServerContext) -> SimpleNamespace:
            played.append(len(played) + 1)
            begun.set()
            await go.wait()
            return SimpleNamespace(outcome="committed", round=1)

        def carried(ctx: ServerContext, base: Version) -> Carried | None:
            (path := tmp_path / "sum.f32").write_bytes(bytes(40))
            return Carried(path, 2, 2, 1, {}, 0.5) if go.is_set() and base.version == 1 else None

        async def ready(ctx: ServerContext, until: float) -> bool:
            return True

        for name, double in (("run_round", run_round), ("carried", carried), ("ready", ready)):
            monkeypatch.setattr(extension, name, double)
        first = one.order()
        await begun.wait()
        first.cancel()
        again = one.order()
        go.set()
        assert (await again).num_examples == 2
        assert first.cancelled()
        assert (played, orders(one)) == ([1], [(1, 1)])

    at_an_edge(tmp_path, work)
