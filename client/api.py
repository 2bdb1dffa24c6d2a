"""`from roughfed import Client`: a data owner's model and data, and that is all.

Importing this imports no torch: the agent, which holds the keys and the network, never sees the user's code. Only the
trainer process does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, cast

from roughfed.errors import ConfigError

TASKS = ("auto", "classification", "regression")

_importing: ContextVar[bool] = ContextVar("roughfed_importing_app", default=False)


@dataclass(frozen=True, slots=True)
class Round:
    """What a loop of your own gets to know.

    Attributes:
        number: of the round, from 1.
        lr: learning rate of the job.
        epochs: passes over the loader that the job asks for.
        batch_size: of the loader (a DataLoader of your own keeps its own).
        momentum: of the job's SGD.
        weight_decay: of the job's SGD.
        device: where model and batches are, for example `cuda:0`.
        seed: torch, numpy and random are already seeded from it.
    """

    number: int
    lr: float
    epochs: int
    batch_size: int
    momentum: float
    weight_decay: float
    device: str
    seed: int


UserLoop = Callable[[Any, Any, Round], "Mapping[str, float] | None"]


class Client:
    """A model, its data, and how they take part in a federation.

    It only records its arguments; nothing is built, loaded or connected until `run`.
    """

    def __init__(  # noqa: PLR0913 one call says all that a data owner has
        self,
        model: Any,
        train: Any,
        test: Any = None,
        *,
        clean: Any = None,
        trainer: str = "plain",
        task: str = "auto",
        name: str | None = None,
        **settings: float | str,
    ) -> None:
        """Record what takes part.

        Args:
            model: an nn.Module class or a function that gives a module (both called without arguments), or a module.
            train: (x, y) arrays or tensors, a torch Dataset, a DataLoader (used as it is, with its own batch size and
                order), a roughfed.data.Dataset, or a function that gives one of these, so that nothing heavy loads
                before it is needed; or a roughfed.Stream of them, whose `at(round)` says what there is to train on in
                a round (`roughfed.WatchedFolder`, `roughfed.Arriving`, or your own). None only for the worker beside
                the server, which evaluates.
            test: the same, held out, but no stream; None leaves the evaluation to others.
            clean: the same, a few training examples whose labels can be trusted, for methods that need them.
            trainer: `plain` SGD, or parts joined by "+", for example `balanced-softmax+der++(alpha=0.3)`.
            task: `classification` (integer targets) or `regression` (float targets); `auto` looks at the targets.
            name: for people; the model's class name by default.
            settings: local learning settings (epochs, lr, batch_size, ...). They and `trainer` are this client's only
                where client.toml says `trainer.local = true`. Elsewhere the job's settings, chosen at the server, hold
                for all clients, and an agent whose Client gives some refuses to start.

        Raises:
            ConfigError: an argument of a type that cannot work, or another task.
        """
        if not callable(model):
            raise ConfigError(
                f"{type(model).__name__} is not a model", key="model", cure="give an nn.Module or its class"
            )
        if not _is_stream(train):
            _check_data(train, "train")
        _check_data(test, "test")
        _check_data(clean, "clean")
        if train is None and test is None:
            raise ConfigError("there is no data", key="train")
        if task not in TASKS:
            raise ConfigError(f"the task {task!r} is not supported", key="task", cure=f"one of: {', '.join(TASKS)}")
        self.model, self.train, self.test, self.clean = model, train, test, clean
        self.trainer, self.task, self.name = trainer, task, name
        self.settings: dict[str, float | str] = settings
        self.loop: UserLoop | None = None

    def fit(self, loop: UserLoop) -> UserLoop:
        """Decorator: train with this function instead of the built-in loop; everything else stays.

        It gets `(model, loader, round)`. The model holds the global weights; every `for x, y in loader` is one freshly
        shuffled pass, on the device; a loop that takes no batch at all is an error. Of what it returns (finite numbers
        by name, at most 64, or None) the report shows each round's mean over the clients.
        """
        if self.loop is not None:
            raise ConfigError("there are two @client.fit loops", key="fit")
        self.loop = loop
        return loop

    def run(self, dir: str | os.PathLike[str] | None = None) -> None:
        """Join the federation and take part until it ends. Does not return: this process becomes `roughfed join`.

        In the trainer, which imports the same file, it returns at once: a script needs no `if __name__ == ...`.

        Args:
            dir: folder of client.toml and state/; the current one by default.

        Raises:
            ConfigError: not run from a file, or this Client has no name in it.
        """
        if _importing.get():
            return
        command = [sys.executable, "-m", "roughfed.deploy.cli", "join", "--app", self._place()]
        if dir is not None:
            command += ["--dir", os.fspath(dir)]
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, command)  # noqa: S606 no shell on purpose

    def _place(self) -> str:
        """FILE:NAME of this object in the running script."""
        main = sys.modules["__main__"]
        file = getattr(main, "__file__", None)
        if file is None or not Path(file).is_file():
            raise ConfigError(
                "client.run() needs a file that the trainer process can import, and this is an interactive session: "
                "save the code as my.py and start `python my.py`",
                key="run",
            )
        for name, value in vars(main).items():
            if value is self and not name.startswith("__"):
                return f"{Path(file).resolve()}:{name}"
        raise ConfigError(
            f"this Client has no name at the top level of {file}, where the trainer process looks for it: "
            "write `client = Client(...)` outside of functions, in the file that you start",
            key="run",
        )


@contextmanager
def importing_app() -> Generator[None]:
    """While the trainer imports an app, `run` returns at once."""
    token = _importing.set(True)
    try:
        yield
    finally:
        _importing.reset(token)


def _is_stream(data: Any) -> bool:
    """Whether it has `at(round)`; a table or an array with an indexer of that name has a shape too."""
    return callable(getattr(data, "at", None)) and not hasattr(data, "shape")


def is_pair(data: object) -> TypeGuard[Sequence[Any]]:
    """Whether it is a tuple or a list of two."""
    return isinstance(data, tuple | list) and len(cast("Sequence[object]", data)) == 2


def _check_data(data: object, key: str) -> None:
    """Duck typing: torch may not be imported yet."""
    kind = type(data).__name__
    if _is_stream(data):
        raise ConfigError(f"{kind} is a stream", key=key, cure="hold out data that stay the same")
    if data is None or callable(data) or (hasattr(data, "x") and hasattr(data, "y")):
        return
    if is_pair(data) and all(hasattr(part, "shape") for part in data):
        return
    # A Dataset or a DataLoader; a lone array or tensor has no targets, a table of names no order.
    loader = hasattr(data, "dataset") and hasattr(data, "__iter__")
    listlike = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "shape")
    listlike = listlike and not isinstance(data, str | bytes | Mapping | tuple | list)
    if loader or listlike:
        return
    raise ConfigError(f"{kind} is not data", key=key, cure="give (x, y), a torch Dataset, a DataLoader or a function")
