"""What happens to the open round from outside: clients come and go, updates arrive, an operator acts."""

from __future__ import annotations

import logging
import time

from roughfed.crypto.names import check_name
from roughfed.errors import ConfigError, RoughfedError
from roughfed.messages import ClientMessage, EvaluationReport, JobUpdate, Leave
from roughfed.server.context.server import ServerContext
from roughfed.server.defence.vouched import check_spares, met, vouch, withdraw
from roughfed.server.members.quarantine import hold
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.jobs import closed
from roughfed.server.round.offer import offer, say_whether_asked
from roughfed.server.storage.store import ReceivedUpdate

log = logging.getLogger(__name__)


class RoundEvents:
    """Passes what happens on to the open round, and wakes the engine.

    Attributes:
        final_evaluations: client -> what it found about the last model, asked for without training.
    """

    def __init__(self, ctx: ServerContext) -> None:
        """Listen to the clients and to the intake from now on."""
        self._ctx = ctx
        self.final_evaluations: dict[str, EvaluationReport] = {}
        ctx.clients.on_change = self.client_changed
        ctx.intake.listener = self

    # -- clients come and go ------------------------------------------------------------------------------------------

    def client_changed(self, name: str, connected: bool) -> None:
        """A client is here, or is gone."""
        ctx, session = self._ctx, self._ctx.clients.get(name)
        if not connected:
            ctx.trace.client(name, "gone")
        if connected and session is not None:
            met(ctx.store.journal, name, session.identity_key)
            self._greet(session)
        round_ = ctx.state.round
        if round_ is not None and (collection := round_.collection) is not None and name in collection.members:
            if connected and session is not None:
                collection.back(name)
                offer(ctx, round_, session)
            else:
                collection.lost([name], ctx.state.clock())
        ctx.metrics.clients(ctx.clients.states())
        ctx.state.wake()

    def _greet(self, session: ClientSession) -> None:
        """What waited for a client while it was away."""
        ctx = self._ctx
        if session.name in ctx.clients.quarantined:
            say_whether_asked(ctx, session.name)
        if (row := ctx.store.last_part(session.name)) is not None and row.outcome is not None:
            session.send(closed(ctx, row, session.name))  # it may have been away then, and waits for the verdict
        if ctx.clients.farewell is not None:
            session.send(ctx.extensions.schedule.farewell(ctx.clients.farewell, session.name))

    # -- what arrives -------------------------------------------------------------------------------------------------

    def received(self, update: ReceivedUpdate) -> None:
        """A receipt is journaled (Listener of the intake)."""
        ctx, client = self._ctx, update.receipt.client
        ctx.metrics.update("accepted", client=client)
        ctx.recent.received.note(client)
        ctx.trace.moment(client, "receipt", bytes=update.receipt.size_bytes)
        if (round_ := ctx.state.round) is not None and round_.collection is not None:
            round_.collection.receive(client, ctx.state.clock())
        ctx.state.wake()

    def refused(self, client: str, error: RoughfedError) -> None:
        """An update was refused for good (Listener of the intake)."""
        ctx = self._ctx
        ctx.recent.refused.note((client, error.reason))
        ctx.trace.moment(client, f"refused: {error.reason}")
        if (round_ := ctx.state.round) is not None and round_.collection is not None:
            round_.collection.refuse(client, error.reason)
        ctx.state.wake()

    def on_message(self, session: ClientSession, message: ClientMessage) -> bool:
        """A client's word on its job, on a model, or that it goes; whether it was one of these."""
        match message:
            case JobUpdate():
                self._job_update(session, message)
            case EvaluationReport():
                self.final_evaluations[session.name] = message
                self._ctx.state.wake()
            case Leave():
                self._leave(session, message)
            case _:
                return False
        return True

    def _job_update(self, session: ClientSession, update: JobUpdate) -> None:
        ctx, round_ = self._ctx, self._ctx.state.round
        if round_ is None or round_.collection is None or update.round != round_.number:
            ctx.metrics.refused("stale")
            return
        if update.state == "accepted":
            return
        round_.drop(session.name, f"client-{update.state}: {update.reason}"[:100])
        ctx.metrics.dropout("report", "trainer" if update.state == "failed" else "refused")
        ctx.state.wake()

    def _leave(self, session: ClientSession, message: Leave) -> None:
        """A client goes, and says when it will be back: nobody waits for it."""
        self._ctx.clients.away[session.name] = time.time() + message.back_after_s
        if (round_ := self._ctx.state.round) is not None:
            round_.drop(session.name, f"client-away: {message.reason}"[:100])
        session.close("away")


# -- what the operator does ----------------------------------------------------------------------------------------


def revoke(ctx: ServerContext, client: str) -> None:
    """Refuse a client from now on and cut its stream; the round does not wait for it."""
    ctx.clients.revoke(client)
    ctx.metrics.forget(client)
    _out_of_round(ctx, client, "revoked")
    ctx.state.wake()


async def quarantine(ctx: ServerContext, client: str, because: str) -> str:
    """Hold a client of a running server; returns the reason as it is shown.

    Raises:
        ConfigError, IdentityError: see `hold`.
    """
    why = await hold(ctx.store.journal, client, because, time.time())
    ctx.clients.quarantined = ctx.stages.quarantined()
    log.warning("%s is quarantined %s", client, why)
    round_, collection = ctx.state.round, ctx.state.collection
    if round_ is not None and collection is not None and client in collection.pending():
        round_.identity_keys.pop(client, None)
        _out_of_round(ctx, client, "quarantined")
    say_whether_asked(ctx, client)
    ctx.state.wake()
    return why


async def release(ctx: ServerContext, client: str) -> str:
    """Ask a client again; returns why it was not.

    Raises:
        ConfigError: it is not quarantined.
    """
    if (reason := ctx.clients.quarantined.get(client)) is None:
        raise ConfigError(f"{client} is not quarantined", key="name", cure="roughfed status")
    await ctx.stages.release(client, time.time())
    ctx.clients.quarantined = ctx.stages.quarantined()
    log.warning("%s was quarantined (%s) and is released by the operator", client, reason)
    say_whether_asked(ctx, client)
    ctx.state.wake()
    return reason


async def vouch_for(ctx: ServerContext, client: str, because: str) -> None:
    """Have the defence spare a client from its next verdict on.

    Raises:
        ConfigError, IdentityError: see `vouch`; or it would change nothing, or the client's key is not known.
    """
    check_spares(ctx.config)
    if (identity_key := ctx.clients.identity_keys.get(client)) is None:
        cause = f"{check_name(client)} was not here since the server started: its key is not known"
        raise ConfigError(cause, key="NAME", cure="vouch for it when it is connected")
    await vouch(ctx.store.journal, client, because, time.time(), identity_key=identity_key)
    log.warning("%s is vouched for by the operator: the defence spares it", client)
    met(ctx.store.journal, client, ctx.clients.identity_keys[client])  # another key may have come meanwhile
    ctx.state.wake()


async def withdraw_vouch(ctx: ServerContext, client: str) -> None:
    """Judge a client like everybody again.

    Raises:
        ConfigError: nobody vouched for it.
    """
    await withdraw(ctx.store.journal, client)
    log.warning("the operator vouches for %s no more", client)
    ctx.state.wake()


def _out_of_round(ctx: ServerContext, client: str, reason: str) -> None:
    if (round_ := ctx.state.round) is None:
        return
    if round_.collection is not None and client in round_.collection.pending():
        ctx.metrics.dropout("report", reason)
    round_.drop(client, reason)
