"""The models of a client beside the common one: its own, and the one that it trains without the others.

Alone means: from the weights that the client's own code begins with, on the same data as every training, for as many
epochs, by the same method without what only a federation has. It is whole, private tensors and all, and lies in the
state with what the method's parts keep for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from roughfed.client.api import UserLoop
from roughfed.client.trainer.examples.batches import Source, TrainLoader
from roughfed.client.trainer.model.model_file import open_given
from roughfed.client.trainer.model.private import private_tensors
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.torch_types import integers
from roughfed.client.trainer.training.choose import composition_for
from roughfed.client.trainer.training.compose import Method
from roughfed.client.trainer.training.loop import Work, context_of, round_of, seed_everything, train
from roughfed.methods import AUTO, PLAIN, read_method
from roughfed.rng import derive
from roughfed.training import TURN

ALONE = "alone"
OF_ALONE = "alone:"
"""Before the names of parts whose state belongs to the model that is trained alone."""

Report = Callable[[float], None]


def personalise(model: nn.Module, source: Source, work: Work, *, report: Report) -> None:
    """Turn the common model into the one that this client uses.

    Args:
        model: with the parameters of `work.params` and this client's private tensors; changed in place.
        source: training examples.
        work: its `delta` is not written; what is remembered is changed, and is to be thrown away.
        report: gets the share done before each batch, and may raise to abandon it.
    """
    seed_everything(work.seed)
    loader = _loader(source, work.settings, derive(work.seed, "own"), report)
    context = context_of(model, source, work, loader)
    context.scope.private = frozenset(private_tensors(model, open_given(work.params, model).spec))
    method = Method(composition_for(context, allow_memory=work.turn.allow_memory), context)
    if not (epochs := sum(method.call("use"))):
        return
    settings = replace(work.settings, epochs=epochs, method=without(work.settings.method, "scaffold", "personal"))
    loader = _loader(source, settings, derive(work.seed, "own"), report)
    facts = {name: values for name, values in work.turn.facts.items() if name not in (TURN, "rounds")}
    turn = replace(work.turn, round=1, rounds=1, facts=facts)  # a run of its own, in which schedules begin anew
    context = context_of(model, source, replace(work, settings=settings, turn=turn), loader)
    train(context, loader, allow_memory=work.turn.allow_memory)


def train_alone(model: nn.Module, source: Source, work: Work, *, report: Report, own: UserLoop | None = None) -> None:
    """Go on with the model that this client trains without the others.

    Args:
        model: as the client's code makes it; used and overwritten.
        source: training examples.
        work: of the training that was just done; what is remembered gets the new state.
        report: as of `personalise`.
        own: the user's own loop.
    """
    load_alone(model, work.remembered)
    seed = derive(work.seed, ALONE)
    seed_everything(seed)
    settings = replace(work.settings, method=_alone_method(work), prior="local")
    kept = {name.removeprefix(OF_ALONE): t for name, t in work.remembered.items() if name.startswith(OF_ALONE)}
    facts = {name: values for name, values in work.turn.facts.items() if name in (TURN, "rounds")}
    turn = replace(work.turn, facts=facts, wanted=(), said={}, tensors=())
    mine = replace(work, settings=settings, seed=seed, turn=turn, remembered=kept)
    loader = _loader(source, settings, seed, report)
    if own is None:
        train(context_of(model, source, mine, loader), loader, allow_memory=turn.allow_memory)
    else:
        own(model, loader, round_of(model, mine))
    work.remembered.update({OF_ALONE + name: tensors for name, tensors in kept.items()})
    work.remembered[ALONE] = {
        name: t.detach().clone() for name, t in model.state_dict().items() if isinstance(t, Tensor)
    }


def load_alone(model: nn.Module, remembered: dict[str, Tensors]) -> None:
    """Put the model that was trained alone into a fresh one; one that has not been trained yet stays as it is."""
    if kept := remembered.get(ALONE):
        model.load_state_dict(kept, strict=False)  # extra state is no tensor, and not kept


def without(method: str, *left_out: str) -> str:
    """A method without the parts of these names, rooms or families."""
    parts = read_method(method).parts
    kept = [p for p in parts if {p.name, p.row.room, p.row.family}.isdisjoint(left_out)]
    return "+".join(map(str, kept)) or PLAIN


def _alone_method(work: Work) -> str:
    """The method without what needs others; the parts that were chosen where the client chooses."""
    if work.settings.method != AUTO:
        return without(work.settings.method, "personal", "federated")
    line = work.remembered.get(AUTO, {}).get("line")
    return PLAIN if line is None else bytes(integers(line)).decode()


def _loader(source: Source, settings: TrainerSettings, seed: int, report: Report) -> TrainLoader:
    size, steps = settings.batch_size, settings.max_steps
    return TrainLoader(source, batch_size=size, seed=seed, epochs=settings.epochs, max_steps=steps, report=report)
