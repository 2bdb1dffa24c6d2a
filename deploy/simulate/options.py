"""What a simulation is asked for, and the settings that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roughfed.config import ClientConfig, FederationConfig, check_federation
from roughfed.config.load import build
from roughfed.config.schema import keys_of
from roughfed.config.sources import from_flags
from roughfed.config.template import render_template
from roughfed.deploy.cli.processes import LISTED_MODEL
from roughfed.deploy.simulate.losses import RANDOM, Losses
from roughfed.errors import ConfigError
from roughfed.secagg.groups import SMALLEST
from roughfed.server.defence.check import check_rule

FEDERATION = "simulated"
MOST = 100_000


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """One simulation.

    Attributes:
        clients: virtual clients.
        cohort: of them in a round; 0 = all.
        rounds: of the run.
        data: a listed data set, divided among the clients.
        data_dir: folder of its files; empty = where they are usually found.
        model: a listed model; empty = what goes with the data.
        partition: how the data are divided.
        alpha: skew of the division.
        scenario: what is made rough about the data.
        server_sees: of a single client.
        seed: of everything, secrets too.
        workers: trainer processes.
        ray: address of a Ray cluster, or "local"; empty = processes on this machine.
        lose: share of each round's cohort that is lost; 0 = nobody.
        at: see `roughfed.deploy.simulate.losses.Losses.at`; empty = "random".
        silent: likewise.
        settings: other settings of fed.toml, by dotted key.
        out: empty folder that keeps everything; None = a temporary one that goes away.
    """

    clients: int
    cohort: int = 0
    rounds: int = 10
    data: str = "digits"
    data_dir: str = ""
    model: str = ""
    partition: str = "dirichlet"
    alpha: float = 0.5
    scenario: str = "clean"
    server_sees: str = "sketches"
    seed: int = 0
    workers: int = 2
    ray: str = ""
    lose: float = 0.0
    at: str = ""
    silent: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    out: Path | None = None

    def federation(self) -> tuple[FederationConfig, str]:
        """fed.toml, checked, and its text.

        Raises:
            ConfigError: settings that cannot be, or clients beyond what one process holds.
        """
        if not 2 <= self.clients <= MOST:
            raise ConfigError(f"{self.clients} clients cannot be simulated", key="--clients", cure=f"2 to {MOST}")
        if self.cohort > self.clients:
            raise ConfigError(
                f"a cohort of {self.cohort} is more than there are clients", key="--cohort", cure=f"0 to {self.clients}"
            )
        losses = self.losses()
        given = {
            "federation.name": FEDERATION,
            "federation.seed": self.seed,
            "model.name": self.model or LISTED_MODEL.get(self.data, "mlp"),
            "data.name": self.data,
            "data.data_dir": self.data_dir,
            "round.rounds": self.rounds,
            "round.cohort": self.cohort,
            "round.min_clients": self.clients,
            "round.patience": 0.0,
            "privacy.server_sees": self.server_sees,
            "server.http": False,
            **({} if losses is None else {"round.quorum": min(SMALLEST, self.clients)}),
        }
        texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}
        settings = from_flags(texts | dict(self.settings), keys_of(FederationConfig))
        config = build(FederationConfig, settings)
        check_federation(config)
        check_rule(config)
        if losses is not None:
            losses.check(config.privacy.server_sees)
        return config, render_template(FederationConfig, {key: each.value for key, each in settings.items()})

    def losses(self) -> Losses | None:
        """Who is lost; None = nobody.

        Raises:
            ConfigError: how, but not how many.
        """
        if self.lose:
            return Losses(self.lose, self.at or RANDOM, self.silent)
        if self.at or self.silent:
            raise ConfigError(
                "nobody is lost", key="--at" if self.at else "--silent", cure="add a share: --lose 0.3, for example"
            )
        return None

    def client(self) -> ClientConfig:
        """client.toml of every client, but for its name."""
        given = {
            "client.server": "127.0.0.1:1",
            "client.enrol": "127.0.0.1:1",
            "model.name": self.model or LISTED_MODEL.get(self.data, "mlp"),
            "data.name": self.data,
            "http.enabled": "false",
        }
        return build(ClientConfig, from_flags(given, keys_of(ClientConfig)))

    def builtin(self, config: FederationConfig) -> dict[str, Any]:
        """Settings of the built-in app of the crowd (`roughfed.client.apps`)."""
        data = {
            "name": self.data,
            "data_dir": self.data_dir,
            "seed": config.federation.seed,
            "partition": self.partition,
            "alpha": self.alpha,
            "scenario": self.scenario,
        }
        return {"data": data, "model": {"name": config.model.name, "experts": config.model.experts, "seed": 0}}

    def names(self) -> list[str]:
        """Names of the clients."""
        width = len(str(self.clients))
        return [f"client-{number:0{width}d}" for number in range(1, self.clients + 1)]
