"""From a method's name to hooks: the parts of a composition, and the order in which the loop calls them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] of users' own ones too

from roughfed.client.trainer.augment import AUGMENTS
from roughfed.client.trainer.decouple import DECOUPLERS
from roughfed.client.trainer.ensemble import ENSEMBLES
from roughfed.client.trainer.isolate import ISOLATORS
from roughfed.client.trainer.loss import LOSSES
from roughfed.client.trainer.memory import MEMORIES
from roughfed.client.trainer.parts import Batch, Context, Hooks, Maker, Outputs
from roughfed.client.trainer.personal import PERSONAL
from roughfed.client.trainer.regularize import REGULARIZERS
from roughfed.client.trainer.replay import REPLAYS
from roughfed.client.trainer.sampler import SAMPLERS
from roughfed.client.trainer.select import SELECTORS
from roughfed.client.trainer.weigh import WEIGHINGS
from roughfed.methods import Composition

TABLES: Mapping[str, Mapping[str, Maker]] = {
    "loss": LOSSES,
    "ensemble": ENSEMBLES,
    "sampler": SAMPLERS,
    "augment": AUGMENTS,
    "weigh": WEIGHINGS,
    "select": SELECTORS,
    "memory": MEMORIES,
    "replay": REPLAYS,
    "regularize": REGULARIZERS,
    "isolate": ISOLATORS,
    "decouple": DECOUPLERS,
    "personal": PERSONAL,
}


class Method:
    """A composition at work on one training. See `parts.Hooks` for what is called when."""

    def __init__(self, composition: Composition, context: Context) -> None:
        """Make the parts, in the order of the rooms."""
        self.context = context
        self.hooks: list[Hooks] = []
        self.order: Callable[[], Tensor] | None = None
        default = "cross-entropy" if context.num_classes else "mse"
        self.loss: Callable[[Tensor, Batch], Tensor] = cast(Any, LOSSES[default]({}, context, self).loss)
        for part in composition.parts:
            hooks = TABLES[part.row.room][part.name](part.options, context, self)
            context.memory = context.memory if hooks.memory is None else hooks.memory  # an empty one is false
            self.loss = hooks.loss or self.loss
            self.hooks.append(hooks)
        self._forward: Callable[[nn.Module, Tensor], Tensor] | None = self._only("forward")
        self._select = self._only("select")
        self._objective = self._only("objective")
        self.order = self._only("order")
        self._at = {place: list(self.each(place)) for place in Hooks.__slots__}

    def each(self, place: str) -> Iterator[Any]:
        """The hooks at one place of the loop, in order."""
        for hooks in self.hooks:
            if (hook := getattr(hooks, place)) is not None:
                yield hook

    def call(self, place: str, *arguments: object) -> list[Any]:
        """Call every hook at one place; what they give."""
        return [hook(*arguments) for hook in self._at[place]]

    def transformed(self, batch: Batch) -> Batch:
        """A batch as the networks will see it."""
        for transform in self._at["transform"]:
            batch = transform(batch)
        return batch

    def step_value(self, batch: Batch) -> tuple[Tensor, Outputs]:
        """The scalar to descend, and what the networks made of the batch."""
        value, outputs = self.value(batch) if self._objective is None else self._objective(batch)
        for term in self._at["term"]:
            value = value + term(outputs, batch)
        return value, outputs

    def value(self, batch: Batch) -> tuple[Tensor, Outputs]:
        """See `parts.Plan`."""
        outputs = [self.run(net, batch.x) for net in self.context.nets]
        if self._select is None and batch.weight is None:
            return sum_of([self.losses(output, batch).mean() for output in outputs]), outputs
        losses = torch.stack([self.losses(output, batch) for output in outputs])  # [M, B]
        weights = torch.ones_like(losses)
        if self._select is not None:
            losses, weights = self._select(losses, outputs, batch)
        if batch.weight is not None:
            weights = weights * batch.weight
        each = (weights * losses).sum(dim=1) / weights.sum(dim=1).clamp_min(1e-12)  # [M]; nothing chosen: 0, not NaN
        return each.sum(), outputs

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        """See `parts.Plan`."""
        with spread_unknown(net, lonely=len(x) == 1 < self.context.settings.batch_size):
            return net(x) if self._forward is None else self._forward(net, x)

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        """See `parts.Plan`."""
        value = self.loss(output, batch)
        if batch.other is None or batch.share is None:
            return value
        swapped = self.loss(output, swap(batch))
        return batch.share * value + (1 - batch.share) * swapped

    def _only(self, place: str) -> Any:
        """The hook at a place that at most one part may fill; the last one where a room fills another's."""
        return next(reversed(list(self.each(place))), None)


def swap(batch: Batch) -> Batch:
    """A mixed batch from its second label's side."""
    from dataclasses import replace

    if batch.other is None or batch.share is None:
        return batch
    return replace(batch, y=batch.other, other=batch.y, share=1 - batch.share)


@contextmanager
def spread_unknown(net: nn.Module, *, lonely: bool) -> Generator[None]:
    """Within it BatchNorm goes by what it knows: one example, of a memory or a client, has no spread to learn from."""
    learning = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.training] if lonely else []
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True


def sum_of(values: list[Tensor]) -> Tensor:
    """The sum of a few scalars."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
