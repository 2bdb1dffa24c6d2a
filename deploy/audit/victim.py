"""Who is attacked: a model with its weights, images with their labels, and what the attacker knows of such images.

P values of an image (pixels), B images. torch is imported inside functions: the command line is loaded without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roughfed.data import digits, fashion_mnist, load
from roughfed.data.dataset import Dataset
from roughfed.errors import ConfigError
from roughfed.models import build

if TYPE_CHECKING:
    import torch

PUBLIC = 10_000
"""Images of the same kind that the attacker has, none of them attacked."""

SCALES = {"digits": (digits.MEAN, digits.STD), "fashion-mnist": (fashion_mnist.MEAN, fashion_mnist.STD)}


@dataclass(frozen=True, eq=False, slots=True)
class Knowledge:
    """What the attacker knows of such images without seeing anything of this one; standardised, flat.

    Attributes:
        mean: the mean image, float32 [P]: the usual guess.
        class_means: the mean image of each class, float32 [C, P]: the guess of who knows the label.
        spread: square root of the covariance, float32 [P, P], symmetric.
        black: what a pixel of 0 is, standardised.
        white: what a pixel of 1 is.
    """

    mean: NDArray[np.float32]
    class_means: NDArray[np.float32]
    spread: NDArray[np.float32]
    black: float
    white: float

    def pixels(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised values to 0..1."""
        return (images - self.black) / (self.white - self.black)


class Victim:
    """One client's model and loss: images to gradients, differentiable again."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Take the weights as they are."""
        self._model = model
        self._params = {name: p.detach().requires_grad_(True) for name, p in model.named_parameters()}

    def parameters(self) -> list[torch.Tensor]:
        """The weights themselves, in order."""
        return list(self._params.values())

    def gradient(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Gradient of the mean cross-entropy, float32 [D], in the order of the parameters, with its own graph."""
        import torch

        scores = torch.func.functional_call(self._model, self._params, (images,))
        loss = torch.nn.functional.cross_entropy(scores, labels)
        parts = torch.autograd.grad(loss, self.parameters(), create_graph=True)
        return torch.cat([part.reshape(-1) for part in parts])

    def dense_input(self) -> tuple[int, int] | None:
        """(outputs, inputs) of the first layer with weights if it is dense with a bias, else None."""
        from torch import nn

        layers = [m for m in self._model.modules() if next(m.parameters(recurse=False), None) is not None]
        first = layers[0]
        return (first.out_features, first.in_features) if isinstance(first, nn.Linear) else None


def make_victim(model: str, images: Dataset, seed: int) -> Victim:
    """A listed model with fresh weights: a first round, where gradients say most."""
    return Victim(build(model, images.input_shape, images.num_classes, seed))


def open_data(name: str, data_dir: object, seed: int) -> tuple[Dataset, Knowledge]:
    """The images that are attacked, and what is known of their kind.

    Raises:
        ConfigError: not images of known scale, or their files are not here.
    """
    if name not in SCALES:
        raise ConfigError(f"{name!r} cannot be audited", key="--data", cure=f"choose one of: {', '.join(SCALES)}")
    train, test = load(name, None if data_dir is None else str(data_dir), seed)
    mean, std = SCALES[name]
    return test, learn(train, black=-mean / std, white=(1 - mean) / std)


def learn(public: Dataset, *, black: float, white: float) -> Knowledge:
    """What public images of the same kind teach."""
    images = public.x[:PUBLIC].reshape(min(PUBLIC, len(public)), -1)
    labels = public.labels[:PUBLIC]
    mean = images.mean(axis=0)
    class_means = np.stack([images[labels == c].mean(axis=0) for c in range(public.num_classes)])
    within = images - class_means[labels]
    values, vectors = np.linalg.eigh(within.T @ within / len(within))
    roots = np.sqrt(np.maximum(values, 1e-4 * values.max()))  # what never varied there may still vary here, a little
    return Knowledge(mean, class_means, ((vectors * roots) @ vectors.T).astype(np.float32), black, white)
