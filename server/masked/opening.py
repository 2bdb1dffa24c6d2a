"""What a masked round's header says beside the rest: codec, clip norm, sketch, groups. Journaled before the header."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from roughfed.codec.clip_schedule import ClipLimits
from roughfed.codec.plan import plan_lanes, plan_subset
from roughfed.config.federation import FederationConfig
from roughfed.masking import largest_group
from roughfed.methods import is_personal
from roughfed.secagg.statistics import ACCURACY_BUCKETS, NORM_BUCKETS
from roughfed.server.masked.journal import Opening, Stages
from roughfed.types import BINS

MOST_CONFUSED = 16
"""With more classes, a confusion matrix takes more lanes than it is worth: at 16 levels five for each pair of classes,
so 500 for 10 classes and 1,280 for 16. Beyond, the sums say by class how many there are and how many are right."""


async def open_masked(
    stages: Stages,
    number: int,
    *,
    cohort: int,
    config: FederationConfig,
    num_classes: int,
    asked: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Choose the terms of a masked round.

    Args:
        stages: where they are journaled.
        number: of the round.
        cohort: clients that are asked.
        config: the federation's settings.
        num_classes: classes of the task; 0 when there are none, or they are not known.
        asked: statistics that the learning settings ask for, as "name:length" (`roughfed.server.facts`).

    Returns:
        fields of `RoundHeader`.
    """
    last = stages.last()
    clip = last.clip_norm if last is not None else limits_of(config).start(config.codec.clip_norm)
    if last is not None and last.next_clip is not None:
        clip = last.next_clip
    epoch, beacon = number, b""
    if last is not None and last.beacon and number - last.epoch_round < config.groups.regroup_every:
        epoch, beacon = last.epoch_round, last.beacon
    nonce = os.urandom(32)
    await stages.open(number, Opening(nonce, epoch, beacon, clip, None))
    lanes = plan_lanes(largest_group(cohort), bits=config.codec.lane_bits or None)
    return {
        "levels": lanes.levels,
        "lane_bits": lanes.bits,
        "keep_one_in": plan_subset(config.codec.fraction),
        "clip_norm": clip,
        "nonce_commitment": hashlib.sha256(nonce).digest(),
        "sketch_dim": config.sketch.dim if config.privacy.server_sees == "sketches" else 0,
        "epoch_round": epoch,
        "epoch_beacon": beacon,
        "statistics": tuple(dict.fromkeys((*wanted_statistics(config, num_classes), *asked))),
    }


def limits_of(config: FederationConfig) -> ClipLimits:
    """Public limits of C for the whole run."""
    return ClipLimits(config.codec.clip_floor, config.codec.clip_ceiling)


def wanted_statistics(config: FederationConfig, num_classes: int) -> tuple[str, ...]:
    """The sums that every round asks for."""
    names = ["examples:1"]
    if config.privacy.server_sees == "sums":
        names.append(f"norm-histogram:{NORM_BUCKETS}")
    if num_classes:
        names.append(f"class-count:{num_classes}")
    if config.round.evaluate_every:
        names += ["evaluated:1", "eval-loss:1"]
        if num_classes:
            if num_classes <= MOST_CONFUSED:
                names.append(f"confusion:{num_classes**2}")
            else:
                names += [f"eval-count:{num_classes}", f"eval-correct:{num_classes}"]
            names += [f"accuracy-histogram:{ACCURACY_BUCKETS}", f"calibration:{2 * BINS}", f"confidence:{BINS}"]
            names += compared_statistics(config)
    return tuple(names)


def compared_statistics(config: FederationConfig) -> tuple[str, ...]:
    """What clients say of the models beside the base: their own, and the one that each trained without the others."""
    personal = config.model.private or is_personal(config.trainer.method)
    names = (f"personal-histogram:{ACCURACY_BUCKETS}",) if personal else ()
    if config.trainer.compare_alone:
        names += (f"alone-histogram:{ACCURACY_BUCKETS}", "worse-than-alone:2")
    return names
