"""Small convolutional nets that the benchmarks use.

421,642, 105,866 and 114,314 parameters on 28 x 28 images in one colour with ten classes.
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


def cnn_strided(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Two 5 x 5 convolutions (16, 32 channels) with stride 2, then 64 units: four times as fast as `cnn_small`.

    Args:
        input_shape: (channels, H, W), H and W at least 4.
        num_outputs: C.

    Raises:
        ConfigError: the examples are not images, or too small to be halved twice.
    """
    from torch import nn

    channels, height, width = _image("cnn-strided", input_shape)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(channels, 16, 5, stride=2, padding=2),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(16, 32, 5, stride=2, padding=2),
        relu2=nn.ReLU(),
        flatten=nn.Flatten(),
        fc1=nn.Linear(32 * _halved(_halved(height)) * _halved(_halved(width)), 64),
        relu3=nn.ReLU(),
        fc2=nn.Linear(64, num_outputs),
    )
    return nn.Sequential(layers)


def _convolutional(
    name: str, input_shape: tuple[int, ...], num_outputs: int, widths: tuple[int, int, int]
) -> nn.Module:
    from torch import nn

    channels, height, width = _image(name, input_shape)
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


def _image(name: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape[1:]) < 4:
        cause = f"{name!r} wants images of at least 4 x 4 pixels, got examples of shape {input_shape}"
        raise ConfigError(cause, key="model.name", cure="use 'mlp'")
    channels, height, width = input_shape
    return channels, height, width


def _halved(pixels: int) -> int:
    """What a stride of 2 leaves."""
    return (pixels + 1) // 2
