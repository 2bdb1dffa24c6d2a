"""DivideMix (Li, Socher & Hoi, ICLR 2020, algorithm 1): two networks part the data, and learn from both parts.

After a warm-up, before each epoch, each network's losses of all examples are parted by a mixture of two normals
(`mixture.py`). The other network takes those that are more likely right than `threshold` as labelled, the rest as not:
labels of the first are refined by its own prediction, those of the second guessed by both, and the batch is mixed with
itself (MixMatch, Berthelot et al., NeurIPS 2019). Value of a network: CE on labelled rows + lambda_u ramp MSE on the
others + KL(1/C | mean p).

Differs: a batch is one of the loader's, so the two parts have the sizes that they have in it, and both networks take
their steps together; no augmented copies (M = 1), for inputs need not be images; the ramp of lambda_u and the warm-up
are shares of the run; losses are scaled by quantiles; they are parted class by class where `per-class` says so, for a
rare class has larger losses than a common one. In the warm-up the loss is the method's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from roughfed.client.trainer.examples.image_mixing import beta_share, numpy_draws
from roughfed.client.trainer.examples.views import look
from roughfed.client.trainer.labels.gaussian_mixture import scaled, two_heaps
from roughfed.client.trainer.model.peer import add_peer
from roughfed.client.trainer.parts import Batch, Context, Hooks, Options, Outputs, Plan
from roughfed.client.trainer.select._shared import grown
from roughfed.client.trainer.torch_types import distinct
from roughfed.errors import ConfigError

PART = "divide-mix"


def divide_mix(options: Options, context: Context, plan: Plan) -> Hooks:
    """The part; options lambda-u, T, alpha, threshold, warmup, ramp and per-class."""
    return DivideMix(options, context, plan).hooks()


class DivideMix:
    """One training."""

    def __init__(self, options: Options, context: Context, plan: Plan) -> None:
        """Read the options, and add the peer."""
        self._options, self._context, self._plan = options, context, plan
        self._end = add_peer(context, PART)
        self._rng = numpy_draws(context)
        self._clean: Tensor | None = None  # [2, N]: as each network's losses have it, by place

    def hooks(self) -> Hooks:
        """What it does where."""
        return Hooks(epoch=self._epoch, objective=self._objective, end=self._keep)

    def _keep(self) -> dict[str, float]:
        self._end()
        return {}

    def _epoch(self) -> None:
        if self._context.progress >= float(self._options["warmup"]):
            self._clean = torch.stack([self._parted(net) for net in self._context.nets])

    def _parted(self, net: nn.Module) -> Tensor:
        """The chance that each label is right, float32 [N]."""
        found = look(net, self._context.source)
        if not self._options["per-class"]:
            return 1 - two_heaps(scaled(found.losses)).upper
        right = torch.ones_like(found.losses)
        for c in distinct(found.labels):
            own = found.labels == c
            right[own] = 1 - two_heaps(scaled(found.losses[own])).upper
        return right

    def _objective(self, batch: Batch) -> tuple[Tensor, Outputs]:
        if self._clean is None:
            return self._plan.value(batch)
        if not batch.x.is_floating_point():
            raise ConfigError(f"{PART} mixes inputs, these are whole numbers", key="trainer.method")
        outputs = [self._plan.run(net, batch.x) for net in self._context.nets]
        p = torch.stack([output.detach().float().softmax(dim=1) for output in outputs])  # [2, B, C]
        right = self._clean[:, batch.at].flip(0)  # [2, B], each by the other
        parts = [self._value(net, batch, p[at], p.mean(dim=0), right[at]) for at, net in enumerate(self._context.nets)]
        return parts[0] + parts[1], outputs

    def _value(self, net: nn.Module, batch: Batch, own: Tensor, both: Tensor, right: Tensor) -> Tensor:
        """One network's value on a batch."""
        options, classes = self._options, own.shape[1]
        labelled = right > float(options["threshold"])  # [B]
        target = targets(functional.one_hot(batch.y, classes).float(), own, both, right, labelled)
        target = sharpened(target, float(options["T"]))
        share = beta_share(float(options["alpha"]), self._rng)
        share = max(share, 1 - share)
        other = torch.randperm(len(batch), generator=self._context.generator).to(batch.x.device)
        x = share * batch.x + (1 - share) * batch.x[other]
        target = share * target + (1 - share) * target[other]
        output = self._plan.run(net, x)
        ramp = grown(self._context.progress - float(options["warmup"]), float(options["ramp"]))
        return mixed_value(output, target, labelled, ramp * float(options["lambda-u"]))


def targets(given: Tensor, own: Tensor, both: Tensor, right: Tensor, labelled: Tensor) -> Tensor:
    """Refined labels where `labelled`, guesses of both networks elsewhere; all [B, C], `right` and `labelled` [B]."""
    refined = right[:, None] * given + (1 - right[:, None]) * own
    return torch.where(labelled[:, None], refined, both)


def sharpened(p: Tensor, temperature: float) -> Tensor:
    """p^(1/T), rows scaled to 1."""
    sharp = p.clamp_min(1e-8) ** (1 / temperature)
    return sharp / sharp.sum(dim=1, keepdim=True)


def mixed_value(output: Tensor, target: Tensor, labelled: Tensor, weight: float) -> Tensor:
    """Cross-entropy on labelled rows + weight * squared error on the others + KL of the mean from uniform: scalar.

    A part without rows counts nothing.
    """
    log_p = functional.log_softmax(output.float(), dim=1)
    p, share = log_p.exp(), labelled.float()
    supervised = -(target * log_p).sum(dim=1)
    guessed = (p - target).square().mean(dim=1)
    mean = p.mean(dim=0).clamp_min(1e-8)
    balance = -(mean.log() + torch.tensor(float(len(mean))).log()).mean()  # KL(1/C | mean)
    return (
        (share * supervised).sum() / share.sum().clamp_min(1)
        + weight * ((1 - share) * guessed).sum() / (1 - share).sum().clamp_min(1)
        + balance
    )
