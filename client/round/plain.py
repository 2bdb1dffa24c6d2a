"""The steps of a round in the clear: the server sees every update.

Nothing is clipped or masked (steps 3 and 5); step 4 is one of CODECS, and with the identity codec what leaves is the
delta as the trainer wrote it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from roughfed.client.context import RoundTask
from roughfed.client.round.encode import encode_file, residual_of
from roughfed.client.round.statistics import clear_values, client_values, quarters_of, record_trained
from roughfed.client.round.steps import Training, train
from roughfed.client.round.upload import upload
from roughfed.client.storage.store import SavedUpdate
from roughfed.params import digest_file
from roughfed.types import Evaluations, Receipt, UpdateStatement
from roughfed.upload_format import sending_of


class PlainSteps:
    """`Steps` of a round in the clear."""

    def __init__(self, task: RoundTask) -> None:
        """Nothing is done yet."""
        self._task = task

    async def resume(self) -> None:
        """Nothing: bytes without a statement are made anew."""

    async def record_model(self, params: Path) -> bool:
        """Nothing yet: in the clear no sum can be compared with another one."""
        del params
        return False

    async def train(self, params: Path, *, redraw: bool) -> Training:
        """Step 2: local training."""
        return await train(self._task, params, redraw=redraw)

    async def encode(self, training: Training, found: Evaluations) -> UpdateStatement:
        """Step 4: the payload of the round's codec stands in its file, and the record has what leaves."""
        path = await self._encode(training.delta)
        digest = await asyncio.to_thread(digest_file, path)
        await record_trained(self._task, training.statistics)
        await self._task.session.disclosed.record_model(self._task.header)
        return self._statement(training, found, digest, path.stat().st_size)

    async def _encode(self, delta: Path) -> Path:
        task, ctx, header = self._task, self._task.ctx, self._task.header
        path = ctx.store.update_path(header.round)
        if delta != path:
            residual = residual_of(ctx.store.folder, header.run)
            sending = sending_of(task.job.header.digest, header, task.session.welcome.spec)
            work = partial(encode_file, out=path, residual=residual, sending=sending)
            with ctx.metrics.codec(header.codec, "encode"):
                await asyncio.to_thread(work, header, delta)
        return path

    def _statement(self, training: Training, found: Evaluations, digest: bytes, size_bytes: int) -> UpdateStatement:
        task, header, result = self._task, self._task.header, training.result
        values = client_values(task.ctx.description, found, result) | training.statistics
        return UpdateStatement(
            run=header.run,
            round=header.round,
            client=task.session.credentials.name,
            header_digest=task.job.header.digest,
            digest=digest,
            size_bytes=size_bytes,
            num_examples=result.num_examples,
            num_steps=result.num_steps,
            train_seconds=result.seconds,
            metrics=result.metrics,
            evaluation=found.base or result.evaluation,
            quarters=quarters_of(task),
            statistics=clear_values(task, values),
            personal=found.personal,
            alone=found.alone,
            tier=header.tier,
        )

    async def upload(self, update: SavedUpdate) -> Receipt:
        """Step 6; a server that was restored asks again for what it has signed for."""
        return await upload(self._task, update)
