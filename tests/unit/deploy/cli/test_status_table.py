"""What a terminal shows of a server: it fits, no figure is cut, no client has two lines, and what matters is on it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from roughfed.deploy.cli.status_client import of_one, told
from roughfed.deploy.cli.status_table import SHOWN, States, StatusView, draw_ended, grid, span
from tests.unit.deploy.cli.test_cli_control import STATUS

NOW = 1_700_000_000.0
ALERT = {
    "name": "ClientProved",
    "severity": "critical",
    "since": NOW - 90,
    "text": "eve in round 7 (proved: dealt a share that cannot be opened, or is wrong)",
    "cure": "roughfed revoke eve cuts it off; roughfed release eve asks it again",
}


def client(name: str, state: str = "idle", **more: Any) -> dict[str, Any]:
    known = {
        "connected": state != "gone",
        "progress": 0.0,
        "device": "cuda:0",
        "in_cohort": True,
        "accepted": 3,
        "excluded": 1,
        "expires_at": NOW + 6 * 86400,
        "last_seen_s": 5.0,
        "since": NOW - 60,
        "software": "0.1.0",
        "held": "",
        "machine": {
            "rss_bytes": 300 << 20, "gpu_memory_bytes": 2 << 30, "gpu_utilization": 0.5, "train_seconds": 2.0,
            "samples": 640,
        },
    }  # fmt: skip
    return {"name": name, "state": state, **known, **more}


def history(count: int) -> list[dict[str, Any]]:
    shares = [dict.fromkeys(("accuracy", "balanced", "tail", "worst"), 0.5 + 0.4 * i / count) for i in range(count)]
    counts = {"asked": 10, "accepted": 8, "dropped": 2, "gone": 1, "excluded": 1, "seconds": 2.0}
    return [
        {"round": i + 1, "outcome": "committed", "reason": "", "upload_bytes": 1, "download_bytes": 1, **counts, **each}
        for i, each in enumerate(shares)
    ]


def server(clients: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A status in the middle of a masked round."""
    round_ = {
        "run": "lab-1", "round": 9, "rounds": 20, "model_version": 8, "stage": "masking", "deadline_at": NOW + 48,
        "round_seconds": 12.0, "needed": {"goal": max(1, len(clients)), "quorum": max(1, len(clients) * 4 // 5)},
        "groups": [{"members": ["a"] * 5, "stage": "masking"}] * 2, "history": history(8), "waiting": "",
        "certificates": [{"role": "ca", "expires_at": NOW + 86400}], "alerts": [], "quarantined": {"eve": "bad-share"},
        "disk": {"free_bytes": 5 << 30, "total_bytes": 100 << 30, "journal_bytes": 1 << 20, "blob_bytes": 1 << 20},
        "tail_accuracy": 0.8, "accuracy": 0.9, "balanced_accuracy": 0.9, "worst_class_accuracy": 0.7,
    }  # fmt: skip
    return STATUS | round_ | {"clients": list(clients)} | more


def drawn(
    status: Mapping[str, Any], width: int = 80, height: int | None = 24, *, encoding: str = "utf-8", **more: Any
) -> list[str]:
    console = Console(
        width=width, height=height or 400, file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), legacy_windows=False
    )
    lines = console.render_lines(StatusView(status, NOW, height=height, **more), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


STATES = ("training", "received", "gone", "idle", "uploading", "refused: norm", "away until Mon 10:00")


@pytest.mark.parametrize(
    ("width", "height", "number", "alerts"),
    [
        (80, 24, 0, 0), (80, 24, 7, 0), (80, 24, 200, 1), (60, 30, 200, 9), (100, 30, 7, 9), (140, 40, 200, 0),
        (140, 40, 1, 9), (200, 60, 200, 1), (80, 15, 200, 0), (80, 18, 7, 1),
    ],
)  # fmt: skip
def test_it_fits_the_terminal_and_shows_what_matters(width: int, height: int, number: int, alerts: int) -> None:
    clients = [client(f"hospital-{i:03d}", STATES[i % len(STATES)], progress=0.3) for i in range(number)]
    status = server(clients, alerts=[ALERT] * alerts)
    lines = drawn(status, width, height, note="the server is back")
    text = "\n".join(lines)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    for words in ("9 of 20", "train and upload", "90 %", "the server is back", *(["ClientProved"] if alerts else [])):
        assert words in text
    assert "48 s left" in " ".join(text.split())
    shown = sum(line.startswith(("hospital-", "eve ")) for line in lines)
    assert shown >= min(number, 2)
    assert shown == number + 1 or f"and {number + 1 - shown} more (" in text


def cells(lines: Sequence[str]) -> list[list[str]]:
    """The rows of the table under its head, by columns."""
    (at,) = (number for number, line in enumerate(lines) if line.startswith("client "))
    return [re.split(r" {2,}", line.strip()) for line in lines[at:] if not line.startswith("and ")]


@given(
    width=st.integers(80, 200),
    numbers=st.lists(st.tuples(st.integers(0, 99_999), st.integers(0, 9_999)), min_size=1, max_size=5),
)
def test_a_client_has_one_line_and_its_figures_are_whole_or_not_there(
    width: int, numbers: list[tuple[int, int]]
) -> None:
    clients = [client(f"c{i}", "received", accepted=a, excluded=e) for i, (a, e) in enumerate(numbers)]
    head, *rows = cells(drawn(server(clients, quarantined={}, needed=None), width, None))
    assert sorted(row[0] for row in rows) == [f"c{i}" for i in range(len(numbers))]
    for row in rows:
        accepted, excluded = numbers[int(row[0][1:])]
        told = {"state": "received", "in sum": accepted or "", "left out": excluded or "", "examples/s": 320}
        told |= {"here for": "1 min"}
        assert row[1:] == [f"{told[title]}" for title in head[1:] if told[title]]


def test_with_room_everything_is_there_and_with_less_the_same_in_fewer_columns() -> None:
    status = server([client("a", "training", progress=0.5), client("b", "received")], alerts=[ALERT])
    text = "\n".join(drawn(status, 160, None, accuracy={"b": 0.913}, page="http://127.0.0.1:9464/"))
    for words in (
        "ClientProved for 1 min 30 s: eve in round 7",
        "> roughfed revoke eve cuts it off",
        "lab-1, up 1 min 1 s; the server sees updates",
        "accuracy 90 % (+5.0 points)",
        "round 8: 8 of 10 in the sum, 1 left out, 1 gone, 1 late, 2 s",
        "http://127.0.0.1:9464/",
        "48 s left",
    ):
        assert words in text
    assert cells(text.splitlines()) == [
        ["client", "state", "last round", "in sum", "left out", "accuracy", "examples/s", "here for"],
        ["a", "late (training)", "3", "1", "320", "1 min"],
        ["eve", "quarantined", "proved: dealt a share that cannot be opened, or is wrong"],
        ["b", "received", "3", "1", "91.3 %", "320", "1 min"],
    ]


def test_who_has_no_room_is_counted_in_one_line() -> None:
    clients = [client(f"hospital-{i:03d}", STATES[i % len(STATES)]) for i in range(200)]
    lines = drawn(server(clients, quarantined={}), 80, None)
    assert len(cells(lines)) == 1 + SHOWN
    assert lines[-1] == "and 160 more (17 gone, 29 training, 28 uploading, ...): roughfed status --json"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"paused": True}, "next    roughfed resume"),
        ({"finished": "rounds"}, "next    roughfed report, roughfed rounds, roughfed export"),
        ({"min_clients": 5}, "next    roughfed invite NAME"),
    ],
)
def test_it_says_what_to_type_next(more: Mapping[str, Any], words: str) -> None:
    assert words in "\n".join(drawn(server([client("a")], **more)))
    assert "next " not in "\n".join(drawn(server([client("a"), client("b")])))


