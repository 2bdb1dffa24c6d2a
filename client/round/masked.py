"""The steps of a masked round: train and upload, while keys, and later answers, are exchanged; to its end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from roughfed.client.context import RoundTask
from roughfed.client.disclosure.round import admit_model
from roughfed.client.round.encode import NOT_FINITE, zero_delta
from roughfed.client.round.masked_part import MaskedPart, warm
from roughfed.client.round.member_list import fetch_member_list
from roughfed.client.round.statistics import client_values
from roughfed.client.round.steps import Training, run_steps, train
from roughfed.client.round.upload import upload
from roughfed.client.storage.own_secret import fingerprint
from roughfed.client.storage.store import SavedUpdate
from roughfed.errors import StaleRound, TrainerError
from roughfed.params import digest_file
from roughfed.training import FitResult
from roughfed.types import Evaluations, Receipt, UpdateStatement
from roughfed.wire.updates import decode_receipt

log = logging.getLogger(__name__)


class MaskedSteps:
    """`Steps` of a masked round."""

    def __init__(self, task: RoundTask, part: MaskedPart) -> None:
        """`part`: this client's side of the protocol."""
        self._task, self._part = task, part

    async def resume(self) -> UpdateStatement | None:
        """What to say of masked bytes that were written ahead."""
        return self._statement() if self._part.masked else None

    async def record_model(self, params: Path) -> bool:
        """Hold the model against those of earlier rounds, and record it."""
        task = self._task
        own = await asyncio.to_thread(fingerprint, params, task.ctx.own_secret)
        most = task.session.rules.policy.max_model_rounds
        return await admit_model(task.session.disclosed, task.header, own, most=most)

    async def train(self, params: Path, *, redraw: bool) -> Training:
        """Step 2: local training; one that diverged has learned nothing."""
        try:
            return await train(self._task, params, redraw=redraw)
        except TrainerError as error:
            return await self._nothing(error)

    async def encode(self, training: Training, found: Evaluations) -> UpdateStatement:
        """Steps 3 to 5: clip, encode, mask, once the group's shares are dealt."""
        await self._part.ready.wait()
        try:
            await self._mask(training, found)
        except TrainerError as error:
            await self._mask(await self._nothing(error), found)
        return self._statement()

    async def _mask(self, training: Training, found: Evaluations) -> None:
        values = client_values(self._task.ctx.description, found, training.result)
        await self._part.mask(training.delta, values | training.statistics)

    async def _nothing(self, error: TrainerError) -> Training:
        """An update of zeros, where a training gave no numbers; any other failure is raised again."""
        if error.reason not in NOT_FINITE:
            raise error
        number, ctx = self._task.header.round, self._task.ctx
        log.error("round %d: %s; zeros go: to fail would tell of the data", number, error)
        size = self._part.masking.params.size
        delta = await asyncio.to_thread(zero_delta, ctx.store.folder, number, size)
        return Training(FitResult(ctx.description.num_train, 0, {}, 0.0), delta, {})

    def _statement(self) -> UpdateStatement:
        """Nothing about the client's data or training, but what the update was masked under."""
        task, header = self._task, self._task.header
        path = task.ctx.store.update_path(header.round)
        return UpdateStatement(
            run=header.run,
            round=header.round,
            client=task.session.credentials.name,
            header_digest=task.job.header.digest,
            digest=digest_file(path),
            size_bytes=path.stat().st_size,
            num_examples=0,
            tier=header.tier,
            view_digest=self._part.machine.view_digest,
        )

    async def upload(self, update: SavedUpdate) -> Receipt:
        """Step 6; the sets must show these bytes."""
        self._part.uploaded(update.signed)
        if update.receipt is not None:
            return decode_receipt(update.receipt)
        return await upload(self._task, update)


async def run_masked(task: RoundTask) -> Receipt | None:
    """Do the job of a masked round.

    Returns:
        the server's receipt; None when the update came too late.

    Raises:
        RemoteProtocolError, IdentityError: the server broke a rule; this client is out of the round.
        TrainerError: local training failed.
    """
    part = MaskedPart(task, await fetch_member_list(task))
    part.advertise()
    talking = asyncio.create_task(answer_stages(task, part))
    working = asyncio.create_task(contribute(task, part))
    warming = warm(part)
    try:
        await asyncio.wait({talking, working}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()  # the round is over, or the server broke a rule
            return None
        receipt = working.result()
        task.ctx.enter("agreeing", 0.0)
        await talking
        return receipt
    finally:
        for running in (talking, working):
            running.cancel()
        await asyncio.gather(talking, working, warming, return_exceptions=True)
        part.close()  # what was written ahead stays, unless the round is over


async def answer_stages(task: RoundTask, part: MaskedPart) -> None:
    """Answer the server's stages until the round is over."""
    while (message := await task.inbox.get()) is not None:
        if message == "again":
            part.advertise()
        else:
            await part.accept(message)
    part.over = True


async def contribute(task: RoundTask, part: MaskedPart) -> Receipt | None:
    """Steps 1 to 6; None when the update came too late."""
    try:
        return await run_steps(task, MaskedSteps(task, part))
    except StaleRound as error:
        log.info("round %d: the update came too late (%s)", task.header.round, error)
        return None
