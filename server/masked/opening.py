"""What a masked round's header says beside the rest: codec, clip norm, sketch, groups. Journaled before the header."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from roughfed.codec import CHAIN
from roughfed.codec.clip_schedule import ClipLimits
from roughfed.codec.plan import plan_lanes, plan_subset
from roughfed.config.federation import FederationConfig
from roughfed.masked_round import largest_group
from roughfed.methods import is_personal
from roughfed.secagg.groups import SMALLEST
from roughfed.secagg.statistics import ACCURACY_BUCKETS, NORM_BUCKETS
from roughfed.server.masked.journal import MaskedOpening, Stages
from roughfed.tiers import STANDARD
from roughfed.types import BINS, ClientTier

MOST_CONFUSED = 16
"""With more classes, a confusion matrix takes more lanes than it is worth: at 16 levels five for each pair of classes,
so 500 for 10 classes and 1,280 for 16. Beyond, the sums say by class how many there are and how many are right."""


async def open_masked(
    stages: Stages,
    number: int,
    *,
    cohort: Mapping[str, int],
    config: FederationConfig,
    num_classes: int,
    asked: Sequence[str] = (),
) -> Mapping[str, Any]:
    """Choose the terms of a masked round.

    Args:
        stages: where they are journaled.
        number: of the round.
        cohort: clients that are asked, by the tier of clients in which they sit.
        config: the federation's settings.
        num_classes: classes of the task; 0 when there are none, or they are not known.
        asked: statistics that the learning settings ask for, as "name:length" (`roughfed.server.cohort.statistics`).

    Returns:
        fields of `RoundHeader`.
    """
    nonce = stages.entropy(32)
    standard = await _open_class(stages, number, nonce, (STANDARD, cohort.get(STANDARD, 0)), config)
    tiers = [
        ClientTier(
            name,
            tensors=settings.tensors,
            codec=CHAIN,
            **await _open_class(stages, number, nonce, (name, size), config),
        )
        for name, settings in config.tiers.items()
        if (size := cohort.get(name, 0))
    ]
    return {
        **standard,
        "nonce_commitment": hashlib.sha256(nonce).digest(),
        "statistics": tuple(dict.fromkeys((*wanted_statistics(config, num_classes), *asked))),
        "tiers": tuple(tiers),
    }


async def _open_class(
    stages: Stages, number: int, nonce: bytes, which: tuple[str, int], config: FederationConfig
) -> dict[str, Any]:
    """The terms of one tier of so many clients; journaled."""
    name, size = which
    settings = config.tiers.get(name)
    last = stages.last(name)
    clip = last.clip_norm if last is not None else limits_of(config).start(config.codec.clip_norm)
    if last is not None and last.next_clip is not None:
        clip = last.next_clip
    epoch, beacon = number, b""
    if last is not None and last.beacon and number - last.epoch_round < config.groups.regroup_every:
        epoch, beacon = last.epoch_round, last.beacon
    await stages.open(number, MaskedOpening(nonce, epoch, beacon, clip, None), name)
    lanes = plan_lanes(largest_group(max(size, SMALLEST)), bits=config.codec.lane_bits or None)
    dim = (settings.sketch_dim if settings is not None else 0) or config.sketch.dim
    return {
        "levels": lanes.levels,
        "lane_bits": lanes.bits,
        "keep_one_in": plan_subset(config.codec.fraction if settings is None else settings.fraction),
        "clip_norm": clip,
        "sketch_dim": dim if config.privacy.server_sees == "sketches" else 0,
        "epoch_round": epoch,
        "epoch_beacon": beacon,
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
