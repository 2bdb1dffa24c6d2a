"""What a masked round costs on both sides, without sockets: masks on the client, unmasking on the server.

Real machines, real keys and shares, real sketches. CPU time: what others do on this machine does not count.
"""

import time

import numpy as np
import pytest

from roughfed.secagg.server import GroupRound, Outcome
from tests.simulation.secagg import Round, StageWire, identity, levels_for, make_terms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def play(size: int, length: int, *, lost: int, excluded: int, seed: int) -> tuple[Outcome, float, list[float]]:
    """One group's round; CPU seconds of the unmasking, and of each client's masking."""
    terms = make_terms(size, length=length, dim=128, seed=seed)
    round_ = Round(terms, tuple(f"c{i:02d}" for i in range(size)), {}, seed=seed)
    rng = np.random.default_rng(seed)
    levels = levels_for(size)
    tile = np.clip(rng.normal(levels // 2, levels / 4.8, size=1 << 20), 0, levels - 1).astype(np.uint8)
    round_.codes = {name: np.resize(np.roll(tile, at * 977), length) for at, name in enumerate(round_.names)}
    adverts = round_.advertise()
    keys = {n: identity(n).public_key for n in round_.names}
    group = GroupRound(round_.terms, 0, adverts, keys, StageWire(), cohort=round_.cohort)
    round_.deal(group, adverts)
    round_.lost = {"masked_input": set(round_.names[:lost])}
    masking = watch_masking(round_)
    round_.mask(group)
    round_.sketch(group)
    unmasking = watch_finish(group)
    outcome = round_.unmask(group, dict.fromkeys(round_.names[lost : lost + excluded], "defence"))
    assert outcome.total is not None
    assert np.array_equal(outcome.total, round_.plain_sum(outcome.accepted))
    assert len(outcome.accepted) == size - lost - excluded
    return outcome, unmasking[0], masking


def watch_masking(round_: Round) -> list[float]:
    """The CPU seconds of every client's `mask`, as they come."""
    spent: list[float] = []
    for machine in round_.clients.values():

        def timed(codes, mask=machine.mask):
            start = time.thread_time()
            lanes = mask(codes)
            spent.append(time.thread_time() - start)
            return lanes

        machine.mask = timed  # pyright: ignore[reportAttributeAccessIssue]
    return spent


def watch_finish(group: GroupRound) -> list[float]:
    """The CPU seconds of `finish`."""
    spent: list[float] = []
    finish = group.finish

    def timed(read):
        start = time.thread_time()
        outcome = finish(read)
        spent.append(time.thread_time() - start)
        return outcome

    group.finish = timed  # pyright: ignore[reportAttributeAccessIssue]
    return spent


def test_sixteen_clients_a_million_parameters_two_lost() -> None:
    runs = [play(16, 1_000_000, lost=2, excluded=0, seed=seed) for seed in range(3)]
    unmask = min(seconds for _, seconds, _ in runs)
    mask = min(min(masking) for _, _, masking in runs)
    print(f"unmask {1e3 * unmask:.1f} ms, client mask {1e3 * mask:.1f} ms")
    assert unmask <= 0.05
    assert mask <= 0.02


def test_a_hundred_clients_in_groups_of_ten_with_exclusions_and_losses() -> None:
    """Ten groups, one after another: a fifth excluded, a tenth lost."""
    runs = [play(10, 10_000_000, lost=1, excluded=2, seed=seed) for seed in range(10)]
    unmask = sum(seconds for _, seconds, _ in runs)
    mask = sorted(seconds for _, _, masking in runs for seconds in masking)
    print(f"unmask {unmask:.2f} s, client mask {1e3 * mask[len(mask) // 2]:.1f} ms")
    assert unmask <= 0.8
    assert mask[len(mask) // 2] <= 0.06
