"""The parts that make a running server, wired together once; no logic of a round lives here.

`Federation` is what `round.py` and `rpc.py` work on: each field is one room's object. It also hears what happens
outside a round (a client came, an update arrived) and wakes the round engine.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from roughfed.adapters import Base
from roughfed.config.federation import FederationConfig
from roughfed.crypto.identity import IdentityKey
from roughfed.errors import RoughfedError
from roughfed.messages import RENEW, EvaluationReport, Finished, JobUpdate, Leave, Reconnect, RoundClosed
from roughfed.rng import derive
from roughfed.server.above import Above, Order, Withdrawn
from roughfed.server.callers import Callers
from roughfed.server.classes import seat_of
from roughfed.server.clock import RoundClock
from roughfed.server.clusters.choosing import Choosing
from roughfed.server.clusters.first import Drawing
from roughfed.server.clusters.keeping import Clusters
from roughfed.server.collect import Collection
from roughfed.server.contribution.book import Contributions
from roughfed.server.defence import Verdict
from roughfed.server.defending import Defence
from roughfed.server.downlink import base_digest
from roughfed.server.extras import Extras
from roughfed.server.gate import Gate
from roughfed.server.habits import Habits
from roughfed.server.health.recent import Recent
from roughfed.server.health.standing import Health
from roughfed.server.held import tell
from roughfed.server.incentive.watching import Riders
from roughfed.server.intake import Intake
from roughfed.server.journaled import Journaled
from roughfed.server.ledger import Ledger
from roughfed.server.listing import Listing, unlisted
from roughfed.server.masked.journal import Stages
from roughfed.server.masked.outcome import Result
from roughfed.server.masked.stages import MaskedRound
from roughfed.server.membership import Members, Session
from roughfed.server.metrics import ServerMetrics
from roughfed.server.peaks import Peaks
from roughfed.server.rolled_back import barred
from roughfed.server.stopwatch import Stopwatch
from roughfed.server.store import ABSENT, ACCEPTED, ReceivedUpdate, RoundRow, Store
from roughfed.server.trace.recorder import Tracer
from roughfed.server.verdicts import Exclusions
from roughfed.server.workers import Worker
from roughfed.types import Job, Spec
from roughfed.wire.session import decode_header

IN_TIME = 0.9
"""Share of what is left of a round above within which a round here ends: the sum has a way to go."""


@dataclass
class Traffic:
    """Payload bytes of the current round, all clients together."""

    upload: int = 0
    download: int = 0


@dataclass
class Federation:
    """Everything one server process holds."""

    config: FederationConfig
    store: Store
    key: IdentityKey
    name: str
    member: bytes
    metrics: ServerMetrics
    executor: ThreadPoolExecutor
    run: str
    spec: Spec
    worker: Worker | None = None
    entropy: Callable[[int], bytes] = os.urandom
    on_drain: Callable[[], Awaitable[None]] | None = None
    cut: Callable[[str], None] | None = None
    rotate: Callable[[], Awaitable[dict[str, Any]]] | None = None
    """Gets the server new keys and a new certificate at once."""
    certificates: dict[str, float] = field(default_factory=dict[str, float])
    """Role ("server", "ca") -> when its certificate ends (Unix seconds)."""
    traffic: Traffic = field(default_factory=Traffic)
    work: Stopwatch = field(default_factory=Stopwatch)
    """Where the seconds of the current round go."""
    phase: str = "waiting"
    phase_seconds: dict[str, float] = field(default_factory=dict[str, float])
    paused: bool = False
    stopping: bool = False
    row: RoundRow | None = None
    collection: Collection | None = None
    ca_certificate: bytes = b""
    external: str = ""
    """This federation, where the CA is somebody else's (`roughfed.server.papers.Papers`)."""
    num_classes: int = 0
    base: Base | None = None
    """What of the model nobody trains and nobody sends."""
    masked: MaskedRound | None = None
    result: Result | None = None
    verdict: Verdict | None = None
    extras: Extras = field(default_factory=Extras)
    contributions: Contributions = field(default_factory=Contributions)
    warmed: bool = False
    quarantined: dict[str, str] = field(default_factory=dict[str, str])
    """Clients that are not asked any more, and why: proved liars, and those who were silent too often."""
    open_members: dict[str, bytes] = field(default_factory=dict[str, bytes])
    open_classes: dict[str, str] = field(default_factory=dict[str, str])
    """Client -> the class of clients as which it takes part in the open round; as it said at hello."""
    few: dict[str, str] = field(default_factory=dict[str, str])
    """Class -> why it takes no part in the open round."""
    final_evaluations: dict[str, EvaluationReport] = field(default_factory=dict[str, EvaluationReport])
    identity_keys: dict[str, bytes] = field(default_factory=dict[str, bytes])
    started_at: float = field(default_factory=time.time)

    habits: Habits = field(default_factory=Habits)
    lates: dict[str, int] = field(default_factory=dict[str, int])
    callers: Callers = field(default_factory=Callers)
    wishes: set[str] = field(default_factory=set[str])
    """Clients that are away and will be asked for a new key when they are back."""
    farewell: Finished | None = None
    away: dict[str, float] = field(default_factory=dict[str, float])
    """Clients that took their leave -> when they will be back (Unix seconds)."""
    told: set[str] = field(default_factory=set[str])
    """Clients that took the farewell."""
    choosing: Choosing | None = None
    """The question to the clients that is open: which cluster's model fits them best."""
    declined: set[str] = field(default_factory=set[str])
    """Who does not answer it."""
    draw: Drawing | None = None
    recent: Recent = field(default_factory=Recent)
    above: Above | None = None
    """At an edge: the federation above, which gives each round its model and takes its sum."""
    order: Order | None = None
    """What the open round is for, there."""
    clock: RoundClock = field(default_factory=RoundClock)

    def __post_init__(self) -> None:
        """Make the parts that need to call back."""
        self.members = Members(self._on_change)
        self.intake = Intake(self.store, self.key, self.executor, self, self.work)
        self.uploading, self.downloading = Gate(self.config.server.transfers), Gate(self.config.server.transfers)
        self.stages = Stages(self.store.journal, entropy=self.entropy)
        self.quarantined = self.stages.quarantined()
        self.defence = Defence.of(self.config, self.store.journal, entropy=self.entropy)
        self.exclusions = Exclusions(self.store)
        self.riders = Riders(self.store.journal)
        self.ledger = Ledger(self.store, self.key, run=self.run, server=self.name)
        self.peaks = Peaks(self.store)
        self.clusters = Clusters(self.config, self.store, self.able_names)
        self.health, self.journaled = Health(self), Journaled(self)
        self.listing = Listing(self.store.journal)
        self.trace = Tracer(self.run, self.store.folder, self.executor, keep=self.config.metrics.traces)
        self._wake = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()
        self._phase_began = time.monotonic()

    # -- events -------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed: let the round engine and the watchers look."""
        self._wake.set()
        self.changed()

    async def sleep_until_change(self, until: float | None = None) -> None:
        """Return at the next change, or at `until` (by the clock of rounds)."""
        await self.clock.wait(self._wake, until)
        self._wake.clear()

    def changed(self) -> None:
        """Something that only watchers care about changed (a client's progress)."""
        for watcher in self._watchers:
            watcher.set()

    def watch(self) -> asyncio.Event:
        """An event that is set at every change (for `status --watch`); give it back with `unwatch`."""
        event = asyncio.Event()
        self._watchers.add(event)
        return event

    def unwatch(self, event: asyncio.Event) -> None:
        """Stop watching."""
        self._watchers.discard(event)

    def enter(self, phase: str) -> None:
        """Note the phase of the round and the seconds of the one before."""
        now = time.monotonic()
        spent = self.phase_seconds.get(self.phase, 0.0) + now - self._phase_began
        self.phase_seconds[self.phase] = spent
        self.metrics.phase(phase)
        self.trace.phase(phase)
        self.phase, self._phase_began = phase, now
        self.wake()

    def phases(self) -> dict[str, float]:
        """Seconds of each phase of the round so far, of the one that goes on as well."""
        spent = self.phase_seconds.get(self.phase, 0.0) + time.monotonic() - self._phase_began
        return {**self.phase_seconds, self.phase: spent}

    def able_names(self) -> set[str]:
        """Who could be asked now."""
        return set(self.members.names()) - self.quarantined.keys() - self.members.revoked

    def _on_change(self, name: str, connected: bool) -> None:
        session = self.members.get(name)
        if not connected:
            self.health.seen.left(name)
            self.trace.client(name, "gone")
        if connected and session is not None:
            self.away.pop(name, None)
            self.identity_keys[name] = session.identity_key
            self._greet(name, session)
            if (row := self.store.last_part(name)) is not None and row.outcome is not None:
                session.send(self.closed(row, name))  # it may have been away then, and has what waits for the verdict
            if self.farewell is not None:
                session.send(self.clusters.farewell(self.farewell, name))
        if (collection := self.collection) is not None and name in collection.members:
            if connected and session is not None:
                collection.back(name)
                self.offer(name, session, collection)
            else:
                collection.lost([name], self.clock())
        self.metrics.clients(self.client_states())
        self.wake()

    def _greet(self, name: str, session: Session) -> None:
        """What waited for a client while it was away."""
        if name in self.quarantined:
            tell(self, name)
        if name in self.wishes:
            self.wishes.discard(name)
            session.send(Reconnect(0.0, RENEW))

    def client_states(self) -> dict[str, int]:
        """Number of connected clients, of those in each phase that they reported, and of those nobody waits for."""
        sessions, now = self.members.all(), time.time()
        away = sum(until > now and self.members.get(name) is None for name, until in self.away.items())
        known = {"connected": len(sessions), "away": away, "quarantined": len(self.quarantined)}
        return {**Counter(s.phase for s in sessions), **known}  # a phase is what a client says

    def offer(self, name: str, session: Session, collection: Collection) -> None:
        """A member of the cohort is back: it may upload, and gets its job if it still owes an update."""
        if barred(self, session, collection) or unlisted(self, session, collection):
            return
        self.open_members[name] = session.identity_key
        if self.row is not None and (place := seat_of(self.config, self.row, session.hello)) is not None:
            said = None if self.masked is None else self.masked.client_class_of(name)
            self.open_classes[name] = place if said is None else said
        if self.row is None or self.row.sets is not None or name not in self.open_classes:
            return
        left = max(0.0, collection.deadline - self.clock())
        if (masked := self.masked) is None:
            if name in collection.pending():
                session.send(self.job(self.row, name, seconds_left=left))
        elif name in masked.seats or "roster" not in masked.done:  # the job is the header that all else is bound to
            session.send(self.job(self.row, name, seconds_left=left))
            for message in masked.sent.get(name, ()):
                session.send(message)

    # -- what rpc.py and the intake report ----------------------------------------------------------------------------

    def received(self, update: ReceivedUpdate) -> None:
        """A receipt is journaled (Listener of the intake)."""
        self.metrics.update("accepted", client=update.receipt.client)
        self.recent.received.note(update.receipt.client)
        self.trace.moment(update.receipt.client, "receipt", bytes=update.receipt.size_bytes)
        if self.collection is not None:
            self.collection.receive(update.receipt.client, self.clock())
        self.wake()

    def refused(self, client: str, error: RoughfedError) -> None:
        """An update was refused for good (Listener of the intake)."""
        self.recent.refused.note((client, error.reason))
        self.trace.moment(client, f"refused: {error.reason}")
        if self.collection is not None:
            self.collection.refuse(client, error.reason)
        self.wake()

    def job_update(self, session: Session, update: JobUpdate) -> None:
        """A client's word on its job."""
        row, collection = self.row, self.collection
        if row is None or collection is None or update.round != row.round:
            self.metrics.refused("stale")
            return
        if update.state == "accepted":
            return
        if self.masked is not None:
            self.masked.out.add(session.name)
        collection.refuse(session.name, f"client-{update.state}: {update.reason}"[:100])
        self.metrics.dropout("report", "trainer" if update.state == "failed" else "refused")
        self.wake()

    def leave(self, session: Session, message: Leave) -> None:
        """A client goes, and says when it will be back: nobody waits for it."""
        self.away[session.name] = time.time() + message.back_after_s
        if (collection := self.collection) is not None:
            collection.refuse(session.name, f"client-away: {message.reason}"[:100])
        if self.masked is not None:
            self.masked.out.add(session.name)

    def evaluation(self, session: Session, report: EvaluationReport) -> None:
        """An evaluation without training arrived."""
        self.final_evaluations[session.name] = report
        self.wake()

    async def admit(self, client: str, certificate: bytes) -> None:
        """Turn away the revoked, and certificates that others have taken the place of (`Callers.check`).

        Raises:
            IdentityError: reason "revoked" or "outdated".
        """
        self.members.check(client)
        await self.callers.check(client, certificate)
        self.health.seen.certificate(client, certificate)

    def revoke(self, client: str) -> None:
        """Refuse a client from now on and cut its stream; the round does not wait for it."""
        self.callers.forget(client)
        if self.cut is not None:
            self.cut(client)
        self.members.revoke(client)
        self.metrics.forget(client)
        self.health.seen.forget(client)
        if (collection := self.collection) is not None:
            if client in collection.pending():
                self.metrics.dropout("report", "revoked")
            collection.refuse(client, "revoked")
        if self.masked is not None:
            self.masked.out.add(client)
        self.wake()

    # -- what is sent -------------------------------------------------------------------------------------------------

    def job(self, row: RoundRow, client: str, *, seconds_left: float, train: bool = True) -> Job:
        """The job of one client in a round."""
        return Job(
            header=row.header,
            trainer=self.trainer_settings(),
            seed=derive(self.config.federation.seed, "client", client, row.round),
            evaluate=self.evaluates(self.clusters.place(row.round, row.cluster), train=train),
            train=train,
            model_bytes=self.spec.size_bytes,
            seconds_left=seconds_left,
            base_digest=base_digest(self.store, decode_header(row.header.body).model_version),
            facts=row.facts,
        )

    def closed(self, row: RoundRow, client: str) -> RoundClosed:
        """How a round ended for one client."""
        head = self.store.lineage.head(row.cluster)
        reason = (row.sets or {}).get(client, "absent")
        verdict = "accepted" if reason == ACCEPTED else "late" if reason in ABSENT else "excluded"
        return RoundClosed(row.round, str(row.outcome), head.version, head.digest, verdict, reason)

    def in_time(self, seconds: float, *, share: float = IN_TIME) -> float:
        """These seconds; at an edge no more than a share of what is left of the round above."""
        if self.order is None:
            return seconds
        return max(0.0, min(seconds, share * (self.order.until - self.clock())))

    def check_order(self) -> None:
        """At an edge: is the sum of the open round still wanted?

        Raises:
            Withdrawn: no.
        """
        if self.above is not None and self.order is not None and self.above.wanted() is not self.order:
            raise Withdrawn(f"round {self.order.round} of {self.order.run} went on without this edge")

    def evaluates(self, number: int, *, train: bool = True) -> bool:
        """Whether the clients of a cluster's n-th round evaluate its base model."""
        every = self.config.round.evaluate_every
        return not train or (every > 0 and (number - 1) % every == 0)

    def trainer_settings(self) -> Mapping[str, object]:
        """The learning settings that every client gets."""
        return self.config.trainer.model_dump()