def test_a_round_over_its_deadline_says_so() -> None:
    assert "12 s over its deadline" in "\n".join(drawn(server([client("a")], deadline_at=NOW - 12), 100))


@pytest.mark.parametrize(
    ("above", "words"),
    [
        ({"run": "", "round": 0, "rounds": 0, "open": False}, "has asked for nothing yet"),
        ({"run": "top-1", "round": 3, "rounds": 9, "open": True}, "waits for the sum of round 3 of 9 of top-1"),
        ({"run": "top-1", "round": 3, "rounds": 9, "open": False}, "round 3 of 9 of top-1 was the last"),
    ],
)
def test_an_edge_says_what_the_federation_above_wants(above: Mapping[str, Any], words: str) -> None:
    text = "\n".join(drawn(server([client("a")], upstream=above), 160, None))
    assert "upstream" in text
    assert words in text
    assert "upstream" not in "\n".join(drawn(server([client("a")]), 160, None))


def test_it_is_ascii() -> None:
    status = server([client("a", "training", progress=0.5), client("b" * 60, "refused: " + "x " * 60)], alerts=[ALERT])
    for width in (40, 80, 160):
        "\n".join(drawn(status, width, None, encoding="ascii")).encode("ascii")


def test_what_a_client_chose_is_text_and_stays_on_its_line() -> None:
    hostile = server([client("[red]x", "refused: [bold]\x1b[31m")], alerts=[ALERT | {"text": "[red]x"}])
    text = "\n".join(drawn(hostile, 140, None))
    assert "[red]x" in text
    assert "\x1b" not in text


