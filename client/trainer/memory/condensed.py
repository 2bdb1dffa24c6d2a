"""Condensed examples: few small images that are made to stand for all examples of a class.

They begin as real images at half resolution, four in the bytes of one (the multi-formation of Kim et al., "Dataset
condensation via efficient synthetic-data parameterization", ICML 2022), and their pixels are then moved until their
mean feature is that of the class (Zhao and Bilen, "Dataset condensation with distribution matching", WACV 2023,
equation 6), in freshly initialised networks and in the trained one by turns. The cost is bounded: `steps` of at most
BATCH images each, at the end of a training.

An image carries traces of all examples that it was made from; to forget one of them, those of its class are dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.examples.buffer_format import Form, enlarge, shrink
from roughfed.client.trainer.examples.replay_buffer import ReplayBuffer, by_rank
from roughfed.client.trainer.memory._shared import classes_here, features_of, per_class, replace_class, shorten
from roughfed.client.trainer.model.head import find_head
from roughfed.client.trainer.model.peer import draw_weights
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan

BATCH = 128  # real and made images of a class in a step
_FROM = "_from-"


class Condensed(ReplayBuffer):
    """A memory that knows which examples its images were made from."""

    def made_from(self, label: int, ids: Tensor) -> None:
        """Note the sources of a class, int64 [n], in place of those of its earlier images."""
        self.state[f"{_FROM}{label}"] = ids.unique()

    def forget(self, ids: Collection[int]) -> int:
        """See `parts.Memory`: drop the images of every class that one of them had a part in."""
        before = len(self)
        for name in [name for name in self.state if name.startswith(_FROM)]:
            sources = self.state[name]
            if torch.isin(sources, torch.tensor(sorted(ids), dtype=torch.int64, device=sources.device)).any():
                self.select(self.labels != int(name.removeprefix(_FROM)))
                del self.state[name]
        return before - len(self)


def condensed(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; size is in slots of one whole image's bytes, shared equally by the classes."""
    kept = Condensed("condensed", int(options["size"]), context, order=by_rank, form=Form(halved=True))
    steps, lr = int(options["steps"]), float(options["lr"])

    def end() -> dict[str, float]:
        share = per_class(kept, context)
        shorten(kept, share)
        for label, places in classes_here(context):
            real = context.source.gather(places)
            order = kept.rank(real.ids).argsort()[:share]
            small = condense(context, kept.form.seen(real).x, shrink(real.x[order]), steps=steps, lr=lr)
            first, columns = real.take(order), kept.form.store(small)
            _, logits = features_of(context, kept.form.unpack(columns, real.x))
            replace_class(kept, label, columns, first, logits)
            kept.made_from(label, real.ids)
        return {}

    return Hooks(transform=kept.form.seen, end=end, memory=kept)


def condense(context: Context, real: Tensor, small: Tensor, *, steps: int, lr: float) -> Tensor:
    """Move small images until their features match.

    Args:
        context: the training; its generator draws, its model is copied.
        real: examples of a class, [n, K, H, W].
        small: where to begin, [m, K, h, w].
        steps: of gradient descent.
        lr: learning rate of the pixels.

    Returns:
        the small images, [m, K, h, w], within the values of the real ones.
    """
    low, high = float(real.min()), float(real.max())
    pixels = small.clone().requires_grad_(True)
    for step in range(steps):
        net = copy.deepcopy(context.model).eval()
        if step % 2 == 0:
            draw_weights(net, seed=int(torch.randint(1 << 31, (), generator=context.generator)))
        chosen = torch.randperm(len(real), generator=context.generator)[:BATCH].to(real.device)
        made = torch.randperm(len(small), generator=context.generator)[:BATCH].to(real.device)
        distance = matching(net, context.num_classes, real[chosen], enlarge(pixels[made], real.shape[-2:]))
        (gradient,) = torch.autograd.grad(distance, pixels)
        with torch.no_grad():
            pixels.sub_(lr * len(small) * gradient).clamp_(low, high)
    return pixels.detach()


def matching(net: nn.Module, num_classes: int, real: Tensor, made: Tensor) -> Tensor:
    """The squared distance of the mean features, a scalar in units of the real ones' mean square."""
    head = find_head(net, num_classes)
    with torch.no_grad():
        target = head.with_features(real)[0].mean(dim=0)
    mean = head.with_features(made)[0].mean(dim=0)
    return functional.mse_loss(mean, target) / target.square().mean().clamp_min(1e-12)
