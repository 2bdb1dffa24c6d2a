"""How full a line was: from what agents write into their logs, and seconds that are counted once."""

import json
import logging
from pathlib import Path

import pytest

from roughfed import logs
from tests.bench.load.spans import covered, phases, spans


def test_seconds_of_spans_that_overlap_count_once() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.75)]) == 4.0
    assert covered([]) == 0.0


def test_a_phase_lasts_until_the_next_one_and_the_last_one_does_not_count() -> None:
    found = [(1.0, "uploading"), (3.0, "agreeing"), (4.0, "uploading"), (4.5, "idle"), (9.0, "uploading")]

    assert list(spans(found, "uploading")) == [(1.0, 3.0), (4.0, 4.5)]
    assert list(spans(found, "idle")) == [(4.5, 9.0)]


def test_phases_are_read_from_an_agents_log_and_from_nothing_else_in_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        logs.setup(level="DEBUG", stream=stream, json=True)
        try:
            logging.getLogger("roughfed.client.app").debug("phase %s", "downloading")
            logging.getLogger("roughfed.client.app").info("another phase of the moon")
            logging.getLogger("roughfed.client.app").debug("phase %s", "training")
        finally:
            logs.setup()
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()]

    (begin, first), (end, second) = phases(path)

    assert (first, second, len(times)) == ("downloading", "training", 3)
    assert 0 <= end - begin < 60


@pytest.mark.parametrize("text", ["Traceback (most recent call last):", "a phase of something"])
def test_lines_of_others_in_a_log_are_passed_over(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text + "\n")

    assert phases(path) == []
