"""What a bad line does follows from its seed, the connection and the offset, however the bytes are cut into reads."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.deploy.chaos.faults import BLOCK, ConnectionFate, Faults, Lane
from roughfed.errors import ConfigError

BAD = Faults(cut_share=0.3, half_open_share=0.2, refuse_share=0.1, cut_within=1000, corrupt_every=50, jitter_s=0.1)


def through(lane: Lane, data: bytes, cuts: list[int]) -> tuple[bytes, int]:
    """The bytes as they arrive when they are read in pieces."""
    arrived, flips, begun = b"", 0, 0
    for end in [*sorted(cuts), len(data)]:
        piece, flipped = lane.passes(data[begun:end])
        arrived, flips, begun = arrived + piece, flips + flipped, end
    return arrived, flips


@given(seed=st.integers(0, 2**32), connection=st.integers(0, 1000), cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_reads_of_any_size_meet_the_same_bits(seed: int, connection: int, cuts: list[int]) -> None:
    data = bytes(2000)
    whole = through(Lane(BAD, seed=seed, connection=connection, direction=0), data, [])
    assert through(Lane(BAD, seed=seed, connection=connection, direction=0), data, cuts) == whole
    assert whole[1] == sum(byte.bit_count() for byte in whole[0])
    assert whole != through(Lane(BAD, seed=seed, connection=connection + 1, direction=0), data, [])
    assert whole != through(Lane(BAD, seed=seed, connection=connection, direction=1), data, [])


def test_bits_flip_as_often_as_asked() -> None:
    lane = Lane(Faults(corrupt_every=1000), seed=0, connection=0, direction=0)
    assert lane.passes(bytes(1_000_000))[1] == pytest.approx(1000, rel=0.15)
    assert Lane(Faults(), seed=0, connection=0, direction=0).passes(b"abc") == (b"abc", 0)


def test_connections_fail_in_the_shares_asked_for_and_within_the_bytes_asked_for() -> None:
    fates = [ConnectionFate(BAD, seed=7, connection=c) for c in range(5000)]
    for share, found in (
        (0.1, [f for f in fates if f.refused]),
        (0.3, [f for f in fates if f.end == "cut"]),
        (0.2, [f for f in fates if f.end == "half-open"]),
    ):
        assert len(found) / len(fates) == pytest.approx(share, abs=0.03)
    ends = [f.end_at for f in fates if f.end]
    assert 1 <= min(ends) < 50
    assert 950 < max(ends) <= 1000
    assert all(f.end_at == math.inf and f.left(10**12) == math.inf for f in fates if not f.end)
    assert [vars(ConnectionFate(BAD, seed=7, connection=c)) for c in range(50)] == [vars(f) for f in fates[:50]]


def test_a_cut_after_so_many_bytes_holds_for_every_connection() -> None:
    fates = [ConnectionFate(Faults(cut_after=300), seed=0, connection=c) for c in range(20)]
    assert {(f.end, f.end_at, f.left(100), f.left(400)) for f in fates} == {("cut", 300, 200, 0)}


def test_a_delay_belongs_to_a_block() -> None:
    lane = Lane(Faults(latency_s=0.2, jitter_s=0.1), seed=1, connection=0, direction=0)
    delays = []
    for _ in range(8):
        lane.passes(bytes(BLOCK // 2))
        delays.append(lane.delay())
    assert delays[0::2] == delays[1::2]
    assert len(set(delays)) == 4
    assert all(0.2 <= d <= 0.3 for d in delays)
    assert np.ptp(delays) > 0


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"latency_s": -1.0}, "--latency"),
        ({"bytes_per_s": math.inf}, "--bytes-per"),
        ({"cut_share": 0.9, "half_open_share": 0.2}, "--cut-share"),
        ({"corrupt_every": 0.5}, "--corrupt-every"),
    ],
)
def test_what_is_no_line_is_refused(change: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(Faults(), **change)
    assert caught.value.key == key
    assert caught.value.cure
