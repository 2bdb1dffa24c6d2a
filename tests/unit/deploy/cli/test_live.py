"""What a terminal shows of a running server: it fits, whatever is in it, and what matters is on it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from roughfed.deploy.cli import live
from roughfed.deploy.cli.live_client import draw_client, of_one
from roughfed.deploy.cli.live_clients import Words, ordered
from roughfed.deploy.cli.live_round import STAGES, STEPS, Rates
from roughfed.deploy.cli.live_words import BLOCKS, LETTERS, change, curve, size, span
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
        "machine": {"rss_bytes": 300 << 20, "gpu_memory_bytes": 2 << 30, "gpu_utilization": 0.5, "train_seconds": 2.0},
    }
    return {"name": name, "state": state, **known, **more}


def history(count: int) -> list[dict[str, Any]]:
    shares = [dict.fromkeys(("accuracy", "balanced", "tail", "worst"), 0.5 + 0.4 * i / count) for i in range(count)]
    counts = {"asked": 10, "accepted": 8, "dropped": 1, "excluded": 1, "seconds": 2.0}
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
        width=width, height=height or 200, file=io.TextIOWrapper(io.BytesIO(), encoding=encoding), legacy_windows=False
    )
    lines = console.render_lines(live.Screen(status, height=height, now=NOW, **more), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


STATES = ("training", "received", "gone", "idle", "uploading", "refused: norm", "away until Mon 10:00")


@pytest.mark.parametrize(
    ("width", "height", "number", "alerts"),
    [
        (80, 24, 0, 0), (80, 24, 7, 0), (80, 24, 200, 1), (60, 20, 200, 9), (100, 30, 7, 9), (140, 40, 200, 0),
        (140, 40, 1, 9), (200, 60, 200, 1), (80, 15, 200, 0), (80, 15, 7, 1),
    ],
)  # fmt: skip
def test_it_fits_the_terminal_and_shows_what_matters(width: int, height: int, number: int, alerts: int) -> None:
    clients = [client(f"hospital-{i:03d}", STATES[i % len(STATES)], progress=0.3) for i in range(number)]
    status = server(clients, alerts=[ALERT] * alerts)
    lines = drawn(status, width, height, note="the server is back")
    text = "\n".join(lines)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    for words in ("9 of 20", "report", "90.0%", "the server is back", *(["ClientProved"] if alerts else [])):
        assert words in text
    if number:
        shown = sum(line.startswith("hospital-") for line in lines)
        assert shown >= min(number, 2)
        assert shown == number or f"{number - shown} more" in text
        if height >= 24 and not alerts:
            assert "deadline in 48 s" in text
            assert "keys shares [uploads]" in text


def test_with_room_everything_is_there() -> None:
    status = server([client("a", "training", progress=0.5), client("b", "received")], alerts=[ALERT])
    text = "\n".join(drawn(status, 160, None, rates=(2048.0, 0.0)))
    for words in (
        "ClientProved for 1 min 30 s: eve in round 7",
        "> roughfed revoke eve cuts it off",
        "2.0 KiB up (2.0 KiB/s), 3.0 MiB down (0 B/s)",
        "90.0% (+5.0), balanced 90.0%",
        "▁▂▃▅▆▇█"[:3],
        "round 8: 8 of 10 in the sum, 1 left out, 1 late or gone, 2 s",
        "quarantined",
        "ca in 24 h 0 min",
        "5.0 GiB free of 100.0 GiB",
        "5 + 5 clients",
        "300.0 MiB",
        "50% 2.0 GiB",
        "for 12 s, deadline in 48 s",
    ):
        assert words in text


def test_a_round_over_its_deadline_says_so() -> None:
    assert "12 s over its deadline" in "\n".join(drawn(server([client("a")], deadline_at=NOW - 12)))


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


def test_a_terminal_without_unicode_gets_letters() -> None:
    text = "\n".join(drawn(server([client("a", "training")]), encoding="ascii"))
    text.encode("ascii")
    assert "_" in text


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


@given(order=st.permutations(range(1, len(ORDERED))))
def test_who_needs_looking_at_comes_first(order: list[int]) -> None:
    status = server([ORDERED[i] for i in order])
    status["needed"] = {"goal": 9, "quorum": 9}
    status["defence"] = {"rule": "x", "round": 9, "verdicts": [{"client": "excluded", "reason": "long", "score": 1.0}]}
    assert [each["name"] for each in ordered(status, Words(status))] == [each["name"] for each in ORDERED[1:]]


def test_once_the_quorum_is_there_who_is_missing_is_late() -> None:
    status = server([ORDERED[0], *(client(f"c{i}", "received") for i in range(4))], needed={"goal": 5, "quorum": 4})
    assert [Words(status).of(each) for each in ordered(status, Words(status))] == ["late", *["received"] * 4]
    assert "uploading (late)" in "\n".join(drawn(status))


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
        console.print(draw_client(found, now=NOW))
    for words in (
        "training, 25% done",
        "roughfed release eve",
        "4x: the defence: much longer",
        "(score 3.25)",
        "ann, eve (masking)",
        "ends in 6 days",
        "2.0 GiB, 50% busy",
    ):
        assert words in said.get()
    assert of_one(status, "nobody") is None


def test_stages_have_a_word_each() -> None:
    assert set(STEPS) == set(STAGES)


def test_rates_are_of_the_last_seconds_of_one_round() -> None:
    rates = Rates()
    assert rates.now() is None
    for second in range(20):
        rates.see({"round": 1, "upload_bytes": 1000 * second**2, "download_bytes": 10 * second}, float(second))
    up, down = rates.now() or (0.0, 0.0)
    assert 26_000 < up < 37_000  # the bytes of the last five seconds, not of all
    assert down == pytest.approx(10)
    rates.see({"round": 2, "upload_bytes": 0, "download_bytes": 0}, 20.0)
    assert rates.now() is None
    rates.see({"round": 2, "upload_bytes": 500, "download_bytes": 0}, 21.0)
    assert rates.now() == (500.0, 0.0)


@given(values=st.lists(st.none() | st.floats(0, 1), max_size=50), width=st.integers(1, 40), plain=st.booleans())
def test_a_curve_is_as_long_as_it_may_be_and_rises_with_its_values(
    values: list[float | None], width: int, plain: bool
) -> None:
    drawn_ = curve(values, width, plain=plain)
    marks = LETTERS if plain else BLOCKS
    known = values[-width:]
    if all(value is None for value in known):
        assert drawn_ == ""
        return
    assert len(drawn_) == len(known)
    places = [(value, marks.index(mark)) for value, mark in zip(known, drawn_, strict=True) if value is not None]
    for (a, left), (b, right) in itertools.combinations(places, 2):
        assert a == b or (a < b) <= (left <= right)


def test_numbers_in_words() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 << 20, 3 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 GiB"]
    assert [span(s) for s in (0.4, 61, 3700, 3 * 86400)] == ["0 s", "1 min 1 s", "1 h 1 min", "3 days"]
    assert [change(0.5, 0.4), change(0.4, 0.5), change(None, 0.5), change(0.5, None)] == ["+10.0", "-10.0", "", ""]
