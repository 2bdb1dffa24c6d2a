"""Tensors that stay with this client (`model.private`): taken from its state before a training, put back after it.

They are what the model has and the model file has not: FedBN's normalisation layers (Li et al., ICLR 2021), FedPer's
heads. Integer buffers (BatchNorm's `num_batches_tracked`) are in no file and go with them. Before the first
training they are as the client's own code makes them, from the same seed everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from roughfed.client.trainer.model.tensors import frozen_names, named_state
from roughfed.client.trainer.parts import Tensors
from roughfed.types import Spec

PART = "private"
"""Their place in a client's state."""


def private_tensors(model: nn.Module, shared: Spec) -> Tensors:
    """The tensors that neither a Spec nor the frozen base has, by name; none where no float tensor is left."""
    names = {t.name for t in shared.tensors} | frozen_names(model)
    seen: set[int] = set()
    own: Tensors = {}
    for name, tensor in named_state(model):
        if isinstance(tensor, Tensor) and id(tensor) not in seen and name not in names:
            own[name] = tensor
        seen.add(id(tensor))  # a second name of a tied tensor is the same tensor
    return own if any(tensor.is_floating_point() for tensor in own.values()) else {}


@torch.no_grad()
def bring(model: nn.Module, shared: Spec, remembered: dict[str, Tensors], fresh: Callable[[], nn.Module]) -> None:
    """Put this client's own tensors into the model.

    Args:
        model: overwritten.
        shared: of the model file; what it lacks is the client's own.
        remembered: the client's state.
        fresh: makes the model anew, for a client that has trained none of them yet.
    """
    if not (own := private_tensors(model, shared)):
        return
    kept = remembered.get(PART, {})
    if kept.keys() != own.keys():
        kept = private_tensors(fresh(), shared)
    for name, tensor in own.items():
        tensor.copy_(kept[name])


def keep(model: nn.Module, shared: Spec, remembered: dict[str, Tensors]) -> None:
    """Note this client's own tensors for the rounds to come."""
    if own := private_tensors(model, shared):
        remembered[PART] = {name: tensor.detach().clone() for name, tensor in own.items()}
