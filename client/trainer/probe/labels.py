"""Whether many labels are wrong, and whether a class is mistaken for all others alike or for one. C classes.

The confident joint of out-of-fold predictions (see `noise` and `folds`) gives the share of labels that a model of a few
hundred steps would not have given. That is more than are wrong: the model errs, too, and more so with few examples of
many classes. So the share is taken as a part of what guessing would get wrong, 1 - 1/K of K classes, and only a large
part of that counts as noise. A task that is too hard for so short a training looks like noise, too. But then the model
still learns when its steps are over: nothing can be said of the labels, and nothing is done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roughfed.client.trainer.examples.probe_sample import ProbeResult, Sample, stands
from roughfed.client.trainer.labels.folds import out_of_fold
from roughfed.client.trainer.labels.noise import concentration, confident_joint
from roughfed.client.trainer.parts import Tensors

SHARE = 0.28
"""Of what guessing would get wrong. With 600 to 1,500 of Fashion-MNIST: clean 0.01 to 0.22, 40 % wrong 0.35 to 0.68."""

RISING = 0.15
"""Growth of the out-of-fold accuracy in the second half of a training, as a part of it, from which on the task is not
learnt yet. 26 classes of letters: clean 0.19 to 0.36; 40 % wrong labels of Fashion-MNIST: -0.07 to 0.05."""

PAIRED = 0.5
"""Share of a class's wrong labels that go to one other class, on average, above which they go in pairs."""

MANY = 4
"""Classes, below which a wrong label can hardly go anywhere else."""

FEWEST = 60
"""Examples, below which nothing can be said."""


def labels(sample: Sample, kept: Tensors) -> ProbeResult:
    """See the module. Looks at other data add up, each by its number of examples."""
    counts = sample.counts()
    total, classes = len(sample.y), int((counts > 0).sum())
    if total < FEWEST or classes < 2:
        return _unknown(f"{total} examples of {classes} classes are too few to tell wrong labels", kept)
    halfway, probabilities = out_of_fold(sample.model, sample.x, sample.y, sample.num_classes)
    joint = confident_joint(sample.y.cpu(), probabilities)
    share = float(1 - joint.trace()) / (1 - 1 / classes)
    before, after = (_accuracy(each, sample.y.cpu()) for each in (halfway, probabilities))
    if share >= SHARE and after > before * (1 + RISING):
        still = f"its accuracy rises from {before:.2f} to {after:.2f} in the last half of it"
        return _unknown(f"a short training has not learnt the task yet ({still}): wrong labels cannot be told", kept)
    kept["seen"] = kept.get("seen", torch.zeros(2)) + torch.tensor([share * total, total])
    if classes >= MANY:
        kept["joint"] = kept.get("joint", torch.zeros_like(joint)) + joint * total
    measure = float(kept["seen"][0] / kept["seen"][1])
    found = stands(measure, SHARE, kept)
    say = f"a short training contradicts labels {measure:.2f} times as often as guessing would"
    if not found:
        return ProbeResult(found, f"{say}: no more wrong ones than it may err itself")
    return ProbeResult(found, f"{say}: many are wrong, {'in pairs' if _paired(kept) else 'evenly'}", _paired(kept))


def _unknown(why: str, kept: Tensors) -> ProbeResult:
    """What was found before stands, and at first nothing is."""
    return ProbeResult(bool(kept.get("found", torch.tensor(False))), why, _paired(kept))


def _accuracy(probabilities: Tensor, y: Tensor) -> float:
    return float((probabilities.argmax(dim=1) == y).float().mean())


def _paired(kept: Tensors) -> bool:
    joint = kept.get("joint")
    return joint is not None and concentration(joint) > PAIRED
