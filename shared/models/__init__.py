"""Models that a configuration can name. A new one is one file and one row in MODELS.

torch is imported only inside functions, since processes that never train import this package for its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError
from roughfed.models.cnn import cnn, cnn_small, cnn_strided
from roughfed.models.dense import logistic, mlp
from roughfed.models.resnet import EIGHT, EIGHTEEN, resnet
from roughfed.models.transformer import transformer
from roughfed.registry import look_up
from roughfed.rng import derive

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MAX_EXPERTS", "MODELS", "build"]

Builder = Callable[[tuple[int, ...], int], "nn.Module"]

MAX_EXPERTS = 8

MODELS: Mapping[str, Builder] = {
    "cnn": cnn,
    "cnn-small": cnn_small,
    "cnn-strided": cnn_strided,
    "logistic": logistic,
    "mlp": mlp,
    "resnet-8": resnet(EIGHT),
    "resnet-8-bn": resnet(EIGHT, batch_norm=True),
    "resnet-18": resnet(EIGHTEEN),
    "resnet-18-bn": resnet(EIGHTEEN, batch_norm=True),
    "transformer": transformer,
}
"""Each ends in a linear layer, its head."""


def build(
    name: str, input_shape: tuple[int, ...], num_classes: int, seed: int, experts: int = 1, vocabulary: int = 0
) -> nn.Module:
    """Build a listed model with seeded weights, on the CPU; torch's global random state is left as it was.

    Args:
        name: a row of MODELS.
        input_shape: shape of one example, for example (1, 28, 28).
        num_classes: number of outputs; 0 means regression and gives one output.
        seed: the run's seed; the same seed and name give the same weights on every machine.
        experts: heads on the one trunk, 1 to MAX_EXPERTS; more than one gives a `roughfed.models.experts.Experts`,
            whose trunk and first head are the model with one.
        vocabulary: for examples that are token ids, how many different ones there are ("transformer" only).

    Raises:
        ConfigError: unknown name, or the model cannot take examples of this shape, or a number of experts that cannot
            be.
    """
    import torch

    builder = look_up(MODELS, name, key="model.name")
    if num_classes < 0 or not input_shape or min(input_shape) < 1:
        raise ConfigError(f"{input_shape} -> {num_classes} classes is not a task", key="model")
    if not 1 <= experts <= MAX_EXPERTS:
        raise ConfigError(f"{experts} experts cannot be", key="model.experts", cure=f"write 1 to {MAX_EXPERTS}")
    if vocabulary and name != "transformer":
        raise ConfigError(f"{name!r} takes no token ids", key="model.name", cure="use 'transformer'")
    outputs = num_classes or 1
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # pyright: ignore[reportUnknownMemberType]
        torch.default_generator.manual_seed(derive(seed, "model", name))  # torch.manual_seed would reach the GPUs too
        model = transformer(input_shape, outputs, vocabulary) if vocabulary else builder(input_shape, outputs)
        return _spread(model, experts, outputs) if experts > 1 else model


def _spread(model: nn.Module, experts: int, outputs: int) -> nn.Module:
    from roughfed.models.experts import with_experts

    return with_experts(model, experts, outputs)
