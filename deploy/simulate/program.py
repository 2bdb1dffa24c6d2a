"""Whose code trains for virtual clients, and whose model their server has: listed ones, or those of an own app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from roughfed.config.federation import FederationConfig
from roughfed.data import SOURCES
from roughfed.data.partition import PARTITIONERS
from roughfed.data.roughness import SCENARIOS
from roughfed.deploy.cli.processes import LISTED_MODEL, app_place, worker_command
from roughfed.errors import ConfigError
from roughfed.registry import look_up
from roughfed.trainer_client import Many, trainer_command


@dataclass(frozen=True, slots=True)
class Program:
    """What a trainer of a simulation runs.

    Attributes:
        clients: how many virtual clients there are.
        seed: of what an own app draws.
        app: FILE:NAME of a function (index, clients) that gives the Client of one; or else
        builtin: settings of the built-in app (`roughfed.client.apps`), without an index.
        server_app: FILE:NAME of the server's Client; empty = the first client's model, and no data.
        device: where the clients' trainers compute.
    """

    clients: int
    seed: int
    app: str = ""
    builtin: Mapping[str, Any] | None = None
    server_app: str = ""
    device: str = "cpu"

    def trainer(self) -> list[str]:
        """The command line of one that works for all clients in turn; one thread, for the same bytes everywhere."""
        command = partial(trainer_command, device=self.device, threads=1, many=Many(self.clients, self.seed))
        return command(app=self.app) if self.builtin is None else command(builtin=self.builtin)

    def worker(self, folder: Path, config: FederationConfig) -> list[str]:
        """That of the worker beside the server, whose fed.toml lies in `folder`."""
        if self.app and not self.server_app:
            many = Many(self.clients, self.seed, first=True)
            return trainer_command(app=self.app, device="cpu", threads=1, many=many)
        return worker_command(folder, config)


@dataclass(frozen=True, slots=True)
class SimulationSource:
    """Data and model as they are asked for; see `roughfed.deploy.simulate.options.SimulateOptions`."""

    app: str
    server_app: str
    data: str
    data_dir: str
    model: str
    partition: str
    alpha: float | None
    scenario: str

    def check(self) -> None:
        """Refuse what cannot be, or would have no effect.

        Raises:
            ConfigError: names the flag.
        """
        if self.app:
            self._check_app()
        elif self.server_app:
            cause = "the server's app goes with one of the clients"
            raise ConfigError(cause, key="--server-app", cure="add --app FILE.py:NAME")
        else:
            look_up(SOURCES, self._data, key="--data")
            look_up(SCENARIOS, self.scenario or "clean", key="--scenario")
            self._check_partition()

    def _check_app(self) -> None:
        for app, key in ((self.app, "--app"), (self.server_app, "--server-app")):
            if app:
                app_place(app, key=key)
        for name in ("data", "data_dir", "model", "partition", "alpha", "scenario"):
            if getattr(self, name) not in ("", None):
                raise ConfigError(
                    "the clients of --app bring a model and data of their own, so this would have no effect",
                    key=f"--{name.replace('_', '-')}",
                    cure="leave it out: the function of the app decides what a client holds, from (index, clients)",
                )

    def _check_partition(self) -> None:
        name = self.partition or "dirichlet"
        row = look_up(PARTITIONERS, name, key="--partition")
        if self.alpha is None:
            return
        if row.option != "alpha":
            cause = f"the partition {name} has no concentration, so this would have no effect"
            raise ConfigError(cause, key="--alpha", cure="--partition dirichlet or quantity-skew")
        if not 0 < self.alpha < float("inf"):
            raise ConfigError(f"{self.alpha} is no concentration", key="--alpha", cure="a number above 0")

    def federation(self) -> dict[str, str]:
        """What fed.toml says of them."""
        if self.app:
            return {"model.app": app_place(self.server_app or self.app)}
        return {"model.name": self._model, "data.name": self._data, "data.data_dir": self._data_dir}

    def client(self) -> dict[str, str]:
        """What client.toml says of them."""
        if self.app:
            return {"app.path": app_place(self.app)}
        return {"model.name": self._model, "data.name": self._data}

    def program(self, clients: int, config: FederationConfig, *, device: str) -> Program:
        """Who trains for so many clients, and where."""
        seed = config.federation.seed
        if self.app:
            server_app = self.server_app and app_place(self.server_app)
            return Program(clients, seed, app=app_place(self.app), server_app=server_app, device=device)
        data = {
            "name": self._data,
            "data_dir": self._data_dir,
            "seed": seed,
            "partition": self.partition or "dirichlet",
            "alpha": 0.5 if self.alpha is None else self.alpha,
            "scenario": self.scenario or "clean",
        }
        model = {"name": config.model.name, "experts": config.model.experts, "seed": 0}
        return Program(clients, seed, builtin={"data": data, "model": model}, device=device)

    @property
    def _data(self) -> str:
        return self.data or "digits"

    @property
    def _model(self) -> str:
        return self.model or LISTED_MODEL.get(self._data, "mlp")

    @property
    def _data_dir(self) -> str:
        return str(Path(self.data_dir).expanduser().absolute()) if self.data_dir else ""
