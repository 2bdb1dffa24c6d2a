"""The planner: lanes that cannot overflow, the layout, the step, and what a client refuses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roughfed.codec.plan import (
    BITS,
    CLIP_SIGMAS,
    KEEP_ONE_IN,
    MAX_LEVELS,
    ChainParams,
    Lanes,
    check_lanes,
    clip_sigmas,
    layout_of,
    plan_lanes,
    plan_subset,
)
from roughfed.errors import ConfigError, RemoteProtocolError


def expected_error(sigmas: float, levels: int) -> float:
    """Mean square error of one standard normal number: stochastic rounding and saturation."""
    step = 2 * sigmas / (levels - 1)

    def beyond(c: float) -> float:
        density = math.exp(-c * c / 2) / math.sqrt(2 * math.pi)
        return (1 + c * c) * math.erfc(c / math.sqrt(2)) / 2 - c * density

    return step * step / 6 + beyond(step * (levels // 2)) + beyond(step * (levels - 1 - levels // 2))


@pytest.mark.parametrize(
    ("group", "bits", "levels"),
    [(4, 8, 64), (5, 8, 52), (7, 8, 36), (8, 8, 32), (10, 8, 26), (13, 8, 20), (16, 8, 16), (36, 8, 8), (100, 16, 656)],
)
def test_the_table(group: int, bits: int, levels: int) -> None:
    assert plan_lanes(group) == Lanes(bits, levels)


def test_a_wish_for_bits_is_kept() -> None:
    assert plan_lanes(16, bits=16) == Lanes(16, 4096)
    assert plan_lanes(16, bits=32) == Lanes(32, MAX_LEVELS)
    assert plan_lanes(64, bits=8) == Lanes(8, 4)


@given(group=st.integers(1, 1_000_000), bits=st.sampled_from([None, *BITS]))
def test_no_plan_can_overflow_and_every_plan_passes_the_clients_check(group: int, bits: int | None) -> None:
    if bits is not None and group * 3 > (1 << bits) - 1:  # not even four levels fit
        with pytest.raises(ConfigError, match="could overflow") as caught:
            plan_lanes(group, bits=bits)
        assert caught.value.key == "codec.lane_bits"
        assert caught.value.cure
        return
    lanes = plan_lanes(group, bits=bits)
    assert group * (lanes.levels - 1) <= (1 << lanes.bits) - 1
    assert lanes.levels % 2 == 0
    assert group <= lanes.largest_group
    assert check_lanes(group, lanes.levels, lanes.bits) == lanes
    assert lanes.dtype.itemsize * 8 == lanes.bits


@pytest.mark.parametrize("group", [0, -3])
def test_no_group_is_no_plan(group: int) -> None:
    with pytest.raises(ConfigError, match="a group of"):
        plan_lanes(group)


def test_other_widths_do_not_exist() -> None:
    with pytest.raises(ConfigError, match="12 bits") as caught:
        plan_lanes(16, bits=12)
    assert caught.value.key == "codec.lane_bits"
    assert "8, 16 or 32" in caught.value.cure


def test_a_group_beyond_the_widest_lanes() -> None:
    with pytest.raises(ConfigError, match="32 bits"):
        plan_lanes(1 << 31)


@pytest.mark.parametrize(
    ("group", "levels", "bits"),
    [(17, 16, 8), (18, 16, 8), (5, 53, 8), (16, 3, 8), (16, 1 << 17, 32), (16, 16, 12), (0, 16, 8), (4, 64, 64)],
)
def test_a_client_refuses_other_lanes(group: int, levels: int, bits: int) -> None:
    if (group, levels, bits) == (17, 16, 8):  # 17 x 15 = 255: the last one that fits
        assert check_lanes(group, levels, bits) == Lanes(8, 16)
        return
    with pytest.raises(RemoteProtocolError, match=f"group of {group} with {levels} levels") as caught:
        check_lanes(group, levels, bits)
    assert caught.value.reason == "codec"


def test_fractions() -> None:
    assert [plan_subset(f) for f in (1, 0.5, 0.25, 0.125, 0.0625)] == list(KEEP_ONE_IN)
    for fraction in (0, 0.3, 1 / 32, 2, math.nan):
        with pytest.raises(ConfigError, match="cannot be sent") as caught:
            plan_subset(fraction)
        assert caught.value.key == "codec.fraction"


@pytest.mark.parametrize("levels", [*CLIP_SIGMAS, 20, 26, 36, 52, 656])
def test_the_range_is_close_to_the_best(levels: int) -> None:
    best = min(expected_error(c / 100, levels) for c in range(50, 700))
    assert expected_error(clip_sigmas(levels), levels) <= 1.12 * best


def test_sixteen_levels_have_the_known_range_and_error() -> None:
    params = ChainParams(1 << 20, plan_lanes(16), 8.0, bytes(32))
    sigma = 8.0 / 1024
    assert params.step == pytest.approx(4.8 / 15 * sigma)
    assert params.lanes.zero == 8  # codes stand for -8..7
    assert expected_error(2.4, 16) == pytest.approx(0.0208, abs=1e-4)


@given(size=st.integers(1, 1 << 28))
def test_the_layout_holds_the_vector(size: int) -> None:
    layout = layout_of(size)
    assert layout.padded >= size
    assert layout.rows & (layout.rows - 1) == 0
    assert layout.rows <= 4096
    if size < 4096:
        assert layout.columns == 1
        assert layout.rows < 2 * size
    if size >= 1 << 15:  # from there on padding is small change
        assert layout.padded <= size + size // 64


@pytest.mark.parametrize("size", [50_890, 100_000, 1_000_000, 10_000_000])
@pytest.mark.parametrize("keep_one_in", KEEP_ONE_IN)
def test_the_bytes_of_an_upload(size: int, keep_one_in: int) -> None:
    params = ChainParams(size, plan_lanes(16), 1.0, bytes(32), keep_one_in)
    assert params.sent_bytes == params.sent
    assert params.sent_bytes / (4 * size) <= 0.255 / keep_one_in
    assert params.kept_rows * keep_one_in == params.layout.rows


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"clip_norm": 0.0},
        {"clip_norm": math.nan},
        {"seed": b"short"},
        {"keep_one_in": 3},
        {"clip_share": 0.0},
        {"clip_share": 1.1},
    ],
)
def test_a_header_out_of_range_is_refused(change: dict[str, object]) -> None:
    good = {"size": 10, "lanes": plan_lanes(4), "clip_norm": 1.0, "seed": bytes(32)}
    ChainParams(**good)
    with pytest.raises(RemoteProtocolError):
        ChainParams(**(good | change))


def test_lanes_are_little_endian() -> None:
    assert [np.dtype(Lanes(bits, 4).dtype).newbyteorder("<") for bits in BITS] == [np.uint8, np.dtype("<u2"), "<u4"]
