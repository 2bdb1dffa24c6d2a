"""Samplers: which examples an epoch walks through, and in which order. One file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from roughfed.client.trainer.parts import Maker
from roughfed.client.trainer.sampler.class_balanced import class_balanced_sampling
from roughfed.client.trainer.sampler.instance import instance
from roughfed.client.trainer.sampler.progressive import progressive_sampling
from roughfed.client.trainer.sampler.square_root import square_root_sampling

SAMPLERS: Mapping[str, Maker] = {
    "instance": instance,
    "class-balanced-sampling": class_balanced_sampling,
    "square-root-sampling": square_root_sampling,
    "progressive-sampling": progressive_sampling,
}
