"""The user's app: import FILE by its path and find the Client called NAME."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from roughfed.client.api import Client, importing_app
from roughfed.client.trainer.settings import known
from roughfed.errors import ConfigError

MODULE = "_roughfed_app"  # private: FILE may be called like an installed package


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


def load_maker(app: str) -> Callable[[int, int], Client]:
    """Import a function that gives the Client of one of many virtual clients, from (index, clients).

    Args:
        app: FILE:NAME, for example `my.py:client_of`.

    Raises:
        ConfigError: no such file, no such name, or the name is no function. What it gives is checked when it does.
    """
    path, name = _file_and_name(app)
    made = getattr(_import(path), name, None)
    if isinstance(made, Client) or not callable(made):
        raise ConfigError(
            f"{name} is one Client; many need a function"
            if isinstance(made, Client)
            else f"there is no function {name}",
            file=str(path),
            key="app",
            cure=f"def {name}(index, clients): return roughfed.Client(...)",
        )

    def make(index: int, clients: int) -> Client:
        with importing_app():
            client = made(index, clients)
        if not isinstance(client, Client):
            raise ConfigError(f"{name} gave {type(client).__name__}, not a roughfed.Client", file=str(path), key="app")
        return client

    return make


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