ORDERED = (
    client("late", "uploading"),
    client("refused", "refused: norm"),
    client("excluded", "received"),
    client("gone", "gone"),
    client("held", "idle", held="bad-share"),
    client("slow", "training", progress=0.1),
    client("fast", "training", progress=0.9),
    client("idle", "idle"),
    client("received", "received"),
    client("away", "away until Mon 10:00", connected=False),
    client("outside", "training", in_cohort=False),
)


def ordered(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(status["clients"], key=States(status).rank)


@given(order=st.permutations(range(1, len(ORDERED))))
def test_who_needs_looking_at_comes_first(order: list[int]) -> None:
    status = server([ORDERED[i] for i in order])
    status["needed"] = {"goal": 9, "quorum": 9}
    status["defence"] = {"rule": "x", "round": 9, "verdicts": [{"client": "excluded", "reason": "long", "score": 1.0}]}
    assert [each["name"] for each in ordered(status)] == [each["name"] for each in ORDERED[1:]]


def test_once_the_quorum_is_there_who_is_missing_is_late() -> None:
    status = server([ORDERED[0], *(client(f"c{i}", "received") for i in range(4))], needed={"goal": 5, "quorum": 4})
    assert [States(status).of(each) for each in ordered(status)] == ["late", *["received"] * 4]
    assert "late (uploading)" in "\n".join(drawn(status))


def test_one_client_in_full() -> None:
    defence = {
        "rule": "default",
        "round": 8,
        "judged": 2,
        "tolerated": 1,
        "excluded": {"eve": {"long": 4}},
        "verdicts": [{"client": "eve", "reason": "long", "score": 3.25}],
    }
    eve = client("eve", "training", progress=0.25, held="bad-share")
    groups = [{"members": ["ann", "eve"], "stage": "masking"}]
    status = server([eve], defence=defence, alerts=[ALERT], groups=groups)
    found = of_one(status, "eve")
    assert found is not None
    assert (found["excluded_for"], found["group"], found["alerts"]) == ({"long": 4}, groups[0], [ALERT])
    console = Console(width=120)
    with console.capture() as said:
        console.print(grid(list(told(found, now=NOW))))
    for words in (
        "training, 25 % done",
        "roughfed release eve",
        "4x: the defence: much longer",
        "(score 3.25)",
        "ann, eve (masking)",
        "ends in 6 days",
        "2 GiB, 50 % busy",
    ):
        assert words in said.get()
    assert of_one(status, "nobody") is None


def test_a_server_that_has_ended_says_how_its_clients_did() -> None:
    defence = {"verdicts": [{"client": "a", "reason": "", "score": None}], "excluded": {"eve": {"long": 4}}}
    ended = {
        "run": "lab-1", "finished": None, "round_open": False, "rounds_committed": 1, "rounds_abandoned": 2,
        "best_version": 1, "model_version": 2, "accuracy": 0.5, "quarantined": {}, "defence": defence,
    }  # fmt: skip
    console = Console(width=80)
    with console.capture() as said:
        console.print(draw_ended(ended, {"a": 0.913}))
    lines = [line.rstrip() for line in said.get().splitlines()]
    assert lines[1:4] == [
        "run     lab-1, stopped between two rounds",
        "rounds  1 committed, 2 abandoned",
        "model   version 2, best 1, accuracy 50 %",
    ]
    assert cells(lines) == [
        ["client", "last round", "left out", "accuracy"],
        ["a", "in the sum", "91.3 %"],
        ["eve", "4"],
    ]


def test_times_in_words() -> None:
    assert [span(s) for s in (0.4, 61, 3700, 3 * 86400)] == ["0 s", "1 min 1 s", "1 h 1 min", "3 days"]
