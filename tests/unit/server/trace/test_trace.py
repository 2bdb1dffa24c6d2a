"""A round's trace: what happened, when, on whose line; valid for Perfetto, bounded, and never in the way of a round."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roughfed.deploy.cli import app as cli
from roughfed.errors import StorageError
from roughfed.server.storage.store import RoundRow
from roughfed.server.trace import recorder
from roughfed.server.trace.chrome import CLIENTS, SERVER, Span, TraceTrack, document
from roughfed.server.trace.merge import merged
from roughfed.server.trace.recorder import FOLDER, Tracer, numbers
from roughfed.trace_id import trace_id
from tests.simulation.rig import scene, whole_run
from tests.trace_format import check
from tests.unit.server.storage.test_store import ROW

BEGAN = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now


class Traced:
    """A tracer whose clock stands still until it is told, and whose writer is done when asked."""

    def __init__(self, folder: Path, keep: int = 50) -> None:
        self.folder, self.clock, self.executor = folder, Clock(), ThreadPoolExecutor(1)
        self.tracer = Tracer("run-1", folder, self.executor, keep=keep, clock=self.clock)

    def at(self, seconds: float) -> Tracer:
        self.clock.now = BEGAN + seconds
        return self.tracer

    def written(self, number: int = 1) -> dict[str, Any]:
        self.executor.shutdown()
        return check((self.folder / FOLDER / f"{number}.json").read_bytes())


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    one = Traced(tmp_path)
    yield one
    one.executor.shutdown()


def lines(found: dict[str, Any]) -> dict[str, list[tuple[str, float, float | None]]]:
    """Thread -> its events: (name, seconds since the beginning, duration; None for a moment)."""
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in found["traceEvents"] if e["name"] == "thread_name"}
    by_line: dict[str, list[tuple[str, float, float | None]]] = {}
    for e in found["traceEvents"]:
        if e["ph"] != "M":
            dur = None if e["ph"] == "i" else e["dur"] / 1e6
            by_line.setdefault(names[e["pid"], e["tid"]], []).append((e["name"], e["ts"] / 1e6 - BEGAN, dur))
    return by_line


CLOSED = replace(ROW, sets={"alpha": "", "beta": "norm"}, outcome="committed")


def test_a_round_as_the_server_saw_it(traced: Traced) -> None:
    traced.at(0).phase("configure")
    traced.at(1).begin(ROW)
    traced.at(1).phase("report")
    traced.at(1).client("alpha", "downloading")
    traced.at(2).client("alpha", "training")
    traced.at(2.5).client("alpha", "training")  # a heartbeat
    traced.at(3).client("beta", "gone")
    traced.at(4).client("alpha", "uploading")
    traced.at(5).transfer("alpha", "upload", BEGAN + 4, 2048, offset=512)
    traced.at(5).moment("alpha", "receipt", bytes=2560)
    traced.at(5).client("alpha", "idle")
    traced.at(6).phase("aggregate")
    traced.at(8).finish(CLOSED, upload_bytes=2048)

    found = traced.written()
    assert lines(found) == {
        "round": [("round 1", 0.0, 8.0)],
        "phases": [("configure", 0.0, 1.0), ("report", 1.0, 5.0), ("aggregate", 6.0, 2.0)],
        "alpha": [
            ("downloading", 1.0, 1.0),
            ("training", 2.0, 2.0),
            ("uploading", 4.0, 1.0),
            ("receipt", 5.0, None),
            ("accepted", 8.0, None),
        ],
        "alpha transfers": [("upload", 4.0, 1.0)],
        "beta": [("gone", 3.0, 5.0), ("excluded: norm", 8.0, None)],
    }
    (upload,) = [e for e in found["traceEvents"] if e["name"] == "upload"]
    assert upload["args"] == {"bytes": 2048, "from": 512}
    assert found["otherData"]["trace_id"] == trace_id("run-1", 1)
    assert found["otherData"]["outcome"] == "committed"


def test_an_abandoned_round_says_so_and_why(traced: Traced) -> None:
    traced.at(0).begin(ROW)
    traced.at(1).abandoned("too-few-updates")
    traced.at(2).finish(replace(ROW, sets={"alpha": "", "beta": "late"}, outcome="abandoned"))
    found = traced.written()
    assert lines(found)["round"] == [("round 1 (abandoned: too-few-updates)", 0.0, 2.0)]
    assert lines(found)["beta"] == [("late", 2.0, None)]
    assert found["otherData"]["reason"] == "too-few-updates"


def test_stages_of_a_masked_round_have_a_line(traced: Traced) -> None:
    traced.at(0).begin(ROW)
    for seconds, stage in enumerate(("advertising", "dealing", "dealing", "masking")):
        traced.at(seconds).stage(stage)
    traced.at(5).finish(CLOSED)
    assert lines(traced.written())["stages"] == [
        ("advertising", 0.0, 1.0),
        ("dealing", 1.0, 2.0),
        ("masking", 3.0, 2.0),
    ]


def test_between_rounds_and_when_it_is_off_nothing_is_kept(tmp_path: Path) -> None:
    off = Traced(tmp_path, keep=0)
    for one in (off, Traced(tmp_path)):
        one.at(0).phase("waiting")
        one.at(0).client("alpha", "training")
        one.at(0).transfer("alpha", "upload", BEGAN, 1)
        one.at(1).finish(CLOSED)
    off.at(0).begin(ROW)
    off.at(1).finish(CLOSED)
    off.executor.shutdown()
    assert not (tmp_path / FOLDER).exists()


def test_memory_is_bounded_and_what_found_no_room_is_counted(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_EVENTS", 10)
    monkeypatch.setattr(recorder, "MOST_CLIENTS", 3)
    traced.at(0).begin(ROW)
    for number in range(50):
        traced.at(number).moment("alpha", "x" * 1000)
        traced.at(number).client(f"stranger-{number}", "training")
    traced.at(50).finish(CLOSED)
    found = traced.written()
    assert found["otherData"]["dropped_events"] == 44  # of 50 moments, a phase, a strange line, two verdicts
    assert set(lines(found)) == {"round", "alpha"}
    assert max(len(e["name"]) for e in found["traceEvents"]) <= recorder.LONGEST


def test_a_client_that_flaps_takes_no_room_from_others(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_EVENTS", 3 * recorder.MOST_OF_ONE)
    traced.at(0).begin(ROW)
    for number in range(10 * recorder.MOST_OF_ONE):
        traced.at(number).client("alpha", "training" if number % 2 else "idle")
    traced.at(9000).client("beta", "training")
    traced.at(9001).finish(CLOSED)
    found = lines(traced.written())
    assert found["beta"][0] == ("training", 9000.0, 1.0)
    assert len(found["alpha"]) == recorder.MOST_OF_ONE
    assert "round" in found


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    one = Traced(tmp_path, keep=3)
    for number in range(8, 13):
        one.at(number).begin(replace(ROW, round=number))
        one.at(number).finish(replace(CLOSED, round=number))
    one.executor.shutdown()
    assert numbers(tmp_path / FOLDER) == [10, 11, 12]


@pytest.mark.parametrize("fault", ["a file is in the way", "the disk is full"])
def test_a_disk_that_refuses_fails_no_round_and_is_said_once(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "the disk is full":

        def refuse(*_: object, **__: object) -> None:
            raise StorageError("cannot write: No space left on device")

        monkeypatch.setattr(recorder, "write_durably", refuse)
    else:
        (tmp_path / FOLDER).write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        reason, rig = whole_run(tmp_path, rounds=2)
        rig.ctx.executor.shutdown()
    assert reason == "rounds"
    assert [row.outcome for row in _rounds(tmp_path)] == ["committed"] * 2
    assert len([r for r in caplog.records if "was not written" in r.getMessage()]) == 1


def _rounds(folder: Path) -> list[RoundRow]:
    from roughfed.server.storage.store import Store

    store = Store(folder)
    found = store.rounds()
    store.close()
    return found


def test_a_real_round_leaves_a_valid_trace(tmp_path: Path) -> None:
    row, rig = scene(tmp_path, {"gamma": "fails"})
    rig.ctx.executor.shutdown()
    found = check((tmp_path / FOLDER / "1.json").read_bytes())
    seen = lines(found)
    assert row.outcome == "committed"
    assert [name for name, _, _ in seen["phases"]] == ["configure", "report", "aggregate", "commit", "waiting"]
    assert [name for name, _, _ in seen["alpha"]] == ["receipt", "accepted"]
    assert seen["gamma"][-1][0].startswith("excluded: client-failed")


SPANS = st.builds(
    lambda process, name, word, start, length, instant: Span(
        TraceTrack(process, name), word, BEGAN + start, BEGAN + start + (0 if instant else length), {"n": 1}, instant
    ),
    st.sampled_from((SERVER, CLIENTS)),
    st.sampled_from(("round", "phases", "a", "b")),
    st.text(min_size=1, max_size=5),
    st.floats(0, 10),
    st.floats(0, 5),
    st.booleans(),
)


@settings(max_examples=50)
@given(spans=st.lists(SPANS, max_size=30), cut=st.integers(0, 30))
def test_whatever_overlaps_a_viewer_can_draw_it_and_nothing_is_lost(spans: list[Span], cut: int) -> None:
    whole = check(json.dumps(document(spans, about={"round": 1})))
    drawn = [e for e in whole["traceEvents"] if e["ph"] != "M"]
    assert sorted(e["name"] for e in drawn) == sorted(span.name for span in spans)

    parts = [document(part, about={"round": i}) for i, part in enumerate((spans[:cut], spans[cut:]))]
    together = merged(parts)
    named = [e["args"]["name"] for e in together["traceEvents"] if e["name"] == "thread_name" and e["pid"] == 1]
    assert len(named) == len(set(named))
    assert len([e for e in together["traceEvents"] if e["ph"] != "M"]) == len(spans)
    assert [each["round"] for each in together["otherData"]["rounds"]] == [0, 1]


def test_the_id_of_a_trace_is_both_sides_and_each_rounds_own() -> None:
    assert trace_id("run-1", 3) == trace_id("run-1", 3)
    assert len({trace_id(run, number) for run in ("a", "b", "a1") for number in range(1, 30)}) == 87
    assert all(len(trace_id("a", n)) == 32 and int(trace_id("a", n), 16) for n in range(30))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose server has played three rounds."""
    folder = tmp_path_factory.mktemp("played")
    _, rig = whole_run(folder / "state", rounds=3)
    rig.ctx.executor.shutdown()
    (folder / "fed.toml").write_text("[model]\nname = 'mlp'\n[data]\nname = 'digits'\n")
    return folder


