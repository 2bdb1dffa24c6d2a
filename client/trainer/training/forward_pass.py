"""One pass over the local examples with the round's global model, for all the statistics that are wanted of it."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from roughfed.client.trainer.evaluation.evaluate import check_labels
from roughfed.client.trainer.examples.batches import Source
from roughfed.client.trainer.examples.statistic_extractor import Observed
from roughfed.client.trainer.extractors import OF_THE_HEAD, TELLERS
from roughfed.client.trainer.loss.cross_entropy import cross_entropy
from roughfed.client.trainer.model.head import ends_in_head
from roughfed.client.trainer.parts import Context
from roughfed.training import Turn

BATCH = 256

Statistics = dict[str, tuple[int, ...]]


def names_of(turn: Turn) -> tuple[str, ...]:
    """The names of what a turn wants, without their lengths."""
    return tuple(text.partition(":")[0] for text in turn.wanted)


def can_tell(model: nn.Module, source: Source, num_classes: int) -> tuple[str, ...]:
    """The statistics that a training of this model on such examples can work out."""
    if not num_classes:
        return ()
    x, _ = next(iter(source.epoch(2, None)))
    model.eval()
    headed = ends_in_head(model, x, num_classes)
    return tuple(name for name in TELLERS if headed or name not in OF_THE_HEAD)


@torch.no_grad()
def look(context: Context, names: Collection[str]) -> Statistics:
    """Work out statistics; what is not known here is left out (the agent then tells nothing).

    Args:
        context: its model is still the round's global one.
        names: of the table `TELLERS`.

    Raises:
        ConfigError: a label outside the model's output.
    """
    known = [name for name in TELLERS if name in names] if context.num_classes else []
    tellers = [make(context) for make in dict.fromkeys(TELLERS[name] for name in known)]
    if not tellers:
        return {}
    headed = not OF_THE_HEAD.isdisjoint(known)
    training = context.model.training
    context.model.eval()
    for x, y in context.source.epoch(BATCH, None):
        check_labels(y, context.num_classes)
        seen = _seen(context, x, y, headed=headed)
        for teller in tellers:
            teller.add(seen)
    context.model.train(training)
    found = {name: tuple(values) for teller in tellers for name, values in teller.values().items()}
    return {name: found[name] for name in known}


def _seen(context: Context, x: Tensor, y: Tensor, *, headed: bool) -> Observed:
    features, output = context.head().with_features(x) if headed else (x.new_empty(len(x), 0), context.model(x))
    # A model that diverged has no finite ones; its sums say nothing, and must not break the round.
    features, output = features.float().nan_to_num(0.0, 0.0, 0.0), output.float().nan_to_num(0.0, 1e4, -1e4)
    return Observed(y, output, cross_entropy(output, y), features)
