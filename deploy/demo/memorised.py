"""How many of the wrong labels that a scenario planted the final model repeats: a look that only a demo can take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from roughfed.data.roughness import roughness
from roughfed.deploy.demo.folder import DemoPlace
from roughfed.errors import TrainerError
from roughfed.report.summary import RunSummary
from roughfed.trainer_client import Trainer, trainer_command
from roughfed.types import Evaluation

log = logging.getLogger(__name__)


def with_memorised(run: RunSummary, place: DemoPlace, data: Mapping[str, object]) -> RunSummary:
    """The run, with the share of wrong labels that its last model repeats; as it is where no label is wrong.

    Args:
        run: a run that is over, with a model.
        place: where it ran.
        data: keys of [data] that all clients have in common.

    A model that could not be evaluated leaves the figure out: a run that is over keeps its report.
    """
    if not run.rounds or not run.model_digest or not roughness(str(data["name"]), str(data["scenario"]), data).noise:
        return run
    model = {key: value for key, value in _model(run).items() if key in ("name", "experts")}
    settings = {"data": {**data, "part": "wrong"}, "model": model}
    try:
        found = asyncio.run(_evaluate(settings, place, run.model_digest))
    except TrainerError as error:
        log.warning("how many wrong labels the model repeats is not known: %s", error)
        return run
    last = replace(run.rounds[-1], memorised_wrong=found.accuracy)
    return replace(run, rounds=[*run.rounds[:-1], last])


def _model(run: RunSummary) -> Mapping[str, object]:
    found = run.config.get("model")
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else {}


async def _evaluate(settings: Mapping[str, object], place: DemoPlace, digest: str) -> Evaluation:
    command = trainer_command(builtin=settings, device="cpu")
    worker = await Trainer.start(command, log=place.log("memorised"))
    try:
        path = place.server / "state" / "models" / f"{digest}.safetensors"
        return await worker.evaluate(path, model_digest=bytes.fromhex(digest))
    finally:
        await worker.stop()
