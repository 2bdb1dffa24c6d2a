"""Whose transfer runs: the laws of the pacing, and a simulated crowd on one machine."""

import asyncio
import threading
from collections import deque
from contextlib import AsyncExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.errors import StaleRound
from roughfed.server.uploads.transfer_queue import QUIET_BYTES, TransferGate
from roughfed.server.uploads.transfer_scheduler import (
    FULL_RATE,
    KEEP_S,
    LEAST,
    PATIENCE_S,
    UNKNOWN_S,
    Pacing,
    TransferTicket,
)

FAST, MB = 20e6, 1e6

STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "move", "leave", "wait"]), st.integers(0, 11), st.floats(0, 3)), max_size=80
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_whatever_happens_places_are_filled_in_order_and_given_back(
    steps: list[tuple[str, int, float]], limit: int
) -> None:
    pacing, now = Pacing(limit), 0.0
    tickets: dict[str, TransferTicket] = {}
    for what, number, seconds in steps:
        client, now = f"c{number}", now + seconds
        if what == "ask":
            tickets[client] = pacing.ask(client, now)
        elif what == "leave" and client in tickets:
            pacing.leave(tickets[client], now)
        elif what == "move" and client in tickets and tickets[client].began is not None:
            pacing.moved(tickets[client], 1 << 20, now)
        chosen = pacing.let_in(now)
        ahead = [t.since for _, _, t in pacing.waiting]
        assert all(ticket.since <= min(ahead, default=now) for ticket in chosen)  # nobody was overtaken
        assert not pacing.waiting or pacing.load(now) >= limit  # no place stays empty
        assert len(pacing.running) <= limit / LEAST + len(chosen)
    for ticket in tickets.values():
        pacing.leave(ticket, now)
        pacing.leave(ticket, now)
    assert (pacing.running, pacing.waiting, pacing.load(now)) == ({}, [], 0.0)


def test_fast_ones_take_turns_and_slow_ones_run_side_by_side() -> None:
    assert most_at_once(rates=[FAST] * 60, size=10 * MB) == 8
    assert most_at_once(rates=[FULL_RATE / 10] * 60, size=4 * MB) > 50
    assert most_at_once(rates=[FAST] * 30 + [FULL_RATE / 20] * 30, size=4 * MB) < 45


def most_at_once(rates: list[float], size: float) -> int:
    """Play clients that all ask at once, each as fast as its line; the most that ran at the same time."""
    pacing, now, step, rng = Pacing(8), 0.0, 0.05, np.random.default_rng(0)
    moving: dict[TransferTicket, tuple[float, float]] = {}
    rate = {f"c{i}": float(r) for i, r in enumerate(rng.permutation(rates))}
    for client in rate:
        pacing.ask(client, now)
    most, done, sent = 0, 0, deque[float]()
    while done < len(rates):
        for ticket in pacing.let_in(now):
            moving[ticket] = (0.0, 0.0)
        most, now = max(most, len(moving)), now + step
        for ticket, (before, told) in list(moving.items()):
            have = before + rate[ticket.client] * step
            whole = have - told >= MB or have >= size  # a chunk is seen when all of it is there
            if whole:
                pacing.moved(ticket, int(have - told), now)
            moving[ticket] = (have, have if whole else told)
            if have >= size:
                pacing.leave(ticket, now)
                del moving[ticket]
                done += 1
                sent.append(now)
        assert now < 600.0, "somebody waits for ever"
    return most


