"""A client's training without torch: softmax regression on a part of digits, and the truth about each update.

P = 64 values of an image, C = 10 classes, D = C P + C = 650 parameters, N images of a client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roughfed.data.dataset import Dataset
from roughfed.data.digits import NUM_CLASSES, SIDE, load_digits
from roughfed.file_pool import rewritten
from roughfed.params import read_flat
from roughfed.rng import generator
from roughfed.trainer_client import Description
from roughfed.training import FitResult, Turn
from roughfed.types import Evaluation, Spec, TensorSpec

Flat = NDArray[np.float32]

PIXELS = SIDE * SIDE
SPEC = Spec((TensorSpec("weight", (NUM_CLASSES, PIXELS)), TensorSpec("bias", (NUM_CLASSES,))))
UNEVEN = 1.0
"""Dirichlet parameter of the clients' class shares: as uneven as shares are that are drawn at random."""


@dataclass(frozen=True, slots=True)
class Learning:
    """What a client learns from, and how.

    Attributes:
        images: N of each client.
        batch: images of one step; the last of an epoch may have fewer.
        rate: step size of SGD. An update is one epoch.
    """

    images: int = 60
    batch: int = 10
    rate: float = 0.1


EPOCH = Learning()
ONE_IMAGE = Learning(images=1, batch=1, rate=1.0)
"""The worst case: an update that is the gradient of one image."""


def part_of(index: int, learning: Learning) -> Dataset:
    """The images of client `index`, from 0: [N, 1, 8, 8]."""
    train, _ = load_digits(None, 0)
    rng = generator(0, "audit", "client", index)
    shares = rng.dirichlet(np.full(NUM_CLASSES, UNEVEN))[train.labels]
    return train.take(rng.choice(len(train), learning.images, replace=False, p=shares / shares.sum()))


def update_of(params: Flat, data: Dataset, learning: Learning, seed: int, *, redraw: bool = False) -> Flat:
    """One epoch of SGD: float32 [D], new minus old; `redraw`: of images that are drawn with replacement."""
    new = params.astype(np.float64)
    weight, bias = new[: NUM_CLASSES * PIXELS].reshape(NUM_CLASSES, PIXELS), new[NUM_CLASSES * PIXELS :]
    x, y = data.x.reshape(-1, PIXELS).astype(np.float64), data.labels
    rng = generator(seed, "order")
    order = rng.integers(len(y), size=len(y)) if redraw else rng.permutation(len(y))
    for at in range(0, len(order), learning.batch):
        batch = order[at : at + learning.batch]
        wrong = np.exp(log_shares(x[batch], weight, bias)) - np.eye(NUM_CLASSES)[y[batch]]  # [B, C]
        weight -= learning.rate * wrong.T @ x[batch] / len(batch)
        bias -= learning.rate * wrong.mean(axis=0)
    return (new - params).astype(np.float32)


def log_shares(x: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log softmax of the scores, [B, C]."""
    scores = x @ weight.T + bias
    scores -= scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


class DigitsTrainer:
    """A `LocalTrainer`; each update is also written to `truth`, under the number of its round."""

    def __init__(self, index: int, learning: Learning, truth: Path) -> None:
        """Client `index`, from 0."""
        self.data, self._learning, self._truth = part_of(index, learning), learning, truth
        self.on_progress: Callable[[float], None] | None = None
        truth.mkdir(parents=True, exist_ok=True)

    async def describe(self) -> Description:
        """Nothing is held out."""
        counts = tuple(np.bincount(self.data.labels, minlength=NUM_CLASSES).tolist())
        n = len(self.data)
        return Description(SPEC, "classification", n, 0, NUM_CLASSES, "cpu", "digits", {}, class_counts=counts)

    async def fit(
        self, params: Path, delta: Path, *, settings: Mapping[str, object], seed: int, turn: Turn
    ) -> FitResult:
        """One epoch, in an order that follows from the seed."""
        del settings
        began = time.perf_counter()
        found = update_of(np.array(read_flat(params)), self.data, self._learning, seed, redraw=turn.redraw)
        (self._truth / str(turn.round)).write_bytes(found.tobytes())
        with rewritten(delta) as file:
            file.write(found.data)
        steps = -(-len(self.data) // self._learning.batch)
        return FitResult(len(self.data), steps, {}, time.perf_counter() - began)

    async def train_loss(self, params: Path, *, turn: Turn) -> float:
        """Mean cross-entropy on all images."""
        del turn
        flat = np.array(read_flat(params), dtype=np.float64)
        weight, bias = flat[: NUM_CLASSES * PIXELS].reshape(NUM_CLASSES, PIXELS), flat[NUM_CLASSES * PIXELS :]
        found = log_shares(self.data.x.reshape(-1, PIXELS).astype(np.float64), weight, bias)
        return -float(found[np.arange(len(self.data)), self.data.labels].mean())

    async def evaluate(self, params: Path, *, model_digest: bytes, turn: Turn) -> Evaluation:
        """Nothing is held out."""
        del params, turn
        return Evaluation(model_digest, 0, 0.0)

    async def compare(
        self, params: Path, *, model_digest: bytes, settings: Mapping[str, object], turn: Turn
    ) -> Mapping[str, Evaluation]:
        """There are no other models."""
        del params, model_digest, settings, turn
        return {}

    async def stop(self) -> None:
        """Nothing to end."""
