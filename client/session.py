"""The client's session with its server: connect, greet, and do what the messages say."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from roughfed import __version__, crash
from roughfed.client.context import ClientContext, SessionContext
from roughfed.client.disclosure.limits import check_run, lines_of
from roughfed.client.disclosure.mode import Mode
from roughfed.client.disclosure.record import DisclosureRecord
from roughfed.client.job_runner import JobRunner
from roughfed.client.local.availability import WINDOW, Availability
from roughfed.client.local.machine import Watcher
from roughfed.client.members.credential_files import Credentials
from roughfed.client.members.renewal import Renewal
from roughfed.client.metrics import Disclosed
from roughfed.client.outbox import Outbox
from roughfed.client.policy import Rules
from roughfed.client.round.cluster_choice import Chooser
from roughfed.client.round.encode import residual_of
from roughfed.client.rules.checks import CODECS, check_app, check_welcome, used_up
from roughfed.client.setup import Setup
from roughfed.client.storage.store import ClientStore
from roughfed.crypto import certificates
from roughfed.errors import IdentityError, Unreachable
from roughfed.messages import (
    ASKED,
    HELD,
    PROTOCOL,
    Choose,
    Finished,
    Heartbeat,
    Hello,
    Leave,
    Reconnect,
    RoundClosed,
    ServerStage,
    Welcome,
)
from roughfed.types import Job
from roughfed.wire.enrolment import open_member

log = logging.getLogger(__name__)

FINISHED = "finished"
LEAVE_S = 5.0  # for the server to end a session that this client has taken leave of


class Session:
    """One session after the other, over one channel or over the next.

    Attributes:
        context: of the session that was welcomed last.
        welcomed: whether the present one is.
    """

    def __init__(
        self,
        ctx: ClientContext,
        setup: Setup,
        outbox: Outbox,
        *,
        mode: Mode,
        availability: Availability,
        watcher: Watcher,
    ) -> None:
        """Nothing is connected yet."""
        self._ctx, self._setup, self._outbox = ctx, setup, outbox
        self._mode, self._availability, self._watcher = mode, availability, watcher
        self.rules = Rules(
            setup.config.policy,
            runs=setup.config.client.stay,
            allow_memory=setup.config.memory.allow,
            organisations=setup.organisations,
        )
        self.renewal = Renewal(
            setup.credentials_folder, address=setup.config.client.enrol, server=setup.config.client.server
        )
        self._runner, self._chooser = JobRunner(ctx, availability, mode), Chooser(ctx)
        self.context: SessionContext | None = None
        self.welcomed = False
        self._closed_round = 0

    async def run(self) -> Reconnect | str:
        """One session, to its end.

        Returns:
            when to come back, or why not to: "finished" or "max-rounds".

        Raises:
            Unreachable: the channel or the stream broke.
            IdentityError, RemoteProtocolError, ConfigError: the server, or this client's own rules, refuse.
        """
        self.welcomed = False
        credentials = await self.renewal.credentials()
        self._ctx.metrics.certificate(
            certificates.load_certificate(credentials.certificate).not_valid_after_utc.timestamp()
        )
        self.rules = await self._mode.narrow(self.rules, credentials.ca_certificate)
        await self._connect(credentials)
        self._outbox.restart(self._hello(credentials))
        leaving: asyncio.Task[None] | None = None
        following: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(None) as limit:
                following = asyncio.create_task(self._follow(credentials, limit))
                leaving = asyncio.create_task(self._leave(limit)) if self._availability.limited else None
                async for message in self._ctx.connection.session(self._outbox.messages(self._watcher.with_machine)):
                    if (end := await self.accept(message, credentials)) is not None:
                        return end
        except TimeoutError:
            return Reconnect(0.0, "there is a new certificate")
        finally:
            self._ctx.connected.clear()
            self._ctx.metrics.connected(False)
            for task in (leaving, following):
                if task is not None:
                    task.cancel()
        if leaving is not None and leaving.done():
            leaving.result()
            return Reconnect(0.0, WINDOW)
        raise Unreachable("the server closed the session")

    async def close(self) -> None:
        """End what is under way."""
        self._chooser.cancel()
        await self._runner.end()
        if self._ctx.channel is not None:
            await self._ctx.channel.close()

    # -- the channel --------------------------------------------------------------------------------------------------

    def address(self, credentials: Credentials) -> str:
        """host:port of the federation port."""
        return self._setup.config.client.server or credentials.record.federation_address

    async def _connect(self, credentials: Credentials) -> None:
        current = self._ctx.channel
        if current is not None and current.credentials.certificate == credentials.certificate:
            return
        self._ctx.channel = self._setup.connection(self.address(credentials), credentials)
        if current is not None:
            await current.close()  # a transfer that is cut by this goes on over the new one

    def _hello(self, credentials: Credentials) -> Hello:
        # No Spec digest: names and shapes are compared on this side, where the difference can be explained.
        return Hello(
            __version__,
            PROTOCOL,
            credentials.member,
            b"",
            CODECS,
            self._ctx.description.device,
            tier=self.rules.policy.tier,
            standard_if_few=self.rules.policy.standard_if_few,
            seen=self._ctx.store.seen(),
        )

    async def _leave(self, limit: asyncio.Timeout) -> None:
        """When the window is over, say so; the server ends the session, or else `limit` does."""
        seconds = await self._availability.wait_until_over(lambda: self._runner.task)
        self._outbox.send(Leave(WINDOW, seconds))
        limit.reschedule(asyncio.get_running_loop().time() + LEAVE_S)

    async def _follow(self, credentials: Credentials, limit: asyncio.Timeout) -> None:
        """End the session as soon as the next one can show a newer certificate."""
        await self.renewal.changed(credentials)
        limit.reschedule(asyncio.get_running_loop().time())

    # -- messages -----------------------------------------------------------------------------------------------------

    async def accept(self, message: object, credentials: Credentials) -> str | Reconnect | None:
        """Do what a message says; not None: the session ends with it."""
        match message:
            case Welcome():
                self._greet(message, credentials)
            case Job() if self.context is not None:
                self._chooser.cancel()
                self._runner.start(self.context, message)
            case Choose() if self.context is not None:
                self._chooser.accept(self.context, message)
            case ServerStage():
                self._runner.accept(message)
            case RoundClosed():
                await self._close_round(message)
                return self._used_up(message.round)
            case Reconnect() | Finished():
                return self._ending(message)
            case Heartbeat() if is_quarantined(message):
                self._runner.stop()
            case _:
                pass
        return None

    def _ending(self, message: Reconnect | Finished) -> str | Reconnect | None:
        if isinstance(message, Reconnect):
            return self.renewal.accept(message)
        log.info("the run is over: %s", message.reason)
        return FINISHED

    def _used_up(self, number: int) -> str | None:
        """Whether this client ends with a round, as one of as many as it may take part in."""
        store = self._ctx.store
        last = store.last_used(self.context.welcome.run) if self.context is not None else 0
        return "max-rounds" if used_up(store, self.rules.policy.max_rounds) and number >= last else None

    def _greet(self, welcome: Welcome, credentials: Credentials) -> None:
        server = open_member(welcome.server, credentials.ca_certificate, federation=credentials.external)
        if server.role != "server":
            raise IdentityError(f"{server.name} is a {server.role}, not a server", reason="role")
        ctx = self._ctx
        check_app(welcome, ctx.description)
        check_welcome(welcome, self.rules)
        disclosed = DisclosureRecord(
            ctx.store.journal,
            ca=certificates.fingerprint(credentials.ca_certificate),
            model=ctx.description.spec.digest,
            federation=credentials.subject.federation,
        )
        check_run(welcome.run, disclosed.runs(), allowed=self.rules.runs)
        self.welcomed = True
        ctx.connected.set()
        if self.context is not None and self.context.welcome.run != welcome.run:
            self._closed_round = 0
        ctx.metrics.connected(True)
        self._watcher.welcomed(welcome)
        self.context = SessionContext(credentials, welcome, server.identity_key, self.rules, disclosed)
        self._ctx.metrics.disclosed(partial(disclosed_by, self.context))
        log.info("connected to %s, run %s", ctx.connection.address, welcome.run)
        self._setup.on_welcome(welcome)

    async def _close_round(self, closed: RoundClosed) -> None:
        if closed.round <= self._closed_round:
            return  # said again, after a reconnect
        if self.context is not None:
            await apply_result(self._ctx.store, self.context.welcome.run, closed)
        self._closed_round = closed.round  # after the wait: a session that ends in it hears the word again
        self._ctx.metrics.round_closed(closed.verdict)
        self._runner.close_round(closed)
        extra = f" ({closed.reason})" if closed.reason else ""
        log.info("round %d %s; this client's update: %s%s", closed.round, closed.outcome, closed.verdict, extra)


def disclosed_by(session: SessionContext) -> Disclosed:
    """What has left this client, beside its owner's limits, for the metrics."""
    totals = session.disclosed.totals()
    used = [(line.name, line.share) for line in lines_of(totals, session.rules)]
    return Disclosed(used, sum(totals.rounds.values()), totals.smallest_sum)


def is_quarantined(message: Heartbeat) -> bool:
    """Whether the server says that it asks this client for nothing at present: what is being done is in vain then."""
    if message.phase == HELD:
        log.warning(
            "the operator of the server keeps this client out of the rounds; it stays connected and takes part again "
            "when it is released"
        )
    elif message.phase == ASKED:
        log.info("the operator of the server has released this client: it takes part again")
    return message.phase == HELD


async def apply_result(store: ClientStore, run: str, closed: RoundClosed) -> None:
    """Heard again after a reconnect it changes nothing.

    Args:
        store: with the residual of the codec, and what is known of the sums (`trainer/regularize/scaffold.py`).
        run: that the round is of.
        closed: the word; an update is in the next version if the round was committed and this client's was accepted.

    Raises:
        StorageError: the disk refused.
    """
    counts = (closed.outcome, closed.verdict) == ("committed", "accepted")
    residual_of(store.folder, run).finalize(closed.round, counts)
    crash.point("residual-settled")
    if counts:
        await store.record_counted(run, closed.round)
        crash.point("counted-noted")
