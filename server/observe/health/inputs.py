"""What alerts are judged by: plain figures of a server at one moment. `reading.py` takes them, tests plant them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from roughfed.server.storage.store import Store


@dataclass(frozen=True, slots=True)
class CurrentRound:
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
class DefenceOutcome:
    """What the defence did in a round.

    Attributes:
        rule: empty where it was not asked.
        judged: rows that it saw.
        tolerated: attackers that it was to hold against, f.
        left_out: rows that it left out: name -> reason.
        suspects: rows that were suspicious, left out or not.
    """

    rule: str = ""
    judged: int = 0
    tolerated: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    suspects: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ModelAccuracy:
    """What was measured of the version that a round made, 0..1; None where not known.

    Attributes:
        examples: that it was measured on.
        accuracy: over all of them.
        balanced: mean recall over classes.
        tail: mean recall of the classes with fewest training examples.
        worst: lowest recall of a class.
    """

    examples: int = 0
    accuracy: float | None = None
    balanced: float | None = None
    tail: float | None = None
    worst: float | None = None


@dataclass(frozen=True, slots=True)
class PastRound:
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
        gone: those of them whose connection had ended.
        excluded: those whose update is not in the sum, or who refused or failed their job: client -> reason.
        defence: what it did.
        groups: of a masked round.
        void: groups without a sum: (members, why).
        seconds: wall time.
        upload_bytes: from all clients together.
        download_bytes: to all clients together.
        model: what was measured of it.
    """

    number: int
    outcome: str = "committed"
    reason: str = ""
    closed_at: float = 0.0
    cluster: str = "0"
    goal: int = 0
    asked: int = 0
    accepted: Set[str] = frozenset()
    dropped: Sequence[str] = ()
    gone: Sequence[str] = ()
    excluded: Mapping[str, str] = field(default_factory=dict[str, str])
    defence: DefenceOutcome = DefenceOutcome()
    groups: int = 0
    void: Sequence[tuple[Sequence[str], str]] = ()
    seconds: float = 0.0
    upload_bytes: int = 0
    download_bytes: int = 0
    model: ModelAccuracy = ModelAccuracy()


@dataclass(frozen=True, slots=True)
class RecentCounts:
    """What happened in the last minutes (`roughfed.server.trace.recent`).

    Attributes:
        commits_s: seconds of each of the journal's commits.
        received: updates that came in whole.
        refused: updates refused for good: (client, reason).
        uploads: uploads and downloads begun.
        resumed: of those, that went on from the middle.
        enrolments_refused: requests at the enrolment port that were refused: why.
        calls: gRPC status of each call that ended.
    """

    commits_s: Sequence[float] = ()
    received: int = 0
    refused: Sequence[tuple[str, str]] = ()
    uploads: int = 0
    resumed: int = 0
    enrolments_refused: Sequence[str] = ()
    calls: Sequence[str] = ()


@dataclass
class Certificates:
    """Those of the server and of its CA.

    Attributes:
        life_s: how long the server's is valid in all, seconds.
        ends: role ("server", "ca") -> when it ends (Unix seconds).
    """

    life_s: float
    ends: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk of the state directory."""

    free_bytes: int = 0
    total_bytes: int = 0
    journal_bytes: int = 0
    blob_bytes: int = 0

    @staticmethod
    def of(store: Store) -> Disk:
        """Look now; it reads the folder. Zeros where the system does not tell."""
        try:
            usage = shutil.disk_usage(store.folder)
            return Disk(usage.free, usage.total, **store.sizes())
        except OSError:
            return Disk()


@dataclass(frozen=True, slots=True)
class HealthInputs:
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
        here: connected clients that may be asked.
        proved: quarantined clients that are proved liars: client -> (round, reason).
        certificates: of the server and its CA.
        client_certificates: connected client -> (end, Unix seconds; life, seconds).
        skews: connected client -> its clock minus the server's, seconds.
        recent: events of the last minutes.
        disk: of the state directory.
        round_bytes: that a round may write.
    """

    now: float
    started_at: float = 0.0
    finished: bool = False
    paused: bool = False
    ready_since: float | None = None
    waiting: str = ""
    waiting_since: float | None = None
    open: CurrentRound | None = None
    rounds: Sequence[PastRound] = ()
    here: Set[str] = frozenset()
    proved: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    certificates: Certificates = field(default_factory=lambda: Certificates(7 * 86400.0))
    client_certificates: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    skews: Mapping[str, float] = field(default_factory=dict[str, float])
    recent: RecentCounts = RecentCounts()
    disk: Disk = Disk()
    round_bytes: int = 0
