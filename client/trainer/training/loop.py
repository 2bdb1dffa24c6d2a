"""Local training, top to bottom: global parameters in, delta out.

delta = local minus global: what the later steps of a round clip, encode, mask and send.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from roughfed.client.api import Round, UserLoop
from roughfed.client.trainer.examples.batches import Source, TrainLoader
from roughfed.client.trainer.labels.audit import write_audit
from roughfed.client.trainer.labels.label_quality import (
    FACT,
    LabelQuality,
    balance_histogram,
    doubt_of,
    noted,
    remember,
)
from roughfed.client.trainer.model.model_file import open_given
from roughfed.client.trainer.model.private import private_tensors
from roughfed.client.trainer.model.scoped import frozen, keep_still, part_given
from roughfed.client.trainer.model.tensors import load_flat, write_delta
from roughfed.client.trainer.optimize.optimizer import optimizer_for
from roughfed.client.trainer.parts import Context, Position, Tensors
from roughfed.client.trainer.settings import TrainerSettings
from roughfed.client.trainer.training.choose import composition_for
from roughfed.client.trainer.training.compose import Method
from roughfed.client.trainer.training.control_variates import behind, controls_for
from roughfed.client.trainer.training.effort import effort_of, even_out
from roughfed.client.trainer.training.forward_pass import Statistics, look, names_of
from roughfed.errors import ConfigError
from roughfed.methods import AUTO
from roughfed.rng import derive
from roughfed.secagg.statistics import KINDS
from roughfed.training import FitResult, Turn


@dataclass(frozen=True, slots=True)
class Work:
    """One local training.

    Attributes:
        params: model file with the global parameters.
        delta: where the delta goes, bare float32 [D].
        settings: the learning settings.
        seed: of shuffles, dropout and whatever the user's loop draws.
        turn: where in the run it stands.
        num_classes: C; 0 for regression.
        task: of a stream of tasks, from 0; -1 without tasks.
        clean: a few examples with trusted labels.
        remembered: what the parts keep from round to round, by part; changed by the training.
    """

    params: Path
    delta: Path
    settings: TrainerSettings
    seed: int
    turn: Turn
    num_classes: int
    task: int = -1
    clean: Source | None = None
    remembered: dict[str, Tensors] = field(default_factory=dict)


def fit(
    model: nn.Module, source: Source, work: Work, *, report: Callable[[float], None], own: UserLoop | None = None
) -> FitResult:
    """Train and write the delta. The same seed, threads, device and remembered state give the same bytes.

    Args:
        model: on its device; its float tensors are overwritten.
        source: training examples.
        work: what is asked for.
        report: gets the share done before each batch, and may raise to abandon the training.
        own: the user's own loop, instead of the one below.

    Raises:
        TrainerError: reason `diverged`.
        ConfigError: there was no batch, or the method does not suit the model and the data.
        ConfigError, StorageError: files that do not fit or cannot be used.
    """
    started = time.monotonic()
    settings = work.settings
    given = open_given(work.params, model)
    load_flat(model, given.spec, given.flat)
    part = part_given(given, work.turn.tensors)
    still = frozenset(t.name for t in given.spec.tensors) - {t.name for t in part.spec.tensors}
    model.zero_grad(set_to_none=True)  # an abandoned training may have left some
    seed_everything(work.seed)
    loader = TrainLoader(
        source,
        batch_size=settings.batch_size,
        seed=work.seed,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        report=report,
    )
    loader.redraw = work.turn.redraw
    context = context_of(model, source, work, loader)
    context.scope.private = frozenset(private_tensors(model, given.spec))
    context.scope.frozen = still
    context.scope.controls = controls_for(context, given, work.turn, own_loop=own is not None)
    told, doubt = before_training(context, names_of(work.turn))
    if work.turn.audit is not None:
        write_audit(context, work.turn.audit)
    with frozen(model, still):
        if own is None:
            metrics = train(context, loader, allow_memory=work.turn.allow_memory)
        else:
            metrics = own(model, loader, round_of(model, work)) or {}
    if not loader.num_steps:
        raise ConfigError(
            "not one batch was trained on", key="train", cure="iterate over the loader that the loop gets, or give data"
        )
    write_delta(model, part.spec, part.flat, work.delta, behind=behind(given, context.scope.controls))
    effort = effort_of(settings, loader.num_steps, own_loop=own is not None)
    told |= even_out(work.delta, part.spec, work.turn, effort)
    seconds = time.monotonic() - started
    weight = doubt.weight if settings.self_weight else 1.0
    return FitResult(loader.num_examples, loader.num_steps, _finite(metrics), seconds, statistics=told, weight=weight)


def no_op_update(model: nn.Module, work: Work) -> FitResult:
    """The answer of a client whose stream has nothing for it in this round: the global parameters, as they are.

    It takes part all the same: in a masked round a client that has dealt its keys and sends nothing costs its group a
    member, and perhaps the sum. It claims the least that counts, one example.
    """
    started = time.monotonic()
    given = open_given(work.params, model)
    load_flat(model, given.spec, given.flat)
    part = part_given(given, work.turn.tensors)
    write_delta(model, part.spec, part.flat, work.delta, behind=behind(given, None))
    weight = noted(work.remembered).weight if work.settings.self_weight else 1.0  # what it found stays found
    return FitResult(1, 0, {}, time.monotonic() - started, weight=weight)


def before_training(context: Context, wanted: Collection[str]) -> tuple[Statistics, LabelQuality]:
    """What the round's global model shows of the local examples: statistics to tell, and the client's own doubt."""
    doubt = doubt_of(context)
    told = look(context, wanted)
    if FACT in told:
        remember(context, told[FACT])
        told[FACT] = balance_histogram(told[FACT], KINDS[FACT].largest)
    return told, doubt


def train(context: Context, loader: TrainLoader, *, allow_memory: bool = True) -> dict[str, float]:
    """The SGD loop. What each part does at which place is said in `parts.Hooks`.

    Returns:
        loss: mean over all steps; and what the parts measured. Nothing where a client chose its parts by itself.
    """
    method = Method(composition_for(context, allow_memory=allow_memory), context)
    method.call("begin")
    for net in context.nets:
        net.train()
        keep_still(net, context.scope.frozen)
    settings = context.settings
    optimizer = optimizer_for(settings, [p for net in context.nets for p in net.parameters() if p.requires_grad])
    loss_sum = torch.zeros((), device=context.device)  # stays there: no waiting for the device in the loop
    for epoch in range(settings.epochs):
        context.at.epoch = epoch
        method.call("epoch")
        for given in loader.epoch(method.order):
            context.at.lr = settings.lr_at(context.round, context.progress)
            optimizer.zero_grad()
            value, outputs = method.step_value(method.transformed(given))
            value.backward()
            method.call("gradient")
            optimizer.lr = context.at.lr
            optimizer.step()
            method.call("after", outputs, given)
            loss_sum += value.detach()
            context.at.step += 1
        if loader.finished:
            break
    method.call("settle")
    metrics = {"loss": float(loss_sum) / max(1, loader.num_steps)}
    for found in method.call("end"):
        metrics |= found or {}
    return {} if settings.method == AUTO else metrics  # a loss has the scale of its parts: it would tell the choice


def seed_everything(seed: int) -> None:
    """Seed torch (every device), numpy's global generator and the standard library's."""
    torch.manual_seed(derive(seed, "torch"))
    np.random.seed(derive(seed, "numpy") % 2**32)  # noqa: NPY002 what user code draws from
    random.seed(derive(seed, "random"))


def context_of(model: nn.Module, source: Source, work: Work, loader: TrainLoader) -> Context:
    """What the parts of a training get to know."""
    return Context(
        model=model,
        source=source,
        settings=work.settings,
        num_classes=work.num_classes,
        generator=torch.Generator().manual_seed(derive(work.seed, "parts")),
        round=work.turn.place,
        rounds=work.turn.planned,
        task=work.task,
        facts=work.turn.facts,
        remembered=work.remembered,
        clean=work.clean,
        at=Position(steps=loader.planned),
        alive=loader.alive,
    )


def round_of(model: nn.Module, work: Work) -> Round:
    """What a user's own loop gets to know."""
    s = work.settings
    device = str(next(model.parameters()).device)
    return Round(
        number=work.turn.round,
        lr=s.lr,
        epochs=s.epochs,
        batch_size=s.batch_size,
        momentum=s.momentum,
        weight_decay=s.weight_decay,
        device=device,
        seed=work.seed,
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as plain floats, for JSON."""
    out = {str(name): float(value) for name, value in metrics.items()}
    for name, value in out.items():
        if not math.isfinite(value):
            raise ConfigError(f"the loop returned {name} = {value}", key="metrics", cure="return finite numbers")
    return out
