"""What the page says of a round that was played: its numbers, where its seconds went, that it was taken up again."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from roughfed import crash
from roughfed.codec import CODECS
from roughfed.server.context.server import ServerContext
from roughfed.server.metrics.stopwatch import Spent, Stopwatch
from roughfed.server.uploads.spool import weighted_mean

from .masked_rig import MaskedRig
from .rig import NAMES, scene
from .test_defence_groups import deltas_of


class Killed(BaseException):
    """What a kill -9 is to the code: nothing catches it."""


def samples(ctx: ServerContext) -> dict[str, float]:
    """`name{label=value,...}` -> value, without the prefix."""
    out: dict[str, float] = {}
    for family in text_string_to_metric_families(ctx.metrics.render().decode()):
        for name, labels, value, *_ in family.samples:
            inside = ",".join(f"{key}={labels[key]}" for key in sorted(labels))
            out[f"{name.removeprefix('roughfed_')}{{{inside}}}" if inside else name.removeprefix("roughfed_")] = value
    return out


def participants(page: dict[str, float]) -> list[float]:
    return [page[f"participants{{phase={phase}}}"] for phase in ("configure", "report", "aggregate")]


def test_a_round_in_numbers(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"gamma": "poison"}, deadline=20.0)
    page = samples(rig.ctx)
    assert participants(page) == [3, 2, 2]
    assert page["round_current"] == row.round == 1
    assert page["round_opened_timestamp_seconds"] == pytest.approx(time.time(), abs=30)
    assert page["round_deadline_seconds"] == 20
    assert page["rounds_total{outcome=committed}"] == 1
    assert page["rounds_total{outcome=recomputed}"] == 0
    for op in ("sign", "verify"):
        assert page[f"crypto_seconds_count{{op={op}}}"] == 1
    assert not any(name.startswith("codec_seconds") for name in page)  # float32 is neither encoded nor decoded
    assert [page[f"client_weight_ratio{{part={part}}}"] for part in ("lowest", "highest")] == [1, 1]


@pytest.mark.parametrize("point", ["jobs-sent", "sets-journaled", "model-written"])
def test_a_round_that_is_taken_up_after_a_restart_is_counted_as_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    monkeypatch.setattr(crash, "point", die)
    with pytest.raises(Killed):
        scene(tmp_path, deadline=20.0)
    monkeypatch.undo()
    row, rig = scene(tmp_path, deadline=20.0)
    page = samples(rig.ctx)

    assert (row.round, row.outcome) == (1, "committed")
    assert page["rounds_total{outcome=committed}"] == 1
    assert page["rounds_total{outcome=recomputed}"] == 1
    assert page["round_current"] == 1
    assert page["round_opened_timestamp_seconds"] == row.opened_at
    assert row.opened_at + page["round_deadline_seconds"] >= rig.ctx.state.started_at + 20  # its time began anew
    assert participants(page)[::2] == [len(NAMES)] * 2


@pytest.mark.parametrize("sees", ["sketches", "sums"])
def test_where_the_seconds_of_a_masked_round_go(tmp_path: Path, sees: str) -> None:
    settings = {"privacy": {"server_sees": sees}, "codec": {"downlink": "int8"}}
    played = MaskedRig(tmp_path, deltas_of(8, attack=False), settings=settings)
    assert played.play().outcome == "committed"
    page = samples(played.ctx)
    for op in ("sign", "verify", "shares", "unmask"):
        assert page[f"crypto_seconds_count{{op={op}}}"] == 1
        assert page[f"crypto_seconds_sum{{op={op}}}"] > 0
    decoded = {name: value for name, value in page.items() if name.startswith("codec_seconds_count")}
    assert {name.partition("op=")[2]: value for name, value in decoded.items()} == {"decode}": 1, "encode}": 1}
    assert page["groups_total{result=counted}"] == 1


def test_decoding_of_updates_in_the_clear_is_timed_slice_by_slice(tmp_path: Path) -> None:
    size, work = 1000, Stopwatch()
    updates: list[tuple[Path, float]] = []
    for number in range(3):
        path = tmp_path / str(number)
        path.write_bytes(CODECS["int8"].encode(np.full(size, number, dtype=np.float32)))
        updates.append((path, 1.0))
    with weighted_mean(updates, codec="int8", size=size, work=work) as mean:
        np.testing.assert_allclose(mean(0, size), 1.0, atol=0.02)
    (found,) = work.take().items()
    assert found[0] == Spent("decode", "int8")
    assert found[1] > 0
