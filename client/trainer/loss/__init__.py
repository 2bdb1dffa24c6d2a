"""Losses: one value per example, so that selection and weights can come later. One file each, one row each.

The arithmetic stands in functions of its own, (logits, labels, ...) -> float32 [B]; makers tie it to a training.
"""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.loss.balanced_softmax import balanced_softmax_loss
from roughfed.client.trainer.loss.correction import backward_correction, dual_t, forward_correction
from roughfed.client.trainer.loss.cross_entropy import cross_entropy_loss
from roughfed.client.trainer.loss.elr import elr_loss
from roughfed.client.trainer.loss.focal import focal_loss
from roughfed.client.trainer.loss.gce import gce_loss
from roughfed.client.trainer.loss.ldam import ldam_loss
from roughfed.client.trainer.loss.logit_adjustment import logit_adjustment_loss
from roughfed.client.trainer.loss.mse import mse_loss
from roughfed.client.trainer.loss.sce import sce_loss
from roughfed.client.trainer.loss.volminnet import volminnet
from roughfed.client.trainer.parts import Maker

LOSSES: Mapping[str, Maker] = {
    "cross-entropy": cross_entropy_loss,
    "mse": mse_loss,
    "focal": focal_loss,
    "ldam": ldam_loss,
    "balanced-softmax": balanced_softmax_loss,
    "logit-adjustment": logit_adjustment_loss,
    "gce": gce_loss,
    "sce": sce_loss,
    "elr": elr_loss,
    "forward-correction": forward_correction,
    "backward-correction": backward_correction,
    "dual-t": dual_t,
    "volminnet": volminnet,
}
