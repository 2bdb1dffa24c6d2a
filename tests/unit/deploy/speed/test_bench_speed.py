"""`make speed`: what is made of the runs of two versions, without playing them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roughfed.errors import ConfigError, RoughfedError
from tests.bench import speed
from tests.bench.speed import CASES, FIGURES, Played, VersionsOptions, compared, run_versions_bench, slower, table


def run(cpu: float = 1.0, seconds: float = 1.0, sent: float = 100.0) -> Played:
    return {"cpu": cpu, "seconds": seconds, "bytes": sent}


def test_a_ratio_is_the_median_of_those_of_the_pairs() -> None:
    """Not that of the medians: a machine that is twice as slow in some pairs is in neither version."""
    before, now = (1.0, 2.0, 4.0), (1.2, 1.8, 4.4)
    found = compared([(run(cpu=old), run(cpu=new)) for old, new in zip(before, now, strict=True)])["cpu"]
    assert (found.before, found.now) == (2.0, 1.8)
    assert found.ratio == pytest.approx(1.1)
    assert (found.least, found.most) == (pytest.approx(0.9), pytest.approx(1.2))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (run(cpu=1.09, sent=109), []),
        (run(cpu=1.11), ["case: 1.11 times the processor s a round"]),
        (run(sent=111), ["case: 1.11 times the bytes a client and round"]),
        (run(cpu=0.5, seconds=3.0), []),
    ],
)
def test_more_than_a_tenth_of_processor_time_or_bytes_is_too_much(now: Played, told: list[str]) -> None:
    assert slower({"case": compared([(run(), now)] * 5)}) == told


def test_one_pair_of_five_that_was_disturbed_decides_nothing() -> None:
    pairs = [(run(), run())] * 4 + [(run(), run(cpu=3.0))]
    assert slower({"case": compared(pairs)}) == []


def test_the_table_has_a_row_for_each_case() -> None:
    lines = table({name: compared([(run(), run(cpu=0.9, sent=800_000))]) for name in CASES}).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in CASES]
    assert lines[2] == "| 16 x 0.4 MB | 0.9 (0.90) | 1 (1.00) | 800,000 (8000.00) |"
    assert {line.count("|") for line in lines} == {len(FIGURES) + 2}


class Versions:
    """Two versions that are not played: the present one needs so much more."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *, more: float) -> None:
        self.order: list[str] = []
        self.result, self.page, self._more = folder / "speed.json", folder / "page.md", more
        self.page.write_text("before\n<!-- speed -->\nnot run yet\n<!-- /speed -->\nafter\n")
        patch.setattr(speed, "RESULT", self.result)
        patch.setattr(speed, "PAGE", self.page)
        patch.setattr(speed, "commit_of", lambda _: "0" * 40)
        patch.setattr(speed, "installed", lambda _: "old")
        patch.setattr(speed, "play", self._play)

    def _play(self, python: str, _case: speed.Case) -> Played:
        self.order.append(python)
        return run(cpu=1.0 if python == "old" else self._more)


def test_versions_take_turns_and_the_last_result_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Versions(tmp_path, monkeypatch, more=1.05)
    run_versions_bench(VersionsOptions(pairs=4), say=lambda *_: None)
    first = [python == "old" for python in versions.order[::2]]
    assert first == [True, False] * 8
    found = json.loads(versions.result.read_text())
    assert found["results"]["8 x 40 MB"]["cpu"]["ratio"] == 1.05
    page = versions.page.read_text()
    assert page.startswith("before\n<!-- speed -->\n| |")
    assert page.endswith("|\n<!-- /speed -->\nafter\n")


def test_a_slower_version_fails_and_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = Versions(tmp_path, monkeypatch, more=1.2)
    with pytest.raises(RoughfedError, match=r"16 x 0\.4 MB: 1\.20 times the processor s"):
        run_versions_bench(VersionsOptions(pairs=1), say=lambda *_: None)
    assert versions.result.exists()


def test_the_page_has_a_place_for_the_table() -> None:
    assert speed.BETWEEN.search(speed.PAGE.read_text()) is not None


def test_what_is_no_commit_is_refused_by_the_flag() -> None:
    with pytest.raises(ConfigError) as refused:
        speed.commit_of("no-such-branch")
    assert refused.value.key == "--ref"
