"""One client, one round: steps 1 to 6, top to bottom (docs/ARCHITECTURE.md).

With `server_sees = "updates"` nothing is clipped or masked (steps 3 and 5); step 4 is one of CODECS, and with the
identity codec what leaves is the delta as the trainer wrote it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from roughfed import crash
from roughfed.child import Description
from roughfed.classes import tensors_of
from roughfed.client.disclosed_round import note_clear, note_model
from roughfed.client.disclosure_ledger import Ledger
from roughfed.client.download import fetch_model
from roughfed.client.encode import NOT_FINITE, encode_file, fresh_delta, residual_of, zero_delta
from roughfed.client.enrolled import Enrolled
from roughfed.client.evaluating import evaluate, personalises
from roughfed.client.fairness import note_loss
from roughfed.client.local import LocalTrainer
from roughfed.client.masked import MaskedPart, warm
from roughfed.client.members import members_of
from roughfed.client.metrics import ClientMetrics
from roughfed.client.own_model import OwnModel, note_own, state_place
from roughfed.client.policy import Rules
from roughfed.client.rpc import Connection
from roughfed.client.rules import check_header, check_rounds
from roughfed.client.statistics import (
    asked_of_training,
    clear_values,
    client_values,
    note_trained,
    note_weight,
    quarters_of,
    trained_values,
)
from roughfed.client.store import ClientStore, SavedUpdate
from roughfed.client.upload import upload
from roughfed.crypto.member_list import MemberList
from roughfed.errors import StaleRound, TrainerError
from roughfed.logs import in_round
from roughfed.messages import ClientMessage, EvaluationReport, ServerStage, Welcome
from roughfed.params import digest_file
from roughfed.secagg.client import ClientRound
from roughfed.sending import sending_of
from roughfed.training import LABEL_AUDIT, BaseFile, FitResult, Turn
from roughfed.types import Evaluation, Evaluations, Job, Receipt, RoundHeader, Signed, UpdateStatement
from roughfed.wire.updates import (
    MAX_METRICS,
    MAX_NAME,
    UPDATE_DOMAIN,
    decode_receipt,
    encode_statement,
)

log = logging.getLogger(__name__)


def fresh_secret(_header_digest: bytes) -> bytes:
    """32 bytes of the operating system."""
    return os.urandom(32)


async def nothing_more(_header: RoundHeader) -> None:
    """Whom nobody tells of headers."""


Heard = ServerStage | Literal["again"] | None


@dataclass
class Membership:
    """What one connection to one run gives: the server's welcome, and what this client holds against it.

    Attributes:
        papers: the client's own.
        welcome: the server's first message.
        server_key: Ed25519 key from the server's CA-signed roster entry.
        connection: the channel; replaced when it breaks.
        ledger: what was shown of this client before, of this federation and this model.
        own: secret of the state directory, 32 bytes.
        training_seed: job -> seed of its training.
        on_phase: told (phase, progress) for the heartbeat and the metrics.
        back: set when the server, after a reconnect, sends the job again that is under way.
        here: set while the server knows that this client is here.
        send: puts a message into the stream, whichever is open.
        secret: header digest -> the 32 secret bytes of a masked round; from the operating system, except in tests.
        machine: makes the machine of a masked round; another one only in hostile clients.
        on_trained: told (seconds, examples processed) of each local training.
        agreed: told each header that this client accepts, before anything is done for it.
        inbox: of the masked round that is under way: the server's stages; "again": the server, back after a break, has
            sent the job once more; None: the round is over.
        until: when the round of the job that is under way ends (monotonic seconds).
        listed: the list of members that the last masked round named.
    """

    papers: Enrolled
    welcome: Welcome
    server_key: bytes
    connection: Connection
    store: ClientStore
    ledger: Ledger
    trainer: LocalTrainer
    description: Description
    rules: Rules
    metrics: ClientMetrics
    settings: Callable[[Mapping[str, object]], dict[str, object]]
    on_phase: Callable[[str, float], None]
    back: asyncio.Event
    here: asyncio.Event
    send: Callable[[ClientMessage], None]
    own: bytes
    training_seed: Callable[[Job], int]
    secret: Callable[[bytes], bytes] = fresh_secret
    machine: Callable[..., ClientRound] = ClientRound
    on_trained: Callable[[float, int], None] = lambda _seconds, _examples: None
    agreed: Callable[[RoundHeader], Awaitable[None]] = nothing_more
    inbox: asyncio.Queue[Heard] = field(default_factory=asyncio.Queue[Heard])
    until: float = 0.0
    listed: MemberList | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether the owner agreed to another run after this one."""
        return len({*self.ledger.runs(), self.welcome.run}) < self.rules.runs


