"""The user's app: import FILE by its path and find the Client called NAME."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from roughfed.client.api import Client, importing_app
from roughfed.client.trainer.settings import known
from roughfed.client.trainer.training.loop import seed_everything
from roughfed.errors import ConfigError
from roughfed.registry import nearest
from roughfed.rng import derive

MODULE = "_roughfed_app"  # private: FILE may be called like an installed package

Maker = Callable[[int, int], Client]
"""(index, clients) -> the Client of one of many."""


def load_app(app: str) -> Client:
    """Import an app.

    Args:
        app: FILE:NAME, for example `my.py:client`.

    Raises:
        ConfigError: no such file, no such name, or the name is no Client.
        Exception: whatever the file itself raises.
    """
    path, name = _file_and_name(app)
    module = _import(path)
    clients = [key for key, value in vars(module).items() if isinstance(value, Client)]
    if not clients:
        raise ConfigError("no roughfed.Client in this file", file=str(path), key="app")
    return getattr(module, known(name, clients, key=f"app {path.name}"))


def load_maker(app: str, *, seed: int = 0) -> Maker:
    """Import a function that gives the Client of one of many virtual clients, from (index, clients).

    What the file, the function, and functions that load data draw from the global generators of torch, numpy and
    random follows from the seed and the index: a client is the same in every process, and however often it is made.

    Args:
        app: FILE:NAME, for example `my.py:client`.
        seed: of the simulation.

    Raises:
        ConfigError: no such file, no such name, or the name is no such function. What it gives is checked when it does.
        Exception: whatever the file itself raises.
    """
    path, name = _file_and_name(app)
    seed_everything(derive(seed, "app"))
    made = _function(_import(path), path, name)

    def make(index: int, clients: int) -> Client:
        seed_everything(derive(seed, "app", index))
        with importing_app():
            client = made(index, clients)
        if not isinstance(client, Client):
            cause = f"{name}({index}, {clients}) gave {type(client).__name__}, not a roughfed.Client"
            raise ConfigError(cause, file=f"{path}:{_line(made)}", key="app", cure="return roughfed.Client(...)")
        client = copy.copy(client)  # it may be one and the same for everybody
        client.train, client.test, client.clean = (
            _seeded(given, derive(seed, "app", index, part))
            for part, given in (("train", client.train), ("test", client.test), ("clean", client.clean))
        )
        return client

    return make


def load_first(app: str, clients: int, *, seed: int = 0) -> Client:
    """The model of many virtual clients for the worker beside their server, which has no data of its own.

    It is the first client's, whose data say what the model's classes are, and evaluate nothing.

    Args:
        app: as of `load_maker`.
        clients: how many there are.
        seed: of the simulation.
    """
    first = load_maker(app, seed=seed)(0, clients)
    first.train, first.test = first.test if first.train is None else first.train, None
    return first


def _function(module: ModuleType, path: Path, name: str) -> Callable[[int, int], object]:
    made = getattr(module, name, None)
    signature = f"def {name}(index, clients): return roughfed.Client(...)"
    if isinstance(made, Client):
        raise ConfigError(
            f"{name} is one Client, of which every virtual client would hold all the data; many need a function",
            file=str(path),
            key="app",
            cure=f"{signature}, with the part of the data that is client number index's (0 to clients - 1)",
        )
    if not callable(made):
        own = [k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == MODULE]
        cause = f"there is no function {name}" if made is None else f"{name} is no function"
        cure = f"did you mean {near!r}?" if (near := nearest(name, own)) else signature
        raise ConfigError(cause, file=str(path), key="app", cure=cure)
    try:
        inspect.signature(made).bind(0, 1)
    except TypeError as error:
        cause = f"{name} cannot be called as {name}(index, clients): {error}"
        raise ConfigError(cause, file=f"{path}:{_line(made)}", key="app", cure=signature) from error
    return cast("Callable[[int, int], object]", made)


def _line(made: Any) -> int:
    """Where a function is written; 1 where that is not known."""
    return getattr(getattr(inspect.unwrap(made), "__code__", None), "co_firstlineno", 1)


def _seeded(given: Any, seed: int) -> Any:
    """Data as a client gives them; a function that loads them does so with the same seed every time."""
    if not callable(given) or hasattr(given, "__len__") or callable(getattr(given, "at", None)):
        return given

    def load() -> Any:
        seed_everything(seed)
        return given()

    return load


def _file_and_name(app: str) -> tuple[Path, str]:
    file, _, name = app.rpartition(":")
    path = Path(file).resolve()
    if not file or not name.isidentifier():
        raise ConfigError(f"{app!r} is not FILE:NAME", key="app", cure="for example my.py:client")
    if not path.is_file():
        raise ConfigError("there is no such file", file=str(path), key="app")
    return path, name


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", file=str(path), key="app", cure="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses and pickling look here
    if (folder := str(path.parent)) not in sys.path:
        sys.path.insert(0, folder)  # as if it were run as a script: its neighbours can be imported
    with importing_app():
        spec.loader.exec_module(module)
    return module
