"""Every start of the server is noted with what was changed since the one before, and told in the report."""

import asyncio
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

from roughfed.report.starts import changes, starts
from roughfed.report.summary import RunSummary
from roughfed.server.observe.run_summary import start_summaries
from roughfed.server.storage import starts as journaled
from roughfed.server.storage.store import Store

RUN = RunSummary("r", "demo", "updates", 3, 10, 40)
FIRST: dict[str, Any] = {"round": {"rounds": 5, "quorum": 0.8}, "defence": {"rule": "auto"}}
THEN: dict[str, Any] = {"round": {"rounds": 9, "quorum": 0.8}, "defence": {"rule": "auto", "rollback": 0.1}}


def begun(folder: Path, *settings: dict[str, Any], ends: tuple[str | None, ...] = ()) -> list[journaled.Start]:
    """What a journal knows after a start with each of these settings."""
    store = Store(folder)

    async def play() -> None:
        for number, each in enumerate(settings):
            seq = await journaled.note_start(store.journal, each, software="0.2.0", now=100.0 + number)
            if number < len(ends) and (end := ends[number]):
                await journaled.note_end(store.journal, seq, end, now=200.0 + number)

    asyncio.run(play())
    try:
        return journaled.starts(store.journal)
    finally:
        store.close()


def test_a_start_has_all_settings_though_the_same_ones_are_kept_once(tmp_path: Path) -> None:
    found = begun(tmp_path, FIRST, FIRST, THEN, FIRST, ends=("drained", None, "rounds"))
    assert [each.settings for each in found] == [FIRST, FIRST, THEN, FIRST]
    assert [each.ended for each in found] == ["drained", None, "rounds", None]
    assert [each.started_at for each in found] == [100.0, 101.0, 102.0, 103.0]
    store = Store(tmp_path)
    kept = store.journal.read("SELECT settings FROM starts ORDER BY seq")
    store.close()
    assert [row["settings"] is None for row in kept] == [False, True, False, False]


def test_what_differs_is_named_by_its_key_with_both_values() -> None:
    assert changes(FIRST, THEN) == [("round.rounds", "5", "9"), ("defence.rollback", "–", "0.1")]
    assert changes(THEN, FIRST) == [("round.rounds", "9", "5"), ("defence.rollback", "0.1", "–")]
    assert changes(FIRST, FIRST) == []


def test_the_report_says_what_was_changed_and_which_process_was_cut_off(tmp_path: Path) -> None:
    found = start_summaries(begun(tmp_path, FIRST, THEN, THEN, ends=("drained",)))
    page = unescape(starts(replace(RUN, starts=found)))
    assert "The server was started 3 times" in page
    assert "defence.rollback: – -> 0.1; round.rounds: 5 -> 9" in page
    assert "was stopped" in page
    assert "killed, or failed" in page
    assert "none" in page


def test_a_run_of_one_start_says_so_in_a_sentence(tmp_path: Path) -> None:
    found = start_summaries(begun(tmp_path, FIRST))
    assert "started once" in starts(replace(RUN, starts=found))
    assert starts(RUN) == ""
