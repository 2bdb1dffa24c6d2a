"""What the demo is asked for, and the settings files that this becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from roughfed.config import ClientConfig, FederationConfig
from roughfed.config.conflicts import goes_by_shares
from roughfed.config.template import render_template
from roughfed.deploy.demo.scenarios import Scenario, scenario_of
from roughfed.errors import ConfigError
from roughfed.methods import AUTO, PLAIN, read_method
from roughfed.registry import look_up
from roughfed.secagg.groups import SMALLEST

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
        clients: K, 2 to 200.
        rounds: 0 takes the data set's preset.
        seed: of the division, the weights and the training; with `updates` the same seed gives the same model.
        data: a row of PRESETS.
        data_dir: folder of its files; None looks where they usually are.
        alpha: of the Dirichlet division; smaller is more skewed; None takes the scenario's, else 0.5.
        scenario: a row of SCENARIOS: what is rough about the data, and which parts train on them.
        method: other parts than the scenario's; empty takes those.
        server_sees: what reaches the server of a single client.
        json: print the result as one JSON object, the last line of stdout.
        out: where everything is kept; None makes a folder for temporary files.
    """

    clients: int = 6
    rounds: int = 0
    seed: int = 0
    data: str = "digits"
    data_dir: Path | None = None
    alpha: float | None = None
    scenario: str = "rough"
    method: str = ""
    server_sees: str = "sketches"
    json: bool = False
    out: Path | None = None

    @property
    def names(self) -> list[str]:
        """Names of the clients; their order is the order of their shares."""
        width = len(str(self.clients))
        return [f"client-{number:0{width}d}" for number in range(1, self.clients + 1)]


def preset_of(options: DemoOptions) -> Preset:
    """The preset of the data set.

    Raises:
        ConfigError: not a listed data set.
    """
    return look_up(PRESETS, options.data, key="data.name")


@dataclass(frozen=True, slots=True)
class Act:
    """One federation of the demo: the one with the right parts, or plain FedAvg before it.

    Attributes:
        name: rough or plain.
        method: its parts.
        rounds: R.
        fed: text of fed.toml.
        clients: text of each client's client.toml, by its name.
        hostile: NAME and flags of the attack, by the client's name.
    """

    name: str
    method: str
    rounds: int
    fed: str
    clients: Mapping[str, str]
    hostile: Mapping[str, tuple[str, ...]]


def acts_of(options: DemoOptions) -> list[Act]:
    """The federations that the demo plays, the last one being what it is about.

    Raises:
        NotBuiltYet: a scenario of a later version.
        ConfigError: an option that cannot be.
    """
    if not 2 <= options.clients <= MAX_CLIENTS:
        cure = f"give 2 to {MAX_CLIENTS}, each is a process with a trainer of about 300 MB"
        raise ConfigError(f"{options.clients} clients cannot be started here", key="--clients", cure=cure)
    if options.server_sees in ("sketches", "sums") and options.clients < SMALLEST:
        cause = f"{options.clients} clients are too few to hide in, {SMALLEST} are needed"
        raise ConfigError(cause, key="--clients", cure=f"give {SMALLEST} or more, or --server-sees updates")
    scenario, preset = scenario_of(options.scenario), preset_of(options)
    if options.method:
        kept = {
            key: value for key, value in scenario.trainer.items() if key != "prior" or goes_by_shares(options.method)
        }
        scenario = replace(scenario, trainer={**kept, "method": options.method})
    acts = [_act("rough", options, scenario, preset)]
    if scenario.compared:
        acts.insert(0, _act("plain", options, replace(scenario, trainer={}, server={}), preset))
    return acts


def _act(name: str, options: DemoOptions, scenario: Scenario, preset: Preset) -> Act:
    trainer = {**preset.trainer, **scenario.trainer}
    rounds = options.rounds or scenario.rounds or preset.rounds
    server = {**_server_settings(options, preset), "round.rounds": rounds, **_bearable(options, scenario)}
    server |= {f"trainer.{key}": value for key, value in trainer.items()}
    clients = {
        name: render_template(ClientConfig, _client_settings(options, preset, scenario, index))
        for index, name in enumerate(options.names)
    }
    hostile = {options.names[-1]: scenario.attack} if scenario.attack else {}
    method = str(read_method(str(trainer.get("method", PLAIN)))) if trainer.get("method") != AUTO else AUTO
    return Act(name, method, rounds, render_template(FederationConfig, server), clients, hostile)


def _bearable(options: DemoOptions, scenario: Scenario) -> dict[str, object]:
    """The scenario's server settings, without a defence that the mode cannot have."""
    kept = {key: value for key, value in scenario.server.items() if not key.startswith("defence.")}
    return kept if options.server_sees == "sums" else dict(scenario.server)


def _server_settings(options: DemoOptions, preset: Preset) -> dict[str, object]:
    return {
        "federation.name": "demo",
        "federation.seed": options.seed,
        "server.host": "127.0.0.1",
        "server.port": 0,
        "server.enrol_port": 0,
        "server.http_port": 0,
        "server.drain_s": DRAIN_S,
        "round.min_clients": options.clients,
        "round.quorum": 1.0,  # all of them: then, unmasked, the same seed gives the same model, byte for byte
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


def _client_settings(options: DemoOptions, preset: Preset, scenario: Scenario, index: int) -> dict[str, object]:
    return {
        **{f"data.{key}": value for key, value in data_settings(options, scenario).items()},
        "data.index": index,
        "client.stay": scenario.compared,  # for both federations
        "model.name": preset.model,
        "device.name": preset.device,
        "device.threads": 1,
    }


def _folder(options: DemoOptions) -> str:
    return "" if options.data_dir is None else str(options.data_dir.expanduser().resolve())
