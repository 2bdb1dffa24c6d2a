"""Whether some classes are much rarer than others. C classes.

Each class counts with the most examples that it was ever seen with, so that classes that come one after the other are
no long tail. A few examples prove nothing: the rarest class is taken for larger by two standard deviations of its
count.
"""

from __future__ import annotations

import torch

from roughfed.client.trainer.examples.probe_sample import ProbeResult, Sample, stands
from roughfed.client.trainer.parts import Tensors

RATIO = 2.5
"""Largest to smallest class from which on there is a tail. Wrong labels hide one: 40 % of them, evenly spread over 10
classes, make 4 of a true ratio of 20, and 6 of 100."""


def tail(sample: Sample, kept: Tensors) -> ProbeResult:
    """See the module."""
    seen = torch.maximum(kept.get("counts", torch.zeros(sample.num_classes)), sample.counts())
    kept["counts"] = seen
    there = torch.where(seen > 0)[0]
    largest, smallest = (int(there[seen[there].argmax()]), int(there[seen[there].argmin()])) if len(there) else (0, 0)
    most, least = float(seen[largest]), float(seen[smallest])
    ratio = most / max(1.0, least + 2 * least**0.5 + 1)
    sizes = f"class {largest} has {most:.0f} examples, class {smallest} has {least:.0f}"
    found = stands(ratio, RATIO, kept)
    return ProbeResult(found, f"{sizes}: {'a long tail' if found else 'no long tail'}")
