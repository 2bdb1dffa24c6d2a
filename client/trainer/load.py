"""The user's app: import FILE by its path and find the Client called NAME."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
    file, _, name = app.rpartition(":")
    path = Path(file).resolve()
    if not file or not name.isidentifier():
        raise ConfigError(f"{app!r} is not FILE:NAME", key="app", cure="for example my.py:client")
    if not path.is_file():
        raise ConfigError("there is no such file", file=str(path), key="app")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", file=str(path), key="app", cure="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses and pickling look here
    if (folder := str(path.parent)) not in sys.path:
        sys.path.insert(0, folder)  # as if it were run as a script: its neighbours can be imported
    with importing_app():
        spec.loader.exec_module(module)
    clients = [key for key, value in vars(module).items() if isinstance(value, Client)]
    if not clients:
        raise ConfigError("no roughfed.Client in this file", file=str(path), key="app")
    return getattr(module, known(name, clients, key=f"app {path.name}"))
