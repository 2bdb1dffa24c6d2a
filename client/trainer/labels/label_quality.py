"""How a client finds out by itself that its labels are worse than everybody's, and what it makes of it.

FedNoRo (Wu et al., IJCAI 2023, section 3.2) and FedCorr (Xu et al., CVPR 2022, section 3.1) let the server tell noisy
clients from clean ones: by the mean loss of each class, or by the intrinsic dimension of the predictions, of every
single client. Here the server only makes known the sum of all clients' histograms of losses (`tell/losses.py`), and
each client holds its own against it. What is kept of FedNoRo: losses are compared class by class, under one global
model, before it has learnt the wrong labels by heart. What is not: the mixture of two Gaussians over clients, and
weights by the distance between models; both need single clients.

Differs: ranks among the cohort's losses instead of losses scaled by their smallest and largest, which one odd client
would flatten; and the client decides, in public weight classes, so that the server learns two bits of it at most.

C classes, K buckets of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roughfed.client.trainer.parts import Context, Tensors
from roughfed.client.trainer.torch_types import floats
from roughfed.secagg.statistics import CLASS_LOSS_BUCKETS

FACT = "class-loss-histogram"
STATE = "self-doubt"
TOLD, FOUND = "told", "found"
"""The histogram that was told last, [C, K]; and sums over the looks so far: excess, deviations, their number."""
SURE = 4.0
"""Deviations from which on a client doubts itself. Clean clients came to 2.5 at most where all were clean (50 clients),
to 3.3 beside noisy ones (50)."""
WEIGHTS = ((0.10, 0.25), (0.07, 0.5), (0.04, 0.75))
"""(excess from which on, weight). Clients with 60 % of wrong labels among as many clean ones had 0.10 to 0.20 with
symmetric noise, 0.01 to 0.20 with asymmetric noise, which some of them hardly have."""


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """What a client thinks of its own labels.

    Attributes:
        excess: how much higher than everybody's its losses rank, root mean square over its classes that rank higher,
            0..1/2.
        deviations: how surprising that is in a client like everybody's; 0 is what to expect.
    """

    excess: float = 0.0
    deviations: float = 0.0

    @property
    def weight(self) -> float:
        """The public weight class that fits: 1, 3/4, 1/2 or 1/4."""
        if self.deviations < SURE:
            return 1.0
        return next((weight for least, weight in WEIGHTS if self.excess >= least), 1.0)

    @property
    def noisy(self) -> bool:
        """Whether the client takes its own labels for worse than everybody's."""
        return self.weight < 1.0


def compare(own: Tensor, cohort: Tensor) -> LabelQuality:
    """Hold a client's losses against everybody's.

    Of each class the mean rank of its losses among the cohort's, less 1/2, where it is above; squared, and added up by
    the sizes of the classes. Wrong labels of one kind gather in a few classes: a mean over all would hide them.

    Args:
        own: its examples by given label and bucket of the loss, [C, K].
        cohort: those of all clients, its own among them, [C, K]; zeros for a class that is not told.

    Returns:
        no doubt when no class can be compared.
    """
    whole = cohort.double().sum(dim=1)  # [C]
    number = own.double().sum(dim=1) * (whole > 0)  # [C]
    if not float(number.sum()):
        return LabelQuality()
    below = (cohort.double().cumsum(dim=1) - cohort.double() / 2) / whole.clamp_min(1.0)[:, None]  # ties: half
    rank = (own.double() * below).sum(dim=1) / number.clamp_min(1.0) - 0.5  # [C]
    # The mean rank of n draws has the variance 1 / (12 n), a little less with ties; half of the classes rank above.
    above = (number * rank.clamp_min(0.0).square()).sum()
    classes = number.gt(0).sum()
    deviations = (12 * above - classes / 2) / (1.25 * classes).sqrt()
    return LabelQuality(float((above / number.sum()).sqrt()), float(deviations))


def doubt_of(context: Context) -> LabelQuality:
    """This client's doubt by what the server has made known so far: the mean over all looks; none before the first.

    It must be asked for before `remember`: a fact is of the global model of which this client told last.
    """
    cohort = _table(context.facts.get(FACT, ()), context.num_classes)
    if cohort is None:
        return noted(context.remembered)
    kept = context.state(STATE)
    own = kept.pop(TOLD, None)  # compared once
    if own is not None and own.shape == cohort.shape:
        new = compare(own.cpu(), cohort)
        found = kept.get(FOUND, torch.zeros(3, dtype=torch.float64)).cpu()
        kept[FOUND] = found + torch.tensor([new.excess, new.deviations, 1.0], dtype=torch.float64)
    return noted(context.remembered)


def noted(remembered: Mapping[str, Tensors]) -> LabelQuality:
    """What `doubt_of` found, for the parts of a training."""
    found = remembered.get(STATE, {}).get(FOUND)
    if found is None:
        return LabelQuality()
    excess, deviations, looks = floats(found)
    return LabelQuality(excess / looks, deviations / looks)


def remember(context: Context, told: Sequence[int]) -> None:
    """Keep the histogram that this client tells now: the sum that comes back is of the same global model."""
    if (own := _table(told, context.num_classes)) is not None:
        context.state(STATE)[TOLD] = own


def balance_histogram(told: Sequence[int], most: int) -> tuple[int, ...]:
    """A histogram in which no class has a cell above `most`, int [C x K]: its classes are scaled down one by one.

    Only ranks within a class are made of the sum. So clients with many examples do not drown the others, and one that
    lies, whose cells are cut to the same bound, can shift the ranks hardly further than by what one client is.
    """
    rows = [told[at : at + CLASS_LOSS_BUCKETS] for at in range(0, len(told), CLASS_LOSS_BUCKETS)]
    scaled = [[round(value * min(1.0, most / max(1, *row))) for value in row] for row in rows]
    return tuple(value for row in scaled for value in row)


def _table(values: Sequence[float], classes: int) -> Tensor | None:
    if not values or len(values) != classes * CLASS_LOSS_BUCKETS:
        return None
    return torch.tensor(list(values), dtype=torch.float64).reshape(classes, CLASS_LOSS_BUCKETS)
