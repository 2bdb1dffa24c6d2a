"""Whose code trains for virtual clients, and whose model their server has: listed ones, or those of an own app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roughfed.child import Many, trainer_command
from roughfed.config.federation import FederationConfig
from roughfed.deploy.cli.processes import worker_command


@dataclass(frozen=True, slots=True)
class Program:
    """What a trainer of a simulation runs.

    Attributes:
        clients: how many virtual clients there are.
        seed: of what an own app draws.
        app: FILE:NAME of a function (index, clients) that gives the Client of one; or else
        builtin: settings of the built-in app (`roughfed.client.apps`), without an index.
        server_app: FILE:NAME of the server's Client; empty = the first client's model, and no data.
        device: where trainers compute.
    """

    clients: int
    seed: int
    app: str = ""
    builtin: Mapping[str, Any] | None = None
    server_app: str = ""
    device: str = "cpu"

    def trainer(self) -> list[str]:
        """The command line of one that works for all clients in turn; one thread, for the same bytes everywhere."""
        many = Many(self.clients, self.seed)
        return trainer_command(app=self.app, builtin=self.builtin, device=self.device, threads=1, many=many)

    def worker(self, folder: Path, config: FederationConfig) -> list[str]:
        """That of the worker beside the server, whose fed.toml lies in `folder`."""
        if self.app and not self.server_app:
            many = Many(self.clients, self.seed, first=True)
            return trainer_command(app=self.app, device=self.device, threads=1, many=many)
        return worker_command(folder, config)