async def take_part(me: Membership, job: Job) -> Receipt | EvaluationReport | None:
    """Do one job.

    Returns:
        the server's receipt, or (evaluation only) what to report.

    Raises:
        RemoteProtocolError, IdentityError: the job breaks a rule of this client; it is refused.
        TrainerError: local training failed.
    """
    me.until = time.monotonic() + job.seconds_left
    with me.metrics.crypto("verify"):
        header = await check_header(
            job, me.welcome, server_key=me.server_key, rules=me.rules, store=me.store, ledger=me.ledger
        )
    await me.agreed(header)
    in_round(header.run, header.round)
    me.metrics.round_begun(header.round)
    crash.point("job-accepted")
    if job.train and header.masked:
        return await take_masked_part(me, job, header)
    if job.train and (known := me.store.update(header.run, header.round)) is not None:
        return await upload(me, known, header.codec)
    if job.train:
        check_rounds(header, rules=me.rules, store=me.store)
    params = await fetch_model(me, header, job.base_digest)  # 1
    found = await look_at_models(me, job, header, params)
    if not job.train:
        base = found.base or Evaluation(header.model_digest, 0, 0.0)
        return EvaluationReport(header.round, base, found.personal, found.alone)
    result, delta = await train(me, job, header, params)  # 2
    update = await sign(me, job, header, delta=delta, result=result, found=found)
    return await upload(me, update, header.codec)  # 6


