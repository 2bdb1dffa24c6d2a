"""What a session keeps of a client's heartbeats."""

from __future__ import annotations

import re
import time

import pytest

from roughfed.client import metrics as client_metrics
from roughfed.messages import OTHER, PHASES, Heartbeat, Hello, Machine
from roughfed.server.members.sessions import ClientSession
from roughfed.server.metrics.clients import CLIENT_STATES
from tests.unit.documents import ROOT

ENTERED = re.compile(r'\b(?:enter|on_phase)\("([^"]*)"')


def session() -> ClientSession:
    return ClientSession("ann", b"", b"", Hello("1", 1, b"", b"", (), ""))


@pytest.mark.parametrize("samples", [True, False])
def test_how_much_a_client_trained_on_is_kept_only_where_it_may_be_known(samples: bool) -> None:
    ann = session()
    ann.hear(Heartbeat("training", 0.5, Machine(rss_bytes=7, train_seconds=2.0, samples=640)), samples=samples)
    assert (ann.phase, ann.progress) == ("training", 0.5)
    assert ann.machine == Machine(rss_bytes=7, train_seconds=2.0, samples=640 if samples else None)


@pytest.mark.parametrize(
    "word", ["received", "gone", "quarantined", "refused: norm", "away until Mon 08:00", "", "\x1b[2J"]
)
def test_a_client_cannot_say_of_itself_what_only_the_server_can_know(word: str) -> None:
    (ann := session()).hear(Heartbeat(word), samples=True)
    assert ann.phase == OTHER


def test_every_word_of_a_client_is_understood_and_counted() -> None:
    """The words stand where the client enters a phase; both sides' metrics have a series for each."""
    said = {word for path in (ROOT / "client").rglob("*.py") for word in ENTERED.findall(path.read_text())}
    assert said == set(PHASES)
    for word in PHASES:
        (ann := session()).hear(Heartbeat(word), samples=True)
        assert ann.phase == word
    assert {*PHASES} <= {*CLIENT_STATES}
    assert {*PHASES} <= {*client_metrics.PHASES}


def test_a_clock_that_is_ahead_is_seen_and_one_that_is_not_told_is_not() -> None:
    ann = session()
    ann.hear(Heartbeat("idle", 0.0, Machine(time=time.time() + 90)), samples=True)
    assert ann.clock_skew_s == pytest.approx(90, abs=5)
    ann.hear(Heartbeat("idle", 0.0), samples=True)  # says nothing of its machine: what it said before stays
    assert ann.clock_skew_s == pytest.approx(90, abs=5)
    ann.hear(Heartbeat("idle", 0.0, Machine(rss_bytes=1)), samples=True)
    assert ann.clock_skew_s is None
