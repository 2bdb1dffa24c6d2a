"""Paths in settings, and the command lines of the trainer processes that they ask for.

A path in a settings file is relative to the file's folder, a path on the command line to where the command is typed.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roughfed.config.client import ClientConfig
from roughfed.config.federation import FederationConfig
from roughfed.config.values import Document
from roughfed.cores import share_of
from roughfed.errors import ConfigError
from roughfed.extras import need
from roughfed.trainer_client import trainer_command

if TYPE_CHECKING:
    from roughfed.server.model.run_setup import ModelSource

WITHOUT_TORCH = (
    "or let this server go by a file: where torch is, `roughfed export --initial --out start.safetensors` beside this "
    'fed.toml; then here init = "start.safetensors" in [model], without app and name, and no [data]'
)

LISTED_MODEL = {"digits": "mlp", "fashion-mnist": "cnn", "mnist": "cnn"}
"""The model that goes with a listed data set when none is named, on both sides."""

SHARED_HOST = "ROUGHFED_CLIENTS_ON_HOST"
"""How many clients share this machine, for trainers that cannot count each other (`roughfed.cores`)."""


def app_setting(folder: Path, app: str) -> str:
    """FILE:NAME as typed -> as it stands in a settings file of `folder`.

    Raises:
        ConfigError: there is no such file.
    """
    file, _, name = app_place(app).rpartition(":")
    path = Path(file)
    inside = path.is_relative_to(folder.absolute())
    return f"{path.relative_to(folder.absolute()) if inside else path}:{name}"


def app_place(app: str, *, key: str = "--app") -> str:
    """FILE:NAME as typed -> the same with the file's whole path.

    Raises:
        ConfigError: there is no such file, or no such name in it.
    """
    file, _, name = app.rpartition(":")
    path = Path(file).expanduser().absolute()
    if file and not path.is_file():
        cure = "FILE.py:NAME goes by the folder in which you are; correct it, or go to the folder of the file"
        raise ConfigError(f"{app!r} names no file: there is no {path}", key=key, cure=cure)
    if not (file and name):
        cause = f"{app!r} names {'nothing in that file' if file else 'no file'}"
        raise ConfigError(cause, key=key, cure="write FILE.py:NAME, for example my.py:client")
    if (names := names_in(path)) and name not in names:
        near = get_close_matches(name, names, n=1)
        cure = f"did you mean {file}:{near[0]}?" if near else f"it has: {', '.join(sorted(names))}"
        raise ConfigError(f"there is no {name} in {path}", key=key, cure=cure)
    return f"{path}:{name}"


def names_in(path: Path) -> set[str]:
    """What a program defines at its top level, without running it; empty where that cannot be told."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):  # its trainer says what is wrong, with the line
        return set()
    found, inner = set[str](), list[ast.AST](body)
    while inner:
        node = inner.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            inner += ast.iter_child_nodes(node)
    return set() if found & {"*", "__getattr__", "globals"} else found


def absolute(folder: Path, path: str) -> str:
    """A path of a settings file, for a process that runs elsewhere; empty stays empty."""
    return str(folder.absolute() / Path(path).expanduser()) if path else ""


def threads_here(wanted: int) -> int:
    """CPU threads of a trainer: the wanted number, else what ROUGHFED_CLIENTS_ON_HOST leaves it, else 0: it shares.

    Raises:
        ConfigError: ROUGHFED_CLIENTS_ON_HOST is no number of clients.
    """
    if (text := os.environ.get(SHARED_HOST)) is None:
        return wanted
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{text!r} is no number of clients", key=SHARED_HOST, cure="a whole number, 1 or more")
    return wanted or share_of(int(text))


def worker_command(folder: Path, config: FederationConfig) -> list[str]:
    """The worker beside the server: the own app, or a listed model with the common test data of a listed data set."""
    check_model(folder, config)
    need("torch", who="a server that has the program of its model", otherwise=WITHOUT_TORCH)
    threads = threads_here(0)
    if config.model.app:
        return trainer_command(app=absolute(folder, config.model.app), threads=threads)
    data: dict[str, Any] = {"name": config.data.name, "data_dir": absolute(folder, config.data.data_dir)}
    data["seed"] = config.federation.seed  # decides which examples are the common test data
    model = {"name": config.model.name, "experts": config.model.experts}
    return trainer_command(builtin={"data": data, "model": model}, threads=threads)


def origin(folder: Path, config: FederationConfig) -> ModelSource:
    """Who tells a server of its model: a file alone, or else a worker process with torch.

    Raises:
        ConfigError: what the settings name is not there, or torch is not.
    """
    from roughfed.deploy.model_file import FileModelSource
    from roughfed.server.model.trainer_process import ServerTrainer

    if config.model.file_alone:
        check_files(folder, config, app="model.app", others={"model.init": False})
        return FileModelSource(Path(absolute(folder, config.model.init)))
    command = worker_command(folder, config)
    return ServerTrainer(command, folder / "state" / "worker.log")


def check_files(folder: Path, config: Document, *, app: str, others: Mapping[str, bool]) -> None:
    """What the settings name must be there before a process is started that would look for it.

    Args:
        folder: of the settings file, which paths are relative to.
        config: the settings.
        app: key of the own app.
        others: keys of other paths -> whether it is a folder.

    Raises:
        ConfigError: one of them is not.
    """
    named = {app: False, **others}
    for key, is_folder in named.items():
        table, _, name = key.partition(".")
        text = str(getattr(getattr(config, table), name))
        path = Path(absolute(folder, text.rpartition(":")[0] if key == app else text))
        if text and not (path.is_dir() if is_folder else path.is_file()):
            origin, what = config.origin(key), "folder" if is_folder else "file"
            file = str(folder / config.FILE) if origin.kind == "default" else str(origin)
            cure = f"put it there, or correct {key}; a path is relative to {config.FILE}"
            raise ConfigError(f"there is no {what} {path}", file=file, key=key, cure=cure)


def check_model(folder: Path, config: FederationConfig) -> None:
    """What a server's settings say of its model and data is there.

    Raises:
        ConfigError: a file or folder is not, or see `check_sources`.
    """
    check_sources(config)
    check_files(folder, config, app="model.app", others={"model.init": False, "data.data_dir": True})


def check_sources(config: FederationConfig) -> None:
    """An own model brings its own evaluation data; refuse to be told of others that nobody would look at.

    Raises:
        ConfigError: model.app and data.name are both set.
    """
    if config.model.app and config.data.name:
        raise ConfigError(
            f"model.app brings its own test data, so data.name = {config.data.name!r} would have no effect",
            key="data.name",
            cure="remove data.name, or give the Client in the app these data as test=",
        )


def client_command(folder: Path, config: ClientConfig) -> list[str]:
    """The trainer of a client: the own app, or a listed model with this client's part of a listed data set."""
    check_files(folder, config, app="app.path", others={"data.data_dir": True, "data.folder": True})
    device, threads = config.device.name, threads_here(config.device.threads)
    if config.app.path:
        return trainer_command(app=absolute(folder, config.app.path), device=device, threads=threads)
    data = config.data.model_dump()
    data |= {key: absolute(folder, data[key]) for key in ("data_dir", "folder")}
    builtin = {"data": data, "model": config.model.model_dump()}
    return trainer_command(builtin=builtin, device=device, threads=threads)
