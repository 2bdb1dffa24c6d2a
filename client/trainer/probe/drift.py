"""Whether classes come and go from round to round. C classes.

A stream that says of which task its examples are is taken at its word, from the first task on: a memory that begins
with the second has missed the first. Otherwise the shares of the classes are held against those of the last look.
"""

from __future__ import annotations

import torch

from roughfed.client.trainer.examples.probe_sample import ProbeResult, Sample, stands
from roughfed.client.trainer.parts import Tensors

MOVED = 0.3
"""Total variation distance, 0..1, from one look to the next, from which on the data drift."""

FEWEST = 50
"""Examples, below which shares say little."""


def drift(sample: Sample, kept: Tensors) -> ProbeResult:
    """See the module."""
    counts = sample.counts()
    shares = counts / counts.sum().clamp_min(1.0)
    before = kept.get("shares", shares)
    largest = torch.maximum(kept.get("moved", torch.zeros(())), 0.5 * (shares - before).abs().sum())
    if len(sample.y) >= FEWEST:
        kept["shares"], kept["moved"] = shares, largest
    if sample.task >= 0:
        kept["found"] = torch.tensor(True)
        return ProbeResult(True, f"the examples come in tasks, this is number {sample.task + 1}")
    found = stands(float(largest), MOVED, kept)
    moved = f"the classes' shares have moved by {float(largest):.2f} at most"
    return ProbeResult(found, f"{moved}: {'they come and go' if found else 'no drift'}")
