"""A second network that trains beside the model and never leaves this client.

Two networks that began apart make different mistakes, so that each can tell the other which examples to believe
(Han et al., NeurIPS 2018). Only the model's update is sent. The peer begins with weights of its own, is kept in the
state of its part, and goes on from round to round: when a new global model arrives, the peer stays as it was. It has
learnt from this client's examples alone, so the two keep disagreeing; where the state is lost it begins afresh, and
the warm-up of its part is over: for some epochs it is a worse judge than the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from roughfed.client.trainer.parts import Context

PERTURBED = 0.1  # of a parameter's spread, where a module cannot draw its weights afresh


def add_peer(context: Context, part: str) -> Callable[[], None]:
    """Give the training a second network.

    Args:
        context: gets it as the last of `nets`.
        part: whose state keeps it.

    Returns:
        the hook `end`, which keeps it.
    """
    peer = copy.deepcopy(context.model)
    state = context.state(part)
    kept = {name.removeprefix("peer."): tensor for name, tensor in state.items() if name.startswith("peer.")}
    if kept:
        peer.load_state_dict(kept)
    else:
        draw_weights(peer, seed=int(torch.randint(1 << 31, (1,), generator=context.generator)))
    context.nets.append(peer)

    def end() -> None:
        for name, tensor in peer.state_dict().items():
            state[f"peer.{name}"] = tensor.detach()

    return end


def draw_weights(net: nn.Module, seed: int) -> None:
    """Give a network fresh weights, as its layers draw them; torch's own generators are left as they were."""
    device = next(net.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        drawn: set[int] = set()
        for module in net.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                drawn.update(map(id, module.parameters(recurse=False)))
        for parameter in net.parameters():
            if id(parameter) not in drawn:
                with torch.no_grad():
                    parameter.add_(PERTURBED * parameter.std(correction=0) * torch.randn_like(parameter))
