"""What a client finds on its held-out data: of the base model, of its own one, of the one it trained without others."""

from __future__ import annotations

from pathlib import Path

from roughfed.client.context import RoundTask
from roughfed.methods import AUTO, is_personal
from roughfed.training import Turn
from roughfed.types import Evaluation, Evaluations

COMPARE_ALONE = "compare_alone"
OF_A_COMPARISON = frozenset({"alone-histogram", "worse-than-alone"})
"""Statistics that a client without a model trained alone has nothing to say to."""


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


def compares(settings: dict[str, object]) -> bool:
    """Whether the learning settings have the client train a model without the others beside."""
    return settings.get(COMPARE_ALONE) is True


def personalises(settings: dict[str, object]) -> bool:
    """Whether a part of the method makes a model of the client's own."""
    method = settings.get("method")
    return isinstance(method, str) and method != AUTO and is_personal(method)
