"""Small convolutional nets that the benchmarks use.

421,642 and 105,866 parameters on 28 x 28 images in one colour with ten classes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def cnn(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Two 3 x 3 convolutions (32, 64 channels), each halved by pooling, then 128 units.

    Args:
        input_shape: (channels, H, W), H and W at least 4.
        num_outputs: C.

    Raises:
        ConfigError: the examples are not images, or too small to be halved twice.
    """
    return _convolutional("cnn", input_shape, num_outputs, (32, 64, 128))


def cnn_small(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """The same with 16 and 32 channels and 64 units."""
    return _convolutional("cnn-small", input_shape, num_outputs, (16, 32, 64))


def _convolutional(
    name: str, input_shape: tuple[int, ...], num_outputs: int, widths: tuple[int, int, int]
) -> nn.Module:
    from torch import nn

    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        cause = f"{name!r} wants images of at least 4 x 4 pixels, got examples of shape {input_shape}"
        raise ConfigError(cause, key="model.name", cure="use 'mlp'")
    channels, height, width = input_shape
    first, second, units = widths
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, first, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(first, second, 3, padding=1),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        fc1=nn.Linear(second * (height // 4) * (width // 4), units),
        relu3=nn.ReLU(),
        fc2=nn.Linear(units, num_outputs),
    )
    return nn.Sequential(layers)
