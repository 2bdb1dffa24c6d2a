"""A small transformer: 64 wide, two layers, four heads, for tables and sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roughfed.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def transformer(input_shape: tuple[int, ...], num_outputs: int, vocabulary: int = 0) -> nn.Module:
    """Attention over the features of a row, the steps of a sequence, or the lines of an image.

    Args:
        input_shape: (F,) a row of a table; (T, F) a sequence; (channels, H, W) an image, whose H lines are the steps;
            with a vocabulary (T,) token ids, int64 in 0..vocabulary-1.
        num_outputs: C.
        vocabulary: number of different tokens; 0: the examples are floats.

    Raises:
        ConfigError: examples of another shape.
    """
    from torch import nn

    from roughfed.models.nets import attention

    width, axes = attention.WIDTH, len(input_shape)
    if axes > 3 or (vocabulary and axes != 1):
        cause = f"'transformer' cannot take {'token ids' if vocabulary else 'examples'} of shape {input_shape}"
        raise ConfigError(cause, key="model.name", cure="give rows (F,), sequences (T, F), images, or token ids (T,)")
    if vocabulary:
        tokens: nn.Module = attention.AttentionSteps(input_shape[0], nn.Embedding(vocabulary, width), width)
    elif axes == 1:
        tokens = attention.FeatureTokens(input_shape[0], width)
    else:
        steps, features = input_shape[-2], input_shape[-1] * (input_shape[0] if axes == 3 else 1)
        tokens = attention.AttentionSteps(steps, nn.Linear(features, width), width)
    return attention.Transformer(tokens, num_outputs, rows=axes == 3)