@pytest.mark.parametrize(
    ("flags", "rounds"), [([], [3]), (["--round", "2"], [2]), (["--last", "2"], [2, 3]), (["--last", "9"], [1, 2, 3])]
)
def test_the_command_writes_one_file(
    played: Path, flags: list[str], rounds: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = played / "out.json"
    assert cli.run(["trace", "--dir", str(played), "--out", str(out), "--json", *flags]) == 0
    found = check(out.read_bytes())
    assert [each["round"] for each in found["otherData"]["rounds"]] == rounds
    assert json.loads(capsys.readouterr().out)["rounds"] == rounds
    assert [name for name, _, _ in lines(found)["round"]] == [f"round {number}" for number in rounds]


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (["--round", "9"], "round 9 has no trace"),
        (["--round", "1", "--last", "1"], "not both"),
    ],
)
def test_what_it_cannot_do_it_says(
    played: Path, flags: list[str], cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["trace", "--dir", str(played), "--json", *flags]) == 2
    assert cause in json.loads(capsys.readouterr().out)["error"]["cause"]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_damaged_trace_is_named(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state" / FOLDER).mkdir(parents=True)
    (tmp_path / "state" / FOLDER / "3.json").write_text(content)
    assert cli.run(["trace", "--dir", str(tmp_path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["file"].endswith("3.json")


def test_without_a_trace_it_says_where_they_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["trace", "--dir", str(tmp_path), "--json"]) == 2
    assert "metrics.traces" in json.loads(capsys.readouterr().out)["error"]["cure"]


def test_the_lines_of_the_document(played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = (Path(__file__).parents[4] / "docs" / "operate.md").read_text()
    monkeypatch.chdir(played)
    lines = [line for line in document.splitlines() if line.startswith("roughfed trace")]
    assert len(lines) == 3
    for line in lines:
        assert cli.run(line.split()[1:]) == 0
    assert [
        len(check((played / name).read_bytes())["otherData"]["rounds"]) for name in ("trace.json", "last.json")
    ] == [1, 3]


def test_a_disk_without_room_for_traces_costs_the_run_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FOLDER).mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", str(tmp_path / FOLDER)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root, to mount a tmpfs")
    try:
        (tmp_path / FOLDER / "ballast").write_bytes(bytes(4096))
        reason, rig = whole_run(tmp_path, rounds=2)
        rig.ctx.executor.shutdown()
        assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["ballast"]
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path / FOLDER)], check=True)
    assert reason == "rounds"
    assert [r.getMessage() for r in caplog.records if "No space left" in r.getMessage()] != []
