"""What all metrics are made of: a telemetry that never fails who uses it, and refuses what does not fit."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from roughfed import telemetry
from roughfed.client import metrics as client_metrics


def test_a_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        @telemetry.safely
        def record(self, kind: type[Exception]) -> None:
            raise kind("no")

    with caplog.at_level(logging.WARNING, logger="roughfed.telemetry"):
        for kind in (KeyError, KeyError, ValueError, KeyError):
            Broken().record(kind)

    assert len(caplog.records) == 2  # one for each kind
    assert "Broken.record" in caplog.text


def test_interrupts_are_not_swallowed() -> None:
    class Stopped:
        @telemetry.safely
        def record(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stopped().record()


def test_telemetry_itself_refuses_what_does_not_fit() -> None:
    m = telemetry.Telemetry("t_", [*client_metrics.FAMILIES])
    for call in (
        lambda: m.add("train_seconds", 1),
        lambda: m.set("train_samples_total", 1),
        lambda: m.observe("train_loss", 1),
        lambda: m.observe("train_seconds", -1),
        lambda: m.add("rounds_total"),
        lambda: m.add("rounds_total", verdict="late", extra="x"),
    ):
        with pytest.raises(ValueError, match=r"train_|rounds_total"):
            call()


def test_resident_memory_is_read_at_the_scrape(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nRssAnon:\t     100 kB\nRssFile:\t 7 kB\nRssShmem:\t 3 kB\n")

    assert list(telemetry.resident_bytes(status)) == [(("anon",), 102400), (("shmem",), 3072), (("file",), 7168)]
    assert list(telemetry.resident_bytes(tmp_path / "absent")) == []
