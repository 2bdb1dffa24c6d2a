"""Selectors: which examples of a batch are believed. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.select.co_teaching import co_teaching
from roughfed.client.trainer.select.divide_mix import divide_mix
from roughfed.client.trainer.select.jocor import jocor
from roughfed.client.trainer.select.meta_weight_net import meta_weight_net
from roughfed.client.trainer.select.ood_reject import ood_reject
from roughfed.client.trainer.select.small_loss import small_loss

SELECTORS: Mapping[str, Maker] = {
    "small-loss": small_loss,
    "co-teaching": co_teaching,
    "jocor": jocor,
    "divide-mix": divide_mix,
    "meta-weight-net": meta_weight_net,
    "ood-reject": ood_reject,
}
