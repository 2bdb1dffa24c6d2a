"""What a simulation is asked for, and the settings that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from roughfed.config import ClientConfig, FederationConfig, check_federation
from roughfed.config.load import build
from roughfed.config.schema import keys_of
from roughfed.config.sources import from_flags
from roughfed.config.template import render_template
from roughfed.config.values import Origin
from roughfed.deploy.simulate.dropout_outcomes import RANDOM, Losses
from roughfed.deploy.simulate.program import Program, SimulationSource
from roughfed.errors import ConfigError
from roughfed.mode import MODES
from roughfed.secagg.groups import SMALLEST
from roughfed.server.defence.check import check_rule

FEDERATION = "simulated"
MOST = 100_000

FLAG_OF = {
    "federation.seed": "--seed",
    "model.app": "--server-app",
    "model.name": "--model",
    "data.name": "--data",
    "data.data_dir": "--data-dir",
    "round.rounds": "--rounds",
    "round.cohort": "--cohort",
    "round.min_clients": "--clients",
    "privacy.server_sees": "--server-sees",
}
"""Settings that decide more in a simulation than fed.toml: each has a flag."""

NOT_HERE = ("server.", "identity.", "metrics.per_client", "federation.name")
"""Settings of ports, certificates and pages, of which a simulation has none."""
HERE = "server.transfers"

SEED_DECIDES = "round.patience"
"""Who is slow is left out by nobody's clock: with one, the same seed would not give the same model."""


ALL_DISCLOSED = {
    "policy.clusters": "true",
    "policy.max_sketch_numbers": str(1 << 40),
    "policy.max_statistics": str(1 << 40),
    "policy.max_levels": str(1 << 16),
    "policy.max_differences": str(1 << 40),
}
"""Limits of virtual clients: whoever simulates owns all the data."""


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """One simulation.

    Attributes:
        clients: virtual clients.
        cohort: of them in a round; 0 = all.
        rounds: of the run.
        app: FILE:NAME of a function (index, clients) that gives the Client of one, with its own model and data; empty =
            a listed model and listed data, which the six after the next are about.
        server_app: FILE:NAME of the Client that the server evaluates with; empty = the model of client 0 and no data.
        data: a listed data set, divided among the clients; empty = digits.
        data_dir: folder of its files; empty = where they are usually found.
        model: a listed model; empty = what goes with the data.
        partition: how the data are divided; empty = dirichlet.
        alpha: skew of the division; None = 0.5, where it has one.
        scenario: what is made rough about the data; empty = clean.
        server_sees: of a single client.
        seed: of everything, secrets too.
        workers: trainer processes.
        device: where they compute: cpu, cuda, cuda:N, mps or auto.
        ray: address of a Ray cluster, or "local"; empty = processes on this machine.
        lose: share of each round's cohort that is lost; 0 = nobody.
        at: see `roughfed.deploy.simulate.dropout_outcomes.Losses.at`; empty = "random".
        silent: likewise.
        settings: other settings of fed.toml, by dotted key.
        out: empty folder that keeps everything; None = a temporary one that goes away.
    """

    clients: int
    cohort: int = 0
    rounds: int = 10
    app: str = ""
    server_app: str = ""
    data: str = ""
    data_dir: str = ""
    model: str = ""
    partition: str = ""
    alpha: float | None = None
    scenario: str = ""
    server_sees: str = "sketches"
    seed: int = 0
    workers: int = 2
    device: str = "cpu"
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
        self._check_settings()
        if self.ray and self.device != "cpu":
            cause = "actors of a cluster compute on its processors, so this would have no effect"
            raise ConfigError(cause, key="--device", cure="leave out --ray or --device")
        source, losses = self._source, self.losses()
        source.check()
        given = {
            "federation.name": FEDERATION,
            "federation.seed": self.seed,
            **source.federation(),
            "round.rounds": self.rounds,
            "round.cohort": self.cohort,
            "round.min_clients": self.clients,
            SEED_DECIDES: 0.0,
            "privacy.server_sees": self.server_sees,
            "server.http": False,
        }
        if losses is not None and "round.quorum" not in self.settings:
            given["round.quorum"] = min(SMALLEST, self.clients)
        texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}
        if init := self.settings.get("model.init"):
            texts["model.init"] = str(Path(init).expanduser().absolute())
        settings = from_flags(dict(self.settings) | texts, keys_of(FederationConfig))
        for key in FLAG_OF.keys() & texts.keys():  # so that what is refused has the name under which it was given
            settings[key] = replace(settings[key], origin=Origin("flag", FLAG_OF[key]))
        config = build(FederationConfig, settings)
        check_federation(config)
        check_rule(config)
        if losses is not None:
            losses.check(config.privacy.server_sees, self.cohort or self.clients)
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
            "http.enabled": "false",
            "policy.server_sees": MODES[-1],  # all of them are the caller's own
            **ALL_DISCLOSED,
            **self._source.client(),
        }
        return build(ClientConfig, from_flags(given, keys_of(ClientConfig)))

    def program(self, config: FederationConfig) -> Program:
        """Who trains."""
        return self._source.program(self.clients, config, device=self.device)

    @property
    def _source(self) -> SimulationSource:
        return SimulationSource(
            self.app,
            self.server_app,
            self.data,
            self.data_dir,
            self.model,
            self.partition,
            self.alpha,
            self.scenario,
        )

    def _check_settings(self) -> None:
        for key in self.settings:
            if (flag := FLAG_OF.get(key)) is not None:
                raise ConfigError("a simulation has a flag for this", key=f"--set {key}", cure=f"write {flag} instead")
            if key.startswith(NOT_HERE) and key != HERE:
                cause = "a simulation has no ports, pages or certificates to renew, so this would have no effect"
                raise ConfigError(cause, key=f"--set {key}", cure="leave it out; real processes: roughfed demo")
            if key == SEED_DECIDES:
                cause = "a simulation waits for whoever trains, however slowly, so this would have no effect"
                raise ConfigError(cause, key=f"--set {key}", cure="leave it out; real processes: roughfed demo")

    def names(self) -> list[str]:
        """Names of the clients."""
        width = len(str(self.clients))
        return [f"client-{number:0{width}d}" for number in range(1, self.clients + 1)]
