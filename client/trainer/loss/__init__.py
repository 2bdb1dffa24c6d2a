"""Losses: one value per example, so that selection and weights can come later. One file each, one row each.

The arithmetic stands in functions of its own, (logits, labels, ...) -> float32 [B]; makers tie it to a training.
"""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.loss.cross_entropy import cross_entropy_loss
from roughfed.client.trainer.loss.mse import mse_loss
from roughfed.client.trainer.parts import Maker

LOSSES: Mapping[str, Maker] = {
    "cross-entropy": cross_entropy_loss,
    "mse": mse_loss,
}
