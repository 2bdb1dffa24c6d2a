"""The client agent: keeps one connection to the server, does one job at a time, and comes back after every fault.

It retries for ever, with full jitter, on everything that may pass (no server, a broken stream), and stops at once on a
refusal (revoked, wrong model, a policy of this client): then trying again would only be noise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from roughfed import __version__
from roughfed.child import Description
from roughfed.client import enrolled
from roughfed.client.choosing import Chooser
from roughfed.client.diagnose import diagnose
from roughfed.client.disclosed_round import tell_metrics
from roughfed.client.disclosure import check_run
from roughfed.client.disclosure_ledger import ledger_of
from roughfed.client.enrolled import Enrolled
from roughfed.client.held import is_held
from roughfed.client.hours import REASONS, WINDOW, Hours
from roughfed.client.limits import Settings
from roughfed.client.machine import Watcher
from roughfed.client.metrics import ClientMetrics
from roughfed.client.mode import Mode
from roughfed.client.own_secret import mixed_seed, own_secret
from roughfed.client.policy import Rules
from roughfed.client.renewal import Renewal
from roughfed.client.returning import AfterRuns, after_faults, when_asked
from roughfed.client.rpc import Connection
from roughfed.client.rules import CODECS, check_app, check_welcome, job_number, used_up
from roughfed.client.session import Membership, take_part
from roughfed.client.settled import settle
from roughfed.client.setup import Setup
from roughfed.client.store import ClientStore
from roughfed.crypto import certificates
from roughfed.errors import IdentityError, ModeRefused, RoughfedError, StaleRound, TrainerError, Unreachable
from roughfed.messages import (
    PROTOCOL,
    Choose,
    ClientMessage,
    EvaluationReport,
    Finished,
    Heartbeat,
    Hello,
    JobUpdate,
    Leave,
    Reconnect,
    RoundClosed,
    ServerStage,
    Welcome,
)
from roughfed.mode import MODES
from roughfed.types import Job
from roughfed.wire.enrolment import open_member

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
DIAGNOSE_EVERY = 5
FINISHED = "finished"
SITS_OUT = ("sat-out", "left-out", *REASONS)
LEAVE_S = 5.0  # for the server to end a session that this client has taken leave of


class Agent:
    """The state of one running client."""

    def __init__(self, setup: Setup, store: ClientStore, description: Description) -> None:
        """Nothing is connected yet."""
        self._setup, self._store, self._description = setup, store, description
        self.metrics = ClientMetrics(codecs=CODECS)
        policy = setup.config.policy
        self._watcher = Watcher(self.metrics, setup.folder, device=description.device, share=policy.share_machine)
        self._watching: asyncio.Task[None] | None = None
        self.mode = Mode(store, policy.server_sees, self.metrics)
        self._rules = Rules(
            policy,
            runs=setup.config.client.stay,
            allow_memory=setup.config.memory.allow,
            organisations=setup.organisations,
        )
        self._own = own_secret(setup.folder)
        self._training_seed = setup.training_seed or mixed_seed(self._own)
        self._outbox: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._connection: Connection | None = None
        self._membership: Membership | None = None
        self._working_for: Membership | None = None  # the running job's; an older session's if it outlived one
        self._job: asyncio.Task[None] | None = None
        self._job_key: tuple[int, bytes] | None = None
        self._job_round = 0
        self._back, self._here = asyncio.Event(), asyncio.Event()
        self._settings = Settings(setup.config, description.settings)
        self._hours = Hours(setup.config.participate, setup.clock)
        self._phase = Heartbeat()
        self._welcomed = False
        self._closed_round = 0
        self._chooser = Chooser(self.send)
        self.renewal = Renewal(
            setup.papers_folder, address=setup.config.client.enrol, server=setup.config.client.server
        )

    # -- the connection -----------------------------------------------------------------------------------------------

    async def stay(self) -> str:
        """Connect, and connect again; returns when there is nothing left to do."""
        self._watching = asyncio.create_task(self._watcher.watch())
        over, stay = AfterRuns(), self._rules.runs > 1
        pauses, failures = after_faults(stay=stay), 0
        while True:
            await self._hours.opened(self.enter)
            try:
                end = await self._one_session()
                if end == FINISHED and self._membership is not None and self._membership.may_go_on:
                    end = over.over(self._membership.welcome.run)
                if not isinstance(end, Reconnect):
                    return end
                pauses, failures, pause = after_faults(stay=stay), 0, when_asked(end, self._setup.folder)
                self.metrics.reconnecting("asked")
            except ModeRefused as error:
                await self.mode.refuse(error)
                raise
            except IdentityError as error:
                pause = await self.renewal.mend(error)
            except Unreachable as error:
                if self._welcomed or (self._connection is not None and self._connection.heard):
                    pauses, failures = after_faults(stay=stay), 0
                pause, failures = next(pauses), failures + 1
                self.metrics.reconnecting("unreachable")
                await self._explain(error, failures, pause)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """End what is under way."""
        self._chooser.cancel()
        for task in (self._job, self._watching):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self._connection is not None:
            await self._connection.close()

    async def _explain(self, error: Unreachable, failures: int, pause: float) -> None:
        if failures % DIAGNOSE_EVERY == 0:
            papers = enrolled.load(self._setup.papers_folder)
            reason = await asyncio.to_thread(diagnose, self._address(papers), papers)
            if reason.final is not None:
                raise reason.final
            log.warning("%s", reason.sentence)
        log.info("not connected (%s); next try in %.1f s", error, pause)

    async def _one_session(self) -> Reconnect | str:
        self._welcomed = False
        papers = await self.renewal.papers()
        self.metrics.certificate(certificates.load_certificate(papers.certificate).not_valid_after_utc.timestamp())
        self._rules = await self.mode.narrow(self._rules, papers.ca_certificate)
        connection = await self._connect(papers)
        self._outbox = asyncio.Queue()
        self._outbox.put_nowait(
            # No Spec digest: names and shapes are compared on this side, where the difference can be explained.
            Hello(
                __version__,
                PROTOCOL,
                papers.member,
                b"",
                CODECS,
                self._description.device,
                client_class=self._rules.policy.client_class,
                standard_if_few=self._rules.policy.standard_if_few,
                seen=self._store.seen(),
            )
        )
        self._outbox.put_nowait(self._phase)
        leaving: asyncio.Task[None] | None = None
        following: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(None) as limit:
                following = asyncio.create_task(self._follow(papers, limit))
                leaving = asyncio.create_task(self._leave(limit)) if self._hours.limited else None
                async for message in connection.session(self._outgoing()):
                    if (end := await self._take(message, papers, connection)) is not None:
                        return end
        except TimeoutError:
            return Reconnect(0.0, "there is a new certificate")
        finally:
            self._here.clear()
            self.metrics.connected(False)
            for task in (leaving, following):
                if task is not None:
                    task.cancel()
        if leaving is not None and leaving.done():
            leaving.result()
            return Reconnect(0.0, WINDOW)
        raise Unreachable("the server closed the session")

    async def _leave(self, limit: asyncio.Timeout) -> None:
        """When the window is over, say so; the server ends the session, or else `limit` does."""
        seconds = await self._hours.over(lambda: self._job)
        self._outbox.put_nowait(Leave(WINDOW, seconds))
        limit.reschedule(asyncio.get_running_loop().time() + LEAVE_S)

    async def _follow(self, papers: Enrolled, limit: asyncio.Timeout) -> None:
        """End the session as soon as the next one can show a newer certificate."""
        await self.renewal.changed(papers)
        limit.reschedule(asyncio.get_running_loop().time())

    async def _connect(self, papers: Enrolled) -> Connection:
        current = self._connection
        if current is not None and current.papers.certificate == papers.certificate:
            return current
        self._connection = self._setup.connection(self._address(papers), papers)
        for membership in (self._membership, self._working_for):
            if membership is not None:
                membership.connection = self._connection
        if current is not None:
            await current.close()  # a transfer that is cut by this goes on over the new one
        return self._connection

    def _address(self, papers: Enrolled) -> str:
        return self._setup.config.client.server or papers.record.federation_address

    async def _outgoing(self) -> AsyncIterator[ClientMessage]:
        while True:
            try:
                yield self._watcher.told(await asyncio.wait_for(self._outbox.get(), HEARTBEAT_S))
            except TimeoutError:
                yield self._watcher.told(self._phase)

    # -- messages -----------------------------------------------------------------------------------------------------

    async def _take(self, message: object, papers: Enrolled, connection: Connection) -> str | Reconnect | None:
        match message:
            case Welcome():
                self._greet(message, papers, connection)
            case Job() if self._membership is not None:
                self._start(self._membership, message)
            case Choose() if self._membership is not None:
                self._chooser.hear(self._membership, message)
            case ServerStage() if self._working_for is not None:
                self._working_for.inbox.put_nowait(message)
            case RoundClosed():
                await self._closed(message)
                return self._used_up(message.round)
            case Reconnect() | Finished():
                return self._ending(message)
            case Heartbeat() if is_held(message):
                self._cancel_job()
        return None

    def _ending(self, message: Reconnect | Finished) -> str | Reconnect | None:
        if isinstance(message, Reconnect):
            return self.renewal.hear(message)
        log.info("the run is over: %s", message.reason)
        return FINISHED

    def _used_up(self, number: int) -> str | None:
        """Whether this client ends with a round, as one of as many as it may take part in."""
        last = self._store.last_used(self._membership.welcome.run) if self._membership is not None else 0
        return "max-rounds" if used_up(self._store, self._rules.policy.max_rounds) and number >= last else None

    def _greet(self, welcome: Welcome, papers: Enrolled, connection: Connection) -> None:
        server = open_member(welcome.server, papers.ca_certificate, federation=papers.external)
        if server.role != "server":
            raise IdentityError(f"{server.name} is a {server.role}, not a server", reason="role")
        check_app(welcome, self._description)
        check_welcome(welcome, self._rules)
        ledger = ledger_of(papers, self._description, self._store)
        check_run(welcome.run, ledger.runs(), allowed=self._rules.runs)
        self._welcomed = True
        self._here.set()
        if self._membership is not None and self._membership.welcome.run != welcome.run:
            self._closed_round = 0
        self.metrics.connected(True)
        self._watcher.greeted(welcome)
        self._membership = Membership(
            papers=papers,
            welcome=welcome,
            server_key=server.identity_key,
            connection=connection,
            store=self._store,
            ledger=ledger,
            trainer=self._setup.trainer,
            description=self._description,
            rules=self._rules,
            metrics=self.metrics,
            settings=self._settings,
            on_phase=self.enter,
            back=self._back,
            here=self._here,
            send=self.send,
            own=self._own,
            training_seed=self._training_seed,
            secret=self._setup.secret,
            machine=self._setup.machine,
            on_trained=self._watcher.trained,
            agreed=self.mode.take_part,
        )
        tell_metrics(self._membership)
        log.info("connected to %s, run %s", connection.address, welcome.run)
        self._setup.on_welcome(welcome)

    def _start(self, me: Membership, job: Job) -> None:
        key = (int(job.train), job.header.digest)
        self._chooser.cancel()
        if self._job is not None and not self._job.done():
            if self._job_key == key:
                self._back.set()  # the same job again, after a reconnect: it is under way
                if self._working_for is not None:
                    self._working_for.inbox.put_nowait("again")
                return
            self._job.cancel()
        self._job_key, self._job_round, self._working_for = key, job_number(job), me
        me.inbox = asyncio.Queue()
        self._job = asyncio.create_task(self._work(me, job))

    async def _work(self, me: Membership, job: Job) -> None:
        number = job_number(job)
        try:
            self._hours.check(job.seconds_left)
            done = await take_part(me, job)
            if isinstance(done, EvaluationReport):
                self._outbox.put_nowait(done)
        except StaleRound as error:
            log.info("round %d went on without this client: %s", number, error)
            if error.reason in SITS_OUT:  # of a round that goes on: nobody need wait for it
                self._outbox.put_nowait(JobUpdate(number, "refused", error.reason, str(error)))
        except TrainerError as error:
            log.error("local training failed: %s", error)
            told = (
                str(error)
                if self._rules.policy.server_sees == MODES[-1]
                else "local training failed; see the client's log"
            )
            self._outbox.put_nowait(JobUpdate(number, "failed", error.reason, told))  # words may tell of the data
        except RoughfedError as error:
            if isinstance(error, ModeRefused):
                await self.mode.refuse(error)
            log.error("round %d: %s", number, error)
            self._outbox.put_nowait(JobUpdate(number, "refused", error.reason, str(error)))
        except Exception:  # the outer loop: a bug in one job must not end the client, nor leave the server waiting
            log.exception("round %d: a bug in this client", number)
            self._outbox.put_nowait(JobUpdate(number, "failed", "internal", "internal error; see the client's log"))
        finally:
            self.enter("idle", 0.0)

    async def _closed(self, closed: RoundClosed) -> None:
        if closed.round <= self._closed_round:
            return  # said again, after a reconnect
        if self._membership is not None:
            await settle(self._store, self._membership.welcome.run, closed)
            tell_metrics(self._membership)
        self._closed_round = closed.round  # after the wait: a session that ends in it hears the word again
        self.metrics.round_closed(closed.verdict)
        if self._working_for is not None and self._job_round == closed.round:
            self._working_for.inbox.put_nowait(None)  # a masked round ends with it
        if self._job_round == closed.round and closed.verdict in ("late", "absent"):
            self._cancel_job()  # whatever is still being trained for that round comes too late
        extra = f" ({closed.reason})" if closed.reason else ""
        log.info("round %d %s; this client's update: %s%s", closed.round, closed.outcome, closed.verdict, extra)

    def _cancel_job(self) -> None:
        if self._job is not None and not self._job.done():
            self._job.cancel()

    # -- what others see ----------------------------------------------------------------------------------------------

    def enter(self, phase: str, progress: float) -> None:
        """Note what this client is doing; the server hears of every new phase at once."""
        before, self._phase = self._phase, Heartbeat(phase, progress)
        if phase != before.phase:
            log.debug("phase %s", phase)
            self.metrics.phase(phase)
            self._outbox.put_nowait(self._phase)

    def send(self, message: ClientMessage) -> None:
        """Put a message into whichever stream is open."""
        self._outbox.put_nowait(message)

    def health(self) -> tuple[bool, str]:
        """Whether a session is open, and what this client is doing."""
        until = self._hours.away_until
        return self._welcomed, self._phase.phase if until is None else f"away until {self._hours.shown(until)}"

    def progress(self, share: float) -> None:
        """Progress of local training, 0 to 1."""
        if share - self._phase.progress >= 0.1:
            self._phase = Heartbeat(self._phase.phase, share)
            self._outbox.put_nowait(self._phase)
