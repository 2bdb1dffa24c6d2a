"""A member of the cohort gets its job, or hears nothing because it is not asked any more."""

from __future__ import annotations

from roughfed.messages import ASKED, HELD, Heartbeat
from roughfed.server.cohort.collection import Collection
from roughfed.server.cohort.tiers import tier_of_client
from roughfed.server.context.round_state import RoundState
from roughfed.server.context.server import ServerContext
from roughfed.server.members.member_list import NOT_LISTED
from roughfed.server.members.sessions import ClientSession
from roughfed.server.round.jobs import job_for


def offer(ctx: ServerContext, round_: RoundState, session: ClientSession) -> None:
    """A member of the cohort is here: it may upload, and gets its job if it still owes an update."""
    name, collection = session.name, round_.collection
    if collection is None:
        return
    if reason := barred(ctx, round_, session):
        round_.drop(name, reason)
        return
    round_.identity_keys[name] = session.identity_key
    if (tier := tier_of_client(ctx.config, round_.header, session.hello)) is not None:
        said = None if round_.masked is None else round_.masked.tier_of(name)
        round_.tiers[name] = tier if said is None else said
    if round_.row.sets is None and name in round_.tiers:
        _send_job(ctx, round_, session, collection)


def _send_job(ctx: ServerContext, round_: RoundState, session: ClientSession, collection: Collection) -> None:
    name = session.name
    job = job_for(ctx, round_.row, name, seconds_left=max(0.0, collection.deadline - ctx.state.clock()))
    if (masked := round_.masked) is None:
        if name in collection.pending():
            session.send(job)
    elif name in masked.group_of or "roster" not in masked.done:  # the job is the header that all else is bound to
        session.send(job)
        for message in masked.sent.get(name, ()):
            session.send(message)


def barred(ctx: ServerContext, round_: RoundState, session: ClientSession) -> str:
    """Why a member of the cohort is not asked any more; "" if it is."""
    if session.proof is not None and session.proof.header.round > round_.number:
        return "ahead"  # it would refuse
    if session.name in ctx.clients.quarantined and not round_.needs(session.name):
        return "quarantined"
    if round_.masked is not None and session.name not in ctx.clients.listing.listed([session]):
        return NOT_LISTED  # it came back with a key that the member list does not have
    return ""


def say_whether_asked(ctx: ServerContext, client: str) -> None:
    """Say to a client, if it is here, whether it is kept out of the rounds; not why: that is the operator's.

    Whoever the open round needs hears it when the round is over: a client that is held stops at once.
    """
    session, round_ = ctx.clients.get(client), ctx.state.round
    if session is None or (round_ is not None and round_.needs(client)):
        return
    session.send(Heartbeat(HELD if client in ctx.clients.quarantined else ASKED))
