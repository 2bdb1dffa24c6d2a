"""The white-box attack: colluders who know the rule's code, what it remembers, and all honest updates of the round.

They look for the step of the committed model that raises its loss most on their own examples (adversarial weight
perturbation: Wu et al., NeurIPS 2020, 2004.05884, section 3.2; against the mean of a federation: Fang et al., USENIX
Security 2020, section 4), and for updates that add up to as much of it as the rule lets pass, by playing the round
before it is played. Only the secrets that a server reveals after the uploads are not theirs: sketches and roundings
are drawn anew in each rehearsal.

n clients, f of them hostile, D parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roughfed.params import Flat
from tests.bench.harness.learners import Learners

Rehearsal = Callable[[Mapping[str, Flat], int], "tuple[set[str], Flat | None]"]
"""(updates by name, rounds in which they are sent) -> who would be left out, and the parameters after the first."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the attack.

    Attributes:
        last: rounds at the end in which they attack, honest before; 0: all rounds.
        every: attack in one round of so many, honest in the others.
        direction: "ascent" of the loss on their pooled examples, or "reverse" of the honest mean.
        across: they push at right angles to the honest mean; else backwards, too.
        aim: what is raised: "loss", the cross-entropy, or "error", the mean of 1 - p(right class), which leaves alone
            what is wrong already.
        reach: how far the ascent goes, in steps of the model that f honest updates of one direction would make.
        noise: what makes their updates differ: "opposed" adds up to nothing, "own" is each one's own.
        camps: they push along so many parts of the direction, coordinates apart, an equal number of them along each.
        longest: norm of an update, in median norms of the honest ones.
        together: most that is tried of TOGETHER.
        ahead: rounds that a strength must pass in if it is kept up; what passes once may be known for ever after.
    """

    last: int = 0
    every: int = 1
    direction: str = "ascent"
    across: bool = True
    aim: str = "loss"
    reach: float = 1.0
    noise: str = "opposed"
    camps: int = 1
    longest: float = 2.5
    together: float = 1.0
    ahead: int = 2

    def attacks(self, number: int, rounds: int) -> bool:
        """Whether a round is one of those."""
        return (not self.last or number > rounds - self.last) and number % self.every == 0


FORMS: Mapping[str, Form] = {"white-box": Form(), "white-box-late": Form(last=7)}
"""The strongest found against the default, by one or two seeds. Two camps, and a direction that is not across the
mean, did less with the same search. Own noise, the reversed mean, every other round and the mean error as the aim were
played with other searches alone (more `together`, which gains in one round and is known from then on)."""


ALONG, TOGETHER = (-0.2, 0.0, 0.1, 0.2, 0.3, 0.45, 0.6), (-0.1, 0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.5, 4.0, 6.0)
"""What is tried: cosine with the honest mean, and the inner product of two attackers' rest in squared median norms."""

HALVINGS, SHORTEST = 5, 0.3
STEPS, BATCH = 12, 512


@dataclass
class Stage:
    """What the attackers see of a round before they send.

    Attributes:
        number: of the round.
        params: float32 [D], that everybody trained from.
        trained: what everybody trained honestly.
        rehearse: plays the round.
    """

    number: int
    params: Flat
    trained: Mapping[str, Flat]
    rehearse: Rehearsal


