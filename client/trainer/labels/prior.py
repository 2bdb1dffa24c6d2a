"""How often each class comes: what long-tail losses adjust by. C classes.

Local: the client's own counts, each at least `PSEUDO_COUNT`, so that a class that a client has not got a single example
of has a finite logarithm (FedNoRo's code sets infinities to zero inside the softmax instead, which changes the loss).
Global (`prior = "global"`): the shares that the server made of a secure sum of counts (`facts["class-prior"]`); until
they are known, in the first rounds, the local ones stand in.
With a memory, what is replayed counts as much as what is new: a class of an old task is not absent. And where rare
classes are pasted on other images, the prior is that of the labels that come out. Losses ask for it at their first
step, when all this is known.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from roughfed.client.trainer.parts import Context

FACT = "class-prior"
PSEUDO_COUNT = 1e-2
LEAST_SHARE = 1e-6
"""Of a class in a global prior: a class that nobody has."""


def class_prior(context: Context) -> Tensor:
    """Class shares as the settings want them, float32 [C] on the device; positive, adding up to 1."""
    told = _told(context)
    shares = _local(context) if told is None else told
    shares = shares / shares.sum()
    if context.pasted is not None:
        part, pasted = context.pasted
        shares = (1 - part) * shares + part * pasted.double().cpu()
    return (shares / shares.sum()).to(context.device, torch.float32)


def class_counts(context: Context) -> Tensor:
    """Examples of each class as the settings want them, float32 [C] on the device: local, may be 0.

    Global: as many examples as this client has, divided among the classes as those of all clients are.
    """
    counts, told = context.counts(), _told(context)
    return counts if told is None else class_prior(context) * counts.sum()


def log_prior(context: Context) -> Tensor:
    """The natural logarithm of `class_prior`, float32 [C] on the device; finite."""
    return class_prior(context).log()


def shifted_cross_entropy(output: Tensor, target: Tensor, shift: Tensor) -> Tensor:
    """Cross-entropy of z + shift.

    Args:
        output: logits z, [B, C].
        target: int64 [B].
        shift: float32 [C]; tau log pi.

    Returns:
        float32 [B], in nats, 0 or more.
    """
    return functional.cross_entropy(output.float() + shift, target, reduction="none")


def _local(context: Context) -> Tensor:
    """Local counts, float64 [C] on the CPU; with a memory, half of what a step sees comes from there."""
    counts = context.counts().double().cpu()
    memory = context.memory
    if memory is not None and len(memory):
        kept = torch.bincount(memory.labels.cpu(), minlength=context.num_classes).double()
        counts = (counts + kept * counts.sum() / kept.sum()) / 2
    return counts.clamp_min(PSEUDO_COUNT)


def _told(context: Context) -> Tensor | None:
    """The global shares, float64 [C] on the CPU, where they are wanted and known."""
    told = context.facts.get(FACT, ())
    if context.settings.prior != "global" or len(told) != context.num_classes:
        return None
    return torch.tensor(list(told), dtype=torch.float64).clamp_min(LEAST_SHARE)
