"""A training of some tensors only, those of the client's tier (`Turn.tensors`): the others of the model are frozen.

No gradient is worked out for a frozen parameter, and a layer of which nothing is trained works as in an evaluation: its
normalisation goes by the statistics that came with the model and changes none. The delta has exactly the class's
tensors. Private tensors (`model.private`) are the client's own and are trained as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from torch import nn

from roughfed.client.trainer.model.model_file import ModelFile
from roughfed.client.trainer.model.tensors import named_state
from roughfed.client.trainer.torch_types import named_modules
from roughfed.errors import ConfigError
from roughfed.tiers import part_of, ranges_of


def part_given(given: ModelFile, tensors: Sequence[str]) -> ModelFile:
    """What of a model file is trained, and makes the delta.

    Raises:
        ConfigError: nothing that is learned; or control variates came with it, which go with whole models only.
    """
    if not tensors:
        return given
    part = part_of(given.spec, tensors)
    if given.controls is not None or not any(t.kind == "parameter" for t in part.tensors):
        raise ConfigError(f"{', '.join(tensors)} name no tensors that a client can train alone", key="classes")
    flat = np.concatenate([given.flat[start:stop] for start, stop in ranges_of(given.spec, tensors)])
    return replace(given, spec=part, flat=flat)


@contextmanager
def frozen(model: nn.Module, names: Collection[str]) -> Generator[None]:
    """Within it these tensors of the model are learned no more; afterwards as before."""
    named = [(name, p) for name, p in named_state(model) if isinstance(p, nn.Parameter)]
    found = [p for name, p in named if name in names and p.requires_grad]
    for parameter in found:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in found:
            parameter.requires_grad_(True)


def keep_still(net: nn.Module, names: Collection[str]) -> None:
    """Let layers of which every tensor is frozen work as in an evaluation; after `net.train()`."""
    if not names:
        return
    for place, module in named_modules(net):
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        mine = {f"{place}.{name}" if place else name for name, tensor in own if tensor.is_floating_point()}
        if mine and mine <= set(names):
            module.training = False  # not that of its children