class WhiteBox:
    """Colluders of one federation."""

    def __init__(self, form: Form, learners: Learners, hostile: set[str], *, rounds: int, seed: int) -> None:
        """For a federation of so many rounds; `seed`: of their noise and batches."""
        import torch

        self._form, self._learners, self._names, self._rounds = form, learners, sorted(hostile), rounds
        self._rng = np.random.default_rng([seed, 18])
        shares = [learners.shares[learners.names.index(name)] for name in self._names]
        self._x = torch.from_numpy(np.concatenate([share.x for share in shares]))
        self._y = torch.from_numpy(np.concatenate([share.labels for share in shares]))
        self._last: Flat | None = None
        self._at = (3, 2)
        self.log: list[dict[str, Any]] = []

    def updates(self, stage: Stage) -> dict[str, Flat]:
        """Everybody's update, the attackers' as strong as passes; as trained where nothing does."""
        if not self._form.attacks(stage.number, self._rounds):
            return dict(stage.trained)
        honest = [delta for name, delta in stage.trained.items() if name not in self._names]
        scale = float(np.median([np.linalg.norm(delta) for delta in honest]))
        mean = np.mean(honest, axis=0)
        share = len(self._names) / len(stage.trained)
        base = stage.params + (1 - share) * mean
        direction = self._direction(base, mean, self._form.reach * scale * share)
        best: tuple[float, dict[str, Flat]] = (-np.inf, dict(stage.trained))
        noise = self._noise(len(mean), [direction, mean])
        tried: dict[tuple[int, int], tuple[float, dict[str, Flat], float] | None] = {}
        here = self._at
        while True:
            around = {(a, here[1]) for a in _near(here[0], len(ALONG))} | {
                (here[0], t) for t in _near(here[1], len(TOGETHER)) if TOGETHER[t] <= self._form.together
            }
            for at in sorted(around - tried.keys()):
                found = self._strongest(stage, at, mean, direction, noise, scale)
                tried[at] = found
                if found and found[0] > best[0]:
                    best, self._at = found[:2], at
            if self._at == here:
                break
            here = self._at
        won = tried.get(self._at)
        self.log.append({"round": stage.number, "at": self._at, "length": won[2] if won else 0.0, "loss": best[0]})
        return best[1]

    def _strongest(
        self, stage: Stage, at: tuple[int, int], mean: Flat, direction: Flat, noise: Flat, scale: float
    ) -> tuple[float, dict[str, Flat], float] | None:
        """(loss, updates, length) of the longest updates of one kind that pass; None: none does."""
        low, high, found = SHORTEST, self._form.longest, None
        length = high
        for _ in range(HALVINGS):
            rows = self._rows(ALONG[at[0]], TOGETHER[at[1]], length, mean, direction, noise)
            sent = {**stage.trained, **{n: scale * row for n, row in zip(self._names, rows, strict=True)}}
            out, after = stage.rehearse(sent, min(self._form.ahead, 1 + self._rounds - stage.number))
            if after is not None and not out & set(self._names):
                found, low = (self._loss(after), sent, length), length
                if length == self._form.longest:
                    break
            else:
                high = length
            length = (low + high) / 2
        return found

    def _rows(self, along: float, together: float, length: float, mean: Flat, direction: Flat, noise: Flat) -> Flat:
        """Updates in units of the median norm, float32 [f, D]."""
        f = len(self._names)
        rest = length**2 * (1 - along**2)  # squared length across the honest mean
        pairs = max(1, f - 1)
        opposed = self._form.noise == "opposed"  # then g^2 - (rest - g^2) / (f - 1) = together
        pushed = min(max((pairs * together + rest) / f if opposed else together, 0.0), rest)
        push, hide = pushed**0.5, (rest - pushed) ** 0.5
        centre = mean / np.linalg.norm(mean)
        return (length * along * centre + push * self._pushes(direction) + hide * noise).astype(np.float32)

    def _pushes(self, direction: Flat) -> Flat:
        """Where each pushes, unit vectors, float32 [f, D]."""
        camps = self._form.camps
        if camps == 1:
            return np.tile(direction, (len(self._names), 1))
        camp = np.arange(len(direction)) % camps
        rows = np.stack([np.where(camp == at % camps, direction, 0) for at in range(len(self._names))])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _noise(self, size: int, without: Sequence[Flat]) -> Flat:
        """Unit vectors, float32 [f, D], at right angles to some; "opposed" ones add up to nothing."""
        rows = self._rng.standard_normal((len(self._names), size))
        for one in without:
            unit = one / np.linalg.norm(one)
            rows -= np.outer(rows @ unit, unit)
        if self._form.noise == "opposed" and len(rows) > 1:
            rows -= rows.mean(axis=0)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _direction(self, base: Flat, mean: Flat, reach: float) -> Flat:
        """Where they push, a unit vector across the honest mean, float32 [D]."""
        if self._form.direction == "reverse":
            return (-mean / np.linalg.norm(mean)).astype(np.float32)
        centre = mean / np.linalg.norm(mean)
        step = np.zeros_like(mean) if self._last is None else reach * self._last
        for _ in range(STEPS):
            slope = self._slope(base + step)
            if self._form.across:
                slope -= (slope @ centre) * centre
            step = step + reach / 3 * slope / max(float(np.linalg.norm(slope)), 1e-30)
            step *= reach / max(float(np.linalg.norm(step)), 1e-30)
        if self._form.across:
            step -= (step @ centre) * centre
        self._last = (step / np.linalg.norm(step)).astype(np.float32)
        return self._last

    # -- the model on their examples -----------------------------------------------------------------------------------

    def _slope(self, params: Flat) -> Flat:
        """Gradient of the loss, float32 [D], on a batch."""
        import torch

        chosen = torch.from_numpy(self._rng.choice(len(self._y), min(BATCH, len(self._y)), replace=False))
        flat = torch.from_numpy(params.astype(np.float32)).requires_grad_()
        self._objective(flat, self._x[chosen], self._y[chosen]).backward()
        assert flat.grad is not None
        return flat.grad.numpy()

    def _loss(self, params: Flat) -> float:
        import torch

        with torch.no_grad():
            return float(self._objective(torch.from_numpy(params), self._x[:BATCH], self._y[:BATCH]))

    def _objective(self, flat: Any, x: Any, y: Any) -> Any:
        import torch

        spec = self._learners.spec
        parts = {
            t.name: flat[where].reshape(t.shape) for t, where in zip(spec.tensors, spec.slices().values(), strict=True)
        }
        model = self._learners.model.eval()
        output = torch.func.functional_call(model, parts, (x,))
        if self._form.aim == "error":
            return 1 - output.softmax(dim=1).gather(1, y[:, None]).mean()
        return torch.nn.functional.cross_entropy(output, y)


def _near(at: int, count: int) -> range:
    return range(max(0, at - 1), min(count, at + 2))
