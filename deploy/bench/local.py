"""Clients of a federation in one process, with the trainer's own loop: for what learning does, without the wire.

Sums are plain, rounds follow one another, and each client keeps its own state; everything else is as in a trainer
process. One client alone is centralised training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roughfed.config.trainer import TrainerSettings as Learning
from roughfed.data import Dataset
from roughfed.params import Flat, write_model
from roughfed.rng import derive
from roughfed.scope import SCALE, model_part, shared_spec
from roughfed.server.variates import Ledger, scale_fact, with_variates
from roughfed.training import FitResult, Turn
from roughfed.types import Spec

if TYPE_CHECKING:
    from torch import nn

    from roughfed.client.trainer.examples.arriving import Arriving
    from roughfed.client.trainer.parts import Tensors

Facts = Mapping[str, Sequence[float]]
NO_FACTS: Facts = {}


@dataclass
class LocalClient:
    """One client: its examples (a Dataset, or a stream with `at(round)`) and what its trainer remembers."""

    data: Any
    name: str
    remembered: dict[str, Tensors] = field(default_factory=dict)
    said: dict[int, float] = field(default_factory=dict[int, float])
    last: FitResult | None = None
    _opened: Arriving | None = None


class LocalFederation:
    """A model and the clients that train it.

    Attributes:
        params: the global parameters, float32 [D]; with SCAFFOLD control variates behind them.
        facts: what every client is told in the next round.
        clients: in order.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        shares: Sequence[Any],
        folder: Path,
        *,
        num_classes: int,
        seed: int,
        settings: Mapping[str, object],
    ) -> None:
        """Start from the model's own weights.

        Args:
            build: makes the model, with seeded weights; it may stand on a frozen base.
            shares: the training data of each client.
            folder: for the files that the loop reads and writes.
            num_classes: C.
            seed: of every local training.
            settings: learning settings, as in [trainer].
        """
        import torch

        from roughfed.client.trainer.model.tensors import frozen_names, pieces, spec_of
        from roughfed.client.trainer.settings import TrainerSettings

        torch.set_num_threads(1)
        self.model = build()
        whole, frozen = spec_of(self.model), frozen_names(self.model)
        values = dict(zip((t.name for t in whole.tensors), pieces(self.model), strict=True))
        own = Spec(tuple(t for t in whole.tensors if t.name not in frozen))
        self.params: Flat = np.concatenate([values[t.name] for t in own.tensors])
        self.facts: Facts = NO_FACTS
        self.wanted: tuple[str, ...] = ()
        self.clients = [LocalClient(share, f"client-{at + 1:03d}") for at, share in enumerate(shares)]
        self._folder, self._seed, self._classes = folder, seed, num_classes
        self._settings = TrainerSettings.parse(settings)
        rules = Learning.model_validate(dict(settings))
        self._spec, self._scale = shared_spec(own, controls=rules.scaffold), scale_fact(rules)
        self.params = np.concatenate([self.params, np.zeros(self._spec.size - self.params.size, dtype=np.float32)])
        self._last: FitResult | None = None

    def run(
        self,
        rounds: int,
        *,
        after: Callable[[int], None] | None = None,
        weigh: bool = False,
        alike: bool = False,
    ) -> Flat:
        """Train for some rounds; `after` is called with each round's number when its parameters stand.

        Args:
            rounds: how many.
            after: may look at `params`, or change `facts` and `wanted`.
            weigh: a client's weight (`FitResult.weight`) multiplies its number of examples.
            alike: every client counts the same instead, as in masked rounds.
        """
        for number in range(1, rounds + 1):
            deltas, weights = [], []
            for client in self.clients:
                deltas.append(self.delta(client, number, rounds))
                result = client.last
                examples = result.num_examples if result and not alike else 1
                weights.append(examples * (result.weight if result and weigh else 1.0))
            self._step(number, np.average(deltas, axis=0, weights=weights))
            if after is not None:
                after(number)
        return self.params

    def _step(self, number: int, mean: NDArray[np.float64]) -> None:
        """The next global parameters."""
        if self._scale:
            base = self._folder / "base.safetensors"
            write_model(base, self._spec, [self.params])
            everybody = len(self.clients)
            ledger = Ledger(everybody if number > 1 else 0, everybody, everybody, self._scale[SCALE][0])
            sent = mean.astype(np.float32)
            added = with_variates(lambda start, stop: sent[start:stop], self._spec, base, ledger)
            mean = added(0, self._spec.size).astype(np.float64)
        self.params = (self.params + mean).astype(np.float32)
        for client in self.clients:
            client.said[number] = 1.0

    def delta(self, client: LocalClient, number: int, rounds: int) -> Flat:
        """One local training from the global parameters: local minus global, float32 [D].

        Raises:
            TrainerError: reason `diverged`.
        """
        import torch

        from roughfed.client.trainer.examples.arriving import Arriving
        from roughfed.client.trainer.training.loop import Work, fit, no_op_update

        if client._opened is None:
            client._opened = Arriving(client.data, torch.device("cpu"), torch.float32)
        arrived = client._opened.at(number)
        path, out = self._folder / "model.safetensors", self._folder / "delta.f32"
        write_model(path, self._spec, [self.params])
        facts = {**self.facts, **self._scale}
        turn = Turn(number, rounds, "bench", facts=facts, wanted=self.wanted, said=client.said)
        seed = derive(self._seed, "client", client.name, number)
        work = Work(
            path, out, self._settings, seed, turn, self._classes, task=arrived.task, remembered=client.remembered
        )
        if arrived.source is None:
            client.last = no_op_update(self.model, work)
        else:
            client.last = fit(self.model, arrived.source, work, report=unheard)
        return np.fromfile(out, dtype="<f4")

    def confusion(self, test: Dataset, params: Flat | None = None) -> np.ndarray:
        """True x predicted classes on some data, int64 [C, C]."""
        predicted = self.predict(test, params)
        cells = test.labels * self._classes + predicted
        return np.bincount(cells, minlength=self._classes**2).reshape(self._classes, self._classes)

    def predict(self, data: Dataset, params: Flat | None = None) -> np.ndarray:
        """The predicted class of each example, int64 [N]."""
        import torch

        from roughfed.client.trainer.model.tensors import load_flat

        spec = model_part(self._spec)
        load_flat(self.model, spec, (self.params if params is None else params)[: spec.size])
        self.model.eval()
        with torch.inference_mode():
            parts = [self.model(torch.from_numpy(data.x[at : at + 1000])) for at in range(0, len(data), 1000)]
        return torch.cat(parts).argmax(dim=1).numpy()


def unheard(_share: float) -> None:
    """Nobody asks how far a training is."""
