"""Trials of gradient inversion: for each mode, batch size and attacker, how near the rebuilt images come.

K clients, B images each, P values of an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from roughfed.data.dataset import Dataset
from roughfed.deploy.audit.inversion import PRIORS, InversionAttack
from roughfed.deploy.audit.options import BATCHES, AuditOptions
from roughfed.deploy.audit.victim import Knowledge, make_victim
from roughfed.deploy.audit.views import MODES, group_views
from roughfed.rng import derive, generator

Images = NDArray[np.float32]

BEST_DB = 100.0
"""Beyond float32 there is nothing to tell."""

ATTACKS = (*((mode, "smooth") for mode in MODES), ("one sketch", "learned"))
"""With more numbers than unknowns, knowing such images adds nothing; with a sketch it is what helps most."""


@dataclass(frozen=True)
class Picture:
    """Images of a trial to be looked at: rows of pixels, 0..1, by what they are."""

    batch: int
    images: dict[str, list[list[float]]]


@dataclass(frozen=True)
class Inversion:
    """Medians over the trials.

    Attributes:
        mode: one of MODES.
        batch: images in the client's batch.
        prior: what the attacker knows, "smooth" or "learned".
        numbers: how many numbers were seen.
        unknowns: values of the images that are looked for.
        psnr_db: of the rebuilt images.
        guess_db: of a guess by an attacker that knows as much and sees nothing.
    """

    mode: str
    batch: int
    prior: str
    numbers: int
    unknowns: int
    psnr_db: float
    guess_db: float

    @property
    def gain_db(self) -> float:
        """How much better than guessing."""
        return self.psnr_db - self.guess_db


@dataclass
class TrialTally:
    """What the trials have brought so far."""

    rows: dict[tuple[str, int, str], dict[float, list[tuple[float, float]]]] = field(default_factory=dict)
    sizes: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)

    def inversions(self) -> list[Inversion]:
        """Medians, in the order of the modes; of the weights of a prior, the one that serves the attacker best."""
        found: list[Inversion] = []
        for (mode, batch, prior), by_weight in self.rows.items():
            medians = [(median(r for r, _ in pairs), median(g for _, g in pairs)) for pairs in by_weight.values()]
            found.append(Inversion(mode, batch, prior, *self.sizes[mode, batch], *max(medians)))
        return sorted(found, key=lambda row: (row.batch, MODES.index(row.mode), PRIORS.index(row.prior)))


def attacks_of(options: AuditOptions) -> list[tuple[int, int, str, str]]:
    """(trial, batch, mode, prior) of all attacks, in order."""
    return [
        (trial, batch, mode, prior) for trial in range(options.images) for batch in BATCHES for mode, prior in ATTACKS
    ]


def run_trials(
    options: AuditOptions, data: Dataset, knowledge: Knowledge, tally: TrialTally, *, entropy: Callable[[int], bytes]
) -> Iterator[None]:
    """Attack, and add to the tally; comes up for air after every attack, so that a caller can show progress."""
    scene: _Scene | None = None
    for trial, batch, mode, prior in attacks_of(options):
        if scene is None or (scene.trial, scene.batch) != (trial, batch):
            scene = _Scene(options, data, knowledge, trial=trial, batch=batch, entropy=entropy)
        scene.attack(mode, prior, tally)
        yield


def psnr(known: Knowledge, one: Images, other: Images) -> float:
    """Of two standardised images, in dB."""
    error = float(np.mean(np.square(known.pixels(one) - known.pixels(other))))
    return min(BEST_DB, -10 * math.log10(max(error, 1e-12)))


class _Scene:
    """One group of clients with its images, weights and seeds."""

    def __init__(
        self,
        options: AuditOptions,
        data: Dataset,
        knowledge: Knowledge,
        *,
        trial: int,
        batch: int,
        entropy: Callable[[int], bytes],
    ) -> None:
        import torch

        self.trial, self.batch = trial, batch
        self._options, self._known = options, knowledge
        seed = derive(options.seed, "audit", trial)
        order = generator(seed, "images").permutation(len(data))[: options.group * batch]
        self._chosen = data.take(order)
        self._victim = make_victim(options.model, data, seed)
        pairs = zip(
            *(torch.split(torch.from_numpy(a), batch) for a in (self._chosen.x, self._chosen.labels)), strict=True
        )
        deltas = np.stack([-self._victim.gradient(x, y).detach().numpy() for x, y in pairs])
        self._views = group_views(deltas, options.dim, seed=seed, entropy=entropy)
        self._images: dict[str, Images] = {}

    def attack(self, mode: str, prior: str, tally: TrialTally) -> None:
        """One attack, judged by the first client's images."""
        view, chosen = self._views[mode], self._chosen
        labels = chosen.labels[: view.clients * self.batch]
        attack = InversionAttack(self._victim, view, labels, self._known, chosen.input_shape)
        truth = chosen.x.reshape(len(chosen), -1)[: self.batch]
        guess = self._guess(prior, labels)
        guessed = self._quality(guess, truth, labels)
        by_weight = tally.rows.setdefault((mode, self.batch, prior), {})
        best = (-math.inf, guess)
        for weight in attack.weights(prior):
            rebuilt = attack.rebuild(prior, weight=weight, steps=self._options.steps)
            reached = self._quality(rebuilt, truth, labels)
            by_weight.setdefault(weight, []).append((reached, guessed))
            best = max(best, (reached, rebuilt), key=lambda pair: pair[0])
        tally.sizes[mode, self.batch] = (view.numbers, len(labels) * truth.shape[1])
        self._keep(mode, prior, (truth, best[1], guess), tally)

    def _guess(self, prior: str, labels: NDArray[np.int64]) -> Images:
        if prior == "learned":
            return self._known.class_means[labels]
        return np.repeat(self._known.mean[None], len(labels), axis=0)

    def _quality(self, rebuilt: Images, truth: Images, labels: NDArray[np.int64]) -> float:
        """Median PSNR over the client's images; each is compared with the nearest rebuilt image of its label."""
        found: list[float] = []
        for image, label in zip(truth, labels, strict=False):
            found.append(max(psnr(self._known, other, image) for other in rebuilt[labels == label]))
        return median(found)

    def _keep(self, mode: str, prior: str, images: tuple[Images, Images, Images], tally: TrialTally) -> None:
        """The first image of the first trial, to be looked at."""
        if self.trial:
            return
        truth, rebuilt, guess = images
        self._images.setdefault("original", truth)
        if prior == "smooth":
            self._images["guess: mean image"] = guess
        else:
            self._images["guess: class mean"] = guess
        self._images[mode if prior == "smooth" else f"{mode}, {prior}"] = rebuilt
        drawn = {name: self._rows(found[0]) for name, found in self._images.items()}
        tally.pictures = [p for p in tally.pictures if p.batch != self.batch] + [Picture(self.batch, drawn)]

    def _rows(self, image: Images) -> list[list[float]]:
        rows = self._known.pixels(image).reshape(self._chosen.input_shape)[0]
        return [[round(float(v), 2) for v in row] for row in rows]
