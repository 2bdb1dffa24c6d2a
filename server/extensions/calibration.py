"""After the last round: the worker makes a finished model of sums over the clients (`trainer.calibrate`).

The sums are made known in rounds (`roughfed.server.cohort.statistics`); here they are read, checked for who is behind
them, and given to the worker. The finished model stands beside the version that it was made of, is evaluated and
can be exported; no round begins with it. C classes, d features before the last layer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from roughfed.files import place_durably
from roughfed.rng import derive
from roughfed.secagg.fixed_point import from_fixed
from roughfed.secagg.statistics import KINDS, add
from roughfed.server.cohort.statistics import CALIBRATIONS, FEWEST, MAX_FACT_NUMBERS, Facts, hidden
from roughfed.server.context.extension import Extension
from roughfed.server.context.server import ServerContext
from roughfed.server.model.calibrated import Calibrated, newest, note, note_evaluation
from roughfed.server.storage.store import RoundRow
from roughfed.wire.session import decode_header

log = logging.getLogger(__name__)

EVERY_ROUND = frozenset({"creff"})
"""Ways that go on from round to round."""

HEAD = "head"
"""The fact that holds a classifier (`client/trainer/extractors/head_gradient.py`)."""

Numbers = dict[str, list[float]]

WHOLE = frozenset({"feature-outer"})
"""Statistics of all classes together; the others have as many values for each class."""


def finishing_sums(how: str, sums: Mapping[str, Sequence[int]], owners: Sequence[int]) -> Numbers:
    """The sums of one round as real numbers, without those of classes that too few clients have.

    Args:
        how: `trainer.calibrate`.
        sums: of the round, and class-count.
        owners: clients that have each class, [C].

    Returns:
        by name; empty where fewer than four clients are behind them, or one is missing.
    """
    givers = (sums.get("trained") or (0,))[0]
    names = [name for name in CALIBRATIONS[how] if name not in ("trained", "class-owner")]
    trained = any(KINDS[name].training for name in names)
    if not owners or (trained and givers < FEWEST) or any(name not in sums for name in names):
        return {}
    few = sorted(hidden(owners))
    found: Numbers = {}
    for name in names:
        kind = KINDS[name]
        values = from_fixed(name, sums[name], givers) if kind.unit else np.array(sums[name], dtype=np.float64)
        if name not in WHOLE:
            values.reshape(len(owners), -1)[few] = 0.0
        found[name] = values.tolist()
    return found


class Calibration(Extension):
    """Finishes a model by sums over the clients, with the worker."""

    def __init__(self, ctx: ServerContext) -> None:
        """As the settings say."""
        self._ctx = ctx

    async def on_committed(self, row: RoundRow) -> None:
        """After a committed round: what is made anew in every round, so that the next one can go by it."""
        if self._ctx.config.trainer.calibrate in EVERY_ROUND:
            await self._calibrate(row)

    async def on_last_round(self) -> None:
        """After the last round: finish its version, and evaluate what came of it."""
        last = next(iter(self._ctx.store.committed()), None)
        if self._ctx.worker is None or last is None:
            return
        if self._ctx.config.trainer.calibrate not in EVERY_ROUND:
            await self._calibrate(last)
        found = newest(self._ctx.store)
        if found is None or found.evaluation is not None or not self._ctx.config.round.evaluate_every:
            return
        evaluation = await self._ctx.worker.evaluate(
            self._ctx.store.model_path(found.digest), model_digest=found.digest
        )
        if evaluation is not None:
            await note_evaluation(self._ctx.store, found.version, evaluation)
            log.info("the calibrated model (%s): balanced accuracy %s", found.how, evaluation.balanced_accuracy)

    async def _calibrate(self, row: RoundRow) -> None:
        """Finish the newest version, once; a worker that cannot is logged and stops nothing."""
        how, before = self._ctx.config.trainer.calibrate, newest(self._ctx.store)
        version, digest = self._ctx.store.latest_model()
        if self._ctx.worker is None or (before is not None and before.version >= version):
            return
        sums = self._sums_for(how)
        if not sums:
            log.warning("no sums that at least %d clients are behind: version %d is not calibrated", FEWEST, version)
            return
        base = decode_header(row.header.body).model_digest
        given = {
            "how": how,
            "sums": sums,
            "seed": derive(self._ctx.config.federation.seed, "calibrate", version),
            "at": list(row.facts.get(HEAD, ())),
            "base": str(self._ctx.store.model_path(base)) if self._ctx.store.model_path(base).exists() else "",
            "kept": "" if before is None else str(self._kept(before.version)),
            "keep": str(self._kept(version)),
        }
        out = self._ctx.store.folder / "models" / "calibrated.safetensors"
        found = await self._ctx.worker.calibrate(self._ctx.store.model_path(digest), out, given)
        if found is None:
            return
        made, head = found
        await asyncio.to_thread(place_durably, out, self._ctx.store.model_path(made))
        await note(self._ctx.store, Calibrated(version, how, made, head), time.time())
        if before is not None and before.digest != made:
            self._kept(before.version).unlink(missing_ok=True)
            if not self._ctx.store.lineage.of_digest(before.digest):
                self._ctx.store.model_path(before.digest).unlink(missing_ok=True)

    def _sums_for(self, how: str) -> Numbers:
        """What a finishing needs, of the newest round that has it."""
        statics = add(self._ctx.store.statics())
        trained = [name for name in CALIBRATIONS[how] if KINDS[name].training and name != "trained"]
        told: list[dict[str, list[int]]] = self._ctx.store.sums_with(trained[0], most=1) if trained else [{}]
        return finishing_sums(how, {**told[0], **statics}, statics.get("class-owner", ())) if told else {}

    def facts(self, number: int, cluster: str) -> Facts:
        """The classifier at which the next round's gradients are taken; nothing before there is one."""
        del number, cluster
        found = newest(self._ctx.store) if self._ctx.config.trainer.calibrate in EVERY_ROUND else None
        return {} if found is None or len(found.head) > MAX_FACT_NUMBERS else {HEAD: found.head}

    def _kept(self, version: int) -> Path:
        return self._ctx.store.folder / "models" / f"calibrated-{version}.kept"