async def take_masked_part(me: Membership, job: Job, header: RoundHeader) -> Receipt | None:
    """Do the job of a masked round: train and upload, while keys, and later answers, are exchanged; to its end.

    Returns:
        the server's receipt; None when the update came too late.

    Raises:
        RemoteProtocolError, IdentityError: the server broke a rule; this client is out of the round.
        TrainerError: local training failed.
    """
    part = MaskedPart(me, job, header, await members_of(me, header))
    part.advertise()
    talking = asyncio.create_task(converse(me, part))
    working = asyncio.create_task(contribute(me, job, header, part))
    warming = warm(part)
    try:
        await asyncio.wait({talking, working}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()  # the round is over, or the server broke a rule
            return None
        receipt = working.result()
        me.on_phase("agreeing", 0.0)
        await talking
        return receipt
    finally:
        for task in (talking, working):
            task.cancel()
        await asyncio.gather(talking, working, warming, return_exceptions=True)
        part.close()  # what was written ahead stays, unless the round is over


async def converse(me: Membership, part: MaskedPart) -> None:
    """Answer the server's stages until the round is over."""
    while (message := await me.inbox.get()) is not None:
        if message == "again":
            part.advertise()
        else:
            await part.hear(message)
    part.over = True


async def contribute(me: Membership, job: Job, header: RoundHeader, part: MaskedPart) -> Receipt | None:
    """Steps 1 to 6 of a masked round."""
    try:
        known = me.store.update(header.run, header.round)
        if known is None and not part.masked:
            check_rounds(header, rules=me.rules, store=me.store)
            params = await fetch_model(me, header, job.base_digest)  # 1
            redraw = await note_model(me, header, params)
            found = await look_at_models(me, job, header, params)
            await note_loss(me, header, found.base)
            try:
                result, delta = await train(me, job, header, params, redraw=redraw)  # 2
                await part.ready.wait()
                values = client_values(me.description, found, result)
                await part.mask(delta, values | trained_values(result, asked_of_training(me, header)))  # 3 to 5
            except TrainerError as error:
                if error.reason not in NOT_FINITE:
                    raise
                log.error("round %d: %s; zeros go: to fail would tell of the data", header.round, error)
                result = FitResult(me.description.num_train, 0, {}, 0.0)
                delta = await asyncio.to_thread(zero_delta, me.store.folder, header.round, part.masking.params.size)
                await part.ready.wait()
                await part.mask(delta, client_values(me.description, found, result))
        if known is None:
            known = await note(me, masked_statement(me, job, header, part.machine.view_digest))
        part.uploaded(known.signed)
        if known.receipt is not None:
            return decode_receipt(known.receipt)
        return await upload(me, known, header.codec)  # 6
    except StaleRound as error:
        log.info("round %d: the update came too late (%s)", header.round, error)
        return None


def masked_statement(me: Membership, job: Job, header: RoundHeader, view_digest: bytes) -> UpdateStatement:
    """What is said about a masked update: nothing about the client's data or training, but what it was masked under."""
    path = me.store.update_path(header.round)
    return UpdateStatement(
        run=header.run,
        round=header.round,
        client=me.papers.name,
        header_digest=job.header.digest,
        digest=digest_file(path),
        size_bytes=path.stat().st_size,
        num_examples=0,
        client_class=header.client_class,
        view_digest=view_digest,
    )


async def look_at_models(me: Membership, job: Job, header: RoundHeader, params: Path) -> Evaluations:
    """The base model, and this client's others, on its held-out data."""
    if not (job.train or job.evaluate):
        return Evaluations()
    turn, settings = turn_of(me, job, header), me.settings(job.trainer)
    made = bool(me.welcome.private) or personalises(settings)
    await note_own(me.store.folder, OwnModel(header.model_digest, settings, turn, made))
    return await evaluate(me, job, header, params, turn) if job.evaluate else Evaluations()


async def train(
    me: Membership, job: Job, header: RoundHeader, params: Path, *, redraw: bool = False
) -> tuple[FitResult, Path]:
    """Step 2: local training; the delta is in a file, float32."""
    me.on_phase("training", 0.0)
    plain = header.codec == "identity" and header.keep_one_in <= 1  # then it is what leaves
    delta = me.store.fresh_update(header.round) if plain else fresh_delta(me.store.folder, header.round)
    settings = me.settings(job.trainer)
    turn = replace(turn_of(me, job, header), redraw=redraw)
    result = await me.trainer.fit(params, delta, settings=settings, seed=me.training_seed(job), turn=turn)
    check_metrics(result.metrics)
    await note_weight(me, header, result)
    loss, lost = result.metrics.get("loss"), result.lost_state
    if lost:
        log.warning("round %d: what the trainer had kept is lost; its log says why", header.round)
    me.on_trained(result.seconds, result.num_examples)
    me.metrics.trained(result.seconds, result.num_examples, loss=loss, lost_state=lost)
    me.metrics.effort(settings, result.num_steps)
    crash.point("trained")
    return result, delta


def turn_of(me: Membership, job: Job, header: RoundHeader) -> Turn:
    """Where in the run this training stands, what came with it, and where the trainer keeps what it remembers."""
    state = state_place(me.store.folder, me.papers)
    rounds = max(me.welcome.rounds, header.round)
    return Turn(
        header.round,
        rounds,
        header.run,
        facts=job.facts,
        wanted=asked_of_training(me, header),
        allow_memory=me.rules.allow_memory,
        state=state,
        audit=me.store.folder / LABEL_AUDIT if me.rules.policy.label_audit else None,
        said=me.store.said(header.run, before=header.round),
        tensors=tensors_of(header),
        base=None if (base := me.welcome.base) is None else BaseFile(me.store.base_path(base.digest), base.scale),
        seconds_left=max(0.0, me.until - time.monotonic()),
    )


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Hold what the training reports against what the server takes, before anything is signed.

    Raises:
        TrainerError: too many metrics, or a name that is too long.
    """
    if len(metrics) > MAX_METRICS:
        raise TrainerError(f"the loop returned {len(metrics)} metrics; at most {MAX_METRICS} fit", reason="metrics")
    for name in metrics:
        if len(name) > MAX_NAME:
            raise TrainerError(
                f"the loop returned a metric with a name of {len(name)} characters ({name[:40]}...); at most "
                f"{MAX_NAME} fit",
                reason="metrics",
            )


async def sign(
    me: Membership,
    job: Job,
    header: RoundHeader,
    *,
    delta: Path,
    result: FitResult,
    found: Evaluations,
) -> SavedUpdate:
    """Note bytes and statement before anything leaves."""
    path = me.store.update_path(header.round)
    if delta != path:
        residual = residual_of(me.store.folder, header.run)
        sending = sending_of(job.header.digest, header, me.welcome.spec)
        work = partial(encode_file, out=path, residual=residual, sending=sending)
        with me.metrics.codec(header.codec, "encode"):
            await asyncio.to_thread(work, header, delta)  # 4
    digest = await asyncio.to_thread(digest_file, path)
    trained = trained_values(result, asked_of_training(me, header))
    await note_trained(me, header, trained)
    await note_clear(me, header)
    values = client_values(me.description, found, result) | trained
    statement = UpdateStatement(
        run=header.run,
        round=header.round,
        client=me.papers.name,
        header_digest=job.header.digest,
        digest=digest,
        size_bytes=path.stat().st_size,
        num_examples=result.num_examples,
        num_steps=result.num_steps,
        train_seconds=result.seconds,
        metrics=result.metrics,
        evaluation=found.base or result.evaluation,
        quarters=quarters_of(me, job, header),
        statistics=clear_values(me, header, values),
        personal=found.personal,
        alone=found.alone,
        client_class=header.client_class,
    )
    return await note(me, statement)


async def note(me: Membership, statement: UpdateStatement) -> SavedUpdate:
    """Sign a statement and note it; its bytes are in their file already."""
    body = encode_statement(statement)
    with me.metrics.crypto("sign"):
        signed = Signed(body, me.papers.identity.sign(UPDATE_DOMAIN, body), me.papers.name)
    s = statement
    update = SavedUpdate(s.run, s.round, s.header_digest, s.digest, signed)
    await me.store.save_update(update)
    crash.point("update-saved")
    return update
