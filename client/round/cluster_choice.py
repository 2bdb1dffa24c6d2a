"""Which of several models fits this client's training data best: asked by the server between two rounds (IFCA).

An answer tells log2 k bits about the data, in the clear, and with models of somebody's making it could tell anything.
So the owner must have turned clusters on (policy.clusters), the welcome must declare them, and the models are those
that a signed header named as the heads of the clusters, but for the one that its round made. There is a budget of bits
(policy.max_choice_bits), each question is answered once and with the same word if it comes again, and what was told is
noted before it is told.
"""

from __future__ import annotations

import asyncio
import logging
import math

from roughfed import crash
from roughfed.client.context import ClientContext, RoundTask, SessionContext
from roughfed.client.disclosure.limits import CHOICE, check_bits, refusal
from roughfed.client.round.download import fetch_model
from roughfed.client.round.steps import turn_of
from roughfed.client.rules.checks import check_chain
from roughfed.client.storage.store import ClientStore
from roughfed.crypto.identity import verify
from roughfed.errors import RemoteProtocolError, RoughfedError
from roughfed.messages import Choice, Choose
from roughfed.types import Job, RoundHeader, Signed
from roughfed.wire.cluster_choice import QUESTION_DOMAIN, Question, decode_question
from roughfed.wire.session import HEADER_DOMAIN, decode_header

log = logging.getLogger(__name__)

NO_JOB = Job(Signed(b"", b"", ""), {}, 0, evaluate=False, train=False, model_bytes=0, seconds_left=0.0)


