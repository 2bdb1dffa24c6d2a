"""Steps 1 to 6 of a round, top to bottom (docs/ARCHITECTURE.md): one sequence for plain and for masked rounds.

What differs between the two stands in `plain.py` and `masked.py`; what is the same in both stands here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from roughfed import crash
from roughfed.client.context import RoundTask
from roughfed.client.local.own_model import OwnModel, record_no_own_model, record_own_model, state_place
from roughfed.client.round.download import fetch_model
from roughfed.client.round.encode import fresh_delta
from roughfed.client.round.statistics import (
    Values,
    asked_of_training,
    compares,
    personalises,
    record_loss,
    record_weight,
    trained_values,
)
from roughfed.client.rules.checks import check_rounds
from roughfed.client.storage.store import SavedUpdate
from roughfed.errors import TrainerError
from roughfed.shared_tensors import SCALE
from roughfed.tiers import tensors_of
from roughfed.training import LABEL_AUDIT, BaseFile, FitResult, Turn
from roughfed.types import Evaluation, Evaluations, Receipt, Signed, UpdateStatement
from roughfed.wire.updates import MAX_METRICS, MAX_NAME, UPDATE_DOMAIN, encode_statement

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Training:
    """What a local training left.

    Attributes:
        result: what the trainer reports.
        delta: bare float32 [D] file, local minus global.
        statistics: what the training worked out of what the header asks for; all of it or nothing.
    """

    result: FitResult
    delta: Path
    statistics: Values


class Steps(Protocol):
    """The steps that a plain and a masked round do in ways of their own."""

    async def resume(self) -> UpdateStatement | None:
        """What to say of bytes that were encoded before a restart; None: there are none."""
        ...

    async def record_model(self, params: Path) -> bool:
        """Record the base model before it is trained; whether the training draws its examples with replacement.

        Raises:
            RemoteProtocolError: reason "policy"; this client does not train on this model any more.
        """
        ...

    async def train(self, params: Path, *, redraw: bool) -> Training:
        """Step 2: local training.

        Raises:
            TrainerError: it failed.
        """
        ...

    async def encode(self, training: Training, found: Evaluations) -> UpdateStatement:
        """Steps 3 to 5: the bytes that will leave stand in their file; what is said of them.

        Raises:
            TrainerError: what was learned cannot be sent.
        """
        ...

    async def upload(self, update: SavedUpdate) -> Receipt:
        """Step 6: the recorded bytes, until there is a receipt."""
        ...


async def run_steps(task: RoundTask, steps: Steps) -> Receipt:
    """Steps 1 to 6; what was recorded before a restart is sent, and nothing is trained again."""
    update = task.ctx.store.update(task.header.run, task.header.round)
    if update is None:
        statement = await steps.resume()
        if statement is None:
            check_rounds(task.header, rules=task.session.rules, store=task.ctx.store)
            params = await fetch_model(task)  # 1
            redraw = await steps.record_model(params)
            found = await evaluate_models(task, params)
            await record_loss(task, found.base)
            training = await steps.train(params, redraw=redraw)  # 2
            statement = await steps.encode(training, found)  # 3 to 5
        update = await sign_and_record(task, statement)
    return await steps.upload(update)  # 6


async def evaluate_models(task: RoundTask, params: Path) -> Evaluations:
    """The base model, and this client's others, on its held-out data."""
    job, store = task.job, task.ctx.store
    if not (job.train or job.evaluate):
        return Evaluations()
    settings = task.ctx.settings(job.trainer)
    if task.session.welcome.private or personalises(settings):
        await record_own_model(store.folder, OwnModel(task.header.model_digest, settings, turn_of(task)))
    else:
        await record_no_own_model(store.folder, settings)
    return await evaluate(task, params, turn_of(task)) if job.evaluate else Evaluations()


async def evaluate(task: RoundTask, params: Path, turn: Turn) -> Evaluations:
    """The models that this client could use, on its held-out data; nothing where it has none.

    Args:
        task: of this client.
        params: model file with the round's base model.
        turn: where in the run that is; the client's own tensors and models are those of earlier rounds.
    """
    if task.ctx.description.num_test == 0:
        return Evaluations()
    task.ctx.enter("evaluating", 0.0)
    base = await task.ctx.trainer.evaluate(params, model_digest=task.header.model_digest, turn=turn)
    settings = task.ctx.settings(task.job.trainer)
    personal = base if task.session.welcome.private else None  # what was evaluated has the own private tensors in it
    if not (compares(settings) or personalises(settings)):
        return Evaluations(base, personal)
    found = await task.ctx.trainer.compare(params, model_digest=task.header.model_digest, settings=settings, turn=turn)
    own: Evaluation | None = found.get("personal", personal)
    return Evaluations(base, own, found.get("alone"))


async def train(task: RoundTask, params: Path, *, redraw: bool = False) -> Training:
    """Step 2: local training; the delta is in a file, float32."""
    ctx, job, header = task.ctx, task.job, task.header
    ctx.enter("training", 0.0)
    plain = header.codec == "identity" and header.keep_one_in <= 1  # then it is what leaves
    delta = ctx.store.fresh_update(header.round) if plain else fresh_delta(ctx.store.folder, header.round)
    settings = ctx.settings(job.trainer)
    turn = replace(turn_of(task), redraw=redraw)
    result = await ctx.trainer.fit(params, delta, settings=settings, seed=ctx.training_seed(job), turn=turn)
    check_metrics(result.metrics)
    await record_weight(task, result)
    loss, lost = result.metrics.get("loss"), result.lost_state
    if lost:
        log.warning("round %d: what the trainer had kept is lost; its log says why", header.round)
    ctx.on_trained(result.seconds, result.num_examples)
    ctx.metrics.trained(result.seconds, result.num_examples, loss=loss, lost_state=lost)
    ctx.metrics.effort(settings, result.num_steps)
    crash.point("trained")
    return Training(result, delta, trained_values(result, asked_of_training(task)))


def turn_of(task: RoundTask) -> Turn:
    """Where in the run this training stands, what came with it, and where the trainer keeps what it remembers."""
    session, store, header = task.session, task.ctx.store, task.header
    state = state_place(store.folder, session.credentials)
    rounds = max(session.welcome.rounds, header.round)
    return Turn(
        header.round,
        rounds,
        header.run,
        facts=task.job.facts,
        wanted=asked_of_training(task),
        allow_memory=session.rules.allow_memory,
        state=state,
        audit=store.folder / LABEL_AUDIT if session.rules.policy.label_audit else None,
        said=store.counted_shares(header.run, before=header.round) if SCALE in task.job.facts else {},
        tensors=tensors_of(header),
        base=None if (base := session.welcome.base) is None else BaseFile(store.base_path(base.digest), base.scale),
        seconds_left=max(0.0, task.ends_at - time.monotonic()),
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


async def sign_and_record(task: RoundTask, statement: UpdateStatement) -> SavedUpdate:
    """Sign a statement and record it before a byte leaves; its bytes are in their file already."""
    credentials, body = task.session.credentials, encode_statement(statement)
    with task.ctx.metrics.crypto("sign"):
        signed = Signed(body, credentials.identity.sign(UPDATE_DOMAIN, body), credentials.name)
    s = statement
    update = SavedUpdate(s.run, s.round, s.header_digest, s.digest, signed)
    await task.ctx.store.save_update(update)
    crash.point("update-saved")
    return update
