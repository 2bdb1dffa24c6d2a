"""What the demo is asked for, and the settings files that this becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from roughfed.config.values import ServerSees
from roughfed.deploy.demo.scenarios import Scenario, scenario_of
from roughfed.errors import ConfigError
from roughfed.registry import look_up

DEADLINE = 300.0
DRAIN_S = 2.0
MAX_CLIENTS = 200
ALPHA = 0.5


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings with which a data set is learnt well by 6 clients at Dirichlet(0.5); chosen over 12 seeds.

    Attributes:
        model: listed model.
        rounds: default number of rounds.
        trainer: learning settings.
        device: of the clients' trainers.
    """

    model: str
    rounds: int
    trainer: Mapping[str, object]
    device: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # On so little data a GPU costs more to start than it saves.
        "digits": Preset("mlp", 15, {"epochs": 5, "batch_size": 32, "lr": 0.1, "momentum": 0.9}, "cpu"),
        "fashion-mnist": Preset("cnn", 5, {"epochs": 1, "batch_size": 64, "lr": 0.05, "momentum": 0.9}, "auto"),
    }
)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The flags of `roughfed demo`.

    Attributes:
        clients: K, 2 to 200; 0 takes the scenario's.
        rounds: 0 takes the data set's preset.
        seed: of the division and of the first weights; a client trains in an order of its own.
        data: a row of PRESETS.
        data_dir: folder of its files; None looks where they usually are.
        alpha: of the Dirichlet division; smaller is more skewed; None takes the scenario's, else 0.5.
        scenario: a row of SCENARIOS: what is rough about the data, and which parts train on them.
        method: other parts than the scenario's; empty takes those.
        attack: of the poisoned scenario: a row of `roughfed.deploy.attack`; empty takes the scenario's.
        attackers: share of the clients that attack, below 0.5; None takes the scenario's.
        server_sees: what reaches the server of a single client.
        json: print the result as one JSON object, the last line of stdout.
        out: where everything is kept; None makes a folder for temporary files.
    """

    clients: int = 0
    rounds: int = 0
    seed: int = 0
    data: str = "digits"
    data_dir: Path | None = None
    alpha: float | None = None
    scenario: str = "rough"
    method: str = ""
    attack: str = ""
    attackers: float | None = None
    server_sees: ServerSees = "sketches"
    json: bool = False
    out: Path | None = None

    @property
    def names(self) -> list[str]:
        """Names of the clients; their order is the order of their shares."""
        width = len(str(self.clients))
        return [f"client-{number:0{width}d}" for number in range(1, self.clients + 1)]


def settled(options: DemoOptions) -> DemoOptions:
    """The options with what the scenario says where nobody said anything.

    Raises:
        ConfigError: no such scenario, or an attack where nobody attacks.
    """
    scenario = scenario_of(options.scenario)
    if not scenario.poisoned:
        for key, given in (("--attack", options.attack), ("--attackers", options.attackers is not None)):
            if given:
                cause = f"scenario {options.scenario} is not about attacks"
                raise ConfigError(cause, key=key, cure="add --scenario poisoned, or leave it out")
    options = replace(options, clients=options.clients or scenario.clients)
    if not scenario.poisoned:
        return options
    share = scenario.attackers if options.attackers is None else options.attackers
    return replace(options, attack=options.attack or scenario.attack, attackers=share)


def preset_of(options: DemoOptions) -> Preset:
    """The preset of the data set.

    Raises:
        ConfigError: not a listed data set.
    """
    return look_up(PRESETS, options.data, key="data.name")


def server_settings(options: DemoOptions, preset: Preset) -> dict[str, object]:
    """Of every federation of the demo, by dotted key."""
    return {
        "federation.name": "demo",
        "federation.seed": options.seed,
        "server.host": "127.0.0.1",
        "server.port": 0,
        "server.enrol_port": 0,
        "server.http_port": 0,
        "server.drain_s": DRAIN_S,
        "round.min_clients": options.clients,
        "round.quorum": 1.0,  # all of them: what is compared is the same work
        "round.deadline": DEADLINE,
        "model.name": preset.model,
        "data.name": options.data,
        "data.data_dir": _folder(options),
        "privacy.server_sees": options.server_sees,
    }


def data_settings(options: DemoOptions, scenario: Scenario) -> dict[str, object]:
    """How the data are divided and made rough: keys of [data] in client.toml, without the client's index."""
    return {
        "name": options.data,
        "data_dir": _folder(options),
        "clients": options.clients,
        "partition": "dirichlet",
        "alpha": ALPHA,
        "scenario": options.scenario,
        "seed": options.seed,
        **scenario.data,
        **({} if options.alpha is None else {"alpha": float(options.alpha)}),
    }


def client_settings(options: DemoOptions, preset: Preset, scenario: Scenario, index: int) -> dict[str, object]:
    """Of one client, by dotted key."""
    return {
        **{f"data.{key}": value for key, value in data_settings(options, scenario).items()},
        "data.index": index,
        "model.name": preset.model,
        "device.name": preset.device,
        "device.threads": 1,
        "policy.server_sees": options.server_sees,
    }


def _folder(options: DemoOptions) -> str:
    return "" if options.data_dir is None else str(options.data_dir.expanduser().resolve())
