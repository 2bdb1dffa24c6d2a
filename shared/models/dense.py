"""Models without convolutions: logistic regression, and a perceptron with two hidden layers."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

HIDDEN = 200  # the 2NN of McMahan et al., AISTATS 2017: 199,210 parameters on 28 x 28 images


def logistic(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """One linear layer."""
    from torch import nn

    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(math.prod(input_shape), num_outputs)))


def mlp(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Two hidden layers of 200 units."""
    from torch import nn

    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(math.prod(input_shape), HIDDEN),
        relu1=nn.ReLU(),
        fc2=nn.Linear(HIDDEN, HIDDEN),
        relu2=nn.ReLU(),
        fc3=nn.Linear(HIDDEN, num_outputs),
    )
    return nn.Sequential(layers)
