"""Clients of a federation in one process, with the trainer's own loop: for what learning does, without the wire.

Sums are plain, rounds follow one another, and each client keeps its own state; everything else is as in a trainer
process. One client alone is centralised training. One thread, so the same seed gives the same model.

D parameters, K clients, C classes.
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
from roughfed.server.aggregate.control_variates import VariateUpdate, with_variates
from roughfed.server.extensions.scaffold import scale_fact
from roughfed.shared_tensors import SCALE, model_part, shared_spec
from roughfed.training import FitResult, Turn
from roughfed.types import Spec

if TYPE_CHECKING:
    from torch import nn

    from roughfed.client.trainer.evaluation.evaluate import Sums
    from roughfed.client.trainer.examples.arriving import ArrivingExamples
    from roughfed.client.trainer.examples.batches import Source
    from roughfed.client.trainer.parts import Tensors
    from roughfed.client.trainer.training.loop import Work

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
    _opened: ArrivingExamples | None = None


class LocalFederation:
    """A model and the clients that train it.

    Attributes:
        params: the global parameters, float32 [D]; with SCAFFOLD control variates behind them.
        facts: what every client is told in the next round.
        wanted: statistics that every client is asked for.
        clients: in order.
        names: of them.
        spec: what the parameters mean.
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
        private: Sequence[str] = (),
    ) -> None:
        """Start from the model's own weights.

        Args:
            build: makes the model, with seeded weights; it may stand on a frozen base.
            shares: the training data of each client.
            folder: for the files that the loop reads and writes.
            num_classes: C.
            seed: of every local training.
            settings: learning settings, as in [trainer].
            private: patterns of the tensors that stay with the clients.
        """
        import torch

        from roughfed.client.trainer.model.tensors import frozen_names, pieces, spec_of

        torch.set_num_threads(1)
        self._build, self.model = build, build()
        whole, frozen = spec_of(self.model), frozen_names(self.model)
        values = dict(zip((t.name for t in whole.tensors), pieces(self.model), strict=True))
        own = Spec(tuple(t for t in whole.tensors if t.name not in frozen))
        rules = Learning.model_validate(dict(settings))
        self.spec, self._scale = shared_spec(own, private=private, controls=rules.scaffold), scale_fact(rules)
        shared = {t.name for t in self.spec.tensors}
        self.params: Flat = np.concatenate([values[t.name] for t in own.tensors if t.name in shared])
        self.params = np.concatenate([self.params, np.zeros(self.spec.size - self.params.size, dtype=np.float32)])
        self.facts: Facts = NO_FACTS
        self.wanted: tuple[str, ...] = ()
        self.clients = [LocalClient(share, f"client-{at + 1:03d}") for at, share in enumerate(shares)]
        self.names = [client.name for client in self.clients]
        self._folder, self._seed, self._classes, self._settings = folder, seed, num_classes, dict(settings)

    # -- rounds --------------------------------------------------------------------------------------------------------

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
            self.hand_out(self.params)
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
            write_model(base, self.spec, [self.params])
            everybody = len(self.clients)
            ledger = VariateUpdate(everybody if number > 1 else 0, everybody, everybody, self._scale[SCALE][0])
            sent = mean.astype(np.float32)
            added = with_variates(lambda start, stop: sent[start:stop], self.spec, base, ledger)
            mean = added(0, self.spec.size).astype(np.float64)
        self.params = (self.params + mean).astype(np.float32)
        for client in self.clients:
            client.said[number] = 1.0

    def hand_out(self, params: Flat) -> None:
        """Write the model, float32 [D], that everybody trains from next."""
        write_model(self._folder / "model.safetensors", self.spec, [params])

    def delta(self, client: LocalClient, number: int, rounds: int) -> Flat:
        """One local training from the model that was handed out: local minus global, float32 [D].

        Raises:
            TrainerError: reason `diverged`.
        """
        import torch

        from roughfed.client.trainer.examples.arriving import ArrivingExamples
        from roughfed.client.trainer.training.loop import no_op_update

        if client._opened is None:
            client._opened = ArrivingExamples(client.data, torch.device("cpu"), torch.float32)
        arrived = client._opened.at(number)
        facts = {**self.facts, **self._scale}
        turn = Turn(number, rounds, "bench", facts=facts, wanted=self.wanted, said=client.said)
        work = self.work(client.name, turn, task=arrived.task, remembered=client.remembered)
        if arrived.source is None:
            client.last = no_op_update(self.model, work)
            return np.fromfile(work.delta, dtype="<f4")
        client.last, delta = self.fit(arrived.source, work)
        return delta

    def work(
        self,
        name: str,
        turn: Turn,
        *,
        task: int = -1,
        remembered: dict[str, Tensors] | None = None,
        settings: Mapping[str, object] = NO_FACTS,
    ) -> Work:
        """What a client is asked for; `settings`: in place of the federation's."""
        from roughfed.client.trainer.settings import TrainerSettings
        from roughfed.client.trainer.training.loop import Work

        parsed = TrainerSettings.parse({**self._settings, **settings})
        files = self._folder / "model.safetensors", self._folder / "delta.f32"
        seed = derive(self._seed, "client", name, turn.round)
        known = {} if remembered is None else remembered
        return Work(*files, parsed, seed, turn, self._classes, task=task, remembered=known)

    def fit(self, source: Source, work: Work) -> tuple[FitResult, Flat]:
        """Train; what the training says, and local minus global, float32 [D].

        Raises:
            TrainerError: reason `diverged`.
        """
        from roughfed.client.trainer.training.loop import fit

        result = fit(self.model, source, work, report=unheard)
        return result, np.fromfile(work.delta, dtype="<f4")

    # -- measuring -----------------------------------------------------------------------------------------------------

    def fresh(self) -> nn.Module:
        """The model with its first weights."""
        return self._build()

    def evaluated(self, source: Source, params: Flat | None = None) -> Sums:
        """What the model, float32 [D], makes of some data; None: the global parameters."""
        from roughfed.client.trainer.evaluation.evaluate import evaluate

        self._load(params)
        return evaluate(self.model, source, "classification", report=unheard)

    def confusion(self, test: Dataset, params: Flat | None = None) -> np.ndarray:
        """True x predicted classes on some data, int64 [C, C]."""
        predicted = self.predict(test.x, params)
        cells = test.labels * self._classes + predicted
        return np.bincount(cells, minlength=self._classes**2).reshape(self._classes, self._classes)

    def predict(self, x: np.ndarray, params: Flat | None = None) -> np.ndarray:
        """The predicted class of each example, int64 [N]."""
        import torch

        self._load(params)
        self.model.eval()
        with torch.inference_mode():
            parts = [self.model(torch.from_numpy(x[at : at + 1000])) for at in range(0, len(x), 1000)]
        return torch.cat(parts).argmax(dim=1).numpy()

    def _load(self, params: Flat | None) -> None:
        from roughfed.client.trainer.model.tensors import load_flat

        spec = model_part(self.spec)
        load_flat(self.model, spec, (self.params if params is None else params)[: spec.size])


def opened(data: Dataset) -> Source:
    """Data as the trainer's loop reads them."""
    import torch

    from roughfed.client.trainer.examples.batches import open_source

    return open_source((data.x, data.labels), torch.device("cpu"), torch.float32)


def accuracy_of(sums: Sums) -> float:
    """The share of the examples that was right."""
    return sum(sums.class_correct) / sums.num_examples


def unheard(_share: float) -> None:
    """Nobody asks how far a training is."""
