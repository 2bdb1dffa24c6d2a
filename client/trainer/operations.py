"""What the trainer does on request: describe, initial, fit, evaluate, compare, write a model of one's own."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from roughfed import params
from roughfed.client.api import Client
from roughfed.client.apps import builtin as builtin_app
from roughfed.client.trainer import device as devices
from roughfed.client.trainer import examine
from roughfed.client.trainer.evaluation.coalitions import Coalitions
from roughfed.client.trainer.evaluation.evaluate import check_labels, evaluate
from roughfed.client.trainer.evaluation.held_out import Parts, at_hand, counts, hold_out
from roughfed.client.trainer.examples.arriving import Arrived, ArrivingExamples
from roughfed.client.trainer.examples.batches import Arrays, Source, open_source
from roughfed.client.trainer.load import load_app
from roughfed.client.trainer.loss.mse import mse
from roughfed.client.trainer.model.adapters import adaptable, stand_on
from roughfed.client.trainer.model.model_file import open_given, read_rows
from roughfed.client.trainer.model.private import bring, keep, private_tensors
from roughfed.client.trainer.model.tensors import load_flat, pieces, spec_of
from roughfed.client.trainer.parts import Tensors
from roughfed.client.trainer.settings import TrainerSettings, known
from roughfed.client.trainer.state import load_state, save_state
from roughfed.client.trainer.torch_types import integers
from roughfed.client.trainer.training.calibration import finish
from roughfed.client.trainer.training.forward_pass import can_tell
from roughfed.client.trainer.training.loop import Work, fit, no_op_update, seed_everything
from roughfed.client.trainer.training.own_models import load_alone, personalise, train_alone
from roughfed.errors import ConfigError
from roughfed.methods import is_personal
from roughfed.secagg.statistics import STEPS
from roughfed.trainer_client import spec_rows
from roughfed.training import BaseFile, Turn
from roughfed.types import Task, TensorSpec

Answer = dict[str, Any]


class Operations:
    """One app on one device. Loads lazily, so that a broken app is an answer and not a dead process."""

    def __init__(self, *, client: Callable[[], Client], device: str, report: Callable[[float], None]) -> None:
        """Load nothing yet.

        Args:
            client: loads the app.
            device: see `device.choose`.
            report: gets the share done of the current request.
        """
        self._load, self._device_name, self._report = client, device, report
        self._parts: Parts | None = None
        self._base: tuple[BaseFile, tuple[TensorSpec, ...]] | None = None

    @classmethod
    def of(
        cls, *, app: str | None, builtin: Mapping[str, Any] | None, device: str, report: Callable[[float], None]
    ) -> Operations:
        """Those of the user's Client FILE:NAME, or of the built-in app with these settings."""
        load = partial(load_app, app or "") if builtin is None else partial(builtin_app, builtin)
        return cls(client=load, device=device, report=report)

    def run(self, op: str, arguments: Mapping[str, Any]) -> Answer:
        """Do one thing; `arguments` may hold more than the operation takes (its id).

        Raises:
            ConfigError: no such operation.
        """
        table: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "describe": lambda _: self._description,
            "initial": self._initial,
            "fit": self._fit,
            "evaluate": self._evaluate,
            "compare": self._compare,
            "own": self._own,
            "train-loss": self._train_loss,
            "calibrate": self._calibrate,
            "root-counts": self._root_counts,
            "hold-out": self._hold_out,
            "fit-root": self._fit_root,
            "score": self._score,
            "devices": lambda _: examine.devices(self._device_name),
            "examine": self._examine,
        }
        work = table[known(op, table, key="op")]
        if "params" in arguments:
            turn: Mapping[str, Any] = arguments.get("turn") or {}
            self._stand(BaseFile.of(turn.get("base") or arguments.get("stands_on")), Path(arguments["params"]))
        return work(arguments)

    @cached_property
    def _description(self) -> Answer:
        """Build everything, and run the model on two examples: what does not fit together shows here, at join."""
        self._stand(None)
        client, model = self._client, self._model
        spec = spec_of(model)
        local = self._local_settings()
        return {
            "spec": spec_rows(spec),
            "task": self._task,
            "num_train": self._train.num_examples if self._train else int(self._client.train is not None),
            "num_test": self._test.num_examples if self._test else 0,
            "num_classes": self._num_classes,
            "device": str(self._device),
            "name": client.name or type(model).__name__,
            "settings": local,
            "class_counts": self._class_counts(),
            "statistics": [] if self._train is None else [STEPS, *can_tell(model, self._train, self._num_classes)],
            "adaptable": adaptable(model),
        }

    def _stand(self, base: BaseFile | None, params: Path | None = None) -> None:
        """Let the model stand on the base that a request names, or on none; the same as before costs nothing."""
        wanted = None if base is None or params is None else (base, tuple(read_rows(params)))
        if wanted != self._base:
            self._base = wanted
            self.__dict__.pop("_model", None)  # what `cached_property` keeps

    def _class_counts(self) -> list[int]:
        """Training examples of each class, where the labels are at hand and all there; [] otherwise."""
        targets = self._train.targets if self._train is not None and not self._arriving.changes else None
        if targets is None or self._task != "classification":
            return []
        return integers(torch.bincount(targets.cpu(), minlength=self._num_classes))

    def _initial(self, arguments: Mapping[str, Any]) -> Answer:
        """Write fresh seeded weights as a model file."""
        seed_everything(arguments["seed"])
        model = self._fresh_model()
        return {"digest": params.write_model(Path(arguments["path"]), spec_of(model), pieces(model)).hex()}

    def _fit(self, arguments: Mapping[str, Any]) -> Answer:
        """Train from a model file."""
        if self._client.train is None:
            raise ConfigError("this app has no training data", key="train")
        turn = Turn.of(arguments["turn"])
        data = self._arriving.at(turn.place)
        digest = spec_of(self._model).digest
        lost: list[str] = []
        remembered = load_state(turn, digest, on_lost=lost.append)
        work = self._work(arguments, turn, task=data.task, remembered=remembered)
        shared = open_given(work.params, self._model).spec
        bring(self._model, shared, work.remembered, self._seeded_model)
        if data.source is None:
            return replace(no_op_update(self._model, work), lost_state=len(lost)).plain()
        if self._num_classes and data.source.targets is not None:
            check_labels(data.source.targets, self._num_classes)  # of what came since the client joined
        halves = 2 if work.settings.compare_alone else 1
        result = fit(
            self._model, data.source, work, own=self._client.loop, report=lambda done: self._report(done / halves)
        )
        keep(self._model, shared, work.remembered)
        if work.settings.compare_alone:
            result = replace(result, seconds=result.seconds + self._fit_alone(data.source, work))
        save_state(turn, digest, work.remembered)
        return replace(result, lost_state=len(lost)).plain()

    def _fit_alone(self, source: Source, work: Work) -> float:
        """Train the model that this client has without the others; the seconds that it took."""
        began, model = time.monotonic(), self._seeded_model().to(self._device)
        train_alone(model, source, work, own=self._client.loop, report=lambda done: self._report((1 + done) / 2))
        return time.monotonic() - began

    def _evaluate(self, arguments: Mapping[str, Any]) -> Answer:
        """Evaluate a model file on the held-out data, with this client's own private tensors."""
        if self._test is None:
            raise ConfigError("this app has no held-out data", key="test")
        given = open_given(Path(arguments["params"]), self._model)
        if private_tensors(self._model, given.spec):
            if arguments["turn"] is None:
                cause = "the model file lacks the tensors that clients keep to themselves (model.private)"
                raise ConfigError(cause, key="model", cure="let the clients evaluate it")
            remembered = load_state(Turn.of(arguments["turn"]), spec_of(self._model).digest)
            bring(self._model, given.spec, remembered, self._seeded_model)
        load_flat(self._model, given.spec, given.flat)
        source = self._test if self._parts is None else self._parts.rest
        return asdict(evaluate(self._model, source, self._task, report=self._report))

    def _train_loss(self, arguments: Mapping[str, Any]) -> Answer:
        """The mean loss of a model file, with this client's own private tensors, on its training data."""
        turn = Turn.of(arguments["turn"])
        source = self._arriving.at(turn.place).source if self._client.train is not None else None
        if source is None:
            raise ConfigError("this app has no training data (yet)", key="train")
        given = open_given(Path(arguments["params"]), self._model)
        bring(self._model, given.spec, load_state(turn, spec_of(self._model).digest), self._seeded_model)
        load_flat(self._model, given.spec, given.flat)
        sums = evaluate(self._model, source, self._task, report=self._report)
        return {"loss": sums.loss_sum / max(1, sums.num_examples)}

    def _compare(self, arguments: Mapping[str, Any]) -> Answer:
        """Evaluate this client's other models on the held-out data: its own one, and the one that it trained alone."""
        if self._test is None:
            raise ConfigError("this app has no held-out data", key="test")
        settings, found = TrainerSettings.parse(arguments["settings"]), dict[str, Any]()
        if is_personal(settings.method):
            self._make_own(arguments)
            found["personal"] = asdict(evaluate(self._model, self._test, self._task, report=self._report))
        if settings.compare_alone:
            turn, model = Turn.of(arguments["turn"]), self._seeded_model().to(self._device)
            load_alone(model, load_state(turn, spec_of(self._model).digest))
            found["alone"] = asdict(evaluate(model, self._test, self._task, report=self._report))
        return found

    def _own(self, arguments: Mapping[str, Any]) -> Answer:
        """Write the model that this client uses as a model file, private tensors and all."""
        self._make_own(arguments)
        spec = spec_of(self._model)
        digest = params.write_model(Path(arguments["out"]), spec, pieces(self._model))
        return {"digest": digest.hex(), "parameters": spec.size}

    def _make_own(self, arguments: Mapping[str, Any]) -> None:
        """Leave in the model what this client uses: made of a model file and its own state, which stays as it is."""
        turn = Turn.of(arguments["turn"])
        given = open_given(Path(arguments["params"]), self._model)
        remembered = load_state(turn, spec_of(self._model).digest)
        bring(self._model, given.spec, remembered, self._seeded_model)
        load_flat(self._model, given.spec, given.flat)
        data = self._arriving.at(turn.place) if self._client.train is not None else Arrived(None)
        if data.source is None or self._client.loop is not None:  # a loop of one's own hears of no method
            return
        work = self._work(arguments, turn, task=data.task, remembered=remembered)
        personalise(self._model, data.source, work, report=self._report)

    def _work(
        self, arguments: Mapping[str, Any], turn: Turn, *, task: int = -1, remembered: dict[str, Tensors] | None = None
    ) -> Work:
        return Work(
            params=Path(arguments["params"]),
            delta=Path(arguments.get("delta", "")),
            settings=TrainerSettings.parse(arguments["settings"]),
            seed=arguments["seed"],
            turn=turn,
            num_classes=self._num_classes,
            task=task,
            clean=self._clean,
            remembered={} if remembered is None else remembered,
        )

    def _root_counts(self, _: Mapping[str, Any]) -> Answer:
        """Held-out examples of each class; of all, where there are no classes; [0] without any."""
        if self._test is None:
            return {"counts": [0]}
        return {"counts": counts(at_hand(self._test, self._device), self._num_classes)}

    def _hold_out(self, arguments: Mapping[str, Any]) -> Answer:
        """Set some of the held-out examples aside, to train on; from now on only the others are evaluated on."""
        if self._test is None:
            raise ConfigError("this app has no held-out data", key="test")
        source = at_hand(self._test, self._device)
        self._parts = hold_out(source, arguments["take"], seed=arguments["seed"], device=self._device)
        return {"root": self._parts.root.num_examples, "rest": self._parts.rest.num_examples}

    def _fit_root(self, arguments: Mapping[str, Any]) -> Answer:
        """Train from a model file on what was set aside, for so many steps as clients take."""
        if self._parts is None:
            raise ConfigError("no examples were set aside", key="root")
        source, settings = self._parts.root, TrainerSettings.parse(arguments["settings"])
        if steps := arguments["steps"]:
            epochs = math.ceil(steps / source.num_batches(settings.batch_size))
            settings = replace(settings, epochs=epochs, max_steps=steps)
        work = replace(self._work(arguments, Turn.of(arguments["turn"])), settings=settings)
        return fit(self._model, source, work, own=self._client.loop, report=self._report).plain()

    def _score(self, arguments: Mapping[str, Any]) -> Answer:
        """Evaluate the models of coalitions of updates on held-out examples."""
        if self._test is None:
            raise ConfigError("this app has no held-out data", key="test")
        source = self._test if self._parts is None else self._parts.rest
        return self._coalitions.score(self._model, source, arguments)

    def _examine(self, _: Mapping[str, Any]) -> Answer:
        """One step of a copy of the model, and a look at the data."""
        sources = {"train": self._train, "test": self._test}
        seen = {name: examine.look(source).plain() for name, source in sources.items() if source is not None}
        model, source = self._seeded_model().to(self._device), self._train or self._test
        return {"seen": seen, "step": None if source is None else examine.step(model, source, self._task)}

    def _calibrate(self, arguments: Mapping[str, Any]) -> Answer:
        """Finish a model file from sums over the clients, into another one."""
        head = finish(self._model, self._num_classes, arguments)
        digest = params.write_model(Path(arguments["out"]), spec_of(self._model), pieces(self._model))
        return {"digest": digest.hex(), "head": head}

    @cached_property
    def _coalitions(self) -> Coalitions:
        return Coalitions(self._task, self._num_classes, self._device)

    @cached_property
    def _device(self) -> torch.device:
        return devices.choose(self._device_name)

    @cached_property
    def _client(self) -> Client:
        return self._load()

    @cached_property
    def _model(self) -> nn.Module:
        device = self._device  # first: refused before anything heavy is loaded
        return self._seeded_model().to(device)

    def _seeded_model(self) -> nn.Module:
        seed_everything(0)  # the weights come from the server; what else is random must survive a restart
        model = self._fresh_model()
        if self._base is not None:
            stand_on(model, *self._base)
        return model

    def _fresh_model(self) -> nn.Module:
        given = self._client.model
        model = copy.deepcopy(given) if isinstance(given, nn.Module) else given()
        if not isinstance(model, nn.Module):
            raise ConfigError(f"model gave {type(model).__name__}, want a torch.nn.Module", key="model")
        return model

    @cached_property
    def _arriving(self) -> ArrivingExamples:
        return ArrivingExamples(self._client.train, self._device, self._dtype)

    @property
    def _train(self) -> Source | None:
        """The training examples at the start of a run; None while a stream has none."""
        return None if self._client.train is None else self._arriving.at(1).source

    @cached_property
    def _test(self) -> Source | None:
        return self._source(self._client.test)

    @cached_property
    def _clean(self) -> Source | None:
        return self._source(self._client.clean)

    def _source(self, given: object) -> Source | None:
        if given is None:
            return None
        return open_source(given, self._device, self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self._model.parameters() if p.is_floating_point()), torch.float32)

    @cached_property
    def _first_batch(self) -> tuple[Tensor, Tensor]:
        source = self._train or self._test
        if source is None:
            raise ConfigError("the app has no data at all", key="train")
        x, y = next(iter(source.epoch(2, None)))
        return x[:2], y[:2]

    @cached_property
    def _task(self) -> Task:
        _, y = self._first_batch
        if self._client.task == "auto":
            return "regression" if y.is_floating_point() else "classification"
        return cast(Task, self._client.task)

    @cached_property
    def _num_classes(self) -> int:
        return self._try_model()

    @torch.inference_mode()
    def _try_model(self) -> int:
        """Number of classes; 0 for regression."""
        for name, source in (("train", self._train), ("test", self._test), ("clean", self._clean)):
            if isinstance(source, Arrays):
                source.check_finite(name)
        x, y = self._first_batch
        self._model.eval()
        output = self._model(x)
        if self._task == "regression":
            mse(output, y)
            return 0
        if y.is_floating_point() or y.dim() != 1 or output.dim() != 2:
            shapes = f"targets {y.dtype} {tuple(y.shape)}, output {tuple(output.shape)}"
            raise ConfigError(shapes, key="task", cure="class numbers [B] as integers, logits [B, C]")
        for source in (self._train, self._test, self._clean):
            if source is not None and source.targets is not None:
                check_labels(source.targets, output.shape[1])
        return output.shape[1]

    def _local_settings(self) -> dict[str, object]:
        """The app's own settings, checked even where they do not win."""
        client, plain = self._client, self._client.trainer == "plain"
        settings: dict[str, object] = {**client.settings, **({} if plain else {"method": client.trainer})}
        parsed = TrainerSettings.parse(settings)
        if self._task == "regression" and parsed.method not in ("plain", "mse"):
            cause = f"the method {parsed.method!r} is for classification, the task here is regression"
            raise ConfigError(cause, key="trainer", cure="plain")
        return settings
