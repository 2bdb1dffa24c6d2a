"""Rounds whose telemetry fails at everything, or whose system tells nothing: the models are the same to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roughfed import telemetry
from roughfed.server.metrics import ServerMetrics
from roughfed.server.metrics.client_series import ClientSeries

from ..e2e.broken import break_telemetry  # noqa: TID252 - tests are no package that could be named
from .masked_rig import MaskedRig, masking_of_row
from .rig import newest, scene, whole_run
from .test_defence_groups import deltas_of


def break_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the telemetry until the end of a test."""
    places = [(telemetry.Telemetry, "__init__"), (telemetry, "resident_bytes")]
    places += [(ClientSeries, name) for name in vars(ClientSeries) if not name.startswith("_")]
    for where, name in places:
        monkeypatch.setattr(where, name, getattr(where, name))  # is put back
    break_telemetry()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    break_for(monkeypatch)


def test_it_is_broken(broken: None) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        ServerMetrics().render()


def test_a_round_in_the_clear(tmp_path: Path, broken: None) -> None:
    row, rig = scene(tmp_path, {"gamma": "poison"})
    assert (row.outcome, row.sets) == ("committed", {"alpha": "", "beta": "", "gamma": "not-finite"})
    assert rig.closed.keys() == {"alpha", "beta", "gamma"}
    assert newest(tmp_path)[0] == 1


def test_a_whole_run_with_its_end(tmp_path: Path, broken: None) -> None:
    assert whole_run(tmp_path, rounds=2, evaluate_every=1)[0] == "rounds"


@pytest.mark.parametrize("sees", ["sketches", "sums"])
def test_a_masked_round(tmp_path: Path, broken: None, sees: str) -> None:
    played = MaskedRig(tmp_path, deltas_of(8, attack=False), settings={"privacy": {"server_sees": sees}})
    row = played.play()
    assert (row.outcome, row.sets) == ("committed", dict.fromkeys(played.deltas, ""))
    np.testing.assert_array_equal(newest(tmp_path)[1], played.mean(row.accepted, masking_of_row(row)))
