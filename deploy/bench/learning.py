"""Clients that really learn, all in this process: real images, dealt out as in a federation, the trainer's own loop.

One thread, so the same seed gives the same model. D parameters, K clients, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roughfed import models
from roughfed.data import load
from roughfed.data.partition import PARTITIONERS
from roughfed.data.rough import long_tail
from roughfed.deploy.attack.poison.labels import TARGET, Wrong, patched
from roughfed.params import Flat, write_model
from roughfed.rng import derive, generator
from roughfed.training import Turn

if TYPE_CHECKING:
    from roughfed.client.trainer.examples.batches import Source
    from roughfed.data.dataset import Labels
    from roughfed.types import Spec

DATA = "fashion-mnist"
MIN_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class LearningOptions:
    """What everybody learns, and from what.

    Attributes:
        clients: K.
        examples: training examples in all, drawn for each seed; the test part is always the whole published one.
        alpha: of the Dirichlet division.
        model: a listed model.
        epochs: local passes in a round.
        batch_size: examples a step.
        lr: local learning rate.
        momentum: of the local steps.
        lr_decay: what the rate is multiplied by from round to round.
        imbalance: examples of the most frequent class for each of the rarest; 1 takes them as they come.
    """

    clients: int = 20
    examples: int = 20_000
    alpha: float = 0.5
    model: str = "mlp"
    epochs: int = 1
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    lr_decay: float = 1.0
    imbalance: float = 1.0


TAIL, ROOT_SHARE = 3, 10
"""Classes that are the tail; examples of each class in the root set."""


class Learners:
    """K clients with their shares of the data, and the test part that nobody trains on."""

    def __init__(self, options: LearningOptions, *, seed: int, folder: Path) -> None:
        """Deal out the data and build the model.

        Args:
            options: what is learnt.
            seed: of the choice of examples, the division, the weights and every local training.
            folder: for the files that the trainer's loop reads and writes.

        Raises:
            ConfigError: no data here, or too few for so many clients.
        """
        import torch

        from roughfed.client.trainer.model.tensors import spec_of

        torch.set_num_threads(1)
        whole, test = load(DATA)
        order = generator(seed, "accuracy", "examples").permutation(len(whole))
        train = whole.take(np.sort(order[: options.examples]))
        if options.imbalance > 1:  # Fashion-MNIST's last classes are easy ones: they are the head
            classes = list(reversed(range(train.num_classes)))
            kept = long_tail(train.labels, options.imbalance, generator(seed, "accuracy", "tail"), classes)
            train = train.take(kept)
        rng = generator(seed, "data", DATA, "partition", "dirichlet")
        split = PARTITIONERS["dirichlet"].split
        parts = split(train.labels, options.clients, rng, min_examples=MIN_EXAMPLES, alpha=options.alpha)
        self.shares = [train.take(part) for part in parts]
        self.names = [f"client-{number:03d}" for number in range(1, options.clients + 1)]
        self._model = models.build(options.model, train.input_shape, train.num_classes, seed)
        self._spec = spec_of(self._model)
        self._test, self._test_set, self._unused = (
            _opened(test.x, test.labels),
            test,
            (whole, order[options.examples :]),
        )
        self._tail = np.argsort(np.bincount(train.labels, minlength=train.num_classes), kind="stable")[:TAIL]
        self._options, self._seed, self._folder = options, seed, folder
        self._sources: dict[tuple[int, Wrong | None], Source] = {}
        self._root: Source | None = None

    def initial(self) -> Flat:
        """The seeded first parameters, float32 [D]; before any training."""
        from roughfed.client.trainer.model.tensors import pieces

        return np.concatenate(list(pieces(self._model)))

    @property
    def spec(self) -> Spec:
        """What the parameters mean."""
        return self._spec

    def hand_out(self, params: Flat) -> None:
        """Write the model, float32 [D], that everybody trains from next."""
        write_model(self._folder / "model.safetensors", self._spec, [params])

    def delta(self, index: int, number: int, *, wrong: Wrong | None = None, tensors: tuple[str, ...] = ()) -> Flat:
        """Train as one client in one round.

        Args:
            index: which client, 0..K-1.
            number: of the round.
            wrong: what is wrong with its data.
            tensors: patterns of the tensors that it trains; none: all of them.

        Returns:
            local minus global parameters, float32 [D]; with `tensors` those of these tensors alone.

        Raises:
            TrainerError: reason `diverged`.
        """
        turn = Turn(number, tensors=tensors)
        return self._fit(self._source(index, wrong), self.names[index], turn, self._options.epochs)

    def root_delta(self, number: int) -> Flat:
        """Train on the root set, 10 examples of each class that no client has, for as many steps as clients take.

        Args:
            number: of the round.

        Returns:
            float32 [D].
        """
        if self._root is None:
            whole, unused = self._unused
            found = [unused[whole.labels[unused] == c][:ROOT_SHARE] for c in range(whole.num_classes)]
            root = whole.take(np.sort(np.concatenate(found)))
            self._root = _opened(root.x, root.labels)
        batch = self._options.batch_size
        steps = [-(-len(share) // batch) for share in self.shares]
        passes = round(
            self._options.epochs * float(np.median(steps)) * batch / (ROOT_SHARE * self._unused[0].num_classes)
        )
        return self._fit(self._root, "root", Turn(number), max(1, passes))

    def _fit(self, source: Source, name: str, turn: Turn, epochs: int) -> Flat:
        from roughfed.client.trainer.settings import TrainerSettings
        from roughfed.client.trainer.training.loop import Work, fit

        given = self._options
        settings = TrainerSettings(
            epochs=epochs,
            batch_size=given.batch_size,
            lr=given.lr,
            momentum=given.momentum,
            lr_decay=given.lr_decay,
        )
        out = self._folder / "delta.f32"
        seed = derive(self._seed, "client", name, turn.round)
        work = Work(self._folder / "model.safetensors", out, settings, seed, turn, self.shares[0].num_classes)
        fit(self._model, source, work, report=_unheard)
        return np.fromfile(out, dtype="<f4")

    def sums(self, rows: Flat, examples: int) -> Iterator[tuple[int, float, list[int], list[int]]]:
        """Evaluate many models at once on the first `examples` of the test part.

        Args:
            rows: parameters of k models, float32 [k, D].
            examples: N.

        Yields:
            for each model N, the sum of its losses, and by class the examples and the correct ones.
        """
        import torch

        x, y = torch.from_numpy(self._test_set.x[:examples]), torch.from_numpy(self._test_set.labels[:examples])
        parts = {
            t.name: torch.from_numpy(rows[:, where]).reshape(len(rows), *t.shape)
            for t, where in zip(self._spec.tensors, self._spec.slices().values(), strict=True)
        }
        model = self._model.eval()
        with torch.inference_mode():
            output = torch.vmap(lambda one: torch.func.functional_call(model, one, (x,)))(parts)  # [k, N, C]
            count = torch.bincount(y, minlength=output.shape[2]).tolist()
            for logits in output:
                hit = y[logits.argmax(dim=1) == y]
                correct = torch.bincount(hit, minlength=output.shape[2]).tolist()
                loss = torch.nn.functional.cross_entropy(logits.double(), y, reduction="sum")
                yield examples, float(loss), count, correct

    def accuracy(self, params: Flat) -> float:
        """Share of the test part that the model, float32 [D], gets right."""
        from roughfed.client.trainer.evaluation.evaluate import evaluate
        from roughfed.client.trainer.model.tensors import load_flat

        load_flat(self._model, self._spec, params)
        sums = evaluate(self._model, self._test, "classification", report=_unheard)
        return sum(sums.class_correct) / sums.num_examples

    def recalls(self, params: Flat) -> list[float]:
        """Of each class, the share of its examples in the test part that the model, float32 [D], gets right."""
        predicted, labels = self._predict(params, self._test_set.x), self._test_set.labels
        return [float((predicted[labels == c] == c).mean()) for c in range(self._test_set.num_classes)]

    def measured(self, params: Flat, trigger: bool) -> tuple[float, float, float]:
        """Accuracy, mean recall over the rarest classes, and share of other classes' examples that a patch turns.

        Args:
            params: float32 [D].
            trigger: whether there is a patch to look for; the third is 0 otherwise.
        """
        predicted = self._predict(params, self._test_set.x)
        labels = self._test_set.labels
        recall = [float((predicted[labels == c] == c).mean()) for c in self._tail]
        turned = 0.0
        if trigger:
            others = self._test_set.x[labels != TARGET]
            turned = float((self._predict(params, patched(others, others.max())) == TARGET).mean())
        return float((predicted == labels).mean()), float(np.mean(recall)), turned

    def _predict(self, params: Flat, x: Flat) -> Labels:
        import torch

        from roughfed.client.trainer.model.tensors import load_flat

        load_flat(self._model, self._spec, params)
        self._model.eval()
        with torch.inference_mode():
            parts = [self._model(torch.from_numpy(x[at : at + 2000])) for at in range(0, len(x), 2000)]
        return torch.cat(parts).argmax(dim=1).numpy()

    def _source(self, index: int, wrong: Wrong | None) -> Source:
        if (index, wrong) not in self._sources:
            share, places = self.shares[index], np.arange(len(self.shares[index]))
            x = share.x if wrong is None else wrong.inputs(share.x, places.tolist())
            y = share.labels if wrong is None else wrong.labels(share.labels, share.num_classes, places)
            self._sources[index, wrong] = _opened(x, y)
        return self._sources[index, wrong]


def _opened(x: Flat, labels: Labels) -> Source:
    import torch

    from roughfed.client.trainer.examples.batches import open_source

    return open_source((x, labels), torch.device("cpu"), torch.float32)


def _unheard(_share: float) -> None:
    """Nobody asks how far a training is."""
