"""Attacks on every call, made of what was recorded in real masked rounds: refused, counted, and without effect.

One server for all of them. Round 1 waits for an update that is held back, round 2 stops at each stage in turn:
meanwhile messages that real agents sent are sent again, by another client, later, changed, out of order. Both models
are, to the bit, what the same accepted clients give without any attack.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from roughfed.crypto import join_line
from roughfed.deploy import agent
from roughfed.server.members.authority import Authority

from . import corpus_calls as calls
from . import corpus_entry as entry
from . import corpus_stages as stages
from .corpus import CALLS, ENROLMENTS, NOBODY, STAGES, UPDATES, Row, Scene, as_answer
from .federation import state_of
from .masked import is_exact, masked_cluster, verdicts
from .peer import Peer, enrol
from .relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LAST = calls.upload("other bytes than were announced", calls.wrong_digest, "RESOURCE_EXHAUSTED", "storage")
WHOLE = calls.upload("bytes of another digest", calls.stated(digest=bytes(32)), calls.BAD, "digest")
ROUND_1 = [
    *stages.MASKING,
    *calls.UPLOADS,
    *calls.DOWNLOADS,
    *calls.SESSIONS,
    *entry.ENTRY,
    *entry.CERTIFICATES,
    *entry.LIES,
]
LATER = {"sketch": stages.SKETCHING, "consistency": stages.AGREEING, "unmask": stages.UNMASKING}
ROUND_2 = [*stages.OF_ROUND_1, *calls.OF_ROUND_1]
EVERYTHING = [
    *ROUND_1, LAST, WHOLE, *ROUND_2, *stages.SKETCHING, *stages.AGREEING, *stages.UNMASKING,
]  # fmt: skip
COUNTERS = (UPDATES, CALLS, STAGES, ENROLMENTS, "updates_total")
HARMLESS = {
    (ENROLMENTS, "enrolled"),
    ("updates_total", "accepted"),
    ("updates_total", "rejected"),
    ("updates_total", "late"),
}
"""Labels that say nothing of an attack, or say it a second time."""


def test_the_corpus_is_large_and_names_each_attack_once() -> None:
    names = Counter(row.name for row in EVERYTHING)
    assert len(names) >= 80
    assert max(names.values()) == 1


@contextmanager
def attacked(folder: Path) -> Iterator[Scene]:
    """A masked federation of six behind a relay, two members without a seat, and one that was revoked."""
    with masked_cluster(folder, clients=6, settings={"round": {"min_clients": 6}}) as cluster, ExitStack() as open_:
        server = cluster.start_server()
        server.ready()
        line = join_line.parse(cluster.invite("x0"))
        outside = {"x0": asyncio.run(agent.join(made(cluster.client_folder("x0")), line, policy="updates"))}
        outside |= {name: enrol(cluster, name) for name in ("x1", "r0")}
        Authority.open(cluster.place.ca).revoke(
            "r0", now=datetime.now(UTC)
        )  # as `roughfed revoke` does, and in this order
        cluster.control(op="revoke", name="r0")
        relay = open_.enter_context(Relay(cluster, *cluster.names))
        papers = outside | relay.papers
        peers = {name: open_.enter_context(Peer(cluster.address, own)) for name, own in papers.items()}
        tokens = {"x0": line.secret, "nobody": join_line.parse(cluster.invite("nobody")).secret}
        yield Scene(cluster, server, relay, peers, tokens)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def play(scene: Scene, rows: list[Row]) -> None:
    """Every attack, and what it was answered."""
    got = {row.name: as_answer(found) if isinstance(found := row.how(scene), list | bytes) else found for row in rows}
    assert got == {row.name: row.answer for row in rows}


def counted(page: str) -> Counter[tuple[str, str]]:
    """(counter, label) -> how often, where that is more than never."""
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(page):
        if (name := family.name.removeprefix("roughfed_") + "_total") in COUNTERS:
            for sample in family.samples:
                found[name, next(iter(sample.labels.values()))] += int(sample.value)
    return +found


def test_every_attack_is_refused_counted_and_without_effect(tmp_path: Path) -> None:
    with attacked(tmp_path) as scene:
        cluster, relay = scene.cluster, scene.relay
        relay.hold("c5", "upload", 1)
        for kind in ("upload", "sketch", "consistency", "unmask"):
            relay.hold("c4", kind, 2)
        with cluster.watch() as watch:
            clients = cluster.start_clients()
            honest = cluster.names[:5]
            watch.until(lambda s: all(state_of(s, name) == "received" for name in honest))
            relay.reached("c5", "upload", 1)
            play(scene, ROUND_1)
            play(scene, [LAST, WHOLE])
            relay.release("c5", "upload", 1)

            relay.reached("c4", "upload", 2)
            watch.until(lambda s: s["round"] == 2 and state_of(s, "c0") == "received")
            play(scene, ROUND_2)
            relay.release("c4", "upload", 2)
            for kind, rows in (
                ("sketch", stages.SKETCHING),
                ("consistency", stages.AGREEING),
                ("unmask", stages.UNMASKING),
            ):
                relay.reached("c4", kind, 2)
                play(scene, rows)
                page = cluster.page("/metrics")
                relay.release("c4", kind, 2)
        assert [process.wait() for process in (scene.server, *clients)] == [0] * 7

        assert is_exact(cluster)
        assert verdicts(cluster) == {
            1: dict.fromkeys(honest, "") | {"c5": "digest"},
            2: dict.fromkeys(cluster.names, ""),
        }
        assert cluster.rows("SELECT * FROM proofs") == []
        wanted = Counter((row.counted, row.under) for row in EVERYTHING if row.counted != NOBODY)
        wanted[CALLS, "stale"] += 2  # words of a session that goes on
        found = Counter({key: n for key, n in counted(page).items() if key not in HARMLESS})
        own = found - wanted  # c5's own agent asks when it is let go: refused before, or too late
        assert own in (Counter({(UPDATES, "digest"): 1}), Counter({(UPDATES, "late"): 1}))
        assert found - own == wanted
        assert "Traceback" not in "\n".join(scene.server.lines)
