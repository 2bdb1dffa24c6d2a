"""How far attackers with a goal got: the share of the examples that it is about which the final model takes for it.

A look that only a demo can take: it knows the trigger, or the classes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from roughfed.deploy.attack.poison.labels import SNEAKER, SOURCE, TARGET, LabelPoison
from roughfed.deploy.demo.folder import DemoPlace
from roughfed.errors import TrainerError
from roughfed.report.summary import RunSummary
from roughfed.trainer_client import Trainer, trainer_command

if TYPE_CHECKING:
    from roughfed.client.api import Client
    from roughfed.deploy.attack.poison import Data

FILE = "reached_app.py"
SOURCE_KEYS = ("name", "data_dir", "seed")
log = logging.getLogger(__name__)

_APP = """\"\"\"Written by `roughfed demo`.\"\"\"

from roughfed.deploy.demo.attack_success import app

client = app({settings!r}, {goal!r})
"""


def app(settings: str, goal: Data) -> Client:
    """The built-in app, with the examples that an attacker's goal is about to be evaluated on; called by the trainer.

    Args:
        settings: of `roughfed.client.apps.builtin`, JSON; its test data are taken.
        goal: see `LabelPoison.aimed`. Every label is the target: accuracy is then the share that the attackers reached.
    """
    import numpy as np

    from roughfed.client.apps import builtin

    client = builtin(json.loads(settings))
    test: Any = client.test
    x = LabelPoison(goal, SNEAKER if goal == "edge" else SOURCE).aimed(test.x, test.y)
    client.test = (x, np.full(len(x), TARGET))
    return client


def with_reached(run: RunSummary, place: DemoPlace, data: Mapping[str, object], goal: Data) -> RunSummary:
    """The run with `attack_success` in its last round; as it is where the attackers have no such goal.

    Args:
        run: a run that is over, with a model.
        place: where it ran.
        data: keys of [data] that all clients have in common.
        goal: see `app`; "": none.

    A model that could not be evaluated leaves the figure out: a run that is over keeps its report.
    """
    if not goal or not run.rounds or not run.model_digest:
        return run
    known = run.config.get("model")
    told = cast("Mapping[str, object]", known).items() if isinstance(known, dict) else ()
    model = {key: value for key, value in told if key in ("name", "experts")}
    settings = {"data": {key: data[key] for key in SOURCE_KEYS}, "model": model}
    path = place.folder / FILE
    path.write_text(_APP.format(settings=json.dumps(settings), goal=goal), encoding="utf-8")
    try:
        accuracy = asyncio.run(_evaluate(f"{path}:client", place, run.model_digest))
    except TrainerError as error:
        log.warning("how far the attackers got is not known: %s", error)
        return run
    last = replace(run.rounds[-1], attack_success=accuracy)
    return replace(run, rounds=[*run.rounds[:-1], last])


async def _evaluate(given: str, place: DemoPlace, digest: str) -> float | None:
    worker = await Trainer.start(trainer_command(app=given, device="cpu"), log=place.log("reached"))
    try:
        path = place.server / "state" / "models" / f"{digest}.safetensors"
        return (await worker.evaluate(path, model_digest=bytes.fromhex(digest))).accuracy
    finally:
        await worker.stop()