class Chooser:
    """The question that is being answered, if any."""

    def __init__(self, ctx: ClientContext) -> None:
        """Nothing is asked yet."""
        self._ctx = ctx
        self._task: asyncio.Task[None] | None = None

    def accept(self, session: SessionContext, message: Choose) -> None:
        """Begin to answer; an older question, or the same over an older connection, is let go."""
        self.cancel()
        self._task = asyncio.create_task(self._answer(session, message))

    def cancel(self) -> None:
        """The server has gone on."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, session: SessionContext, message: Choose) -> None:
        number = 0
        try:
            question = check_question(self._ctx.store, session, message)
            number = question.number
            async with asyncio.timeout(max(1.0, message.seconds_left)):
                self._ctx.send(Choice(number, await choose(self._ctx, session, question)))
        except TimeoutError:
            log.info("choosing %d: not done in time", number)
        except RoughfedError as error:
            log.warning("choosing %d: this client does not choose: %s", number, error)
            self._ctx.send(Choice(number, 0, error.reason))
        self._ctx.enter("idle", 0.0)  # not where it was cancelled: then a job has begun


def check_question(store: ClientStore, session: SessionContext, message: Choose) -> Question:
    """Hold a question against the run and the owner's policy.

    Raises:
        IdentityError: the server did not sign it. RemoteProtocolError: malformed, about another run or model, or of
            models that no header named; reason "policy": nobody agreed to choose.
    """
    verify(session.server_key, QUESTION_DOMAIN, message.question.body, message.question.signature)
    question = decode_question(message.question.body)
    if question.run != session.welcome.run or question.spec_digest != session.welcome.spec.digest:
        raise RemoteProtocolError("the question is about another run or another model", reason="header")
    if not session.rules.policy.clusters:
        raise refusal(
            f"this client does not say which of {len(question.models)} models fits its data",
            "policy.clusters",
            "write true to let it, where the federation has clusters",
        )
    if len(question.models) > session.welcome.clusters:
        raise RemoteProtocolError(
            f"a choice among {len(question.models)} models, and the welcome spoke of {session.welcome.clusters}",
            reason="policy",
        )
    check_named(store, session, question)
    return question


def check_named(store: ClientStore, session: SessionContext, question: Question) -> None:
    """Are the models those of the run? All of them but the newest are heads in the header of the last round.

    A server can name what it likes there, but it names it to everybody, as what the next rounds are played on.

    Raises:
        IdentityError: the server did not sign the header, or signed another one for the round.
        RemoteProtocolError: an older header than this client knows, none although it knows one, or other models.
    """
    last = store.chain(question.run)
    if (signed := question.header) is None:
        if last is not None:
            raise RemoteProtocolError("a question about models that no header named", reason="header")
        return
    verify(session.server_key, HEADER_DOMAIN, signed.body, signed.signature)
    header = decode_header(signed.body)
    if last is not None:
        check_chain(header, signed.digest, last)
    unnamed = set(question.models) - set(header.heads)
    if header.run != question.run or header.spec_digest != question.spec_digest or len(unnamed) > 1:
        raise RemoteProtocolError(f"a question about {len(unnamed)} models that no header named", reason="header")


async def choose(ctx: ClientContext, session: SessionContext, question: Question) -> int:
    """The place of the model with the least loss, from 1; of equals the first. It is noted before this returns.

    Raises:
        RemoteProtocolError: reason "policy"; more was asked than this client tells; "stale": a number twice.
        TrainerError: it cannot be evaluated.
    """
    digest = b"".join(question.models)
    if (known := recorded_choice(ctx.store, question, digest)) is not None:
        return known
    asked = bits_of(len(question.models))
    await session.disclosed.enter(question.run, question.spec_digest, allowed=session.rules.runs)
    check_bits(
        sum(session.disclosed.given(CHOICE, but=(question.run, question.number))),
        asked,
        most=session.rules.policy.max_choice_bits,
    )
    losses = [await loss_of(ctx, session, question, model) for model in question.models]
    place = 1 + min(range(len(losses)), key=losses.__getitem__)
    ctx.store.pinned = {question.models[place - 1]}
    await session.disclosed.record_given(question.run, question.number, {CHOICE: asked})
    await record_choice(ctx.store, question, digest, place)
    crash.point("choice-noted")
    log.info("choosing %d: model %d of %d", question.number, place, len(losses))
    return place


async def loss_of(ctx: ClientContext, session: SessionContext, question: Question, model: bytes) -> float:
    """The mean loss of one model on this client's training data; infinite where it is not a number."""
    last = ctx.store.chain(question.run)
    header = RoundHeader(
        run=question.run,
        round=1 + (last[0] if last is not None else 0),  # its private tensors are those of the last round
        model_digest=model,
        model_version=0,
        spec_digest=question.spec_digest,
        previous_header_digest=b"",
        codec="",
        server_sees=session.welcome.server_sees,
        roster_root=b"",
        deadline_s=0.0,
    )
    task = RoundTask(ctx, session, NO_JOB, header)
    params = await fetch_model(task)
    ctx.enter("choosing", 0.0)
    loss = await ctx.trainer.train_loss(params, turn=turn_of(task))
    return loss if math.isfinite(loss) else math.inf


def bits_of(models: int) -> int:
    """What an answer tells at most: log2 k, rounded up."""
    return max(1, (models - 1).bit_length())


# -- what was told (table `choices` of the client's journal) ----------------------------------------------------------


def recorded_choice(store: ClientStore, question: Question, digest: bytes) -> int | None:
    """The answer that was noted for a question; None before.

    Raises:
        RemoteProtocolError: reason "stale"; the number was used for another question, or a later one was answered.
    """
    sql = "SELECT number, models, place FROM choices WHERE run = ? AND number >= ? ORDER BY number"
    rows = store.journal.read(sql, question.run, question.number)
    if not rows:
        return None
    if rows[0]["number"] != question.number or rows[0]["models"] != digest:
        raise RemoteProtocolError(f"question {question.number} was asked before, or is an old one", reason="stale")
    return int(rows[0]["place"])


async def record_choice(store: ClientStore, question: Question, digest: bytes, place: int) -> None:
    """Note an answer before it leaves."""
    row = (question.run, question.number, digest, place)
    await store.journal.write(lambda db: db.execute("INSERT INTO choices VALUES (?, ?, ?, ?)", row))
