"""Alerts: each fires on planted facts, names who and what with numbers, and is silent on healthy ones, at its bound."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytest

from roughfed.client import job_runner
from roughfed.deploy.cli import app as cli
from roughfed.server.observe.health import ALERTS
from roughfed.server.observe.health.active_alerts import ActiveAlerts
from roughfed.server.observe.health.alert import SEVERITIES, AlertRule
from roughfed.server.observe.health.clients import SITS_OUT
from roughfed.server.observe.health.inputs import (
    Certificates,
    CurrentRound,
    DefenceOutcome,
    Disk,
    HealthInputs,
    ModelAccuracy,
    PastRound,
    RecentCounts,
)
from roughfed.server.observe.health.rounds import PAUSES
from roughfed.server.round.run import LOST_ROUNDS

DAY = 86400.0
NOW = 1_000_000.0
NAMES = frozenset(f"c{i}" for i in range(10))

T = TypeVar("T")


def changed(record: T, changes: Mapping[str, Any]) -> T:
    """A record with other values; those that it has not itself are of the one of its parts that has them."""
    own = {each.name for each in dataclasses.fields(record)}  # pyright: ignore[reportArgumentType]
    given = {name: value for name, value in changes.items() if name in own}
    rest = changes.keys() - given.keys()
    for name in own - given.keys() if rest else ():
        part = getattr(record, name)
        inner = {each.name for each in dataclasses.fields(part)} & rest if dataclasses.is_dataclass(part) else set()
        if inner:
            given[name] = dataclasses.replace(part, **{each: changes[each] for each in inner})  # pyright: ignore[reportArgumentType]
            rest -= inner
    assert not rest
    return dataclasses.replace(record, **given)  # pyright: ignore[reportArgumentType]


def past(number: int, **changes: Any) -> PastRound:
    """A good round of ten clients, a minute each."""
    good = PastRound(
        number,
        closed_at=NOW - 60 * (21 - number),
        goal=10,
        asked=10,
        accepted=NAMES,
        defence=DefenceOutcome("default", judged=10, tolerated=2),
        groups=2,
        upload_bytes=1 << 20,
        model=ModelAccuracy(10_000, accuracy=0.9, balanced=0.9, tail=0.8, worst=0.7),
    )
    return changed(good, changes)


def rounds(*last: Mapping[str, Any], of: int = 20) -> list[PastRound]:
    """Twenty rounds, the last of which are changed."""
    changes = [*({} for _ in range(of - len(last))), *last]
    return [past(number, **each) for number, each in enumerate(changes, start=21 - of)]


HEALTHY = HealthInputs(
    now=NOW,
    started_at=NOW - 2 * DAY,
    open=CurrentRound(21, NOW - 30, NOW + 30, 60.0),
    rounds=rounds(),
    here=NAMES,
    certificates=Certificates(7 * DAY, {"server": NOW + 5 * DAY, "ca": NOW + 300 * DAY}),
    client_certificates={f"c{i}": (NOW + 5 * DAY, 7 * DAY) for i in range(10)},
    skews={f"c{i}": 0.1 * i for i in range(10)},
    recent=RecentCounts([0.01] * 100, received=100, uploads=200, resumed=2, calls=["OK"] * 90 + ["INTERNAL"] * 4),
    disk=Disk(50 << 30, 100 << 30),
    round_bytes=100 << 20,
)
BETWEEN = dataclasses.replace(HEALTHY, open=None, ready_since=NOW - 2)
FAILED = {"outcome": "abandoned", "reason": "taken-back: accuracy 40.0% after 70.0%", "accuracy": None, "tail": None}
LOST = {"outcome": "abandoned", "reason": "too-few-updates", "accuracy": None, "tail": None}
MISSING = {
    "dropped": ("c1", "c2", "c3", "c4", "c5"),
    "gone": ("c1",),
    "accepted": NAMES - {"c1", "c2", "c3", "c4", "c5"},
}
OUT = {"left_out": dict.fromkeys(("c1", "c2", "c3", "c4", "c5"), "disagrees")}
ALONE = {"left_out": {"c1": "disagrees"}, "excluded": {"c1": "disagrees"}, "accepted": NAMES - {"c1"}}
MORE = {"suspects": ("c1", "c2", "c3"), "left_out": dict.fromkeys(("c1", "c2"), "together")}
TWO = {"left_out": dict.fromkeys(("c1", "c2"), "long"), "accepted": NAMES - {"c1", "c2"}}
FAILS, NO_MEMORY, VOID_C1, AWAY, LAPTOP = (
    {"excluded": {"c1": why}, "accepted": NAMES - {"c1"}}
    for why in (
        "client-failed: not-finite",
        "client-failed: out-of-memory",
        "void",
        "client-away: over",
        "client-refused: battery",
    )
)
NOT_ASKED = {"accepted": NAMES - {"c1"}}
VOID = {"void": ((("c1", "c2", "c3"), "too few answered"),)}

Case = tuple[str, HealthInputs | None, Mapping[str, Any], str, Sequence[str]]

FIRES: list[Case] = [
    (
        "RoundStalled",
        None,
        {"open": CurrentRound(21, NOW - 400, NOW - 180, 220.0)},
        "critical",
        ["round 21", "3 minutes"],
    ),
    ("RoundStalled", BETWEEN, {"ready_since": NOW - 180}, "critical", ["no round was opened for 3 minutes"]),
    ("RoundsAbandoned", None, {"rounds": rounds(LOST, LOST)}, "warning", ["last 2 rounds", "too-few-updates 2x"]),
    ("RoundsAbandoned", None, {"rounds": rounds(LOST, LOST, LOST, LOST)}, "critical", ["last 4 rounds"]),
    ("RunPaused", BETWEEN, {"paused": True, "rounds": rounds(*[LOST] * 5)}, "critical", ["after 5 abandoned rounds"]),
    (
        "RunPaused",
        BETWEEN,
        {"paused": True, "now": NOW + 2 * 3600},
        "info",
        ["nothing has happened for 2 hours"],
    ),
    (
        "ParticipationLow",
        None,
        {"rounds": rounds(MISSING, MISSING, MISSING)},
        "warning",
        ["15 of 30 wanted updates", "c1 gone 3x", "c2 late 3x"],
    ),
    (
        "ParticipationLow",
        BETWEEN,
        {"waiting": "waiting: 3 of 4 clients", "waiting_since": NOW - 240, "ready_since": None},
        "warning",
        ["4 minutes", "waiting: 3 of 4 clients"],
    ),
    (
        "RejectionSpike",
        None,
        {"received": 10, "refused": [("c1", "not-finite")] * 3 + [("c2", "size")] * 2},
        "warning",
        ["5 of 15 updates", "c1 3x", "not-finite 3x"],
    ),
    (
        "DefenceExcludesMany",
        None,
        {"rounds": rounds(OUT, OUT, OUT)},
        "warning",
        ["15 of 30 updates", "against 2 a round", "c1 3x"],
    ),
    (
        "DefenceOutnumbered",
        None,
        {"rounds": rounds(MORE, {"judged": 0}, MORE, MORE)},
        "warning",
        ["3 of 10 updates", "holds against 2", "c3 3x"],
    ),
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.84})}, "warning", ["84.0%", "from 90.0%", "round 20"]),
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.7})}, "critical", ["70.0%"]),
    ("AccuracyDrop", BETWEEN, {"rounds": rounds({"accuracy": 0.84}, LOST)}, "warning", ["84.0%"]),
    ("TailAccuracyDrop", None, {"rounds": rounds({"tail": 0.65})}, "warning", ["tail classes", "65.0%", "80.0%"]),
    ("VersionTakenBack", None, {"rounds": rounds(FAILED)}, "warning", ["round 20", "accuracy 40.0% after 70.0%"]),
    ("VersionTakenBack", None, {"rounds": rounds({}, FAILED, FAILED)}, "warning", ["round 20", "2 rounds in a row"]),
    (
        "CertExpiring",
        None,
        {"ends": {"server": NOW + DAY, "ca": NOW + 300 * DAY}},
        "warning",
        ["the server certificate ends in 24 hours"],
    ),
    ("CertExpiring", None, {"ends": {"server": NOW - 60}}, "critical", ["ended 60 seconds ago"]),
    ("CertExpiring", None, {"ends": {"ca": NOW + 20 * DAY}}, "warning", ["the CA certificate ends in 20 days"]),
    (
        "ClientCertExpiring",
        None,
        {"client_certificates": {"c1": (NOW + DAY, 7 * DAY), "c2": (NOW + 5 * DAY, 7 * DAY)}},
        "warning",
        ["c1", "ends in 24 hours"],
    ),
    ("JournalSlow", None, {"commits_s": [0.01] * 80 + [0.4] * 20}, "warning", ["400 ms", "100 of"]),
    ("UploadResumesHigh", None, {"uploads": 20, "resumed": 8}, "warning", ["8 of 20 transfers"]),
    ("GroupVoid", None, {"rounds": rounds({**VOID, "groups": 3})}, "warning", ["1 of 3 groups of round 20", "c1, c2"]),
    ("GroupVoid", None, {"rounds": rounds(VOID)}, "critical", ["1 of 2 groups", "too few answered"]),
    (
        "ClientProved",
        None,
        {"proved": {"eve": (7, "bad-share")}},
        "critical",
        ["eve in round 7", "dealt a share that cannot be opened"],
    ),
    ("DiskFilling", None, {"free_bytes": 900 << 20}, "warning", ["900 MiB of 100 GiB", "9.0 rounds"]),
    ("DiskFilling", None, {"free_bytes": 50 << 20}, "critical", ["50 MiB of 100 GiB"]),
    ("DiskFilling", None, {"free_bytes": 2 << 30, "round_bytes": 1 << 30}, "warning", ["2 GiB", "2.0 rounds"]),
    ("ClockSkew", None, {"skews": {"c1": -90.0, "c2": 0.1, "c3": 0.2}}, "warning", ["c1", "90 seconds behind"]),
    (
        "ClockSkew",
        None,
        {"skews": {"c1": 90.0, "c2": 91.0, "c3": 92.0}},
        "warning",
        ["the server's clock seems to be 91 seconds behind", "3 of 3"],
    ),
    ("EnrolmentRefused", None, {"enrolments_refused": ["token"] * 4}, "warning", ["4 requests", "token 4x"]),
    ("RpcErrors", None, {"calls": ["OK"] * 94 + ["INTERNAL"] * 6}, "warning", ["6 of 100 calls"]),
    ("RpcErrors", None, {"calls": ["UNAVAILABLE"] * 5}, "warning", ["5 of 5 calls"]),
    ("ClientLeftOut", None, {"rounds": rounds(*[ALONE] * 7)}, "info", ["default", "c1 in 7 of its last 10 rounds"]),
    ("ClientLeftOut", None, {"rounds": rounds(*[ALONE] * 5, of=5)}, "info", ["c1 in 5 of its last 5 rounds"]),
    ("ClientLeftOut", None, {"rounds": rounds(*[TWO] * 7)}, "info", ["as many as it is meant to hold against (2)"]),
    (
        "ClientFails",
        None,
        {"rounds": rounds(FAILS, FAILS, FAILS)},
        "warning",
        ["3 rounds", "c1 (client-failed: not-fin"],
    ),
    ("ClientFails", None, {"rounds": rounds(FAILS, FAILS, NOT_ASKED, VOID_C1, FAILS)}, "warning", ["c1"]),
    ("ClientFails", None, {"rounds": rounds(*[{**FAILS, **LOST}] * 3)}, "warning", ["c1"]),
]

SILENT: list[tuple[str, HealthInputs | None, Mapping[str, Any]]] = [
    ("RoundStalled", None, {"open": CurrentRound(21, NOW - 200, NOW - 119, 60.0)}),
    ("RoundStalled", None, {"open": CurrentRound(21, NOW - 900, NOW - 290, 600.0)}),
    ("RoundStalled", BETWEEN, {"ready_since": NOW - 179}),
    ("RoundStalled", BETWEEN, {"ready_since": NOW - 9999, "paused": True}),
    ("RoundStalled", BETWEEN, {"ready_since": NOW - 9999, "finished": True}),
    ("RoundStalled", BETWEEN, {"ready_since": None, "waiting": "waiting: 0 of 4 clients", "rounds": ()}),
    ("RoundsAbandoned", None, {"rounds": rounds(LOST)}),
    ("RoundsAbandoned", None, {"rounds": rounds(LOST, LOST, LOST, {})}),
    ("RoundsAbandoned", BETWEEN, {"rounds": rounds(LOST, LOST), "started_at": NOW - 5}),
    ("RunPaused", BETWEEN, {"paused": True}),
    ("RunPaused", BETWEEN, {"paused": True, "rounds": rounds(LOST)}),  # an operator who looks into it
    ("RunPaused", BETWEEN, {"paused": True, "rounds": (), "started_at": NOW - 3599}),
    ("RunPaused", None, {"paused": True, "now": NOW + 2 * 3600}),  # the open round is let end
    ("ParticipationLow", None, {"rounds": rounds(MISSING, MISSING)}),
    ("ParticipationLow", None, {"rounds": rounds(*[{"dropped": ("a", "b", "c", "d")}] * 3)}),
    ("ParticipationLow", None, {"rounds": rounds(*[{"asked": 15, "dropped": ("a", "b", "c", "d", "e")}] * 3)}),
    ("ParticipationLow", BETWEEN, {"waiting": "waiting", "waiting_since": NOW - 9999, "rounds": ()}),
    ("ParticipationLow", BETWEEN, {"waiting": "waiting", "waiting_since": NOW - 179}),
    ("ParticipationLow", BETWEEN, {"waiting": "waiting", "waiting_since": NOW - 9999, "paused": True}),
    ("ParticipationLow", None, {"rounds": rounds(MISSING, MISSING, MISSING), "started_at": NOW - 59}),
    ("RejectionSpike", None, {"received": 0, "refused": [("c1", "size")] * 4}),
    ("RejectionSpike", None, {"received": 20, "refused": [("c1", "size")] * 5}),
    ("DefenceExcludesMany", None, {"rounds": rounds(OUT, OUT)}),
    ("DefenceExcludesMany", None, {"rounds": rounds(OUT, {}, OUT)}),
    ("DefenceExcludesMany", None, {"rounds": rounds(*[{**OUT, "rule": "krum"}] * 3)}),
    ("DefenceExcludesMany", None, {"rounds": rounds(*[{**OUT, "rule": "bulyan", "tolerated": 3}] * 3)}),
    ("DefenceOutnumbered", None, {"rounds": rounds(MORE, MORE)}),
    ("DefenceOutnumbered", None, {"rounds": rounds(MORE, {}, MORE, MORE)}),
    ("DefenceOutnumbered", None, {"rounds": rounds(*[{**MORE, "tolerated": 3}] * 3)}),
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.851})}),
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.8}, of=3)}),
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.8, "examples": 64})}),  # chance
    ("AccuracyDrop", None, {"rounds": rounds({"accuracy": 0.5, "cluster": "1"})}),
    ("AccuracyDrop", None, {"rounds": [past(n, accuracy=None) for n in range(1, 9)]}),
    ("TailAccuracyDrop", None, {"rounds": rounds({"tail": 0.71})}),
    ("TailAccuracyDrop", None, {"rounds": rounds({"tail": 0.5, "examples": 100})}),
    ("VersionTakenBack", None, {"rounds": rounds(FAILED, {})}),
    ("VersionTakenBack", None, {"rounds": rounds({"outcome": "abandoned", "reason": "deadline"})}),
    ("CertExpiring", None, {"ends": {"server": NOW + 1.41 * DAY, "ca": NOW + 31 * DAY}}),
    ("CertExpiring", None, {"life_s": 2 * DAY, "ends": {"server": NOW + 0.41 * DAY}}),
    ("ClientCertExpiring", None, {"client_certificates": {"c1": (NOW + 1.41 * DAY, 7 * DAY)}}),
    (
        "ClientCertExpiring",
        None,
        {"client_certificates": {"c1": (NOW + 1.41 * DAY, 7 * DAY)}, "life_s": 90 * DAY},
    ),
    ("JournalSlow", None, {"commits_s": [0.01] * 91 + [9.0] * 9}),
    ("JournalSlow", None, {"commits_s": [9.0] * 9}),
    ("UploadResumesHigh", None, {"uploads": 4, "resumed": 4}),
    ("UploadResumesHigh", None, {"uploads": 20, "resumed": 6}),
    ("GroupVoid", None, {"rounds": rounds(VOID, {})}),
    ("ClientProved", None, {"here": NAMES - {"c1"}}),
    ("DiskFilling", None, {"free_bytes": 1 << 30, "round_bytes": 300 << 20}),
    ("DiskFilling", None, {"free_bytes": 0, "total_bytes": 0}),
    ("ClockSkew", None, {"skews": {"c1": 30.0, "c2": -30.0}}),
    ("EnrolmentRefused", None, {"enrolments_refused": ["token"] * 2}),
    ("RpcErrors", None, {"calls": ["OK"] * 95 + ["INTERNAL"] * 5}),
    ("RpcErrors", None, {"calls": ["INTERNAL"] * 4}),
    ("RpcErrors", None, {"calls": ["CANCELLED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"] * 9}),
    ("ClientLeftOut", None, {"rounds": rounds(*[ALONE] * 6)}),
    ("ClientLeftOut", None, {"rounds": rounds(*[ALONE] * 4, of=4)}),
    ("ClientLeftOut", None, {"rounds": rounds(*[{**ALONE, "rule": "krum"}] * 10)}),
    ("ClientLeftOut", None, {"rounds": rounds(*[ALONE] * 10), "here": NAMES - {"c1"}}),
    ("ClientFails", None, {"rounds": rounds(FAILS, FAILS)}),
    ("ClientFails", None, {"rounds": rounds(FAILS, FAILS, {}, FAILS)}),
    ("ClientFails", None, {"rounds": rounds(FAILS, FAILS, NO_MEMORY)}),
    ("ClientFails", None, {"rounds": rounds(FAILS, FAILS, FAILS), "here": NAMES - {"c1"}}),
    ("ClientFails", None, {"rounds": rounds(*[VOID_C1] * 3)}),
    ("ClientFails", None, {"rounds": rounds(*[AWAY] * 3)}),
    ("ClientFails", None, {"rounds": rounds(*[LAPTOP] * 3)}),
    ("ClientFails", None, {"rounds": rounds(*[ALONE] * 3)}),  # the defence's
]


def inputs(base: HealthInputs | None, changes: Mapping[str, Any]) -> HealthInputs:
    return changed(base or HEALTHY, changes)


@pytest.mark.parametrize(
    ("rule", "words"),
    [("default", "others, roughfed vouch c1 spares it"), ("flame", 'defence.rule = "default" with roughfed vouch')],
)
def test_to_spare_a_client_is_advised_as_the_rule_allows_it(rule: str, words: str) -> None:
    changes = {"rounds": rounds(*[{**ALONE, "rule": rule}] * 10)}
    (found,) = [each for each in ActiveAlerts().judge(inputs(None, changes)) if each["name"] == "ClientLeftOut"]
    assert words in found["cure"]


@pytest.mark.parametrize(("name", "base", "changes", "severity", "words"), FIRES)
def test_an_alert_fires_alone_and_says_who_what_and_what_to_do(
    name: str, base: HealthInputs | None, changes: Mapping[str, Any], severity: str, words: Sequence[str]
) -> None:
    (found,) = [each for each in ActiveAlerts().judge(inputs(base, changes)) if each["name"] == name]
    assert found["severity"] == severity
    for each in words:
        assert each in found["text"]
    assert found["cure"]
    assert found["since"] == inputs(base, changes).now
    assert not found["text"].endswith(".")


@pytest.mark.parametrize(("name", "base", "changes"), SILENT)
def test_it_is_silent_at_its_bound_and_on_what_is_no_fault(
    name: str, base: HealthInputs | None, changes: Mapping[str, Any]
) -> None:
    assert name not in [each["name"] for each in ActiveAlerts().judge(inputs(base, changes))]


@pytest.mark.parametrize(
    "well",
    [
        HEALTHY,
        BETWEEN,
        HealthInputs(NOW, started_at=NOW),
        HealthInputs(NOW, started_at=NOW, waiting="waiting: 0 of 4 clients", waiting_since=NOW - 9999),
        inputs(BETWEEN, {"paused": True, "waiting_since": NOW - 600, "waiting": "waiting: 0 of 4 clients"}),
        inputs(BETWEEN, {"started_at": NOW - 1, "waiting_since": NOW - 1, "waiting": "waiting: 0 of 4 clients"}),
        inputs(BETWEEN, {"finished": True, "rounds": rounds(LOST, LOST, LOST, {**LOST, **VOID, **OUT})}),
    ],
    ids=["in a round", "between two", "just started", "waits at the start", "paused", "restarted", "over"],
)
def test_nothing_is_wrong_with_a_healthy_server(well: HealthInputs) -> None:
    assert ActiveAlerts().judge(well) == []


def test_the_server_pauses_the_run_after_as_many_as_the_alert_says() -> None:
    assert PAUSES == LOST_ROUNDS


def test_what_a_client_calls_its_error_does_not_reach_the_terminal_as_it_is() -> None:
    said = {"excluded": {"c1": "client-failed: \x1b[2J\nall is well"}, "accepted": NAMES - {"c1"}}
    (found,) = ActiveAlerts().judge(inputs(None, {"rounds": rounds(*[said] * 3)}))
    assert "c1 (client-failed: ?[2J?all is well)" in found["text"]


def test_who_sits_out_for_its_own_reasons_does_not_fail() -> None:
    assert set(SITS_OUT) == set(job_runner.SITS_OUT)


def test_every_row_has_a_case_of_each_kind() -> None:
    assert {case[0] for case in FIRES} == set(ALERTS) == {case[0] for case in SILENT}
    assert {rule.severity for rule in ALERTS.values()} <= set(SEVERITIES)


HOLDS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "ParticipationLow": (
        {"rounds": rounds(*[MISSING] * 3)},
        {"rounds": rounds(*[{"dropped": ("a", "b", "c")}] * 3)},
        {"rounds": rounds(*[{"dropped": ("a", "b")}] * 3)},
    ),
    "DefenceOutnumbered": (
        {"rounds": rounds(MORE, MORE, MORE)},
        {"rounds": rounds(MORE, MORE, MORE, {}, {})},
        {"rounds": rounds(MORE, {}, {}, {})},
    ),
    "AccuracyDrop": (
        {"rounds": rounds({"accuracy": 0.84})},
        {"rounds": rounds({"accuracy": 0.86})},
        {"rounds": rounds({"accuracy": 0.88})},
    ),
    "JournalSlow": ({"commits_s": [0.3] * 20}, {"commits_s": [0.2] * 20}, {"commits_s": [0.1] * 20}),
    "DiskFilling": ({"free_bytes": 1000 << 20}, {"free_bytes": 1200 << 20}, {"free_bytes": 1300 << 20}),
    "ClockSkew": ({"skews": {"c1": 31.0}}, {"skews": {"c1": 25.0}}, {"skews": {"c1": 20.0}}),
    "GroupVoid": ({"rounds": rounds(VOID)}, {"rounds": rounds(VOID, {})}, {"rounds": rounds(VOID, {}, {})}),
    "RpcErrors": (
        {"calls": ["OK"] * 9 + ["INTERNAL"] * 6},
        {"calls": ["OK"] * 9 + ["INTERNAL"]},
        {"calls": ["OK"] * 49 + ["INTERNAL"]},
    ),
    "ClientLeftOut": (
        {"rounds": rounds(*[ALONE] * 7)},
        {"rounds": rounds(*[ALONE] * 5)},
        {"rounds": rounds(*[ALONE] * 4)},
    ),
    "EnrolmentRefused": (
        {"enrolments_refused": ["token"] * 3},
        {"enrolments_refused": ["token"]},
        {"enrolments_refused": []},
    ),
}


@pytest.mark.parametrize("name", HOLDS)
def test_one_that_stands_asks_for_more_before_it_goes(name: str) -> None:
    fires, between, calm = (inputs(None, changes) for changes in HOLDS[name])

    def standing(alerts: ActiveAlerts, given: HealthInputs, later: float) -> list[float]:
        moved = dataclasses.replace(given, now=NOW + later)
        return [each["since"] for each in alerts.judge(moved) if each["name"] == name]

    alerts = ActiveAlerts()
    assert standing(alerts, between, 0) == []
    assert standing(alerts, fires, 1) == [NOW + 1]
    assert standing(alerts, between, 2) == [NOW + 1]
    assert standing(alerts, calm, 3) == []
    assert standing(alerts, between, 4) == []


def test_a_rule_that_fails_hides_no_other() -> None:
    def broken(_: HealthInputs, stands: bool) -> None:
        raise ZeroDivisionError(stands)

    table = {"Broken": AlertRule("critical", "never", broken), **ALERTS}
    (found,) = ActiveAlerts(table).judge(inputs(BETWEEN, {"ready_since": NOW - 180}))
    assert found["name"] == "RoundStalled"


def test_the_worst_come_first_then_the_oldest() -> None:
    alerts = ActiveAlerts()
    alerts.judge(inputs(None, {"skews": {"c1": 90.0}}))
    found = alerts.judge(inputs(None, {"now": NOW + 1, "skews": {"c1": 90.0}, "free_bytes": 0, "resumed": 190}))
    assert [each["name"] for each in found] == ["DiskFilling", "ClockSkew", "UploadResumesHigh"]


def test_many_names_are_counted_not_listed() -> None:
    (found,) = ActiveAlerts().judge(inputs(None, {"client_certificates": {f"c{i}": (NOW, DAY) for i in range(99)}}))
    assert "and 94 more" in found["text"]
    assert len(found["text"]) < 200


def test_every_command_of_a_cure_exists_with_its_flags() -> None:
    commands = {str(each.name): each for each in cli.build().registered_commands}
    said = [found["cure"] for _, base, changes, *_ in FIRES for found in ActiveAlerts().judge(inputs(base, changes))]
    named = [words for cure in said for words in re.findall(r"roughfed (\w+)((?: --\w+)*)", cure)]
    assert len({command for command, _ in named}) > 8
    for command, flags in named:
        known = inspect.signature(commands[command].callback).parameters  # pyright: ignore[reportArgumentType]
        assert {flag.removeprefix("--") for flag in flags.split()} <= set(known), (command, flags)
