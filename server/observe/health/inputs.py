"""What alerts are judged by: plain figures of a server at one moment. `reading.py` takes them, tests plant them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Open:
    """The round that is open.

    Attributes:
        number: of the round.
        opened_at: Unix seconds.
        deadline_at: Unix seconds; after a restart, that of the time it began anew.
        deadline_s: time that it may take.
    """

    number: int
    opened_at: float
    deadline_at: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Past:
    """A round that is over.

    Attributes:
        number: of the round.
        outcome: "committed" or "abandoned".
        reason: why it was abandoned.
        closed_at: Unix seconds.
        cluster: whose round it was.
        goal: updates that were wanted.
        asked: clients of the cohort.
        accepted: clients whose update is in the sum.
        dropped: those that sent none in time.
        excluded: those whose update is not in the sum, or who refused their job: client -> reason.
        rule: of the defence; empty where it was not asked.
        judged: rows that it saw.
        tolerated: attackers that it was to hold against, f.
        left_out: rows that it left out: name -> reason.
        groups: of a masked round.
        void: groups without a sum: (members, why).
        seconds: wall time.
        upload_bytes: from all clients together.
        download_bytes: to all clients together.
        examples: that the accuracies were measured on.
        accuracy: of the version it made, 0..1; the others likewise, None where not known.
        balanced: mean recall over classes.
        tail: mean recall of the classes with fewest training examples.
        worst: lowest recall of a class.
    """

    number: int
    outcome: str = "committed"
    reason: str = ""
    closed_at: float = 0.0
    cluster: str = "0"
    goal: int = 0
    asked: int = 0
    accepted: int = 0
    dropped: Sequence[str] = ()
    excluded: Mapping[str, str] = field(default_factory=dict[str, str])
    rule: str = ""
    judged: int = 0
    tolerated: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    groups: int = 0
    void: Sequence[tuple[Sequence[str], str]] = ()
    seconds: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    examples: int = 0
    accuracy: float | None = None
    balanced: float | None = None
    tail: float | None = None
    worst: float | None = None


@dataclass(frozen=True, slots=True)
class Signs:
    """A server at one moment. What is not known is empty.

    Attributes:
        now: Unix seconds.
        started_at: when this process started.
        finished: whether the run is over, or the server is about to end.
        paused: whether new rounds are held back.
        ready_since: since when nothing but the server itself keeps the next round from being opened; None: something
            does, or a round is open.
        waiting: for whom the server waits, in words; empty: for nobody.
        waiting_since: since when; None also while enough of them are away until an hour that they named.
        open: the round that is open.
        rounds: the last ones that are over, oldest first.
        quarantined: clients that are not asked any more, and why.
        proved: of those, the proved liars: client -> (round, reason).
        certificates: role ("server", "ca") -> end, Unix seconds.
        certificate_s: life of the server's certificate, seconds.
        client_certificates: connected client -> (end, Unix seconds; life, seconds).
        skews: connected client -> its clock minus the server's, seconds.
        commits_s: seconds of each of the journal's last commits, of the last minutes.
        received: updates that came in whole, in the last minutes.
        refused: updates refused for good, in the last minutes: (client, reason).
        uploads: uploads and downloads begun in the last minutes.
        resumed: of those, that went on from the middle.
        enrolments_refused: requests at the enrolment port that were refused, in the last minutes: why.
        disk_free: bytes.
        disk_total: bytes.
        round_bytes: that a round may write.
    """

    now: float
    started_at: float = 0.0
    finished: bool = False
    paused: bool = False
    ready_since: float | None = None
    waiting: str = ""
    waiting_since: float | None = None
    open: Open | None = None
    rounds: Sequence[Past] = ()
    quarantined: Mapping[str, str] = field(default_factory=dict[str, str])
    proved: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    certificates: Mapping[str, float] = field(default_factory=dict[str, float])
    certificate_s: float = 7 * 86400.0
    client_certificates: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    skews: Mapping[str, float] = field(default_factory=dict[str, float])
    commits_s: Sequence[float] = ()
    received: int = 0
    refused: Sequence[tuple[str, str]] = ()
    uploads: int = 0
    resumed: int = 0
    enrolments_refused: Sequence[str] = ()
    disk_free: int = 0
    disk_total: int = 0
    round_bytes: int = 0