def test_a_client_that_breaks_off_while_it_waits_has_its_turn_when_it_is_back() -> None:
    pacing = Pacing(1)
    running, first = pacing.ask("a", 0.0), pacing.ask("b", 0.1)
    pacing.let_in(0.1)
    pacing.ask("c", 0.2)
    pacing.leave(first, 0.3)
    back = pacing.ask("b", 0.4)
    pacing.leave(running, 0.5)
    assert pacing.let_in(0.5) == [back]

    pacing.leave(back, 0.6)  # it had its turn: now it is the last
    pacing.ask("b", 0.7)
    assert [ticket.client for ticket in pacing.let_in(0.7)] == ["c"]
    late = Pacing(1)
    late.ask("a", 0.0)
    late.let_in(0.0)
    late.leave(late.ask("b", 0.1), 0.2)
    late.ask("c", 1.0)
    assert late.ask("b", 0.3 + KEEP_S).since == 0.3 + KEEP_S


def test_a_newer_transfer_takes_the_place_of_the_older_one() -> None:
    pacing = Pacing(2)
    older = pacing.ask("a", 0.0)
    pacing.let_in(0.0)
    newer = pacing.ask("a", 1.0)
    assert older.over
    assert pacing.let_in(1.0) == [newer]
    pacing.leave(older, 1.1)
    assert pacing.running == {"a": newer}


def test_those_who_never_end_hold_nobody_up_for_ever() -> None:
    pacing = Pacing(2)
    stuck = [pacing.ask(f"s{i}", 0.0, waits=False) for i in range(100)]
    waiting = pacing.ask("x", 0.0)
    assert pacing.let_in(PATIENCE_S - 1) == []
    assert pacing.let_in(PATIENCE_S) == [waiting]
    assert all(ticket.began is not None for ticket in stuck)


def test_a_weight_follows_the_rate_and_is_known_the_next_time() -> None:
    pacing = Pacing(8)
    ticket = pacing.ask("a", 0.0)
    pacing.let_in(0.0)
    assert pacing.weight(ticket, UNKNOWN_S / 2) == 1.0
    for second in range(1, 30):
        pacing.moved(ticket, int(FULL_RATE / 4), float(second))
    assert pacing.weight(ticket, 29.5) == pytest.approx(0.25, rel=0.2)
    assert pacing.weight(ticket, 120.0) == LEAST
    pacing.leave(ticket, 29.5)
    again = pacing.ask("a", 40.0)
    pacing.let_in(40.0)
    assert pacing.weight(again, 40.0) == pytest.approx(0.25, rel=0.2)


def test_at_the_gate_a_cancelled_or_superseded_client_gives_its_place_back() -> None:
    async def work() -> None:
        gate, order = TransferGate(1), list[str]()

        async def transfer(client: str) -> None:
            async with gate.place(client, waits=True):
                order.append(client)

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(gate.place("first", waits=True))
            waiting = {name: asyncio.create_task(transfer(name)) for name in ("revoked", "twice", "last")}
            await asyncio.sleep(0)
            waiting["revoked"].cancel()
            newer = asyncio.create_task(transfer("twice"))
            with pytest.raises(StaleRound, match="newer"):
                await waiting["twice"]
            assert order == []
        await asyncio.gather(newer, waiting["last"])
        assert order == ["twice", "last"]
        assert waiting["revoked"].cancelled()
        assert not gate.pacing.running
        assert not gate.pacing.waiting

    asyncio.run(work())


def test_what_many_bytes_left_behind_is_given_back_once_nothing_moves() -> None:
    async def work() -> None:
        given = threading.Semaphore(0)
        gate = TransferGate(4, on_quiet=given.release)
        async with gate.place("little", waits=True) as moved:
            moved(QUIET_BYTES - 1)
        async with gate.place("first", waits=True) as moved, AsyncExitStack() as stack:
            other = await stack.enter_async_context(gate.place("second", waits=True))
            other(1)
            await stack.aclose()
            assert not given.acquire(blocking=False)  # one still runs
            moved(1)
        assert await asyncio.to_thread(given.acquire, timeout=10.0)
        async with gate.place("last", waits=True) as moved:
            moved(1)
        await asyncio.get_running_loop().shutdown_default_executor()
        assert not given.acquire(blocking=False)  # and not again for less

    asyncio.run(work())
