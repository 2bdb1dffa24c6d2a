"""Models that a configuration can name. A new one is one file and one row in MODELS.

torch is imported only inside functions, since processes that never train import this package for its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError
from roughfed.models.cnn import cnn
from roughfed.models.dense import logistic, mlp
from roughfed.registry import look_up
from roughfed.rng import derive

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "build"]

Builder = Callable[[tuple[int, ...], int], "nn.Module"]

MODELS: Mapping[str, Builder] = {
    "cnn": cnn,
    "logistic": logistic,
    "mlp": mlp,
}


def build(name: str, input_shape: tuple[int, ...], num_classes: int, seed: int) -> nn.Module:
    """Build a listed model with seeded weights, on the CPU; torch's global random state is left as it was.

    Args:
        name: a row of MODELS.
        input_shape: shape of one example, for example (1, 28, 28).
        num_classes: number of outputs; 0 means regression and gives one output.
        seed: the run's seed; the same seed and name give the same weights on every machine.

    Raises:
        ConfigError: unknown name, or the model cannot take examples of this shape.
    """
    import torch

    builder = look_up(MODELS, name, key="model.name")
    if num_classes < 0 or not input_shape or min(input_shape) < 1:
        raise ConfigError(f"{input_shape} -> {num_classes} classes is not a task", key="model")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # pyright: ignore[reportUnknownMemberType]
        torch.default_generator.manual_seed(derive(seed, "model", name))  # torch.manual_seed would reach the GPUs too
        return builder(input_shape, num_classes or 1)
