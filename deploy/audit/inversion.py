"""Gradient inversion: images whose gradients would look like what was seen.

Geiping et al., NeurIPS 2020, https://arxiv.org/abs/2003.14053, and Zhu et al., NeurIPS 2019; the exact inversion of a
dense first layer is Phong et al., 2018 (Section IV). Labels are known to the attacker, the worst case.

K clients, B images each, P values of an image. Two attackers:

* "smooth" starts at the mean image and prefers little total variation;
* "learned" has thousands of public images of the same kind: it starts at the mean of the known class and prefers what
  is likely under their covariance.
Either is to be held against a guess with the same knowledge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roughfed.deploy.audit.victim import Knowledge, Victim
from roughfed.deploy.audit.views import ClientView

if TYPE_CHECKING:
    import torch

Misfit = Callable[["torch.Tensor"], "torch.Tensor"]

PRIORS = ("smooth", "learned")
WEIGHTS = {"smooth": 0.003, "learned": 0.03}
"""Weight of the prior where more numbers are seen than there are unknowns; the best of a search on other images."""

SKETCH_WEIGHTS = (0.1, 1.0)
"""Weights where a sketch is all there is: the best one differs between models, so an audit tries both."""

CHEAP = 3
"""Times as many iterations where no sketch is to be computed: they cost a tenth."""


@dataclass(frozen=True, eq=False, slots=True)
class InversionAttack:
    """What an attacker goes by.

    Attributes:
        victim: model and loss.
        view: what was seen.
        labels: of all images that are looked for, int64 [K B].
        knowledge: of such images.
        shape: of one image.
    """

    victim: Victim
    view: ClientView
    labels: NDArray[np.int64]
    knowledge: Knowledge
    shape: tuple[int, ...]

    def weights(self, prior: str) -> tuple[float, ...]:
        """Weights of the prior that are worth a try."""
        return SKETCH_WEIGHTS if self.view.mean is None else (WEIGHTS[prior],)

    def rebuild(self, prior: str, *, weight: float, steps: int) -> NDArray[np.float32]:
        """The attacker's best images.

        Args:
            prior: "smooth" or "learned".
            weight: of the prior.
            steps: iterations of L-BFGS; CHEAP times as many where sums are.

        Returns:
            standardised images, float32 [K B, P], in the order of the labels.
        """
        import torch

        fit = _misfit(self)
        stages = [(fit, steps if self.view.mean is None else CHEAP * steps)]
        if self.view.mean is not None and self.view.sketches is not None:
            of_sum = _sum_misfit(self, torch.from_numpy(self.view.mean))
            stages = [(of_sum, CHEAP * steps), (fit, -(-steps // CHEAP))]  # the sum says most and costs least
        found = _descend(self, prior, stages, weight=weight)
        candidates = [found, *_exact(self)]
        misfits = [float(fit(torch.from_numpy(images)).detach()) for images in candidates]
        return candidates[int(np.argmin(misfits))]


def _misfit(attack: InversionAttack) -> Misfit:
    """Squared distance between what images would show and what was seen, relative to the latter.

    Where sums and sketches are seen, both are about equally noisy, so every number counts alike.
    """
    import torch

    view = attack.view
    parts: list[tuple[Misfit, int]] = []
    if view.mean is not None:
        parts.append((_sum_misfit(attack, torch.from_numpy(view.mean)), view.mean.size))
    if view.sketches is not None:
        parts.append((_sketch_misfit(attack, *map(torch.as_tensor, view.sketches)), view.sketches[0].size))
    return lambda images: torch.stack([part(images) * (size / view.numbers) for part, size in parts]).sum()


def _sum_misfit(attack: InversionAttack, mean: torch.Tensor) -> Misfit:
    """Batches of one size: the mean of the clients' updates is that of one client with all images."""
    import torch

    labels = torch.from_numpy(attack.labels)
    return lambda images: _relative(-attack.victim.gradient(images.reshape(-1, *attack.shape), labels), mean)


def _sketch_misfit(attack: InversionAttack, claims: torch.Tensor, matrix: torch.Tensor) -> Misfit:
    """Client by client: claims [K, dim], matrix [dim, D]."""
    import torch

    labels = torch.from_numpy(attack.labels).chunk(len(claims))

    def fit(images: torch.Tensor) -> torch.Tensor:
        batches = images.reshape(-1, *attack.shape).chunk(len(claims))
        deltas = [-attack.victim.gradient(x, y) for x, y in zip(batches, labels, strict=True)]
        return _relative(torch.stack(deltas) @ matrix.T, claims)

    return fit


def _relative(shown: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return (shown - seen).square().sum() / seen.square().sum()


def _descend(
    attack: InversionAttack, prior: str, stages: Sequence[tuple[Misfit, int]], *, weight: float
) -> NDArray[np.float32]:
    """L-BFGS over `centre + z @ basis`, so many iterations on each misfit in turn."""
    import torch

    known, learned = attack.knowledge, prior == "learned"
    start = known.class_means[attack.labels] if learned else np.repeat(known.mean[None], len(attack.labels), axis=0)
    centre, spread = torch.from_numpy(start), torch.from_numpy(known.spread)
    z = torch.zeros_like(centre).requires_grad_(True)

    def images() -> torch.Tensor:
        return centre + (z @ spread if learned else z)

    def loss_of(fit: Misfit) -> torch.Tensor:
        z.grad = None
        now = images()
        loss = fit(now) + weight * (z.square().mean() if learned else _variation(now.reshape(-1, *attack.shape)))
        loss.backward()
        return loss.detach()

    for fit, steps in stages:
        optimizer = torch.optim.LBFGS([z], max_iter=steps, history_size=20, line_search_fn="strong_wolfe")
        optimizer.step(partial(loss_of, fit))
    return images().detach().clamp(known.black, known.white).numpy()


def _variation(images: torch.Tensor) -> torch.Tensor:
    """Anisotropic total variation, mean over pixels."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return down + (images[..., :, 1:] - images[..., :, :-1]).abs().mean()


def _exact(attack: InversionAttack) -> list[NDArray[np.float32]]:
    """With one image and a dense first layer, dW = db x: the image is read off by least squares. Else nothing."""
    layer, mean = attack.victim.dense_input(), attack.view.mean
    if mean is None or layer is None or len(attack.labels) > 1:
        return []
    outputs, inputs = layer
    weights, bias = mean[: outputs * inputs].reshape(outputs, inputs), mean[outputs * inputs :][:outputs]
    image = (bias @ weights) / (bias @ bias)
    return [np.clip(image, attack.knowledge.black, attack.knowledge.white, dtype=np.float32)[None]]
