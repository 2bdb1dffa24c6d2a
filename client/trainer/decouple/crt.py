"""Classifier re-training (Kang et al., ICLR 2020, section 4.2): features first, then the head with balanced classes.

Towards the end of the run (rounds that reach beyond the share `after`) only the head learns, by cross-entropy on
class-balanced draws, while the trunk stands still in evaluation mode. Clients do so together: the head is averaged
round by round like everything else. Where the whole run is one training, the features are computed once and the head
is trained on them at the end.
Differs: the head goes on from the weights it has. The paper draws new ones, which cannot be averaged over clients that
joined at different times; the problem is convex, so they lead to the same head. The learning rate starts again at its
full value and falls along a cosine, as in the paper's second stage.

And a class that a client has not got is not pushed down: its logit gets the log of a share of nearly 0, as in balanced
softmax.

N examples, d features, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from roughfed.client.trainer.examples.draws import draw_by_class, equal_shares, labels_of
from roughfed.client.trainer.labels.prior import LEAST_SHARE, shifted_cross_entropy
from roughfed.client.trainer.model.head import find_head
from roughfed.client.trainer.optimize.optimizer import optimizer_for
from roughfed.client.trainer.parts import Context, Hooks, Options, Plan


def crt(options: Options, context: Context, _plan: Plan) -> Hooks:
    """The part; nothing before its time."""
    after = float(options["after"])
    if context.rounds <= 1:
        return Hooks(end=lambda: retrain(context, max(1, round((1 - after) * context.at.steps))))
    first = min(context.rounds, math.floor(after * context.rounds + 1e-9) + 1)  # the first round that reaches beyond
    return second_stage(context, (first - 1) / context.rounds) if context.round >= first else Hooks()


def second_stage(context: Context, start: float) -> Hooks:
    """A round in which the head learns alone; `start`: the share of the run after which such rounds began."""
    targets, shares = labels_of(context), equal_shares(context.counts())
    shift = drawn_log_prior(shares)

    def epoch() -> None:
        seen = context.counts()
        if context.memory is not None:  # what is replayed is drawn, too
            seen += torch.bincount(context.memory.labels, minlength=context.num_classes).to(seen)
        shift.copy_(drawn_log_prior(equal_shares(seen)))
        for net in context.nets:
            net.eval()  # statistics of BatchNorm stay, nothing drops out; the next training begins in training mode

    def forward(net: nn.Module, x: Tensor) -> Tensor:
        head = find_head(net, context.num_classes)
        with torch.no_grad():
            features, _ = head.with_features(x)
        return head.linear(features)

    def gradient() -> None:
        context.at.lr = restarted(context, (context.progress - start) / (1 - start))
        heads = [find_head(net, context.num_classes).linear for net in context.nets]
        learning = {id(p) for head in heads for p in head.parameters()}
        for p in (p for net in context.nets for p in net.parameters() if id(p) not in learning):
            p.grad = None  # a gradient of zeros would let weight decay move it

    return Hooks(
        epoch=epoch,
        order=lambda: draw_by_class(targets, shares, len(targets), context.generator),
        forward=forward,
        loss=lambda output, batch: shifted_cross_entropy(output, batch.y, shift),
        gradient=gradient,
    )


def drawn_log_prior(shares: Tensor) -> Tensor:
    """What is added to the logits in the second stage, float32 [C]; the same for all classes that are drawn.

    A class that the client has not got, nor remembers, is never drawn; without this, plain cross-entropy would teach
    the head of all clients that it does not exist.
    """
    return shares.clamp_min(LEAST_SHARE).log().float()


def restarted(context: Context, within: float) -> float:
    """The learning rate when a share `within` (0..1) of the second stage is over."""
    return context.settings.lr * 0.5 * (1 + math.cos(math.pi * within))


def retrain(context: Context, steps: int) -> dict[str, float]:
    """Train the head alone for some steps on features that are computed once."""
    context.model.eval()
    head, source = context.head(), context.source
    with torch.no_grad():
        parts = [head.with_features(x)[0] for x, _ in source.epoch(256, None)]
    features, targets = torch.cat(parts), labels_of(context)  # [N, d], [N]
    settings, shares = context.settings, equal_shares(context.counts())
    shift = drawn_log_prior(shares)
    params = list(head.linear.parameters())
    optimizer = optimizer_for(settings, params)
    for step in range(steps):
        at = draw_by_class(targets, shares, settings.batch_size, context.generator).to(features.device)
        optimizer.lr = restarted(context, step / steps)
        gradients = torch.autograd.grad(
            shifted_cross_entropy(head.linear(features[at]), targets[at], shift).mean(), params
        )
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient
        optimizer.step()
    optimizer.zero_grad()
    return {}
