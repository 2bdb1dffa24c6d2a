"""Whether many labels are wrong, and whether a class is mistaken for all others alike or for one. C classes.

The global model of the round says what it takes the client's examples for. Halfway through a run it has learnt what the
examples of a class have in common, from all clients, and not yet one client's wrong labels by heart (Arpit et al., ICML
2017). Two figures speak of wrong labels: the share that it contradicts, and the confident joint's share (see `noise`),
which goes by every class's own threshold. A class that is rare and hard raises the second alone, a class that the model
hardly ever predicts the first alone: the smaller of them counts, as a part of what guessing would get wrong, 1 - 1/K of
K classes. As long as the model still learns nothing can be said, and nothing is done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.probe_sample import ProbeResult, Sample, stands
from roughfed.client.trainer.examples.replay_buffer import logits_of
from roughfed.client.trainer.labels.noise import concentration, confident_joint
from roughfed.client.trainer.parts import Tensors

LATE = 0.5
"""Share of the run from which on labels are judged."""

SHARE = 0.45
"""Of what guessing would get wrong. Halfway, three data sets, 60 to 560 examples a client: clean at most 0.42 (letters
with a tail of 100), 40 % wrong evenly at least 0.48, in pairs often less."""

RISING = 0.15
"""Growth of the accuracy since the look before, as a part of it, from which on the task is not learnt yet."""

PAIRED = 0.5
"""Share of a class's wrong labels that go to one other class, on average, above which they go in pairs."""

MANY = 4
"""Classes, below which a wrong label can hardly go anywhere else."""

FEWEST = 60
"""Examples, below which nothing can be said."""

_CHUNK = 512  # examples that are predicted at once


def labels(sample: Sample, kept: Tensors) -> ProbeResult:
    """See the module. `kept`: "right", the accuracy at the last look at these data."""
    counts = sample.counts()
    total, classes = len(sample.y), int((counts > 0).sum())
    if total < FEWEST or classes < 2:
        return _unknown(f"{total} examples of {classes} classes are too few to tell wrong labels", kept)
    y, probabilities = sample.y.cpu(), _predicted(sample)
    right = float((probabilities.argmax(dim=1) == y).float().mean())
    before, kept["right"] = kept.get("right"), torch.tensor(right)
    if sample.progress < LATE:
        return _unknown(f"labels are judged when {LATE:.0%} of the run are over", kept)
    if before is None or right > float(before) * (1 + RISING):
        return _unknown(f"the model still learns, it is right about {right:.0%} of the labels", kept)
    joint = confident_joint(y, probabilities)
    measure = min(1 - right, float(1 - joint.trace())) / (1 - 1 / classes)
    known = "paired" in kept and bool(kept.get("found", torch.tensor(False)))
    found = stands(measure, SHARE, kept)
    say = f"the model contradicts labels {measure:.2f} times as often as guessing would"
    if not found:
        return ProbeResult(found, f"{say}: no more wrong ones than it may err itself")
    paired = bool(kept["paired"]) if known else classes >= MANY and concentration(joint) > PAIRED
    kept["paired"] = torch.tensor(paired)
    return ProbeResult(found, f"{say}: many are wrong, {'in pairs' if paired else 'evenly'}", paired)


def _unknown(why: str, kept: Tensors) -> ProbeResult:
    """What was found before stands, and at first nothing is."""
    found, paired = (bool(kept.get(name, torch.tensor(False))) for name in ("found", "paired"))
    return ProbeResult(found, why, paired)


@torch.no_grad()  # not inference mode: a forward pass may keep a table that a training goes on with
def _predicted(sample: Sample) -> Tensor:
    """What the model takes the examples for: probabilities, float32 [N, C] on the CPU; the mean of experts."""
    training = sample.model.training
    sample.model.eval()
    found = [sample.model(x).float() for x in torch.split(sample.x, _CHUNK)]
    sample.model.train(training)
    return torch.cat([logits_of(each) for each in found]).softmax(dim=1).cpu()
